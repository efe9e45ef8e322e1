// Package storetest is the conformance suite of usage stores, with usage.Fold
// as the oracle: whatever way facts arrive, the store answers as the fold of
// all of them does.
package storetest

import (
	"bytes"
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/tollkeeper/tollkeeper/internal/usage"
)

// Store is what a usage store does. Apply is durable enough to survive the
// process, idempotent by (origin, Through), and all or nothing for each day;
// readers see whole days. Resume says behind which entry a journal is to be read
// on, and the policy that governs there: never ahead of what a sudden end leaves.
type Store interface {
	Apply(ctx context.Context, b usage.Batch) error
	Resume(ctx context.Context, origin string) (through uint64, policy []byte, err error)
	Positions(ctx context.Context) (map[string]uint64, error)
	Totals(ctx context.Context, in usage.Range, step int64) ([]usage.Total, error)
	// TotalsAt sums the records of some customers in each range, bucket 0, as of one
	// moment, which it names: the entries of each journal up to there and no other.
	TotalsAt(ctx context.Context, ranges []usage.Range, customers []string) (map[string]uint64, [][]usage.Total, error)
	Records(ctx context.Context, f usage.RecordFilter) ([]usage.Record, error)
	Conflicts(ctx context.Context, in usage.Range) ([]usage.ConflictPair, error)
	Tallies(ctx context.Context) ([]usage.Tally, error)
}

// Opener opens the store of one test; called again it opens the same data, as
// after a restart.
type Opener func(t *testing.T) Store

// Run runs the suite; fresh gives each test an opener of its own.
func Run(t *testing.T, fresh func(t *testing.T) Opener) {
	t.Helper()
	run := func(name string, test func(t *testing.T, open Opener)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, fresh(t))
		})
	}
	for seed := range uint64(4) {
		for journals := 1; journals <= 2; journals++ {
			run(fmt.Sprintf("as the fold, %d journals, seed %d", journals, seed), sameAsFold(seed, journals))
		}
	}
	run("a batch again changes nothing", again)
	run("one journal long after the other", late)
	run("an event again with another time", events)
	run("a verdict is given anew", verdicts)
	run("a restart goes on where it says", restart)
	run("find by id, trace, request id, customer", find)
	run("find among traces alike", alike)
	run("lists of a range", lists)
	run("sums of one moment", oneMoment)
	run("rejected and ignored are counted once", counts)
}

// sameAsFold applies random facts in random batches, each journal in its order
// and the journals in none, the store opened anew in between, and compares
// every answer.
func sameAsFold(seed uint64, journals int) func(t *testing.T, open Opener) {
	return func(t *testing.T, open Opener) {
		t.Helper()
		g := NewGenerator(seed, journals)
		batches := g.Shuffle(g.Batches(60))
		s := open(t)
		for i, b := range batches {
			if i%17 == 16 {
				s = open(t)
			}
			apply(t, s, b)
			if i%5 == 0 {
				apply(t, s, b)
			}
		}
		Compare(t, s, g.All)
	}
}

func apply(t *testing.T, s Store, b usage.Batch) {
	t.Helper()
	if err := s.Apply(t.Context(), b); err != nil {
		t.Fatal(err)
	}
}

func again(t *testing.T, open Opener) {
	t.Helper()
	g := NewGenerator(1, 2)
	batches := g.Batches(30)
	s := open(t)
	for range 2 {
		for _, b := range batches {
			apply(t, s, b)
		}
		s = open(t)
	}
	Compare(t, s, g.All)
}

// late gives the store one whole journal and then the other, whose positions
// lie between those of the first: what stayed may have to go.
func late(t *testing.T, open Opener) {
	t.Helper()
	g := NewGenerator(4, 2)
	batches := g.Batches(40)
	slices.SortStableFunc(batches, func(a, b usage.Batch) int { return strings.Compare(b.Origin, a.Origin) })
	s := open(t)
	for _, b := range batches {
		apply(t, s, b)
	}
	Compare(t, s, g.All)
}

// journal is a journal of one test, of an observation an entry.
type journal struct {
	origin string
	seq    uint64
	All    *[]usage.Fact
}

// says applies an entry with one observation, received at a time.
func (j *journal) says(t *testing.T, s Store, received int64, o usage.Observation) {
	t.Helper()
	j.seq++
	f := usage.NewFact(o, usage.Stamp{Producer: "p"}, usage.Position{Received: received, Origin: j.origin, Seq: j.seq}, nil)
	*j.All = append(*j.All, f)
	apply(t, s, usage.Batch{Origin: j.origin, Through: j.seq, Facts: []usage.Fact{f}})
}

const (
	noon = 1_790_000_000_000_000_000/day*day + day/2
	day  = 86_400_000_000_000
)

// events sends an event again days later, with the time of then: it is the same
// event, in one journal and in another, after a restart and within one batch.
func events(t *testing.T, open Opener) {
	t.Helper()
	event := func(at, amount int64) usage.Observation {
		return usage.Observation{
			Kind: usage.KindUsage, Domain: usage.DomainEvent, Source: "transcriber", ID: "e1", Start: at, End: at,
			Quantities: usage.NewQuantities(usage.Quantity{Name: "audio_ms", Amount: amount}),
		}
	}
	s := open(t)
	var all []usage.Fact
	a, b := &journal{"a", 0, &all}, &journal{"b", 0, &all}
	a.says(t, s, noon+2*day, event(noon, 5000))
	s = open(t)
	a.says(t, s, noon+3*day, event(noon+3*day, 5000))
	b.says(t, s, noon+4*day, event(noon+4*day, 5000))
	b.says(t, s, noon+5*day, event(noon, 5000))
	Compare(t, s, all)
	b.says(t, s, noon+day, event(noon+day, 4000)) // before all others: it stays
	s = open(t)
	Compare(t, s, all)
	records, err := s.Records(t.Context(), usage.RecordFilter{})
	if err != nil || len(records) != 1 || records[0].Quantities.Get("audio_ms") != 4000 {
		t.Errorf("%+v, %v", records, err)
	}
}

// verdicts lets a lower position come by another journal, so that what was a
// duplicate is in conflict and the other way round.
func verdicts(t *testing.T, open Opener) {
	t.Helper()
	span := func(tokens int64) usage.Observation {
		return usage.Observation{
			Kind: usage.KindUsage, Domain: usage.DomainSpan, Trace: "1234567890abcdef1234567890abcdef", Span: "1234567890abcdef", Start: noon, End: noon + 1,
			RequestID: "cmpl-x-0", Quantities: usage.NewQuantities(usage.Quantity{Name: usage.InputTokens, Amount: tokens}),
		}
	}
	s := open(t)
	var all []usage.Fact
	a, b := &journal{"a", 0, &all}, &journal{"b", 0, &all}
	for i, tokens := range []int64{1, 1, 2, 2, 1} {
		a.says(t, s, noon+100+int64(i), span(tokens))
	}
	Compare(t, s, all)
	b.says(t, s, noon+50, span(2))
	s = open(t)
	Compare(t, s, all)
	b.says(t, s, noon+40, span(1))
	Compare(t, s, all)
}

// restart reads each journal on from where the store says, as a projector does,
// and under the policy that it says.
func restart(t *testing.T, open Opener) {
	t.Helper()
	g := NewGenerator(5, 2)
	batches := g.Batches(30)
	for i := range batches {
		if i%4 == 0 {
			batches[i].Policy = fmt.Append(nil, i)
		}
	}
	for i := 0; i < len(batches); i += 7 {
		s := open(t)
		for _, b := range batches[:min(i+7, len(batches))] {
			if through, _, err := s.Resume(t.Context(), b.Origin); err != nil {
				t.Fatal(err)
			} else if b.Through > through {
				apply(t, s, b)
			}
		}
	}
	s := open(t)
	Compare(t, s, g.All)
	for origin, want := range map[string]usage.Batch{"journal-0": {}, "journal-1": {}, "never": {}} {
		for _, b := range batches {
			if b.Origin == origin && b.Policy != nil {
				want.Policy = b.Policy
			}
			if b.Origin == origin {
				want.Through = b.Through
			}
		}
		if through, policy, err := s.Resume(t.Context(), origin); err != nil || through != want.Through || !bytes.Equal(policy, want.Policy) {
			t.Errorf("%s resumes behind %d under policy %q, %v; want %d, %q", origin, through, policy, err, want.Through, want.Policy)
		}
	}
}

func find(t *testing.T, open Opener) {
	t.Helper()
	g := NewGenerator(2, 1)
	s := open(t)
	for _, b := range g.Batches(30) {
		apply(t, s, b)
	}
	for _, r := range usage.Fold(g.All).Records {
		filters := []usage.RecordFilter{{ID: r.ID()}, {Customer: &r.Customer, Limit: 1 << 20}}
		for i := range r.Facts {
			filters = append(filters, usage.RecordFilter{Trace: r.Facts[i].Trace}, usage.RecordFilter{RequestID: r.Facts[i].RequestID})
		}
		for _, f := range filters {
			if f.RequestID == "" && f.ID == "" && f.Trace == "" && f.Customer == nil {
				continue
			}
			found, err := s.Records(t.Context(), f)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Contains(ids(found), r.ID()) {
				t.Errorf("%+v does not find %s, a record of shape %s", f, r.ID(), r.Shape)
			}
		}
	}
	for _, f := range []usage.RecordFilter{{ID: "rec_0"}, {ID: "nonsense"}, {Trace: "zz"}, {RequestID: "never"}} {
		if found, err := s.Records(t.Context(), f); err != nil || len(found) != 0 {
			t.Errorf("%+v finds %d records, %v", f, len(found), err)
		}
	}
}

// alike looks for a trace among others that a client made almost the same: they
// do not use up the limit.
func alike(t *testing.T, open Opener) {
	t.Helper()
	g := NewGenerator(5, 1)
	half := g.hex(16)
	b := usage.Batch{Origin: "a", Through: 1}
	for i := range 40 {
		o := g.span("cmpl-" + g.hex(8))
		o.Trace = []string{half + g.hex(16), g.hex(16) + half}[i%2]
		b.Facts = append(b.Facts, usage.NewFact(o.Observation, o.Stamp, usage.Position{Received: g.clock, Origin: "a", Seq: 1, Index: i}, g.rules))
	}
	s := open(t)
	apply(t, s, b)
	for i := range b.Facts {
		found, err := s.Records(t.Context(), usage.RecordFilter{Trace: b.Facts[i].Trace, Limit: 1})
		if err != nil || len(found) != 1 || found[0].Facts[0].Span != b.Facts[i].Span {
			t.Errorf("%s: found %d, %v", b.Facts[i].Trace, len(found), err)
		}
	}
}

// lists asks for records of a range, no more than a limit: the earliest.
func lists(t *testing.T, open Opener) {
	t.Helper()
	g := NewGenerator(6, 2)
	s := open(t)
	for _, b := range g.Batches(40) {
		apply(t, s, b)
	}
	records := usage.Fold(g.All).Records
	first, last := span(records)
	acme := "acme"
	for _, in := range []usage.Range{{}, {From: last - 2*day}, {To: first/day*day + day}, {From: last - 3*day/2, To: last - day/2}} {
		for _, limit := range []int{1, 7, 1 << 20} {
			for _, f := range []usage.RecordFilter{{Range: in, Limit: limit}, {Range: in, Limit: limit, Customer: &acme}} {
				found, err := s.Records(t.Context(), f)
				if err != nil {
					t.Fatal(err)
				}
				if got, want := ids(found), listed(records, f); !slices.Equal(got, want) {
					t.Errorf("%+v lists\n%v, want\n%v", f, got, want)
				}
			}
		}
	}
}

func counts(t *testing.T, open Opener) {
	t.Helper()
	s := open(t)
	b := usage.Batch{Origin: "a", Through: 2, Counts: []usage.EntryCount{
		{Seq: 1, Producer: "p", Verdict: usage.Rejected, Reason: "bad_count", Amount: 3},
		{Seq: 2, Producer: "p", Verdict: usage.Ignored, Reason: "no_usage", Amount: 4},
	}}
	apply(t, s, b)
	apply(t, s, b)
	apply(t, open(t), b)
	tallies, err := s.Tallies(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := []usage.Tally{
		{Origin: "a", Producer: "p", Verdict: usage.Ignored, Reason: "no_usage", Amount: 4},
		{Origin: "a", Producer: "p", Verdict: usage.Rejected, Reason: "bad_count", Amount: 3},
	}
	if !reflect.DeepEqual(tallies, want) {
		t.Errorf("tallies %+v, want %+v", tallies, want)
	}
	if p, err := s.Positions(t.Context()); err != nil || p["a"] != 2 {
		t.Errorf("positions %v, %v", p, err)
	}
}
