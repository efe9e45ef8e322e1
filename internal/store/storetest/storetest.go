// Package storetest is the conformance suite of usage stores, with usage.Fold
// as the oracle: whatever way facts arrive, the store answers as the fold of
// all of them does.
package storetest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"github.com/tollkeeper/tollkeeper/internal/usage"
)

// Store is what a usage store does. Apply is durable enough to survive the
// process, idempotent by (origin, Through), and all or nothing for each day;
// readers see whole days.
type Store interface {
	Apply(ctx context.Context, b usage.Batch) error
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
	for seed := range uint64(8) {
		t.Run(fmt.Sprintf("one journal, seed %d", seed), func(t *testing.T) { sameAsFold(t, fresh(t), seed, 1) })
		t.Run(fmt.Sprintf("two journals, seed %d", seed), func(t *testing.T) { sameAsFold(t, fresh(t), seed, 2) })
	}
	t.Run("a batch again changes nothing", func(t *testing.T) { again(t, fresh(t)) })
	t.Run("find by id, trace, request id, customer", func(t *testing.T) { find(t, fresh(t)) })
	t.Run("find among traces alike", func(t *testing.T) { alike(t, fresh(t)) })
	t.Run("sums of one moment", func(t *testing.T) { oneMoment(t, fresh(t)) })
	t.Run("rejected and ignored are counted once", func(t *testing.T) { counts(t, fresh(t)) })
}

// sameAsFold applies random facts in random batches, the journals interleaved
// and the store opened anew in between, and compares every answer.
func sameAsFold(t *testing.T, open Opener, seed uint64, journals int) {
	t.Helper()
	g := NewGenerator(seed, journals)
	batches := g.Batches(60)
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
	compare(t, s, usage.Fold(g.All))
}

func apply(t *testing.T, s Store, b usage.Batch) {
	t.Helper()
	if err := s.Apply(t.Context(), b); err != nil {
		t.Fatal(err)
	}
}

func compare(t *testing.T, s Store, want usage.Outcome) {
	t.Helper()
	records, err := s.Records(t.Context(), usage.RecordFilter{Limit: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	got := Comparable(records)
	for id, w := range Comparable(want.Records) {
		if g, ok := got[id]; !ok || !reflect.DeepEqual(g, w) {
			t.Fatalf("record %s:\n got %+v\nwant %+v", id, g, w)
		}
	}
	if len(got) != len(want.Records) {
		t.Fatalf("%d records, want %d", len(got), len(want.Records))
	}
	totals, err := s.Totals(t.Context(), usage.Range{}, 900)
	if err != nil {
		t.Fatal(err)
	}
	if w := withoutZeros(usage.Totals(want.Records)); !reflect.DeepEqual(totals, w) {
		t.Fatalf("totals differ:\n got %+v\nwant %+v", totals, w)
	}
	compareVerdicts(t, s, want)
}

func compareVerdicts(t *testing.T, s Store, want usage.Outcome) {
	t.Helper()
	tallies, err := s.Tallies(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	sums := map[usage.Verdict]int64{}
	for _, x := range tallies {
		sums[usage.Verdict(x.Verdict)] += x.Amount
	}
	for _, v := range []usage.Verdict{usage.Accepted, usage.Duplicate, usage.Conflict} {
		if sums[v] != want.Verdicts[v] {
			t.Errorf("%s: %d, want %d", v, sums[v], want.Verdicts[v])
		}
	}
	conflicts, err := s.Conflicts(t.Context(), usage.Range{})
	if err != nil {
		t.Fatal(err)
	}
	if len(conflicts) != len(want.Conflicts) {
		t.Errorf("%d conflicts listed, want %d", len(conflicts), len(want.Conflicts))
	}
}

func withoutZeros(totals []usage.Total) []usage.Total {
	out := []usage.Total{}
	for _, x := range totals {
		x.Quantities = slices.DeleteFunc(x.Quantities, func(q usage.Quantity) bool { return q.Amount == 0 })
		if len(x.Quantities) > 0 {
			out = append(out, x)
		}
	}
	return out
}

// View is what two stores must say alike of a record.
type View struct {
	Time, Start, End        int64
	Shape                   usage.Shape
	Grade                   usage.Grade
	Attribution             usage.Attribution
	Model, Service, Request string
	Quantities              usage.Quantities
	Flags                   []string
	Facts                   []string
}

// Comparable returns the views of records by id.
func Comparable(records []usage.Record) map[string]View {
	out := map[string]View{}
	for i := range records {
		r := &records[i]
		v := View{
			Time: r.Time, Start: r.Start, End: r.End, Shape: r.Shape, Grade: r.Grade, Attribution: r.Attribution,
			Model: r.Model, Service: r.Service, Request: r.RequestID, Quantities: r.Quantities,
		}
		v.Flags = append(v.Flags, r.Flags...)
		for j := range r.Facts {
			f := &r.Facts[j]
			v.Facts = append(v.Facts, fmt.Sprintf("%s %s %s %s/%d/%d %s", f.Identity, f.Content, f.Trace, f.Origin, f.Seq, f.Index, f.Producer))
		}
		out[r.ID()] = v
	}
	return out
}

func again(t *testing.T, open Opener) {
	t.Helper()
	g := NewGenerator(1, 1)
	batches := g.Batches(30)
	s := open(t)
	for _, b := range batches {
		apply(t, s, b)
	}
	for _, b := range batches {
		apply(t, open(t), b)
	}
	compare(t, s, usage.Fold(g.All))
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
			if !slices.ContainsFunc(found, func(x usage.Record) bool { return x.ID() == r.ID() }) {
				t.Errorf("%+v does not find %s", f, r.ID())
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

func counts(t *testing.T, open Opener) {
	t.Helper()
	s := open(t)
	b := usage.Batch{Origin: "a", Through: 2, Counts: []usage.EntryCount{
		{Seq: 1, Producer: "p", Verdict: usage.Rejected, Reason: "bad_count", Amount: 3},
		{Seq: 2, Producer: "p", Verdict: usage.Ignored, Reason: "no_usage", Amount: 4},
	}}
	apply(t, s, b)
	apply(t, s, b)
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

// Generator makes random facts: plain requests, n > 1, several prompts, beams,
// pooling, tags, duplicates and, in one journal, conflicts, over three days.
type Generator struct {
	rand     *rand.Rand
	journals int
	seq      []uint64
	clock    int64
	rules    *usage.Rules
	// All holds every fact of the batches made so far.
	All []usage.Fact
}

// NewGenerator returns a generator that makes the same for the same seed.
func NewGenerator(seed uint64, journals int) *Generator {
	rules, err := usage.Policy{
		Engines: []usage.Engine{{Match: map[string]string{"service.name": "opt"}, Model: "opt-125m", Beams: usage.BeamsFold}},
		Order:   []string{usage.RuleTag, usage.RuleRequestID, usage.RuleResource}, RequestIDs: []string{`^cmpl-(?P<customer>[a-c])-`},
		Resources: []usage.ResourceRule{{Match: map[string]string{"service.name": "opt"}, Customer: "acme"}},
	}.Compile()
	if err != nil {
		panic(err)
	}
	return &Generator{rand: rand.New(rand.NewPCG(seed, 7)), journals: journals, seq: make([]uint64, journals), clock: 1_790_000_000_000_000_000, rules: rules} //nolint:gosec // a test wants the same again
}

// Batches makes n batches of one to four entries each.
func (g *Generator) Batches(n int) []usage.Batch {
	var out []usage.Batch
	for range n {
		j := g.rand.IntN(g.journals)
		b := usage.Batch{Origin: fmt.Sprintf("journal-%d", j)}
		for range 1 + g.rand.IntN(4) {
			g.seq[j]++
			g.clock += g.rand.Int64N(3_600_000_000_000 * 2)
			for i, o := range g.entry() {
				p := usage.Position{Received: g.clock, Origin: b.Origin, Seq: g.seq[j], Index: i}
				b.Facts = append(b.Facts, usage.NewFact(o.Observation, o.Stamp, p, g.rules))
			}
		}
		b.Through = g.seq[j]
		g.All = append(g.All, b.Facts...)
		out = append(out, b)
	}
	return out
}

type said struct {
	usage.Observation
	usage.Stamp
}

func (g *Generator) entry() []said {
	var out []said
	for range g.rand.IntN(6) {
		switch kind := g.rand.IntN(10); {
		case kind < 3 && len(g.All) > 0: // sent again
			f := g.All[g.rand.IntN(len(g.All))]
			s := said{f.Observation, f.Stamp}
			if g.journals == 1 && kind == 0 {
				s.Quantities = usage.NewQuantities(usage.Quantity{Name: usage.InputTokens, Amount: g.rand.Int64N(9)})
			}
			out = append(out, s)
		case kind == 3:
			out = append(out, g.request("embd-%s-0", 1, 1)...)
		case kind == 4:
			out = append(out, g.request("chatcmpl-%s", 3, 1)...)
		case kind == 5:
			out = append(out, g.request("cmpl-%s", 1, 3)...)
		case kind == 6:
			out = append(out, g.tagged()...)
		case kind == 7:
			out = append(out, g.beams()...)
		default:
			out = append(out, g.request("cmpl-%s-0", 1, 1)...)
		}
	}
	return out
}

func (g *Generator) hex(n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = "0123456789abcdef"[g.rand.IntN(16)]
	}
	b[0] = '1'
	return string(b)
}

func (g *Generator) span(id string) said {
	start := g.clock - g.rand.Int64N(60_000_000_000)
	return said{Observation: usage.Observation{
		Kind: usage.KindUsage, Domain: usage.DomainSpan, Trace: g.hex(32), Span: g.hex(16), Parent: g.hex(16),
		Start: start, End: start + 1_000_000, RequestID: id,
		Quantities: usage.Quantities{{Name: usage.InputTokens, Amount: g.rand.Int64N(100)}, {Name: usage.OutputTokens, Amount: g.rand.Int64N(100)}},
		Resource:   usage.Attributes{{Key: "service.instance.id", Str: "i"}, {Key: "service.name", Str: "opt"}},
	}, Stamp: usage.Stamp{Producer: "p"}}
}

func (g *Generator) request(format string, n, prompts int) []said {
	id := fmt.Sprintf(format, string("abcdef"[g.rand.IntN(6)])+"-"+g.hex(8))
	first := g.span(id)
	if g.rand.IntN(40) == 0 { // an implausible clock
		first.Start, first.End = 5, 4
	}
	var out []said
	for p := range prompts {
		for range n {
			s := first
			s.Span = g.hex(16)
			if prompts > 1 {
				s.RequestID = fmt.Sprintf("%s-%d", id, p)
			}
			out = append(out, s)
		}
	}
	return out
}

func (g *Generator) tagged() []said {
	out := g.request("chatcmpl-%s", 2, 1)
	for i := range out {
		out[i].Stamp.Tag, out[i].Customer, out[i].Stamp.Key = usage.TagValid, "globex", "key_1"
		if g.rand.IntN(2) == 0 {
			out[i].Record = "01JDABCDEFGHJKMNPQRSTVWXYZ"
		}
	}
	return out
}

func (g *Generator) beams() []said {
	id := "cmpl-" + g.hex(16)
	trace, start := g.hex(32), g.clock
	var out []said
	for step := range 3 {
		uuid := g.hex(16)
		for beam := range 2 {
			if step == 0 && beam == 1 {
				continue
			}
			s := g.span(fmt.Sprintf("%s-%s-beam-%d", id, uuid, beam))
			s.Trace, s.Start, s.End = trace, start+int64(step)*1_000_000, start+int64(step)*1_000_000+10
			s.Quantities = usage.Quantities{{Name: usage.InputTokens, Amount: int64(10 + step)}, {Name: usage.OutputTokens, Amount: 1}}
			s.Attributes = usage.Attributes{{Key: "gen_ai.request.max_tokens", Int: 1, IsInt: true}}
			out = append(out, s)
		}
	}
	return out
}
