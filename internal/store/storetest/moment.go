package storetest

import (
	"reflect"
	"slices"
	"testing"

	"github.com/tollkeeper/tollkeeper/internal/usage"
)

// oneMoment reads sums while batches are applied: each answer is the fold of
// exactly the entries that it names.
func oneMoment(t *testing.T, open Opener) {
	t.Helper()
	g := NewGenerator(3, 2)
	batches := g.Batches(60)
	s := open(t)
	applied := make(chan error, 1)
	go func() {
		var err error
		for i := 0; i < len(batches) && err == nil; i++ {
			err = s.Apply(t.Context(), batches[i])
		}
		applied <- err
	}()
	customers := []string{"acme", "globex"}
	from := g.All[0].Time / day * day
	ranges := []usage.Range{{}, {To: from + day}, {From: from + day, To: from + 2*day}, {From: from + day}, {From: 1, To: 2}}
	seen := map[uint64]bool{}
	for done := false; !done; {
		select {
		case err := <-applied:
			if err != nil {
				t.Fatal(err)
			}
			done = true // once more, with all of it
		default:
		}
		at, got, err := s.TotalsAt(t.Context(), ranges, customers)
		if err != nil {
			t.Fatal(err)
		}
		seen[at["journal-0"]+at["journal-1"]] = true
		for i, in := range ranges {
			if want := totalsAt(g.All, at, in, customers); !reflect.DeepEqual(got[i], want) {
				t.Fatalf("range %d at %v:\n got %+v\nwant %+v", i, at, got[i], want)
			}
		}
	}
	if len(seen) < 2 {
		t.Errorf("saw %d moments: nothing was read while batches were applied", len(seen))
	}
}

// totalsAt is what TotalsAt has to answer.
func totalsAt(all []usage.Fact, at map[string]uint64, in usage.Range, customers []string) []usage.Total {
	facts := slices.DeleteFunc(slices.Clone(all), func(f usage.Fact) bool { return f.Seq > at[f.Origin] })
	records := slices.DeleteFunc(usage.Fold(facts).Records, func(r usage.Record) bool { return !slices.Contains(customers, r.Customer) })
	return totals(records, in, 0)
}
