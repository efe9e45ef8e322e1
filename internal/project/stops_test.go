package project_test

import (
	"context"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/tollkeeper/tollkeeper/internal/journal"
	"github.com/tollkeeper/tollkeeper/internal/project"
	"github.com/tollkeeper/tollkeeper/internal/store/sqlite"
	"github.com/tollkeeper/tollkeeper/internal/usage"
)

// facts reads the whole journal by itself: what each entry says under the policy
// before it.
func (f *fixture) facts(t *testing.T) []usage.Fact {
	t.Helper()
	var rules *usage.Rules
	var out []usage.Fact
	err := f.Read(t.Context(), 1, func(e journal.Entry) (err error) {
		if e.Header.Kind == project.KindPolicy {
			rules, err = usage.ParsePolicy(e.Items[0])
			return err
		}
		for i, line := range e.Items {
			o, s, err := usage.ParseLine(line)
			if err != nil {
				return err
			}
			p := usage.Position{Received: e.Header.Received, Origin: e.Header.Origin, Seq: e.Header.Seq, Index: i}
			out = append(out, usage.NewFact(o, s, p, rules))
		}
		return nil
	})
	if err != nil || len(out) < 100 {
		t.Fatalf("%d facts, %v", len(out), err)
	}
	return out
}

// sums are the totals of all the facts up to an entry.
func sums(facts []usage.Fact, through uint64) []usage.Total {
	n := 0
	for n < len(facts) && facts[n].Seq <= through {
		n++
	}
	totals := map[usage.TotalKey]usage.Quantities{}
	for _, r := range usage.Fold(facts[:n]).Records {
		k := r.TotalKey()
		k.Bucket = 0
		q := totals[k]
		q.AddAll(r.Quantities)
		totals[k] = q
	}
	out := make([]usage.Total, 0, len(totals))
	for k, q := range totals {
		out = append(out, k.Total(q))
	}
	usage.SortTotals(out)
	return out
}

// unsteady is a store that fails when it is told to, before or after it has done
// what it says it could not do.
type unsteady struct {
	*sqlite.Store
	before, after error
}

func (u *unsteady) Apply(ctx context.Context, b usage.Batch) error {
	if u.before != nil {
		return u.before
	}
	return errors.Join(u.Store.Apply(ctx, b), u.after)
}

var errDisk = errors.New("the disk is gone")

// TestWhateverHappensItFollows goes on by any steps, closes and opens, dies
// without closing, and has a store that fails: at each stop the position is said,
// and the sums are those of the entries up to there, under the policies in force.
func TestWhateverHappensItFollows(t *testing.T) {
	checks(t, "25")
	f := record(t)
	facts, size := f.facts(t), f.size(t)
	root, folders := t.TempDir(), 0
	rapid.Check(t, func(t *rapid.T) {
		folders++
		dir := filepath.Join(root, strconv.Itoa(folders))
		var s *unsteady
		var p *project.Projector
		open := func() {
			store, err := sqlite.Open(context.Background(), dir)
			must(t, err)
			s = &unsteady{Store: store}
			p, err = project.New(context.Background(), f, s)
			must(t, err)
		}
		open()
		defer func() { must(t, s.Close()) }()
		for stop := uint64(0); stop < size; {
			stop = min(size, stop+rapid.Uint64Range(1, 40).Draw(t, "steps"))
			switch rapid.IntRange(0, 4).Draw(t, "event") {
			case 0:
				must(t, s.Close())
				open()
			case 1:
				folders++
				died := filepath.Join(root, strconv.Itoa(folders))
				must(t, os.CopyFS(died, os.DirFS(dir))) // before the close, which tidies up
				must(t, s.Close())
				dir = died
				open()
			case 2:
				fails(t, p, stop, &s.before)
			case 3:
				fails(t, p, stop, &s.after)
			}
			must(t, p.CatchUp(context.Background(), stop, nil))
			at, totals, err := s.TotalsAt(context.Background(), []usage.Range{{}}, customers)
			must(t, err)
			if p.Position() != stop || at[f.Origin()] != stop {
				t.Fatalf("at entry %d, and the store says %v; want %d", p.Position(), at, stop)
			}
			if want := sums(facts, stop); !reflect.DeepEqual(totals[0], want) {
				t.Fatalf("as of entry %d\n%+v\nwant\n%+v", stop, totals[0], want)
			}
		}
	})
}

// checks is how often rapid looks: each time takes a tenth of a second. The flag
// is the process's, so the test is not a parallel one.
func checks(t *testing.T, n string) {
	t.Helper()
	before := flag.Lookup("rapid.checks").Value.String()
	if err := flag.Set("rapid.checks", n); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = flag.Set("rapid.checks", before) })
}

var customers = []string{"", "early", "late"}

// fails lets the store fail once in a step.
func fails(t *rapid.T, p *project.Projector, through uint64, when *error) {
	before := p.Position()
	*when = errDisk
	n, err := p.Step(context.Background(), through)
	*when = nil
	if before < through && (n != 0 || !errors.Is(err, errDisk) || !strings.HasPrefix(err.Error(), "projection: ")) || p.Position() != before {
		t.Fatalf("at entry %d after a failure at %d: %d, %v", p.Position(), before, n, err)
	}
}

func must(t *rapid.T, err error) {
	if err != nil {
		t.Fatalf("%v", err)
	}
}

// TestUnreadableEntry stops before what it cannot read and says where that is:
// to pass over it would bill less than the journal says.
func TestUnreadableEntry(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		batch journal.Batch
		says  string
	}{
		"an observation":       {journal.Batch{Kind: project.KindTraces, Items: [][]byte{[]byte(`{"v":1}`)}}, "journal entry 2, observation 0: "},
		"a newer observation":  {journal.Batch{Kind: project.KindTraces, Items: [][]byte{[]byte(`{"v":99}`)}}, "journal entry 2, observation 0: "},
		"a newer policy":       {journal.Batch{Kind: project.KindPolicy, Items: [][]byte{[]byte(`{"v":99}`)}}, "journal entry 2: "},
		"a policy of two":      {journal.Batch{Kind: project.KindPolicy, Items: [][]byte{[]byte(`{}`), []byte(`{}`)}}, "journal entry 2: a policy entry of 2 items"},
		"a policy of nobody's": {journal.Batch{Kind: project.KindPolicy, Items: [][]byte{[]byte(`{"v":1,"order":["magic"]}`)}}, "journal entry 2: "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			j, err := journal.Open(t.Context(), filepath.Join(t.TempDir(), "journal.db"), journal.Options{})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = j.Close() })
			f := &fixture{Journal: j}
			f.body(t, recordings+"/seed/otlp-1.pb")
			f.append(t, c.batch)
			p, s := f.projected(t, t.TempDir())
			f.catchUp(t, p, 1)
			before := allRecords(t, s)
			for range 2 { // it does not get past it by trying again
				if err := p.CatchUp(t.Context(), 2, nil); err == nil || !strings.HasPrefix(err.Error(), c.says) {
					t.Errorf("%v; want %q", err, c.says)
				}
			}
			if p.Position() != 1 || !reflect.DeepEqual(allRecords(t, s), before) {
				t.Errorf("at entry %d, or what was there has changed", p.Position())
			}
		})
	}
}

// TestJournalEnds is told from other errors: the projection may be another journal's.
func TestJournalEnds(t *testing.T) {
	t.Parallel()
	f := record(t)
	p, _ := f.projected(t, t.TempDir())
	size := f.size(t)
	var last uint64
	err := p.CatchUp(t.Context(), size+5, func(done uint64) { last = done })
	if !errors.Is(err, project.ErrEnds) || last != size || p.Position() != size {
		t.Errorf("%v at %d, told %d", err, p.Position(), last)
	}
	if n, err := p.Step(t.Context(), size+5); n != 0 || err != nil {
		t.Errorf("a step at the head: %d, %v", n, err)
	}
}
