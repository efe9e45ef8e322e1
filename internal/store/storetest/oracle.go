package storetest

import (
	"cmp"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"testing"

	"github.com/tollkeeper/tollkeeper/internal/usage"
)

// Compare fails the test unless every answer of the store is that of the fold
// of the facts.
func Compare(t *testing.T, s Store, facts []usage.Fact) {
	t.Helper()
	want := usage.Fold(facts)
	compareRecords(t, s, want.Records)
	compareTotals(t, s, want.Records)
	compareTallies(t, s, facts, want)
	compareConflicts(t, s, facts, want)
}

func compareRecords(t *testing.T, s Store, want []usage.Record) {
	t.Helper()
	records, err := s.Records(t.Context(), usage.RecordFilter{Limit: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	got := Comparable(records)
	for id, w := range Comparable(want) {
		if g, ok := got[id]; !ok || !reflect.DeepEqual(g, w) {
			t.Fatalf("record %s:\n got %+v\nwant %+v", id, g, w)
		}
	}
	if len(got) != len(want) || len(records) != len(want) {
		t.Fatalf("%d records of %d ids, want %d", len(records), len(got), len(want))
	}
}

// compareTotals sums by each step, over everything, whole days, and a range
// that begins and ends within days.
func compareTotals(t *testing.T, s Store, records []usage.Record) {
	t.Helper()
	const quarter, day = usage.BucketSeconds * 1_000_000_000, 86_400_000_000_000
	first, last := span(records)
	from := first / day * day
	ranges := []usage.Range{
		{}, {From: from, To: from + day}, {From: from + day}, {To: last / day * day},
		{From: first/quarter*quarter + quarter, To: last / quarter * quarter},
	}
	for _, in := range ranges {
		for _, step := range []int64{0, usage.BucketSeconds, 3600, 86400} {
			got, err := s.Totals(t.Context(), in, step)
			if err != nil {
				t.Fatal(err)
			}
			if want := totals(records, in, step); !reflect.DeepEqual(got, want) {
				t.Fatalf("totals of %+v by %d s:\n got %+v\nwant %+v", in, step, got, want)
			}
		}
	}
}

// span is the times of the first and the last record.
func span(records []usage.Record) (first, last int64) {
	for i := range records {
		if at := records[i].Time; i == 0 {
			first, last = at, at
		} else {
			first, last = min(first, at), max(last, at)
		}
	}
	return first, last
}

// totals sums the records of a range by step seconds; bucket 0 when step is 0.
func totals(records []usage.Record, in usage.Range, step int64) []usage.Total {
	sums := map[usage.TotalKey]usage.Quantities{}
	for i := range records {
		k := records[i].TotalKey()
		if ns := k.Bucket * 1_000_000_000; ns < in.From || in.To != 0 && ns >= in.To {
			continue
		}
		if step == 0 {
			k.Bucket = 0
		} else {
			k.Bucket = k.Bucket / step * step
		}
		q := sums[k]
		q.AddAll(records[i].Quantities)
		sums[k] = q
	}
	out := make([]usage.Total, 0, len(sums))
	for k, q := range sums {
		if q = slices.DeleteFunc(q, func(x usage.Quantity) bool { return x.Amount == 0 }); len(q) > 0 {
			out = append(out, k.Total(q))
		}
	}
	usage.SortTotals(out)
	return out
}

// place is where a fact's identity is looked up.
type place struct {
	identity usage.Hash
	home     int64
}

func placeOf(f *usage.Fact) place {
	home, _ := f.Home()
	return place{f.Identity, home}
}

// kept are the facts that stay.
func kept(want usage.Outcome) map[place]*usage.Fact {
	out := map[place]*usage.Fact{}
	for i := range want.Records {
		for j := range want.Records[i].Facts {
			f := &want.Records[i].Facts[j]
			out[placeOf(f)] = f
		}
	}
	return out
}

// compareTallies wants each producer's items counted by verdict, and none lost:
// what it sent is what was accepted, is a duplicate or is in conflict.
func compareTallies(t *testing.T, s Store, facts []usage.Fact, want usage.Outcome) {
	t.Helper()
	stays, sums, sent := kept(want), map[usage.Tally]int64{}, map[string]int64{}
	for i := range facts {
		f := &facts[i]
		verdict := usage.Conflict
		switch k := stays[placeOf(f)]; {
		case k.Position == f.Position:
			verdict = usage.Accepted
		case k.Content == f.Content:
			verdict = usage.Duplicate
		}
		sums[usage.Tally{Origin: f.Origin, Producer: f.Producer, Verdict: string(verdict)}]++
		sent[f.Origin+" "+f.Producer]++
	}
	tallies, err := s.Tallies(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got := map[usage.Tally]int64{}
	for _, x := range tallies {
		sent[x.Origin+" "+x.Producer] -= x.Amount
		if amount := x.Amount; amount != 0 {
			x.Amount = 0
			got[x] += amount
		}
	}
	if !maps.Equal(got, sums) {
		t.Errorf("tallies:\n got %v\nwant %v", got, sums)
	}
	for producer, n := range sent {
		if n != 0 {
			t.Errorf("%s: %d items more were sent than have a verdict", producer, n)
		}
	}
}

func compareConflicts(t *testing.T, s Store, facts []usage.Fact, want usage.Outcome) {
	t.Helper()
	pairs, err := s.Conflicts(t.Context(), usage.Range{})
	if err != nil {
		t.Fatal(err)
	}
	var got, list []string
	text := func(out *usage.Fact, stays usage.Position, record string) string {
		return fmt.Sprintf("%s %s at %+v, beside %+v of %s", out.Identity, out.Content, out.Position, stays, record)
	}
	for i := range pairs {
		got = append(got, text(&pairs[i].Fact, pairs[i].Kept, pairs[i].KeptRecord))
	}
	stays := kept(want)
	for i := range want.Conflicts {
		f := &want.Conflicts[i]
		k := stays[placeOf(f)]
		record := usage.Record{Key: k.Key}
		list = append(list, text(f, k.Position, record.ID()))
	}
	if !slices.Equal(got, list) {
		t.Errorf("conflicts of %d facts:\n got %v\nwant %v", len(facts), got, list)
	}
}

// listed are the records that a filter by time, customer and limit lists.
func listed(records []usage.Record, f usage.RecordFilter) []string {
	records = slices.DeleteFunc(slices.Clone(records), func(r usage.Record) bool {
		return r.Time < f.From || f.To != 0 && r.Time >= f.To || f.Customer != nil && r.Customer != *f.Customer
	})
	slices.SortFunc(records, func(a, b usage.Record) int {
		return cmp.Or(cmp.Compare(a.Time, b.Time), slices.Compare(a.Key[:], b.Key[:]))
	})
	return ids(records[:min(len(records), f.Limit)])
}

func ids(records []usage.Record) []string {
	out := make([]string, len(records))
	for i := range records {
		out[i] = records[i].ID()
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
