package tenant

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"
)

// Source is where the directory is kept. Both methods may be called at any
// time by any goroutine; an error means that the store could not be asked.
type Source interface {
	// Revision is a number that changes whenever Directory's answer does. It is
	// cheap: it is asked on every unknown token.
	Revision(ctx context.Context) (int64, error)
	// Directory reads the snapshot.
	Directory(ctx context.Context) (*Directory, error)
}

const (
	// refreshEvery bounds how long an archived key is still good in a running
	// server; a new key is good at once, because an unknown one is asked for.
	refreshEvery = time.Second
	// maxStale bounds how long a snapshot serves while the store is down: short
	// enough for a revoked key, long enough for a backup that holds a lock.
	maxStale = time.Minute
)

// Live keeps a Directory fresh while this and other processes change the
// store. Its methods may be called by many goroutines.
type Live struct {
	source  Source
	now     func() time.Time
	current atomic.Pointer[snapshot]

	// started counts the checks of the store that began.
	started atomic.Int64
	// turn is held by the one check that runs; the others wait and share it. A
	// channel, because who waits may leave.
	turn chan struct{}
	good int64 // the number of the last check that succeeded; of who holds turn
}

type snapshot struct {
	directory *Directory
	revision  int64
	checked   time.Time // when the store last said that this is the newest
}

// NewLive loads the first snapshot. Errors wrap ErrUnavailable.
func NewLive(ctx context.Context, source Source, now func() time.Time) (*Live, error) {
	l := &Live{source: source, now: now, turn: make(chan struct{}, 1)}
	if err := l.Refresh(ctx); err != nil {
		return nil, err
	}
	return l, nil
}

// Directory is the newest snapshot known, without asking the store.
func (l *Live) Directory() *Directory { return l.current.Load().directory }

// Refresh asks the store for its revision, and loads a new snapshot if it
// changed. What it then knows is at least as new as the call. Calls at the same
// time share one question. Errors wrap ErrUnavailable.
func (l *Live) Refresh(ctx context.Context) error {
	arrived := l.started.Load()
	select {
	case l.turn <- struct{}{}:
		defer func() { <-l.turn }()
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ErrUnavailable, ctx.Err())
	}
	if l.good > arrived {
		return nil // a check that began after this call arrived answers it too
	}
	number, at := l.started.Add(1), l.now()
	revision, err := l.source.Revision(ctx)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	if s := l.current.Load(); s != nil && s.revision == revision {
		l.current.Store(&snapshot{directory: s.directory, revision: revision, checked: at})
		l.good = number
		return nil
	}
	d, err := l.source.Directory(ctx)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	// The directory may be newer than the revision, never older: at worst the
	// next refresh loads the same again.
	l.current.Store(&snapshot{directory: d, revision: revision, checked: at})
	l.good = number
	return nil
}

// Run refreshes every second until the context ends. A failure is told to
// failed (a log or a counter) and tried again.
func (l *Live) Run(ctx context.Context, failed func(error)) {
	tick := time.NewTicker(refreshEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if err := l.Refresh(ctx); err != nil && ctx.Err() == nil {
				failed(err)
			}
		}
	}
}

// fresh is the snapshot, refreshed first when it is too old to be trusted.
func (l *Live) fresh(ctx context.Context) (*Directory, error) {
	s := l.current.Load()
	if l.now().Sub(s.checked) <= maxStale {
		return s.directory, nil
	}
	if err := l.Refresh(ctx); err != nil {
		return nil, err
	}
	return l.Directory(), nil
}

// Authenticate finds the key that a token opens. An unknown token is asked for
// at the store, so that a key made a moment ago is good at once. Errors wrap
// ErrUnauthenticated (do not retry) or ErrUnavailable (retry).
func (l *Live) Authenticate(ctx context.Context, token string) (Key, error) {
	d, err := l.fresh(ctx)
	if err != nil {
		return Key{}, err
	}
	k, err := d.Authenticate(token)
	if err == nil || !looksLikeToken(token) {
		return k, err
	}
	if err := l.Refresh(ctx); err != nil {
		return Key{}, err
	}
	return l.Directory().Authenticate(token)
}

// Batch judges the tags of one request. It asks the store at most once, however
// many unknown tags the request holds. It is for one goroutine.
type Batch struct {
	live      *Live
	at        time.Time
	directory *Directory
	asked     bool
}

// Batch begins to judge a request that arrived now. Errors wrap ErrUnavailable.
func (l *Live) Batch(ctx context.Context) (*Batch, error) {
	d, err := l.fresh(ctx)
	if err != nil {
		return nil, err
	}
	return &Batch{live: l, at: l.now(), directory: d}, nil
}

// Judge is Directory.Judge, which asks the store before it calls a tag invalid
// that a newer key or secret might have made: the verdict is kept for ever. An
// error wraps ErrUnavailable: the request must be refused retryably, not stamped.
func (b *Batch) Judge(ctx context.Context, tracestate, trace string) (Verdict, error) {
	v := b.directory.Judge(tracestate, trace, b.at)
	if b.asked || v.Reason != ReasonKey && v.Reason != ReasonMac {
		return v, nil
	}
	if err := b.live.Refresh(ctx); err != nil {
		return Verdict{}, err
	}
	b.asked, b.directory = true, b.live.Directory()
	return b.directory.Judge(tracestate, trace, b.at), nil
}
