package usage

import (
	"cmp"
	"slices"
)

// Verdict says what the projection makes of an observation.
type Verdict string

// The verdicts.
const (
	Accepted  Verdict = "accepted"
	Duplicate Verdict = "duplicate" // same identity, same content
	Conflict  Verdict = "conflict"  // same identity, other content
)

// Outcome is the whole fold of a set of facts.
type Outcome struct {
	Records []Record // sorted by key
	// Verdicts counts by verdict; its sum is the number of facts.
	Verdicts map[Verdict]int64
	// Conflicts are the facts kept out, in journal order.
	Conflicts []Fact
}

// Fold is the oracle of every store: of each identity the lowest position of
// its home stays, the others are duplicates or conflicts, and the facts that
// stay fold by their keys.
func Fold(facts []Fact) Outcome {
	facts = slices.Clone(facts)
	slices.SortStableFunc(facts, func(a, b Fact) int { return a.Position.compare(b.Position) })
	out := Outcome{Verdicts: map[Verdict]int64{}}
	first := make(map[place]*Fact, len(facts))
	byKey := map[Hash][]Fact{}
	for i := range facts {
		f := &facts[i]
		at := place{identity: f.Identity}
		at.home, _ = f.Home()
		kept, seen := first[at]
		switch {
		case !seen:
			first[at] = f
			byKey[f.Key] = append(byKey[f.Key], *f)
			out.Verdicts[Accepted]++
		case kept.Content == f.Content:
			out.Verdicts[Duplicate]++
		default:
			out.Verdicts[Conflict]++
			out.Conflicts = append(out.Conflicts, *f)
		}
	}
	for _, group := range byKey {
		out.Records = append(out.Records, FoldKey(group)...)
	}
	slices.SortFunc(out.Records, func(a, b Record) int { return slices.Compare(a.Key[:], b.Key[:]) })
	return out
}

// place is where an identity is looked up: home is 0 for events, which have
// none.
type place struct {
	identity Hash
	home     int64
}

// Total is the sum of records that share who pays, what for, and the quarter
// hour. Bucket is its start in seconds since 1970 UTC.
type Total struct {
	Bucket                 int64
	Customer, Project, Key string
	Rule, Model, Service   string
	Grade                  Grade
	Quantities             Quantities
}

// TotalKey is what the records of one total share.
type TotalKey struct {
	Bucket                 int64
	Customer, Project, Key string
	Rule, Model, Service   string
	Grade                  Grade
}

// TotalKey returns the total that the record belongs to.
func (r *Record) TotalKey() TotalKey {
	return TotalKey{
		Bucket: BucketOf(r.Time), Customer: r.Customer, Project: r.Project, Key: r.Attribution.Key,
		Rule: r.Rule, Model: r.Model, Service: r.Service, Grade: r.Grade,
	}
}

// Totals sums records per quarter hour, sorted by bucket and then by the names.
func Totals(records []Record) []Total {
	sums := map[TotalKey]*Quantities{}
	for i := range records {
		k := records[i].TotalKey()
		if sums[k] == nil {
			sums[k] = &Quantities{}
		}
		sums[k].AddAll(records[i].Quantities)
	}
	out := make([]Total, 0, len(sums))
	for k, q := range sums {
		out = append(out, k.Total(*q))
	}
	SortTotals(out)
	return out
}

// Total returns the total under the key.
func (k TotalKey) Total(q Quantities) Total {
	return Total{
		Bucket: k.Bucket, Customer: k.Customer, Project: k.Project, Key: k.Key,
		Rule: k.Rule, Model: k.Model, Service: k.Service, Grade: k.Grade, Quantities: q,
	}
}

// SortTotals sorts by bucket, then by the names.
func SortTotals(out []Total) {
	slices.SortFunc(out, func(a, b Total) int {
		return cmp.Or(cmp.Compare(a.Bucket, b.Bucket), cmp.Compare(a.Customer, b.Customer), cmp.Compare(a.Project, b.Project),
			cmp.Compare(a.Key, b.Key), cmp.Compare(a.Rule, b.Rule), cmp.Compare(a.Model, b.Model),
			cmp.Compare(a.Service, b.Service), cmp.Compare(a.Grade, b.Grade))
	})
}
