package usage

import (
	"cmp"
	"maps"
	"slices"
)

// foldBeam folds the spans of one beam search: one per beam and step, each
// with the whole prefix as its prompt. Input is the prompts of the first-step
// spans, output is width × first-step spans + later spans. Where the spans are
// no clean search, it sums plainly and says so.
func (r *Record) foldBeam(facts []Fact) {
	search, ok := readSearch(facts)
	if !ok {
		r.Flags = append(r.Flags, FlagBeamNotFolded)
		r.foldPlain(facts)
		return
	}
	r.Grade = GradeDerived
	n := int64(len(search.firsts))
	for _, first := range search.firsts {
		r.Quantities.Add(InputTokens, first.prompt)
	}
	r.Quantities.Add(OutputTokens, search.width*n+int64(len(facts))-n)
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

// beamStep is the spans that carry one uuid: all beams of one step of one
// search.
type beamStep struct {
	prompt      int64
	beams       int64
	first, last int64 // start of the earliest and of the latest span
}

// search is several beam searches of one request id, one for each prompt.
type search struct {
	firsts []beamStep
	width  int64
}

// readSearch reads the spans as clean beam searches that run in step. That
// holds only while every span completed one token of at most one, each search
// begins with one span and has the same number in every later step, the
// prompts of the steps are consecutive, no step has more searches than the
// first, and each starts after the one before.
func readSearch(facts []Fact) (s search, ok bool) {
	var byPrompt map[int64][]beamStep
	if byPrompt, ok = readSteps(facts); !ok {
		return s, false
	}
	prompts := slices.Sorted(maps.Keys(byPrompt))
	if len(prompts) < 2 { // the width cannot be seen
		return s, false
	}
	s.firsts, s.width = byPrompt[prompts[0]], byPrompt[prompts[1]][0].beams
	for i, prompt := range prompts {
		steps, beams := byPrompt[prompt], s.width
		if i == 0 {
			beams = 1
		} else if prompt != prompts[i-1]+1 || firstStart(steps) <= lastStart(byPrompt[prompts[i-1]]) {
			return s, false
		}
		if len(steps) > len(s.firsts) || slices.ContainsFunc(steps, func(x beamStep) bool { return x.beams != beams }) {
			return s, false
		}
	}
	return s, true
}

// readSteps gathers the steps by the length of their prompt.
func readSteps(facts []Fact) (map[int64][]beamStep, bool) {
	out := map[int64][]beamStep{}
	for _, g := range groupBy(facts, func(f *Fact) string { return beamID.FindStringSubmatch(f.RequestID)[2] }) {
		step := beamStep{prompt: g[0].Quantities.Get(InputTokens), beams: int64(len(g)), first: g[0].Start, last: g[0].Start}
		seen := map[string]bool{}
		for i := range g {
			index := beamID.FindStringSubmatch(g[i].RequestID)[3]
			if !oneToken(&g[i]) || g[i].Quantities.Get(InputTokens) != step.prompt || seen[index] {
				return nil, false
			}
			seen[index] = true
			step.first, step.last = min(step.first, g[i].Start), max(step.last, g[i].Start)
		}
		out[step.prompt] = append(out[step.prompt], step)
	}
	return out, true
}

func oneToken(f *Fact) bool {
	limit, ok := f.Attributes.Int("gen_ai.request.max_tokens")
	return f.Quantities.Get(OutputTokens) == 1 && ok && limit == 1
}

func firstStart(steps []beamStep) int64 {
	return slices.MinFunc(steps, func(a, b beamStep) int { return cmp.Compare(a.first, b.first) }).first
}

func lastStart(steps []beamStep) int64 {
	return slices.MaxFunc(steps, func(a, b beamStep) int { return cmp.Compare(a.last, b.last) }).last
}
