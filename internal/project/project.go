package project

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync/atomic"

	"github.com/tollkeeper/tollkeeper/internal/journal"
	"github.com/tollkeeper/tollkeeper/internal/usage"
)

// Journal is the log that is followed. Read calls fn for each entry from seq
// on, in order, until fn returns an error or there are no more; entries stay
// valid after fn returned. Wait returns when an entry at or above seq exists,
// or the context's error.
type Journal interface {
	Origin() string
	Read(ctx context.Context, from uint64, fn func(journal.Entry) error) error
	Wait(ctx context.Context, seq uint64) error
}

// Store is what takes the facts. Apply is idempotent by (origin, Through) and
// may be repeated after an error; Resume says behind which entry to go on, which
// may be before one that was applied, and the policy that governs there.
type Store interface {
	Apply(ctx context.Context, b usage.Batch) error
	Resume(ctx context.Context, origin string) (through uint64, policy []byte, err error)
}

// Projector follows one journal into one store.
type Projector struct {
	journal Journal
	store   Store
	// Yield, when set, is called before each batch and returns when ingest has
	// room to spare, or after a bounded time.
	Yield func(ctx context.Context)

	rules    *usage.Rules
	position atomic.Uint64
}

// New returns a projector that goes on where the store is.
func New(ctx context.Context, j Journal, s Store) (*Projector, error) {
	p := &Projector{journal: j, store: s}
	through, policy, err := s.Resume(ctx, j.Origin())
	if err != nil {
		return nil, err
	}
	p.position.Store(through)
	if policy == nil {
		return p, nil
	}
	p.rules, err = usage.ParsePolicy(policy)
	return p, err
}

// Position is the highest entry that the store has.
func (p *Projector) Position() uint64 { return p.position.Load() }

// errFull ends a read when the batch is full.
var errFull = errors.New("batch is full")

// Step applies the next batch, none above entry through, and returns how many
// entries it held; 0 at the journal's head.
func (p *Projector) Step(ctx context.Context, through uint64) (int, error) {
	b := builder{rules: p.rules}
	err := p.journal.Read(ctx, p.position.Load()+1, func(e journal.Entry) error {
		if e.Header.Seq > through {
			return errFull
		}
		if err := b.add(e); err != nil {
			return err
		}
		if b.full() {
			return errFull
		}
		return nil
	})
	if err != nil && !errors.Is(err, errFull) {
		return 0, err
	}
	if b.count == 0 {
		return 0, nil
	}
	if err := p.store.Apply(ctx, b.batch); err != nil {
		return 0, fmt.Errorf("projection: %w", err)
	}
	p.rules = b.rules
	p.position.Store(b.batch.Through)
	return b.count, nil
}

// ErrEnds says that the journal has no such entry.
var ErrEnds = errors.New("the journal ends")

// CatchUp steps until the store has entry through and none above it, telling
// progress after each batch when it is not nil.
func (p *Projector) CatchUp(ctx context.Context, through uint64, progress func(done uint64)) error {
	for p.position.Load() < through {
		n, err := p.Step(ctx, through)
		if err != nil {
			return err
		}
		if n == 0 {
			return fmt.Errorf("%w at entry %d, before %d", ErrEnds, p.position.Load(), through)
		}
		if progress != nil {
			progress(p.position.Load())
		}
	}
	return nil
}

// Run follows the journal until the context ends or a step fails.
func (p *Projector) Run(ctx context.Context) error {
	for {
		if p.Yield != nil {
			p.Yield(ctx)
		}
		n, err := p.Step(ctx, math.MaxUint64)
		if err == nil && n == 0 {
			err = p.journal.Wait(ctx, p.position.Load()+1)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			return err
		}
	}
}
