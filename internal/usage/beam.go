package usage

import (
	"cmp"
	"slices"
)

// foldBeam folds the spans of one beam search: one per beam and step, each
// with the whole prefix as its prompt. Input is the prompts of the first-step
// spans, output is width × first-step spans + later spans. Where the spans are
// no clean search, it sums plainly and says so.
func (r *Record) foldBeam(facts []Fact) {
	firsts, width, ok := beamSteps(facts)
	if !ok {
		r.Flags = append(r.Flags, FlagBeamNotFolded)
		r.foldPlain(facts)
		return
	}
	r.Grade = GradeDerived
	for i := range firsts {
		r.Quantities.Add(InputTokens, firsts[i].Quantities.Get(InputTokens))
	}
	n := int64(len(firsts))
	r.Quantities.Add(OutputTokens, width*n+int64(len(facts))-n)
	r.Quantities.Add(Requests, n)
}

// foldPlain bills each generation group as if it were alone.
func (r *Record) foldPlain(facts []Fact) {
	for _, g := range groupBy(facts, func(f *Fact) Hash {
		return hashFields("plain", itoa(f.Start), stripIndex(f.RequestID))
	}) {
		r.foldGeneration(g)
	}
}

// beamSteps returns the spans of the first step and the width of the beam. It
// holds only while every span completed one token of at most one, the prompts
// of the steps are consecutive, and each step starts after the one before.
func beamSteps(facts []Fact) (firsts []Fact, width int64, ok bool) {
	steps := groupBy(facts, func(f *Fact) int64 { return f.Quantities.Get(InputTokens) })
	slices.SortFunc(steps, func(a, b []Fact) int {
		return cmp.Compare(a[0].Quantities.Get(InputTokens), b[0].Quantities.Get(InputTokens))
	})
	if len(steps) < 2 { // the width cannot be seen
		return nil, 0, false
	}
	n := int64(len(steps[0]))
	for i, step := range steps {
		if !oneToken(step) {
			return nil, 0, false
		}
		if i == 0 {
			continue
		}
		before := steps[i-1]
		if step[0].Quantities.Get(InputTokens) != before[0].Quantities.Get(InputTokens)+1 || minStart(step) <= maxStart(before) {
			return nil, 0, false
		}
		width = max(width, int64(len(step)))
	}
	if width%n != 0 {
		return nil, 0, false
	}
	return steps[0], width / n, true
}

func oneToken(step []Fact) bool {
	return !slices.ContainsFunc(step, func(f Fact) bool {
		limit, ok := f.Attributes.Int("gen_ai.request.max_tokens")
		return f.Quantities.Get(OutputTokens) != 1 || !ok || limit != 1
	})
}

func maxStart(facts []Fact) int64 {
	m := facts[0].Start
	for i := range facts {
		m = max(m, facts[i].Start)
	}
	return m
}
