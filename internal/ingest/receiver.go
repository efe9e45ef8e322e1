package ingest

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/tollkeeper/tollkeeper/internal/journal"
	"github.com/tollkeeper/tollkeeper/internal/otlp"
	"github.com/tollkeeper/tollkeeper/internal/project"
	"github.com/tollkeeper/tollkeeper/internal/tenant"
	"github.com/tollkeeper/tollkeeper/internal/usage"
)

// Journal keeps a batch. Append returns nil when it is on disk; on any error
// the batch may or may not be kept, and appending it again is harmless.
type Journal interface {
	Append(ctx context.Context, b journal.Batch) (uint64, error)
}

// Credentials says who a token is, and judges tags. Errors wrap
// tenant.ErrUnauthenticated or tenant.ErrUnavailable.
type Credentials interface {
	Authenticate(ctx context.Context, token string) (tenant.Key, error)
	Batch(ctx context.Context) (*tenant.Batch, error)
}

// Decoder turns a body into observations. Errors wrap otlp.ErrUndecodable.
type Decoder interface {
	Proto(body []byte) (*otlp.Result, error)
	JSON(body []byte) (*otlp.Result, error)
}

const (
	// DefaultMaxBody is the largest decompressed body in bytes: a Collector's
	// batch of 10,000 spans is near 10 MiB.
	DefaultMaxBody = 64 << 20
	// inFlightBodies bounds the memory of bodies that are being read or wait for
	// their commit, in units of the largest body.
	inFlightBodies = 4
)

// Options are the settings of a Receiver. Journal, Credentials and Decoder must
// be set.
type Options struct {
	Journal     Journal
	Credentials Credentials
	Decoder     Decoder
	// Open takes requests without a credential.
	Open bool
	// RetryBadCredential answers a bad credential retryably: for a Collector of
	// our own, whose data a 401 would destroy.
	RetryBadCredential bool
	// MaxBody is the largest decompressed body in bytes; 0: DefaultMaxBody.
	MaxBody int64
	// RequestsPerSecond bounds each producer; 0: no bound.
	RequestsPerSecond float64
	Now               func() time.Time // nil: time.Now
	Logger            *slog.Logger     // nil: silent
	Metrics           *Metrics         // nil: its own
	// TLS serves both transports when set; with ClientCAs, a verified client
	// certificate is a producer's credential.
	TLS *tls.Config
}

// Receiver takes exports for both transports. Its methods may be called by many
// goroutines.
type Receiver struct {
	Options
	room     *semaphore.Weighted // bytes
	limits   *limiter
	panics   panics
	stopping atomic.Bool
}

// NewReceiver returns a receiver.
func NewReceiver(o Options) *Receiver {
	if o.MaxBody == 0 {
		o.MaxBody = DefaultMaxBody
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Metrics == nil {
		o.Metrics = NewMetrics()
	}
	return &Receiver{Options: o, room: semaphore.NewWeighted(inFlightBodies * o.MaxBody), limits: newLimiter(o.RequestsPerSecond)}
}

// Stop refuses, retryably, every request that comes from now on.
func (r *Receiver) Stop() { r.stopping.Store(true) }

// export is one request, read and decompressed.
type export struct {
	producer string
	json     bool
	body     []byte
}

// admit decides by what is known before the body is read.
func (r *Receiver) admit(producer string) error {
	if r.stopping.Load() {
		return refuse(unavailable, "the server is stopping")
	}
	if !r.limits.allow(producer, r.Now()) {
		return refuse(rateLimited, "more than %g requests a second", r.RequestsPerSecond)
	}
	return nil
}

// errNoRoom says that too many bodies are in memory.
var errNoRoom = refuse(unavailable, "too much is in flight")

// store decodes an export, stamps its observations and appends them. The count
// and the message are those of partial success.
func (r *Receiver) store(ctx context.Context, e export) (rejected int64, message string, err error) {
	result, err := r.decode(e)
	if err != nil {
		return 0, "", err
	}
	b, err := r.batch(ctx, e.producer, result)
	if err != nil {
		return 0, "", err
	}
	// Nothing to say is nothing to keep: a readiness probe, an empty export.
	if len(b.Items) > 0 || len(b.Rejected) > 0 || len(b.Ignored) > 0 {
		if _, err := r.Journal.Append(ctx, b); err != nil {
			return 0, "", err
		}
	}
	r.Metrics.kept(b)
	rejected, message = partial(b.Rejected)
	return rejected, message, nil
}

// decode decodes, and survives a decoder that panics: three times the same body
// is given the benefit of the doubt, then it is refused for ever, so that it
// does not block its sender's queue.
func (r *Receiver) decode(e export) (result *otlp.Result, err error) {
	defer func() {
		if p := recover(); p != nil {
			r.Metrics.panics.Inc()
			r.Logger.Error("the decoder panicked; the body was refused", "panic", fmt.Sprint(p), "producer", e.producer, "bytes", len(e.body))
			result, err = nil, refuse(unavailable, "internal error")
			if r.panics.again(e.body) {
				err = refuse(undecodable, "this body cannot be decoded")
			}
		}
	}()
	if e.json {
		return r.Decoder.JSON(e.body)
	}
	return r.Decoder.Proto(e.body)
}

// batch stamps the observations: what needs a secret is decided now and kept.
func (r *Receiver) batch(ctx context.Context, producer string, result *otlp.Result) (journal.Batch, error) {
	b := journal.Batch{
		Producer: producer, Kind: project.KindTraces, Received: r.Now(),
		Rejected: result.Rejected, Ignored: result.Ignored, Items: make([][]byte, 0, len(result.Observations)),
	}
	judge, err := r.Credentials.Batch(ctx)
	if err != nil {
		return b, err
	}
	lines := make([]byte, 0, lineBytes*len(result.Observations))
	for i := range result.Observations {
		o := &result.Observations[i]
		stamp, err := r.stamp(ctx, judge, producer, o)
		if err != nil {
			return b, err
		}
		start := len(lines)
		lines = usage.AppendLine(lines, o, &stamp, result.Resources[i])
		b.Items = append(b.Items, lines[start:len(lines):len(lines)])
	}
	return b, nil
}

// lineBytes is how long an observation's line is at most, usually.
const lineBytes = 900

func (r *Receiver) stamp(ctx context.Context, judge *tenant.Batch, producer string, o *usage.Observation) (usage.Stamp, error) {
	s := usage.Stamp{Producer: producer}
	if o.Tag == "" {
		return s, nil
	}
	v, err := judge.Judge(ctx, tenant.MemberKey+"="+o.Tag, o.Trace)
	if err != nil {
		return s, err
	}
	s.Tag, s.Record, s.Key, s.Customer, s.Project = usage.TagVerdict(v.State), v.Record, v.Key, v.Customer, v.Project
	r.Metrics.tag(v)
	return s, nil
}

// partial is the count of spans refused for ever, and the reasons.
func partial(rejected map[string]int64) (count int64, message string) {
	for _, reason := range sortedKeys(rejected) {
		if message != "" {
			message += ", "
		}
		message += fmt.Sprintf("%d %s", rejected[reason], reason)
		count += rejected[reason]
	}
	if message != "" {
		message = "rejected: " + message
	}
	return count, message
}
