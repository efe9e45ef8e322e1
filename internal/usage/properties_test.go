package usage_test

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/tollkeeper/tollkeeper/internal/usage"
)

// received is an observation and when its first copy arrived.
type received struct {
	said
	at int64
}

// anyWork draws observations that meet each other in every way that the rules
// know, each with an identity of its own.
func anyWork(t *rapid.T) []received {
	var m maker
	var list []received
	add := func(said ...said) {
		for _, s := range said {
			// One who has no clock, or a fast one, arrives when it arrives.
			switch rapid.IntRange(0, 19).Draw(t, "clock") {
			case 0:
				s.Start, s.End = 7, 3
			case 1:
				s.Start += 3 * hour
			}
			list = append(list, received{s, s.Start + rapid.Int64Range(0, 50).Draw(t, "delay")*hour})
			if s.Start < noon {
				list[len(list)-1].at += noon
			}
		}
	}
	amount := rapid.Int64Range(0, 9)
	for range rapid.IntRange(1, 10).Draw(t, "requests") {
		start := noon + rapid.Int64Range(0, 3).Draw(t, "start")*10*hour
		id := rapid.SampledFrom([]string{"chatcmpl-a", "cmpl-a-0", "cmpl-a-1", "cmpl-a", "embd-a-0", "embd-a-1", "resp_a_0", ""}).Draw(t, "id")
		span := func() said {
			s := m.span(id, start, amount.Draw(t, "input"), amount.Draw(t, "output"))
			s.Resource = resource("service.instance.id", rapid.SampledFrom([]string{"i", "j"}).Draw(t, "instance"), "service.name", rapid.SampledFrom([]string{"opt", "prefill", "house"}).Draw(t, "service"))
			return s
		}
		switch rapid.IntRange(0, 5).Draw(t, "shape") {
		case 0:
			add(tagged(span()), tagged(span()))
		case 1:
			add(m.search("chatcmpl-b", start, amount.Draw(t, "prompt"), 2, 3)...)
		case 2:
			add(said{usage.Observation{
				Kind: usage.KindUsage, Domain: usage.DomainEvent, Source: "s", ID: fmt.Sprint(len(list)), Start: start, End: start, Quantities: amounts("audio_ms", 5),
			}, usage.Stamp{Producer: "p"}})
		case 3:
			g := m.gateway(rapid.SampledFrom([]string{"opening", "partial", "final"}).Draw(t, "grade"), amount.Draw(t, "attempts"), 3, 4)
			g.Source = fmt.Sprint("node-", len(list))
			add(g)
		default:
			add(span(), span())
		}
	}
	return list
}

func workRules(t *testing.T) *usage.Rules {
	t.Helper()
	return compile(t, usage.Policy{
		Engines: []usage.Engine{
			{Match: map[string]string{"service.name": "opt"}, Model: "m", Beams: usage.BeamsFold},
			{Match: map[string]string{"service.name": "prefill"}, Role: usage.RolePrefill},
		},
		Order:     []string{usage.RuleTag, usage.RuleResource},
		Resources: []usage.ResourceRule{{Match: map[string]string{"service.name": "house"}, Customer: "house"}},
	})
}

// view is a record without the positions of its facts.
func view(r usage.Record) usage.Record {
	r.Facts = slices.Clone(r.Facts)
	for i := range r.Facts {
		r.Facts[i].Position = usage.Position{Received: r.Facts[i].Received}
	}
	return r
}

func views(records []usage.Record) []usage.Record {
	out := make([]usage.Record, 0, len(records))
	for _, r := range records {
		out = append(out, view(r))
	}
	return out
}

// TestOrderSplitAndCopiesDoNotMatter: observations without conflicts, in any
// order, in any entries of two journals, some of them again, fold the same.
func TestOrderSplitAndCopiesDoNotMatter(t *testing.T) {
	rules := workRules(t)
	rapid.Check(t, func(t *rapid.T) {
		work := anyWork(t)
		var plain []usage.Fact
		for i, w := range work {
			plain = append(plain, usage.NewFact(w.Observation, w.Stamp, usage.Position{Received: w.at, Origin: "a", Seq: uint64(i)}, rules))
		}
		want := usage.Fold(plain)
		if want.Verdicts[usage.Accepted] != int64(len(work)) {
			t.Fatalf("the work is not free of copies: %v", want.Verdicts)
		}
		var arranged []usage.Fact
		place := func(w received, at int64) {
			p := usage.Position{
				Received: at, Origin: rapid.SampledFrom([]string{"a", "b"}).Draw(t, "journal"),
				Seq: rapid.Uint64Range(1, 5).Draw(t, "entry"), Index: len(arranged),
			}
			arranged = append(arranged, usage.NewFact(w.Observation, w.Stamp, p, rules))
		}
		copies := 0
		for _, w := range work {
			place(w, w.at)
			for range rapid.IntRange(0, 2).Draw(t, "copies") {
				place(w, w.at+rapid.Int64Range(1, 90).Draw(t, "later")*hour)
				copies++
			}
		}
		got := usage.Fold(rapid.Permutation(arranged).Draw(t, "order"))
		if !reflect.DeepEqual(views(got.Records), views(want.Records)) {
			t.Fatalf("got\n%v\nwant\n%v", summaries(got.Records), summaries(want.Records))
		}
		if got.Verdicts[usage.Duplicate] != int64(copies) || len(got.Conflicts) != 0 {
			t.Fatalf("%v of %d copies", got.Verdicts, copies)
		}
		if !reflect.DeepEqual(usage.Totals(got.Records), usage.Totals(want.Records)) {
			t.Fatal("totals differ")
		}
	})
}

// TestConflictsByPosition: with conflicts the outcome is the same in any order
// of arrival; the lowest position stays, and every fact has one verdict.
func TestConflictsByPosition(t *testing.T) {
	rules := workRules(t)
	rapid.Check(t, func(t *rapid.T) {
		var list []usage.Fact
		place := func(w received) {
			p := usage.Position{
				Received: w.at + rapid.Int64Range(0, 2).Draw(t, "later"), Origin: rapid.SampledFrom([]string{"a", "b"}).Draw(t, "journal"),
				Seq: rapid.Uint64Range(1, 9).Draw(t, "entry"), Index: len(list),
			}
			list = append(list, usage.NewFact(w.Observation, w.Stamp, p, rules))
		}
		for _, w := range anyWork(t) {
			place(w)
			for range rapid.IntRange(0, 2).Draw(t, "others") {
				other := w
				other.Quantities = amounts(usage.InputTokens, rapid.Int64Range(0, 3).Draw(t, "said"))
				place(other)
			}
		}
		want := usage.Fold(list)
		got := usage.Fold(rapid.Permutation(list).Draw(t, "order"))
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("got\n%+v\nwant\n%+v", got, want)
		}
		if !slices.IsSortedFunc(got.Conflicts, func(a, b usage.Fact) int { return a.Compare(b.Position) }) {
			t.Fatal("conflicts are not in journal order")
		}
		checkVerdicts(t, list, got)
	})
}

func checkVerdicts(t *rapid.T, list []usage.Fact, got usage.Outcome) {
	var sum int64
	for _, n := range got.Verdicts {
		sum += n
	}
	if sum != int64(len(list)) || got.Verdicts[usage.Conflict] != int64(len(got.Conflicts)) {
		t.Fatalf("%v of %d facts, %d conflicts listed", got.Verdicts, len(list), len(got.Conflicts))
	}
	type place struct {
		usage.Hash
		home int64
	}
	lowest := map[place]usage.Position{}
	for i := range list {
		home, _ := list[i].Home()
		at := place{list[i].Identity, home}
		if p, ok := lowest[at]; !ok || list[i].Before(p) {
			lowest[at] = list[i].Position
		}
	}
	var kept []usage.Position
	for _, r := range got.Records {
		for i := range r.Facts {
			kept = append(kept, r.Facts[i].Position)
		}
	}
	byPosition := func(a, b usage.Position) int { return a.Compare(b) }
	want := slices.SortedFunc(maps.Values(lowest), byPosition)
	if slices.SortFunc(kept, byPosition); !slices.Equal(kept, want) {
		t.Fatalf("kept %v, want %v", kept, want)
	}
}

// TestQuantities: the set keeps its order and its sums.
func TestQuantities(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		names := rapid.SampledFrom([]string{"a", "b", "c", "d"})
		sums, want := usage.Quantities{}, map[string]int64{}
		for range rapid.IntRange(0, 20).Draw(t, "steps") {
			name, n := names.Draw(t, "name"), rapid.Int64Range(-3, 3).Draw(t, "n")
			sums.Add(name, n)
			want[name] += n
		}
		var twice usage.Quantities
		twice.AddAll(sums)
		twice.AddAll(sums)
		for _, name := range []string{"a", "b", "c", "d", "e"} {
			if sums.Get(name) != want[name] || twice.Get(name) != 2*want[name] {
				t.Fatalf("%s: %d, %d twice, want %d", name, sums.Get(name), twice.Get(name), want[name])
			}
		}
		if !slices.IsSortedFunc(sums, func(a, b usage.Quantity) int { return len(a.Name) - len(b.Name) + int(a.Name[0]) - int(b.Name[0]) }) {
			t.Fatalf("unsorted: %v", sums)
		}
		if !sums.Equal(usage.NewQuantities(sums...)) {
			t.Fatalf("%v", sums)
		}
	})
}

func TestHashText(t *testing.T) {
	var m maker
	o := m.span("a", noon, 1, 1).Observation
	h := o.Identity()
	if back, ok := usage.ParseHash(h.String()); !ok || back != h || len(h.String()) != 32 {
		t.Errorf("%s comes back as %s, %v", h, back, ok)
	}
	for _, bad := range []string{"", "zz", h.String()[1:], h.String() + "0", "g" + h.String()[1:]} {
		if _, ok := usage.ParseHash(bad); ok {
			t.Errorf("%q was read", bad)
		}
	}
	other := o
	other.Trace, other.Span = o.Trace[:31], o.Trace[31:]+o.Span // the same text, cut elsewhere
	if other.Identity() == h {
		t.Error("fields run into each other")
	}
}

func TestBareRequestID(t *testing.T) {
	for id, want := range map[string]string{
		"cmpl-x-0": "x", "cmpl-x": "x", "chatcmpl-x": "x", "chatcmpl-x-0": "x-0", "resp_x_0": "x", "resp_x": "x", "embd-x-1": "x",
		"pooling-x-0": "x", "score-x-2": "x", "classify-x-0": "x", "x": "x", "x-0": "x-0", "": "", "cmpl-three-prompts-2": "three-prompts",
	} {
		if got := usage.BareRequestID(id); got != want {
			t.Errorf("%q: %q, want %q", id, got, want)
		}
	}
}

func TestBareForms(t *testing.T) {
	for id, want := range map[string]string{
		"cmpl-x": "x", "cmpl-x-0": "x|x-0", "cmpl-x-1-0": "x-1|x-1-0", "embd-x-1": "x|x-1", "chatcmpl-x-1": "x-1", "resp_x_0": "x", "x-1": "x-1", "": "",
	} {
		if got := strings.Join(usage.BareForms(id), "|"); got != want {
			t.Errorf("%q: %q, want %q", id, got, want)
		}
	}
}
