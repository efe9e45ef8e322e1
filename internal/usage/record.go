package usage

import (
	"cmp"
	"slices"
	"strings"
)

// FoldVersion names the rules by which records are made. It goes up when a
// record can come out differently.
const FoldVersion = 1

// Grade says how good a record's quantities are.
type Grade string

// The grades.
const (
	GradeFinal     Grade = "final"     // a usage block or a finished span
	GradePartial   Grade = "partial"   // the client left; the last exact count
	GradeDerived   Grade = "derived"   // by a named rule
	GradeOpen      Grade = "open"      // admitted, nothing more yet
	GradeAbandoned Grade = "abandoned" // admitted, and nothing more will come
)

// Flags of a record: what a reader of the bill should know about it.
const (
	FlagTimeReplaced   = "time_replaced"    // the source's time was implausible
	FlagEndBeforeStart = "end_before_start" // the source said so; kept
	FlagInputsDiffer   = "inputs_differ"    // one request id, several prompt counts: summed
	FlagBeamNotFolded  = "beam_not_folded"  // the spans are no clean beam search: plain sums
	FlagTagInvalid     = "tag_invalid"      // a tag was present and did not verify
	FlagPayersDisagree = "payers_disagree"  // its observations name different customers
)

// Record is the billable fold of the observations that belong to one request.
// Times are ns since 1970 UTC.
type Record struct {
	Key        Hash
	Time       int64
	Start, End int64
	Shape      Shape
	Grade      Grade
	Attribution
	Model, Service string
	RequestID      string
	Trace          string
	Quantities     Quantities
	Flags          []string
	Facts          []Fact // sorted by identity
}

// ID is the record's public id: "rec_" and the key in hex.
func (r *Record) ID() string { return "rec_" + r.Key.String() }

// FoldKey folds the facts of one key, none of them a duplicate or in conflict,
// in any order. It returns one record, and more where a gateway named fewer
// upstream attempts than the engine reported: each group beyond them is work
// that somebody did, and a record of its own.
func FoldKey(facts []Fact) []Record {
	if len(facts) == 0 {
		return nil
	}
	facts = sortFacts(facts)
	if facts[0].RecordID() == "" {
		return []Record{foldGroup(facts[0].Key, facts)}
	}
	return foldTagged(facts)
}

// sortFacts returns the facts in the order of their identities, which no order
// of arrival changes.
func sortFacts(facts []Fact) []Fact {
	if len(facts) == 1 {
		return facts
	}
	facts = slices.Clone(facts)
	slices.SortFunc(facts, func(a, b Fact) int { return slices.Compare(a.Identity[:], b.Identity[:]) })
	return facts
}

// foldTagged folds what carries one record id: gateway final, then spans, then
// gateway partial, then opening. Of the spans, the groups that began first
// belong to the attempts that the gateway named.
func foldTagged(facts []Fact) []Record {
	key := facts[0].Key
	gateway, spans := splitGateway(facts)
	said, covered := gatewaySaid(gateway), len(spans)
	if said != nil {
		covered = min(covered, attempts(said))
	}
	r := newRecord(key, sortFacts(slices.Concat(gateway, slices.Concat(spans[:covered]...))))
	switch {
	case said != nil && gradeOf(said) == GradeFinal:
		r.Shape, r.Grade, r.Quantities = ShapeGateway, GradeFinal, said.Quantities
	case covered > 0:
		r.sumGroups(spans[:covered])
	default:
		r.foldGateway(said)
	}
	out := []Record{r}
	for _, g := range spans[covered:] {
		out = append(out, foldGroup(beyondKey(key, g[0].groupKey()), g))
	}
	return out
}

// splitGateway takes the gateway's own observations apart from the groups of
// the spans, which come in the order of their first start.
func splitGateway(facts []Fact) (gateway []Fact, spans [][]Fact) {
	for _, g := range groupBy(facts, func(f *Fact) Hash { return f.groupKey() }) {
		if g[0].Shape == ShapeGateway {
			gateway = append(gateway, g...)
		} else {
			spans = append(spans, g)
		}
	}
	slices.SortFunc(spans, func(a, b []Fact) int {
		return cmp.Or(cmp.Compare(minStart(a), minStart(b)), slices.Compare(a[0].Identity[:], b[0].Identity[:]))
	})
	return gateway, spans
}

// beyondKey is the key of a span group that no attempt of the gateway covers.
func beyondKey(record, group Hash) Hash {
	return hashFields("beyond", string(record[:]), string(group[:]))
}

// sumGroups adds up the span groups of one tagged record: a retry by the edge
// is work done twice.
func (r *Record) sumGroups(groups [][]Fact) {
	r.Shape, r.Grade = groups[0][0].Shape, GradeFinal
	for _, g := range groups {
		part := foldGroup(r.Key, g)
		r.Quantities.AddAll(part.Quantities)
		r.Flags = append(r.Flags, part.Flags...)
		if part.Grade == GradeDerived {
			r.Grade = GradeDerived
		}
	}
	r.Flags = sortedSet(r.Flags)
}

// gatewaySaid returns the gateway's final count, else its partial one, nil when
// there is neither.
func gatewaySaid(gateway []Fact) (said *Fact) {
	for i := range gateway {
		f := &gateway[i]
		if f.Kind != KindUsage {
			continue
		}
		if said == nil || (gradeOf(said) == GradePartial && gradeOf(f) == GradeFinal) {
			said = f
		}
	}
	return said
}

func gradeOf(f *Fact) Grade {
	if f.Attributes.Str("tollkeeper.grade") == string(GradePartial) {
		return GradePartial
	}
	return GradeFinal
}

// maxAttempts bounds how many span groups one gateway record may cover.
const maxAttempts = 1000

// attempts is how often the gateway called an engine for this record: once
// unless it says so.
func attempts(f *Fact) int {
	n, ok := f.Attributes.Int("tollkeeper.attempts")
	if !ok {
		return 1
	}
	return int(min(max(n, 1), maxAttempts))
}

// foldGateway folds what only the gateway said: its last exact count, or the
// opening.
func (r *Record) foldGateway(said *Fact) {
	r.Shape, r.Grade = ShapeGateway, GradeOpen
	if said != nil {
		r.Grade, r.Quantities = gradeOf(said), said.Quantities
	}
}

// foldGroup folds facts of one shape and one group key, sorted by identity.
func foldGroup(key Hash, facts []Fact) Record {
	r := newRecord(key, facts)
	r.Shape, r.Grade = facts[0].Shape, GradeFinal
	switch r.Shape {
	case ShapeGeneration:
		r.foldGeneration(facts)
	case ShapePooling:
		r.foldPooling(facts)
	case ShapeBeam:
		r.foldBeam(facts)
	case ShapePrefill:
		for i := range facts {
			r.Quantities.Add(PrefillTokens, facts[i].Quantities.Get(InputTokens))
		}
	case ShapeGateway: // one whose id is no ULID
		r.foldGateway(gatewaySaid(facts))
	default:
		for i := range facts {
			r.Quantities.AddAll(facts[i].Quantities)
		}
	}
	r.Flags = sortedSet(r.Flags)
	return r
}

// foldGeneration: n > 1 repeats the prompt under one id, several prompts have
// ids of their own. Input is the common value of an id if all its spans agree,
// else the sum; output is the sum.
func (r *Record) foldGeneration(facts []Fact) {
	for _, g := range groupBy(facts, func(f *Fact) string { return f.RequestID }) {
		if !sameInput(g) {
			r.Flags = append(r.Flags, FlagInputsDiffer)
		}
		addPrompt(&r.Quantities, g)
	}
	r.Quantities.Add(Requests, 1)
}

func sameInput(g []Fact) bool {
	return !slices.ContainsFunc(g, func(f Fact) bool {
		return f.Quantities.Get(InputTokens) != g[0].Quantities.Get(InputTokens)
	})
}

// addPrompt adds the spans of one request id. Where they agree on the prompt, it
// counts once, and as much of it as cached as each of them found in the cache.
func addPrompt(q *Quantities, g []Fact) {
	if !sameInput(g) {
		for i := range g {
			q.AddAll(g[i].Quantities)
		}
		return
	}
	cached := g[0].Quantities.Get(CachedInputTokens)
	for i := range g {
		cached = min(cached, g[i].Quantities.Get(CachedInputTokens))
		for _, x := range g[i].Quantities {
			if x.Name != InputTokens && x.Name != CachedInputTokens {
				q.Add(x.Name, x.Amount)
			}
		}
	}
	q.Add(InputTokens, g[0].Quantities.Get(InputTokens))
	q.Add(CachedInputTokens, cached)
}

// foldPooling: each input is a span of its own; the request is counted with
// the first.
func (r *Record) foldPooling(facts []Fact) {
	for i := range facts {
		r.Quantities.AddAll(facts[i].Quantities)
		if _, index, ok := cutIndex(facts[i].RequestID); !ok || index == "0" {
			r.Quantities.Add(Requests, 1)
		}
	}
}

// newRecord fills in what every shape shares. facts is not empty, and sorted by
// identity.
func newRecord(key Hash, facts []Fact) Record {
	first := &facts[0]
	r := Record{Key: key, Facts: facts, Time: first.Time, Start: first.Start, End: first.End, Attribution: first.Attribution}
	for i := range facts {
		f := &facts[i]
		r.Time, r.Start, r.End = min(r.Time, f.Time), min(r.Start, f.Start), max(r.End, f.End)
		r.flag(f)
		if f.Attribution.Rank < r.Rank {
			r.Attribution = f.Attribution
		}
		r.Model = cmp.Or(r.Model, f.Model)
		r.Service = cmp.Or(r.Service, f.Resource.Str("service.name"))
		r.Trace = cmp.Or(r.Trace, f.Trace)
		r.RequestID = smallest(r.RequestID, f.RequestID)
	}
	if slices.ContainsFunc(facts, func(f Fact) bool { return f.Attribution.Customer != "" && f.Attribution.Customer != r.Customer }) {
		r.Flags = append(r.Flags, FlagPayersDisagree)
	}
	r.Flags = sortedSet(r.Flags)
	return r
}

func smallest(a, b string) string {
	if a == "" || (b != "" && b < a) {
		return b
	}
	return a
}

func (r *Record) flag(f *Fact) {
	if f.Replaced {
		r.Flags = append(r.Flags, FlagTimeReplaced)
	}
	if f.End < f.Start {
		r.Flags = append(r.Flags, FlagEndBeforeStart)
	}
	if f.Stamp.Tag == TagInvalid {
		r.Flags = append(r.Flags, FlagTagInvalid)
	}
}

func sortedSet(list []string) []string {
	slices.Sort(list)
	return slices.Compact(list)
}

// groupBy splits facts by key, the groups in the order of their first facts.
func groupBy[K comparable](facts []Fact, key func(*Fact) K) [][]Fact {
	if len(facts) == 1 {
		return [][]Fact{facts}
	}
	index := map[K]int{}
	var groups [][]Fact
	for i := range facts {
		k := key(&facts[i])
		at, found := index[k]
		if !found {
			at = len(groups)
			index[k] = at
			groups = append(groups, nil)
		}
		groups[at] = append(groups[at], facts[i])
	}
	return groups
}

func minStart(facts []Fact) int64 {
	m := facts[0].Start
	for i := range facts {
		m = min(m, facts[i].Start)
	}
	return m
}

func (p Position) compare(q Position) int {
	return cmp.Or(
		cmp.Compare(p.Received, q.Received), strings.Compare(p.Origin, q.Origin),
		cmp.Compare(p.Seq, q.Seq), cmp.Compare(p.Index, q.Index))
}
