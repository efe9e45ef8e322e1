package api

import (
	"context"
	"time"
)

// API is every question that can be asked. Answers are the same from a data
// directory (Local) and from a server (Client). Errors are *Error where the
// caller can do something about them.
type API interface {
	Usage(ctx context.Context, q UsageQuery) (*Usage, error)
	Requests(ctx context.Context, q RequestsQuery) (*Requests, error)
	Conflicts(ctx context.Context, from, to time.Time) (*Conflicts, error)
}
