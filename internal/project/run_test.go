package project_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tollkeeper/tollkeeper/internal/journal"
	"github.com/tollkeeper/tollkeeper/internal/project"
	"github.com/tollkeeper/tollkeeper/internal/usage"
)

// TestYield lets ingest go first: before each batch it is asked, and while it
// holds on nothing is read.
func TestYield(t *testing.T) {
	t.Parallel()
	f := record(t)
	p, s := f.projected(t, t.TempDir())
	asked, goOn := make(chan struct{}), make(chan struct{})
	p.Yield = func(ctx context.Context) {
		select {
		case asked <- struct{}{}:
			<-goOn
		case <-ctx.Done():
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	<-asked
	if at, err := s.Positions(t.Context()); p.Position() != 0 || len(at) != 0 || err != nil {
		t.Errorf("while it yields: entry %d, %v, %v", p.Position(), at, err)
	}
	goOn <- struct{}{}
	<-asked // before the next batch, for which it finds nothing
	if at, err := s.Positions(t.Context()); at[f.Origin()] != f.size(t) || err != nil {
		t.Errorf("afterwards: %v, %v", at, err)
	}
	goOn <- struct{}{}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// TestRunTellsWhatFails ends with the store's error rather than without usage,
// and goes on from there when it is run again.
func TestRunTellsWhatFails(t *testing.T) {
	t.Parallel()
	f := record(t)
	_, s := f.projected(t, t.TempDir())
	u := &unsteady{Store: s, before: errDisk}
	p, err := project.New(t.Context(), f, u)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Run(t.Context()); !errors.Is(err, errDisk) || p.Position() != 0 {
		t.Errorf("at entry %d: %v", p.Position(), err)
	}
	u.before = nil
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	follow(t, p, f.size(t))
	cancel()
	<-done
	if got, want := len(allRecords(t, s)), len(usage.Fold(f.facts(t)).Records); got != want {
		t.Errorf("%d records, want %d", got, want)
	}
}

// long is a journal of many entries with the same number of observations each.
type long struct{ entries, items int }

func (long) Origin() string                             { return "long" }
func (l long) Wait(ctx context.Context, _ uint64) error { <-ctx.Done(); return ctx.Err() }

func (l long) Read(_ context.Context, from uint64, fn func(journal.Entry) error) error {
	for seq := from; seq <= uint64(l.entries); seq++ {
		e := journal.Entry{Header: journal.Header{Seq: seq, Origin: "long", Kind: project.KindTraces, Producer: "p", Received: 1_790_000_000_000_000_000, Ignored: map[string]int64{"no_usage": 1}}}
		for i := range l.items {
			o := usage.Observation{Kind: usage.KindUsage, Domain: usage.DomainEvent, Source: "s", ID: fmt.Sprint(seq, "-", i), Start: 1_790_000_000_000_000_000, End: 1_790_000_000_000_000_000,
				Quantities: usage.NewQuantities(usage.Quantity{Name: usage.Requests, Amount: 1})}
			e.Items = append(e.Items, usage.AppendLine(nil, &o, &usage.Stamp{Producer: "p"}, nil))
		}
		if err := fn(e); err != nil {
			return err
		}
	}
	return nil
}

// sizes is a store that keeps what the batches were like.
type sizes struct{ batches []usage.Batch }

func (s *sizes) Apply(_ context.Context, b usage.Batch) error {
	s.batches = append(s.batches, b)
	return nil
}

func (s *sizes) Resume(context.Context, string) (uint64, []byte, error) { return 0, nil, nil }

// TestBatchesAreBounded reads journals of large and of empty entries: what is held
// at a time is bounded, entries are whole, and each comes once.
func TestBatchesAreBounded(t *testing.T) {
	t.Parallel()
	for _, j := range []long{{entries: 45, items: 1500}, {entries: 50_000, items: 0}, {entries: 2, items: 30_000}} {
		s := &sizes{}
		p, err := project.New(t.Context(), j, s)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.CatchUp(t.Context(), uint64(j.entries), nil); err != nil {
			t.Fatal(err)
		}
		last, counted := uint64(0), 0
		for _, b := range s.batches {
			entries := b.Through - last
			if entries > 20_000 || len(b.Facts) >= 20_000+j.items || len(b.Facts) != int(entries)*j.items || b.Origin != "long" {
				t.Errorf("%+v: %d facts of %d entries", j, len(b.Facts), entries)
			}
			for i := range b.Facts {
				if want := last + 1 + uint64(i/j.items); b.Facts[i].Seq != want || b.Facts[i].Index != i%j.items {
					t.Fatalf("fact %d is %+v, want entry %d", i, b.Facts[i].Position, want)
				}
			}
			last, counted = b.Through, counted+len(b.Counts)
		}
		if last != uint64(j.entries) || counted != j.entries || len(s.batches) < 2 {
			t.Errorf("%+v: %d batches up to %d with %d counts", j, len(s.batches), last, counted)
		}
	}
}

// TestLag shows how far the projection is behind, in what each answer says of itself.
func TestLag(t *testing.T) {
	t.Parallel()
	f := record(t)
	p, s := f.projected(t, t.TempDir())
	f.catchUp(t, p, f.size(t)-4)
	for range 5 {
		at, err := s.Positions(t.Context())
		if err != nil || at[f.Origin()] != p.Position() {
			t.Errorf("the projector is at %d, the store at %v, %v", p.Position(), at, err)
		}
		if _, err := p.Step(t.Context(), p.Position()+1); err != nil {
			t.Fatal(err)
		}
	}
	if p.Position() != f.size(t) {
		t.Errorf("at %d of %d", p.Position(), f.size(t))
	}
}

// quiet is an entry that changes no record, but what became of observations.
var quiet = journal.Batch{Producer: "p", Kind: project.KindTraces, Received: time.Unix(1_790_000_000, 0), Ignored: map[string]int64{"no_usage": 1}}

// TestComparisonBesideAProjector compares while a projector takes one entry after
// the other, each of which changes what is compared: nothing is wrong.
func TestComparisonBesideAProjector(t *testing.T) {
	t.Parallel()
	f := record(t)
	p, s := f.projected(t, t.TempDir())
	f.catchUp(t, p, f.size(t)/2)
	stop, stopped := make(chan struct{}), make(chan error, 1)
	go func() {
		for {
			select {
			case <-stop:
				stopped <- nil
				return
			default:
			}
			n, err := p.Step(t.Context(), p.Position()+1)
			if err != nil {
				stopped <- err
				return
			}
			if n == 0 {
				_, err = f.Append(t.Context(), quiet)
			}
			if err != nil {
				stopped <- err
				return
			}
		}
	}()
	c := compare(t, f, s)
	close(stop)
	if err := <-stopped; err != nil {
		t.Fatal(err)
	}
	if len(c.Differences) > 0 {
		t.Errorf("%d differences, such as %+v", len(c.Differences), c.Differences[0])
	}
}

// racing is a projection that goes on by an entry whenever it is asked.
type racing struct {
	project.Reader
	step func() error
}

func (r racing) Tallies(ctx context.Context) ([]usage.Tally, error) {
	if err := r.step(); err != nil {
		return nil, err
	}
	return r.Reader.Tallies(ctx)
}

// TestComparisonCannotKeepUp says so. That a server is faster is no tampering.
func TestComparisonCannotKeepUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := record(t)
		p, s := f.projected(t, t.TempDir())
		f.catchUp(t, p, f.size(t))
		again, want := f.projected(t, t.TempDir())
		c := &project.Comparison{Journal: again, Want: want, Got: racing{s, func() error {
			if _, err := f.Append(t.Context(), quiet); err != nil {
				return err
			}
			_, err := p.Step(t.Context(), math.MaxUint64)
			return err
		}}}
		if err := c.Run(t.Context()); !errors.Is(err, project.ErrMoving) || len(c.Differences) > 0 {
			t.Errorf("%v, %v", err, c.Differences)
		}
	})
}

// TestComparisonAfterADeath compares while a server that died has come back and
// reads again what only its days' files had for certain: what they have in
// advance is no tampering, and once it is through nothing is wrong.
func TestComparisonAfterADeath(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := record(t)
		dir := t.TempDir()
		p, _ := f.projected(t, dir)
		f.catchUp(t, p, f.size(t)/2)
		died := filepath.Join(t.TempDir(), "usage")
		if err := os.CopyFS(died, os.DirFS(dir)); err != nil {
			t.Fatal(err)
		}
		p, s := f.projected(t, died)
		if p.Position() != 0 {
			t.Fatalf("it goes on behind entry %d: the test proves nothing", p.Position())
		}
		again, want := f.projected(t, t.TempDir())
		c := &project.Comparison{Journal: again, Want: want, Got: s}
		if err := c.Run(t.Context()); !errors.Is(err, project.ErrMoving) || len(c.Differences) > 0 {
			t.Errorf("before it is through: %v, %+v", err, c.Differences)
		}
		f.catchUp(t, p, f.size(t)/2)
		if err := c.Run(t.Context()); err != nil || len(c.Differences) > 0 {
			t.Errorf("afterwards: %v, %+v", err, c.Differences)
		}
	})
}
