package ingest

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/tollkeeper/tollkeeper/internal/journal"
	"github.com/tollkeeper/tollkeeper/internal/otlp"
	"github.com/tollkeeper/tollkeeper/internal/tenant"
)

// outcome is the answer to one request, for people, metrics and both
// transports; see answers for its codes.
type outcome string

const (
	stored          outcome = "stored"
	unavailable     outcome = "unavailable" // try again
	rateLimited     outcome = "rate_limited"
	tooLarge        outcome = "too_large"
	undecodable     outcome = "undecodable"
	unsupported     outcome = "unsupported" // encoding, or type
	unknownSignal   outcome = "unknown_signal"
	wrongMethod     outcome = "wrong_method"
	unauthenticated outcome = "unauthenticated"
	forbidden       outcome = "forbidden"      // the credential is good, for something else
	badCredential   outcome = "bad_credential" //nolint:gosec // no credential: either of the two, where the sender shall keep what it has and try again
)

// retryable reports whether the same request may be sent again.
func (o outcome) retryable() bool { return o == unavailable || o == rateLimited || o == badCredential }

// refusal is a request that was not stored, or not known to be.
type refusal struct {
	outcome outcome
	err     error
}

func (r *refusal) Error() string { return r.err.Error() }
func (r *refusal) Unwrap() error { return r.err }

func refuse(o outcome, format string, args ...any) *refusal {
	return &refusal{outcome: o, err: fmt.Errorf(format, args...)}
}

// retryAfter is what a refused client is told to wait. OpenTelemetry's Python
// exporter gives a batch up after 7 to 31 s in all, so it is short.
const retryAfter = time.Second

// classify finds the answer to an error. What nobody thought of is retryable: a
// client that tries again loses nothing.
func (o *Options) classify(err error) *refusal {
	var r *refusal
	switch {
	case errors.As(err, &r):
	case errors.Is(err, otlp.ErrUndecodable):
		r = &refusal{undecodable, err}
	case errors.Is(err, tenant.ErrUnauthenticated):
		r = &refusal{unauthenticated, err}
	case errors.Is(err, journal.ErrTooLarge):
		r = &refusal{tooLarge, err}
	default:
		r = &refusal{unavailable, err}
	}
	if o.RetryBadCredential && (r.outcome == unauthenticated || r.outcome == forbidden) {
		return &refusal{badCredential, r.err}
	}
	return r
}

// text is what the client is told: one that is no UTF-8 cannot be, in protobuf.
func (r *refusal) text() string { return strings.ToValidUTF8(r.Error(), "\uFFFD") }
