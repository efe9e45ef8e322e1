package usage_test

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/tollkeeper/tollkeeper/internal/usage"
)

// The rules carry the numbers that they have in the design.

func TestRule1OneTaggedRecord(t *testing.T) {
	var m maker
	attempt := func(start, input, output int64) said { return tagged(m.span("chatcmpl-a", start, input, output)) }
	first, second, third := attempt(noon, 10, 3), attempt(noon+1, 10, 5), attempt(noon+2, 10, 7)
	for name, c := range map[string]struct {
		list []said
		want []string
	}{
		"an opening is open and counts nothing": {
			[]said{m.gateway("opening", 1, 0, 0)}, []string{"gateway open 0+0/0 []"},
		},
		"a partial count stands above the opening": {
			[]said{m.gateway("opening", 1, 0, 0), m.gateway("partial", 1, 10, 2)}, []string{"gateway partial 10+2/1 []"},
		},
		"spans stand above a partial count": {
			[]said{m.gateway("opening", 1, 0, 0), m.gateway("partial", 1, 10, 2), first}, []string{"generation final 10+3/1 []"},
		},
		"a final count stands above the spans": {
			[]said{m.gateway("opening", 1, 0, 0), m.gateway("final", 1, 11, 4), first}, []string{"gateway final 11+4/1 []"},
		},
		"a final count covers the attempts it names": {
			[]said{m.gateway("final", 2, 11, 4), first, second}, []string{"gateway final 11+4/1 []"},
		},
		"groups beyond the attempts are records of their own": {
			[]said{m.gateway("final", 1, 11, 4), first, second, third},
			[]string{"gateway final 11+4/1 []", "generation final 10+5/1 []", "generation final 10+7/1 []"},
		},
		"so they are beyond those of a partial count": {
			[]said{m.gateway("partial", 2, 11, 4), first, second, third},
			[]string{"generation final 20+8/2 []", "generation final 10+7/1 []"},
		},
		"no fewer attempts than one": {
			[]said{m.gateway("final", 0, 11, 4), first, second}, []string{"gateway final 11+4/1 []", "generation final 10+5/1 []"},
		},
		"without a count of the gateway its spans add up": {
			[]said{m.gateway("opening", 1, 0, 0), first, second}, []string{"generation final 20+8/2 []"},
		},
		"its spans fold by the rule of their shape": {
			[]said{attempt(noon, 10, 1), attempt(noon, 10, 2)}, []string{"generation final 10+3/1 []"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			wantRecords(t, nil, c.list, c.want...)
			for _, r := range fold(nil, c.list...) {
				if r.Time != noon {
					t.Errorf("time %d, want that of the record's id, %d", r.Time, noon)
				}
			}
		})
	}
}

func TestRule1NeedsAValidTag(t *testing.T) {
	var m maker
	pair := func(change func(*said)) []said {
		list := []said{tagged(m.span("chatcmpl-a", noon, 10, 3)), m.gateway("final", 1, 11, 4)}
		change(&list[0])
		return list
	}
	apart := []string{"gateway final 11+4/1 []", "generation final 10+3/1 []"}
	wantRecords(t, nil, pair(func(*said) {}), "gateway final 11+4/1 []")
	wantRecords(t, nil, pair(func(s *said) { s.Stamp.Tag = usage.TagInvalid }), "gateway final 11+4/1 []", "generation final 10+3/1 [tag_invalid]")
	wantRecords(t, nil, pair(func(s *said) { s.Stamp.Tag = "" }), apart...)
	wantRecords(t, nil, pair(func(s *said) { s.Record = "" }), apart...)
	wantRecords(t, nil, pair(func(s *said) { s.Record = ulid[:25] + "u" }), apart...)
}

func TestRule2OneGenerationRequest(t *testing.T) {
	var m maker
	with := func(s said, change func(*said)) said { change(&s); return s }
	other := func(key, value string) func(*said) {
		return func(s *said) {
			s.Resource = append(slices.Clone(s.Resource), usage.Attribute{Key: key, Str: value}).Sorted()
		}
	}
	for name, c := range map[string]struct {
		list []said
		want []string
	}{
		"n choices repeat the prompt": {
			[]said{m.span("chatcmpl-a", noon, 16, 5), m.span("chatcmpl-a", noon, 16, 6), m.span("chatcmpl-a", noon, 16, 7)},
			[]string{"generation final 16+18/1 []"},
		},
		"k prompts add up": {
			[]said{m.span("cmpl-a-0", noon, 1, 7), m.span("cmpl-a-1", noon, 4, 7), m.span("cmpl-a-2", noon, 6, 7)},
			[]string{"generation final 11+21/1 []"},
		},
		"n choices of k prompts": {
			[]said{m.span("cmpl-a-0", noon, 5, 1), m.span("cmpl-a-0", noon, 5, 2), m.span("cmpl-a-1", noon, 5, 3), m.span("cmpl-a-1", noon, 5, 4)},
			[]string{"generation final 10+10/1 []"},
		},
		"prompts of one id that differ are no repetition": {
			[]said{m.span("chatcmpl-a", noon, 16, 5), m.span("chatcmpl-a", noon, 17, 6)},
			[]string{"generation final 33+11/1 [inputs_differ]"},
		},
		"a reused X-Request-Id is another request": {
			[]said{m.span("chatcmpl-a", noon, 16, 5), m.span("chatcmpl-a", noon+238, 16, 5)},
			[]string{"generation final 16+5/1 []", "generation final 16+5/1 []"},
		},
		"a reused traceparent is another request": {
			[]said{m.span("chatcmpl-a", noon, 16, 5), with(m.span("chatcmpl-b", noon, 16, 5), func(s *said) { s.Trace = "000000000000000000000000000003e9" })},
			[]string{"generation final 16+5/1 []", "generation final 16+5/1 []"},
		},
		"an index is cut off completions only": {
			[]said{m.span("chatcmpl-a-0", noon, 1, 1), m.span("chatcmpl-a-1", noon, 1, 1), m.span("cmpl-a-x", noon, 1, 1), m.span("resp_a-1", noon, 1, 1), m.span("resp_a-2", noon, 1, 1)},
			slices.Repeat([]string{"generation final 1+1/1 []"}, 5),
		},
		"another process is another request": {
			[]said{m.span("chatcmpl-a", noon, 16, 5), with(m.span("chatcmpl-a", noon, 16, 5), other("vllm.process_id", "7"))},
			[]string{"generation final 16+5/1 []", "generation final 16+5/1 []"},
		},
		"what a Collector adds makes no other instance": {
			[]said{
				m.span("chatcmpl-a", noon, 16, 5), with(m.span("chatcmpl-a", noon, 16, 5), other("k8s.pod.name", "pod-7")),
				with(m.span("chatcmpl-a", noon, 16, 5), other("host.name", "node-7")), with(m.span("chatcmpl-a", noon, 16, 5), other("service.namespace", "ns")),
			},
			[]string{"generation final 16+20/1 []"},
		},
		"without a request id each is its own": {
			[]said{m.span("", noon, 16, 5), m.span("", noon, 16, 5)},
			[]string{"generation final 16+5/1 []", "generation final 16+5/1 []"},
		},
	} {
		t.Run(name, func(t *testing.T) { wantRecords(t, nil, c.list, c.want...) })
	}
}

// TestRule2InstanceWithoutId: an SDK that names no instance is told by
// namespace, name and host.
func TestRule2InstanceWithoutId(t *testing.T) {
	var m maker
	of := func(pairs ...string) said {
		s := m.span("chatcmpl-a", noon, 16, 5)
		s.Resource = resource(pairs...)
		return s
	}
	wantRecords(t, nil, []said{of("service.name", "opt", "host.name", "a"), of("service.name", "opt", "host.name", "a", "k8s.pod.name", "x")},
		"generation final 16+10/1 []")
	wantRecords(t, nil, []said{
		of("service.name", "opt", "host.name", "a"), of("service.name", "opt", "host.name", "b"),
		of("service.name", "x", "host.name", "a"), of("service.name", "opt", "host.name", "a", "service.namespace", "n"),
	}, slices.Repeat([]string{"generation final 16+5/1 []"}, 4)...)
}

// TestRule2CachedInput: each choice may find another part of the prompt in the
// cache; a discount is given on what all of them found there.
func TestRule2CachedInput(t *testing.T) {
	var m maker
	cached := func(n int64) said {
		s := m.span("chatcmpl-a", noon, 100, 1)
		s.Quantities = amounts(usage.InputTokens, 100, usage.OutputTokens, 1, usage.CachedInputTokens, n)
		return s
	}
	r := one(t, nil, cached(64), cached(16), cached(80))
	if got := r.Quantities.Get(usage.CachedInputTokens); got != 16 {
		t.Errorf("%d cached, want 16", got)
	}
}

func TestRule3EachPoolingSpan(t *testing.T) {
	var m maker
	for _, prefix := range []string{"embd", "pooling", "score", "classify"} {
		t.Run(prefix, func(t *testing.T) {
			wantRecords(t, nil, []said{m.span(prefix+"-a-0", noon, 3, 0), m.span(prefix+"-a-1", noon+1, 2, 0), m.span(prefix+"-a-10", noon+2, 4, 0)},
				"pooling final 3+0/1 []", "pooling final 2+0/0 []", "pooling final 4+0/0 []")
		})
	}
	t.Run("reused id and start", func(t *testing.T) {
		wantRecords(t, nil, []said{m.span("embd-a-0", noon, 3, 0), m.span("embd-a-0", noon, 3, 0)}, "pooling final 3+0/1 []", "pooling final 3+0/1 []")
	})
	t.Run("what has no index counts", func(t *testing.T) {
		wantRecords(t, nil, []said{m.span("embd-a", noon, 3, 0)}, "pooling final 3+0/1 []")
	})
	t.Run("what completes something is no pooling", func(t *testing.T) {
		wantRecords(t, nil, []said{m.span("embd-a-1", noon, 3, 1)}, "generation final 3+1/1 []")
	})
}

// search is a beam search as vLLM runs it: one span, then width spans a step.
func (m *maker) search(id string, start, prompt int64, width, steps int) (list []said) {
	for step := range steps {
		beams := width
		if step == 0 {
			beams = 1
		}
		uuid := m.n
		for beam := range beams {
			s := m.span(fmt.Sprintf("%s-%016x-beam-%d", id, uuid, beam), start+int64(step)*second+int64(beam), prompt+int64(step), 1)
			s.Trace, s.Attributes = "000000000000000000000000000000be", usage.Attributes{{Key: "gen_ai.request.max_tokens", Int: 1, IsInt: true}}
			list = append(list, s)
		}
	}
	return list
}

func TestRule4OneBeamSearch(t *testing.T) {
	var m maker
	folding := opt(t, usage.Engine{Beams: usage.BeamsFold})
	t.Run("folded", func(t *testing.T) { // as the recording: 10 + 12 of 11 spans
		wantRecords(t, folding, m.search("cmpl-a", noon, 10, 2, 6), "beam derived 10+12/1 []")
	})
	t.Run("plain unless the engine says fold", func(t *testing.T) {
		for _, rules := range []*usage.Rules{nil, opt(t, usage.Engine{}), opt(t, usage.Engine{Beams: usage.BeamsPlain})} {
			records := fold(rules, m.search("chatcmpl-a", noon, 10, 2, 6)...)
			var sum usage.Quantities
			for i := range records {
				sum.AddAll(records[i].Quantities)
			}
			if got := amountsText(sum); len(records) != 11 || got != "140+11/11" {
				t.Errorf("%d records, %s", len(records), got)
			}
		}
	})
	t.Run("one search a prompt", func(t *testing.T) {
		wantRecords(t, folding, append(m.search("cmpl-a", noon, 10, 3, 4), m.search("cmpl-a", noon+7, 10, 3, 4)...), "beam derived 20+24/2 []")
	})
	t.Run("a width of one", func(t *testing.T) {
		wantRecords(t, folding, m.search("chatcmpl-a", noon, 10, 1, 4), "beam derived 10+4/1 []")
	})
	t.Run("in one trace without a parent", func(t *testing.T) {
		list := m.search("chatcmpl-a", noon, 10, 2, 3)
		for i := range list {
			list[i].Parent, list[i].Trace = "", fmt.Sprintf("%032x", i+1)
		}
		wantRecords(t, folding, list, "beam derived 10+6/1 []")
	})
	t.Run("another trace, another search", func(t *testing.T) {
		other := m.search("chatcmpl-a", noon+5, 10, 2, 3)
		for i := range other {
			other[i].Trace = "000000000000000000000000000000bf"
		}
		wantRecords(t, folding, append(m.search("chatcmpl-a", noon, 10, 2, 3), other...), "beam derived 10+6/1 []", "beam derived 10+6/1 []")
	})
	t.Run("each UTC day for itself", func(t *testing.T) {
		midnight := noon + 12*hour
		records := fold(folding, m.search("chatcmpl-a", midnight-2*second, 10, 2, 6)...)
		if len(records) != 2 {
			t.Errorf("%v", summaries(records))
		}
	})
	t.Run("not of other requests", func(t *testing.T) {
		wantRecords(t, folding, []said{m.span("resp_a-0123456789abcdef-beam-0", noon, 5, 1), m.span("cmpl-0123456789abcdef-beam-0", noon, 5, 1)},
			"generation final 5+1/1 []", "generation final 5+1/1 []")
	})
}

// TestRule4NoCleanSearch breaks one condition at a time: then each span counts
// for itself, and the record says so.
func TestRule4NoCleanSearch(t *testing.T) {
	var m maker
	folding := opt(t, usage.Engine{Beams: usage.BeamsFold})
	clean := func() []said { return m.search("chatcmpl-a", noon, 10, 2, 4) } // 1 + 2 + 2 + 2 spans, 10 … 13
	amount := func(s *said, name string, n int64) {
		s.Quantities = slices.Clone(s.Quantities)
		for i := range s.Quantities {
			if s.Quantities[i].Name == name {
				s.Quantities[i].Amount = n
			}
		}
	}
	for name, c := range map[string]struct {
		broken func(list []said) []said
		want   string
	}{
		"two tokens in a step": {func(l []said) []said { amount(&l[3], usage.OutputTokens, 2); return l }, "82+8/7"},
		"no limit of one token": {func(l []said) []said {
			l[3].Attributes = nil
			return l
		}, "82+7/7"},
		"a higher limit": {func(l []said) []said {
			l[3].Attributes = usage.Attributes{{Key: "gen_ai.request.max_tokens", Int: 2, IsInt: true}}
			return l
		}, "82+7/7"},
		"a step is missing":     {func(l []said) []said { return slices.Concat(l[:3], l[5:]) }, "58+5/5"},
		"a beam is missing":     {func(l []said) []said { return slices.Concat(l[:4], l[5:]) }, "70+6/6"},
		"a prompt out of order": {func(l []said) []said { amount(&l[6], usage.InputTokens, 14); return l }, "83+7/7"},
		"a step begins too early": {func(l []said) []said {
			l[5].Start = l[0].Start
			return l
		}, "82+7/7"},
		"the first step alone": {func(l []said) []said { return l[:1] }, "10+1/1"},
		"two first spans of one step": {func(l []said) []said {
			s := m.span(l[0].RequestID[:len(l[0].RequestID)-1]+"1", l[0].Start, 10, 1)
			s.Trace, s.Attributes = l[0].Trace, l[0].Attributes
			return append(l, s)
		}, "92+8/8"},
		"a second prompt one longer": {func(l []said) []said { return append(l, m.search("chatcmpl-a", noon+7, 11, 2, 3)...) }, "143+12/12"},
		"searches of two widths":     {func(l []said) []said { return append(l, m.search("chatcmpl-a", noon+7, 10, 4, 4)...) }, "236+20/20"},
		"the same request again":     {func(l []said) []said { return append(l, m.search("chatcmpl-a", noon+100*second, 10, 2, 4)...) }, "164+14/14"},
	} {
		t.Run(name, func(t *testing.T) {
			wantRecords(t, folding, c.broken(clean()), "beam final "+c.want+" [beam_not_folded]")
		})
	}
}

func TestRule5EachEvent(t *testing.T) {
	event := func(source, id string, n int) said {
		return said{usage.Observation{
			Kind: usage.KindUsage, Domain: usage.DomainEvent, Source: source, ID: id, Start: noon, End: noon, Quantities: amounts("audio_ms", n),
		}, usage.Stamp{Producer: "p", Tag: usage.TagValid, Record: ulid}}
	}
	records := fold(nil, event("a", "1", 5), event("a", "2", 6), event("b", "1", 7))
	if len(records) != 3 {
		t.Errorf("%v", summaries(records))
	}
	for _, r := range records {
		if r.Shape != usage.ShapeEvent || r.Grade != usage.GradeFinal || len(r.Quantities) != 1 || r.Quantities[0].Name != "audio_ms" {
			t.Errorf("%s %v", summary(&r), r.Quantities)
		}
	}
}

// TestPrefillIsCost: the prefill half of a P/D pair reports the same prompt as
// the decode half. It is no usage, whatever tag it carries.
func TestPrefillIsCost(t *testing.T) {
	var m maker
	rules := compile(t, usage.Policy{Engines: []usage.Engine{
		{Match: map[string]string{"service.name": "prefill"}, Role: usage.RolePrefill, Model: "m"},
		{Match: map[string]string{"service.name": "opt"}, Model: "m"},
	}})
	half := m.span("chatcmpl-a", noon, 16, 1)
	half.Resource = resource("service.name", "prefill")
	pooled := m.span("embd-a-0", noon, 5, 0)
	pooled.Resource = half.Resource
	list := []said{tagged(half), pooled, tagged(m.span("chatcmpl-a", noon+1, 16, 9)), m.gateway("final", 1, 16, 9)}
	wantRecords(t, rules, list, "gateway final 16+9/1 []", "prefill final 0+0/0 []", "prefill final 0+0/0 []")
	for _, r := range fold(rules, list...) {
		if r.Shape == usage.ShapePrefill && r.Quantities.Get(usage.PrefillTokens) != r.Facts[0].Quantities.Get(usage.InputTokens) {
			t.Errorf("cost %v", r.Quantities)
		}
	}
}

func TestTimes(t *testing.T) {
	var m maker
	at := func(start, end, received int64) usage.Record {
		s := m.span("chatcmpl-a", start, 1, 1)
		s.End = end
		records := usage.Fold([]usage.Fact{usage.NewFact(s.Observation, s.Stamp, usage.Position{Received: received, Origin: "j", Seq: 1}, nil)}).Records
		return records[0]
	}
	new2020 := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC).UnixNano()
	for name, c := range map[string]struct {
		start, end, received, want int64
		flags                      []string
	}{
		"its start":                      {noon, noon + second, noon + second, noon, nil},
		"long ago":                       {new2020, noon, noon, new2020, nil},
		"before 2020":                    {new2020 - 1, noon, noon, noon, []string{usage.FlagTimeReplaced}},
		"an hour ahead":                  {noon + hour, noon + hour, noon, noon + hour, nil},
		"more than an hour ahead":        {noon + hour + 1, noon + hour + 1, noon, noon, []string{usage.FlagTimeReplaced}},
		"the year 2262":                  {math.MaxInt64, math.MaxInt64, noon, noon, []string{usage.FlagTimeReplaced}},
		"1970":                           {1, 2, noon, noon, []string{usage.FlagTimeReplaced}},
		"end before start, kept as said": {noon, noon - 1, noon, noon, []string{usage.FlagEndBeforeStart}},
	} {
		t.Run(name, func(t *testing.T) {
			r := at(c.start, c.end, c.received)
			if r.Time != c.want || r.Start != c.start || r.End != c.end || !slices.Equal(r.Flags, c.flags) {
				t.Errorf("time %d (want %d), start %d, end %d, flags %v", r.Time, c.want, r.Start, r.End, r.Flags)
			}
			if amountsText(r.Quantities) != "1+1/1" {
				t.Errorf("%v", r.Quantities)
			}
		})
	}
}

// TestHome: a fact's home follows from its own time, which replacing does not
// touch: one that is sent again a day later is still a duplicate.
func TestHome(t *testing.T) {
	var m maker
	for name, start := range map[string]int64{"no clock": 5, "a clock ahead": noon + 30*hour, "far ahead": math.MaxInt64} {
		t.Run(name, func(t *testing.T) {
			s := m.span("chatcmpl-a", start, 10, 1)
			first := usage.NewFact(s.Observation, s.Stamp, usage.Position{Received: noon, Origin: "a", Seq: 1}, nil)
			again := usage.NewFact(s.Observation, s.Stamp, usage.Position{Received: noon + 40*hour, Origin: "a", Seq: 2}, nil)
			for _, order := range [][]usage.Fact{{first, again}, {again, first}} {
				out := usage.Fold(order)
				if len(out.Records) != 1 || out.Verdicts[usage.Duplicate] != 1 || out.Records[0].Time != noon {
					t.Errorf("%v, verdicts %v", summaries(out.Records), out.Verdicts)
				}
			}
		})
	}
}

func TestBuckets(t *testing.T) {
	quarter := int64(15 * time.Minute)
	for _, c := range []struct{ ns, bucket, day int64 }{
		{0, 0, 0}, {quarter - 1, 0, 0}, {quarter, 900, 0}, {-1, -900, -1}, {24 * hour, 86400, 1}, {24*hour - 1, 86400 - 900, 0},
	} {
		if b, d := usage.BucketOf(c.ns), usage.DayOf(c.ns); b != c.bucket || d != c.day {
			t.Errorf("%d: bucket %d (want %d), day %d (want %d)", c.ns, b, c.bucket, d, c.day)
		}
	}
}

func TestConflictsAndDuplicates(t *testing.T) {
	var m maker
	s := m.span("chatcmpl-a", noon, 10, 1)
	fact := func(seq uint64, change func(*usage.Observation)) usage.Fact {
		o := s.Observation
		change(&o)
		return usage.NewFact(o, usage.Stamp{Producer: fmt.Sprint("p", seq)}, usage.Position{Received: noon, Origin: "j", Seq: seq}, nil)
	}
	same := func(*usage.Observation) {}
	for name, c := range map[string]struct {
		change  func(*usage.Observation)
		verdict usage.Verdict
	}{
		"the same": {same, usage.Duplicate},
		"another attribute": {func(o *usage.Observation) {
			o.Attributes = usage.Attributes{{Key: "gen_ai.request.n", Int: 1, IsInt: true}}
		}, usage.Duplicate},
		"another resource": {func(o *usage.Observation) { o.Resource = resource("service.name", "opt", "k8s.pod.name", "x") }, usage.Duplicate},
		"another parent":   {func(o *usage.Observation) { o.Parent = "" }, usage.Duplicate},
		"another start":    {func(o *usage.Observation) { o.Start++ }, usage.Conflict},
		"another end":      {func(o *usage.Observation) { o.End++ }, usage.Conflict},
		"another amount":   {func(o *usage.Observation) { o.Quantities = amounts(usage.InputTokens, 10, usage.OutputTokens, 2) }, usage.Conflict},
		"one amount more": {func(o *usage.Observation) {
			o.Quantities = amounts(usage.InputTokens, 10, usage.OutputTokens, 1, "x", 0)
		}, usage.Conflict},
		"another request": {func(o *usage.Observation) { o.RequestID = "chatcmpl-b" }, usage.Conflict},
		"another tag":     {func(o *usage.Observation) { o.Tag = "v1" }, usage.Conflict},
	} {
		t.Run(name, func(t *testing.T) {
			kept, other := fact(1, same), fact(2, c.change)
			for _, order := range [][]usage.Fact{{kept, other}, {other, kept}} {
				out := usage.Fold(order)
				if out.Verdicts[usage.Accepted] != 1 || out.Verdicts[c.verdict] != 1 || len(out.Records) != 1 || out.Records[0].Facts[0].Seq != 1 {
					t.Errorf("verdicts %v, records %v", out.Verdicts, summaries(out.Records))
				}
				if wantListed := c.verdict == usage.Conflict; wantListed != (len(out.Conflicts) == 1) {
					t.Errorf("conflicts %v", out.Conflicts)
				}
			}
		})
	}
	t.Run("another kind", func(t *testing.T) { // opening and usage of one ULID are two things said
		out := usage.Fold(facts(nil, m.gateway("opening", 1, 0, 0), m.gateway("final", 1, 1, 1)))
		if out.Verdicts[usage.Accepted] != 2 {
			t.Errorf("%v", out.Verdicts)
		}
	})
}
