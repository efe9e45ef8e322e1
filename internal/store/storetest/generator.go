package storetest

import (
	"fmt"
	"math/rand/v2"

	"github.com/tollkeeper/tollkeeper/internal/usage"
)

// Generator makes random facts: plain requests, n > 1, several prompts, beams,
// pooling, tags, a gateway's requests with fewer attempts than the engine tells
// of, events, duplicates and conflicts, from several producers, over some days.
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

// Shuffle puts the batches of several journals into any order in which those of
// each journal follow one another.
func (g *Generator) Shuffle(batches []usage.Batch) []usage.Batch {
	queues := map[string][]usage.Batch{}
	var order []string
	for _, b := range batches {
		queues[b.Origin] = append(queues[b.Origin], b)
		order = append(order, b.Origin)
	}
	g.rand.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
	out := make([]usage.Batch, len(batches))
	for i, origin := range order {
		out[i], queues[origin] = queues[origin][0], queues[origin][1:]
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
		switch kind := g.rand.IntN(12); {
		case kind < 3 && len(g.All) > 0:
			out = append(out, g.again(g.All[g.rand.IntN(len(g.All))], kind == 0))
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
		case kind == 8:
			out = append(out, g.event())
		case kind == 9:
			out = append(out, g.gateway()...)
		default:
			out = append(out, g.request("cmpl-%s-0", 1, 1)...)
		}
	}
	return out
}

// again sends a fact once more: an event with another time, by any producer, and
// perhaps with other amounts.
func (g *Generator) again(f usage.Fact, differs bool) said {
	s := said{f.Observation, f.Stamp}
	s.Stamp.Producer = g.producer()
	if s.Domain == usage.DomainEvent && g.rand.IntN(2) == 0 {
		s.Start, s.End = g.clock, g.clock
	}
	if differs {
		s.Quantities = usage.NewQuantities(usage.Quantity{Name: usage.InputTokens, Amount: g.rand.Int64N(9)})
	}
	return s
}

func (g *Generator) producer() string { return []string{"p", "q", "r"}[g.rand.IntN(3)] }

func (g *Generator) event() said {
	return said{Observation: usage.Observation{
		Kind: usage.KindUsage, Domain: usage.DomainEvent, Source: "transcriber", ID: g.hex(12), Start: g.clock - g.rand.Int64N(2*day), End: g.clock,
		Quantities: usage.NewQuantities(usage.Quantity{Name: "audio_ms", Amount: g.rand.Int64N(10_000)}, usage.Quantity{Name: usage.Requests, Amount: 1}),
	}, Stamp: usage.Stamp{Producer: g.producer()}}
}

// gateway is a request by a gateway: its opening, its final count or none, and
// the spans of the engine, which may be of more attempts than the gateway says.
func (g *Generator) gateway() []said {
	ulid := g.ulid()
	o := usage.Observation{Kind: usage.KindOpening, Domain: usage.DomainGateway, Source: "node-1", ID: ulid, Start: g.clock, End: g.clock}
	out := []said{{Observation: o, Stamp: usage.Stamp{Producer: "gateway"}}}
	if g.rand.IntN(3) > 0 {
		o.Kind, o.Quantities = usage.KindUsage, usage.NewQuantities(usage.Quantity{Name: usage.OutputTokens, Amount: g.rand.Int64N(50)}, usage.Quantity{Name: usage.Requests, Amount: 1})
		if g.rand.IntN(2) == 0 {
			o.Attributes = usage.Attributes{{Key: "tollkeeper.grade", Str: "partial"}}
		}
		out = append(out, said{Observation: o, Stamp: usage.Stamp{Producer: "gateway"}})
	}
	for range g.rand.IntN(3) {
		for _, s := range g.request("chatcmpl-%s", 1, 1) {
			s.Stamp.Tag, s.Stamp.Record, s.Customer = usage.TagValid, ulid, "globex"
			out = append(out, s)
		}
	}
	g.rand.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out
}

// ulid is a ULID of now.
func (g *Generator) ulid() string {
	const alphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
	b := make([]byte, 26)
	for i, ms := 9, g.clock/1_000_000; i >= 0; i, ms = i-1, ms>>5 {
		b[i] = alphabet[ms&31]
	}
	for i := 10; i < len(b); i++ {
		b[i] = alphabet[g.rand.IntN(32)]
	}
	return string(b)
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
	}, Stamp: usage.Stamp{Producer: g.producer()}}
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
