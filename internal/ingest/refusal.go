package ingest

import (
	"context"
	"errors"
	"fmt"
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
	unauthenticated outcome = "unauthenticated"
	forbidden       outcome = "forbidden" // the credential is good, for something else
)

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
		return r
	case errors.Is(err, otlp.ErrUndecodable):
		return &refusal{undecodable, err}
	case errors.Is(err, tenant.ErrUnauthenticated):
		if o.RetryBadCredential {
			return &refusal{unavailable, err}
		}
		return &refusal{unauthenticated, err}
	case errors.Is(err, tenant.ErrUnavailable), journal.Retryable(err), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return &refusal{unavailable, err}
	default:
		return &refusal{unavailable, err}
	}
}
