package ingest

import (
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"maps"
	"runtime/debug"
	"slices"
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
// the batch may or may not be kept, and appending it again is harmless. It holds
// no part of the items after it returned.
type Journal interface {
	Append(ctx context.Context, b journal.Batch) (uint64, error)
}

// Credentials says who a token is, and judges tags. Errors wrap
// tenant.ErrUnauthenticated or tenant.ErrUnavailable.
type Credentials interface {
	Authenticate(ctx context.Context, token string) (tenant.Key, error)
	Batch(ctx context.Context) (*tenant.Batch, error)
}

// Decoder turns a body into observations, each of which is valid until visit
// returns. Errors wrap otlp.ErrUndecodable or are visit's.
type Decoder interface {
	EachProto(body []byte, visit otlp.Visit) (otlp.Counts, error)
	EachJSON(body []byte, visit otlp.Visit) (otlp.Counts, error)
}

const (
	// DefaultMaxBody is the largest decompressed body in bytes: a Collector's
	// batch of 10,000 spans is near 10 MiB.
	DefaultMaxBody = 64 << 20
	// inFlightBodies bounds the memory of requests that are being read or wait
	// for their commit, in units of the largest body; leastRoom in bytes, so that
	// one request always has room for its lines.
	inFlightBodies = 8
	leastRoom      = 2 * maxLines

	// DefaultHeaderTimeout and DefaultBodyTimeout end clients that send a byte
	// now and then.
	DefaultHeaderTimeout = 10 * time.Second
	DefaultBodyTimeout   = 60 * time.Second
	// DefaultAnswerTimeout bounds how long a credential store or a disk that hangs
	// may keep a client waiting, in all: below the 5 s after which a Collector
	// gives up without having been told anything.
	DefaultAnswerTimeout = 4 * time.Second
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
	// HeaderTimeout, BodyTimeout and AnswerTimeout bound how long a request's
	// headers, its body and what becomes of it may take; 0: the defaults.
	HeaderTimeout, BodyTimeout, AnswerTimeout time.Duration
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
	o.MaxBody = cmp.Or(o.MaxBody, DefaultMaxBody)
	o.HeaderTimeout = cmp.Or(o.HeaderTimeout, DefaultHeaderTimeout)
	o.BodyTimeout = cmp.Or(o.BodyTimeout, DefaultBodyTimeout)
	o.AnswerTimeout = cmp.Or(o.AnswerTimeout, DefaultAnswerTimeout)
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Metrics == nil {
		o.Metrics = NewMetrics()
	}
	return &Receiver{Options: o, room: semaphore.NewWeighted(max(inFlightBodies*o.MaxBody, leastRoom)), limits: newLimiter(o.RequestsPerSecond)}
}

// Stop refuses, retryably, every request that comes from now on.
func (r *Receiver) Stop() { r.stopping.Store(true) }

// answer is what became of an export that was stored: spans refused for ever,
// and why.
type answer struct {
	rejected int64
	message  string
}

// admit decides by what is known before the body is read: who sends it, and
// whether it may come now.
func (r *Receiver) admit(ctx context.Context, authorization string, state *tls.ConnectionState) (producer string, err error) {
	if r.stopping.Load() {
		return "", refuse(unavailable, "the server is stopping")
	}
	ctx, cancel := context.WithTimeout(ctx, r.AnswerTimeout)
	defer cancel()
	if producer, err = r.authenticate(ctx, authorization, state); err != nil {
		return "", err
	}
	if !r.limits.allow(producer, r.Now()) {
		return "", refuse(rateLimited, "more than %g requests a second", r.RequestsPerSecond)
	}
	return producer, nil
}

// errNoRoom says that too many bodies are in memory.
var errNoRoom = refuse(unavailable, "too much is in flight")

// store decodes the body that w holds, stamps its observations and appends them.
func (r *Receiver) store(ctx context.Context, producer string, asJSON bool, w *work) (answer, error) {
	r.Metrics.bytes.Add(float64(len(w.body)))
	ctx, cancel := context.WithTimeout(ctx, r.AnswerTimeout)
	defer cancel()
	judge, err := r.Credentials.Batch(ctx)
	if err != nil {
		return answer{}, err
	}
	received := r.Now()
	counts, err := r.decode(asJSON, w, func(o *usage.Observation, resource []byte) error {
		stamp, err := r.stamp(ctx, judge, producer, o)
		if err != nil {
			return err
		}
		return w.line(o, &stamp, resource)
	})
	if err != nil {
		return answer{}, err
	}
	b := journal.Batch{
		Producer: producer, Kind: project.KindTraces, Received: received,
		Rejected: counts.Rejected, Ignored: counts.Ignored, Items: w.split(),
	}
	// Nothing to say is nothing to keep: a readiness probe, an empty export.
	if len(b.Items) > 0 || len(b.Rejected) > 0 || len(b.Ignored) > 0 {
		if _, err := r.Journal.Append(ctx, b); err != nil {
			return answer{}, err
		}
	}
	r.Metrics.kept(b)
	return partial(b.Rejected), nil
}

// decode decodes, and survives a decoder that panics: twice the same body is
// given the benefit of the doubt, then it is refused for ever, so that it does
// not block its sender's queue.
func (r *Receiver) decode(asJSON bool, w *work, visit otlp.Visit) (counts otlp.Counts, err error) {
	defer func() {
		if p := recover(); p != nil {
			r.panicked(p)
			err = refuse(unavailable, "internal error")
			if r.panics.again(w.body) {
				err = refuse(undecodable, "this body cannot be decoded")
			}
		}
	}()
	if asJSON {
		return r.Decoder.EachJSON(w.body, visit)
	}
	return r.Decoder.EachProto(w.body, visit)
}

// panicked counts and tells a panic that was caught.
func (r *Receiver) panicked(p any) {
	r.Metrics.panics.Inc()
	r.Logger.Error("a request panicked and was refused", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
}

// stamp decides now what needs a secret, to be kept.
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

func partial(rejected map[string]int64) (a answer) {
	for _, reason := range slices.Sorted(maps.Keys(rejected)) {
		if a.message != "" {
			a.message += ", "
		}
		a.message += fmt.Sprintf("%d %s", rejected[reason], reason)
		a.rejected += rejected[reason]
	}
	if a.message != "" {
		a.message = "rejected: " + a.message
	}
	return a
}
