package sqlite_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/tollkeeper/tollkeeper/internal/store/sqlite"
	"github.com/tollkeeper/tollkeeper/internal/store/storetest"
	"github.com/tollkeeper/tollkeeper/internal/usage"
)

// span is a plain request at a time, in an entry of its own.
func span(seq uint64, at int64, id string) usage.Fact {
	o := usage.Observation{
		Kind: usage.KindUsage, Domain: usage.DomainSpan, Trace: strings.Repeat("0", 32-len(id)) + id, Span: "00000000000000a1", Start: at, End: at + 1e9,
		RequestID: "cmpl-c1-" + id + "-0", Quantities: usage.NewQuantities(usage.Quantity{Name: usage.InputTokens, Amount: 10}, usage.Quantity{Name: usage.OutputTokens, Amount: 5}),
	}
	return usage.NewFact(o, usage.Stamp{Producer: "p"}, usage.Position{Received: noon + 9*day + int64(seq), Origin: "a", Seq: seq}, benchRules)
}

// open opens a store that is closed at the end of the test.
func open(t *testing.T, dir string) *sqlite.Store {
	t.Helper()
	s, err := sqlite.Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func apply(t *testing.T, s *sqlite.Store, facts ...usage.Fact) {
	t.Helper()
	if err := s.Apply(t.Context(), usage.Batch{Origin: "a", Through: facts[len(facts)-1].Seq, Facts: facts}); err != nil {
		t.Fatal(err)
	}
}

// TestFailureInTheMiddle has a batch fail when the file of its first day is done
// and that of the next cannot be made: the position stays, and the batch again
// counts everything once.
func TestFailureInTheMiddle(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir)
	facts := []usage.Fact{span(1, noon, "1"), span(2, noon+day, "2"), span(3, noon+2*day, "3")}
	apply(t, s, facts[0])
	obstacle := filepath.Join(dir, "2026-09-23.db")
	if err := os.Mkdir(obstacle, 0o750); err != nil {
		t.Fatal(err)
	}
	b := usage.Batch{Origin: "a", Through: 3, Facts: facts, Counts: []usage.EntryCount{{Seq: 3, Producer: "p", Verdict: usage.Ignored, Reason: "no_usage", Amount: 7}}}
	for range 2 {
		if err := s.Apply(t.Context(), b); err == nil || !strings.Contains(err.Error(), "2026-09-23") {
			t.Fatalf("%v; want an error that names the day", err)
		}
		if at, err := s.Positions(t.Context()); err == nil && at["a"] != 1 {
			t.Errorf("at %v after a failure", at)
		}
	}
	if err := os.Remove(obstacle); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := s.Apply(t.Context(), b); err != nil {
			t.Fatal(err)
		}
	}
	tallies, err := s.Tallies(t.Context())
	want := []usage.Tally{{Origin: "a", Producer: "p", Verdict: "accepted", Amount: 3}, {Origin: "a", Producer: "p", Verdict: "ignored", Reason: "no_usage", Amount: 7}}
	if err != nil || !reflect.DeepEqual(tallies, want) {
		t.Errorf("%+v, %v; want %+v", tallies, err, want)
	}
}

// TestDisorderIsRefused refuses facts that would be skipped since a later one is
// there already.
func TestDisorderIsRefused(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	apply(t, s, span(1, noon, "1"))
	b := usage.Batch{Origin: "a", Through: 3, Facts: []usage.Fact{span(3, noon, "3"), span(1, noon, "2")}}
	if err := s.Apply(t.Context(), b); err == nil {
		records, err := s.Records(t.Context(), usage.RecordFilter{})
		t.Errorf("%d records of 3, %v", len(records), err)
	}
}

// TestCancelled applies nothing of a batch whose caller has gone, and all of it
// afterwards.
func TestCancelled(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	g := storetest.NewGenerator(11, 1)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, b := range g.Batches(12) {
		if err := s.Apply(ctx, b); !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
		if err := s.Apply(t.Context(), b); err != nil {
			t.Fatal(err)
		}
	}
	storetest.Compare(t, s, g.All)
}

// TestManyDaysAtOnce touches more days in one batch than are kept open, there
// and back.
func TestManyDaysAtOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir)
	var facts []usage.Fact
	for i := range uint64(30) {
		facts = append(facts, span(i+1, noon+int64(i*7%10)*day, string("123456789abcdef"[i%15])))
	}
	apply(t, s, facts[:10]...)
	apply(t, s, facts[10:]...)
	storetest.Compare(t, s, facts)
	if n := len(dayFiles(t, dir)); n != 10 {
		t.Errorf("%d files of ten days", n)
	}
}
