package api

import (
	"context"
	"time"
)

// Store is the usage projection that a Local reads.
type Store interface {
	UsageStore
	RecordStore
}

// Local answers from the stores themselves.
type Local struct {
	Store Store
}

var _ API = (*Local)(nil)

// Usage answers API.
func (l *Local) Usage(ctx context.Context, q UsageQuery) (*Usage, error) {
	return SumUsage(ctx, l.Store, q)
}

// Requests answers API.
func (l *Local) Requests(ctx context.Context, q RequestsQuery) (*Requests, error) {
	return ListRequests(ctx, l.Store, q)
}

// Conflicts answers API.
func (l *Local) Conflicts(ctx context.Context, from, to time.Time) (*Conflicts, error) {
	return ListConflicts(ctx, l.Store, from, to)
}
