package usage_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/tollkeeper/tollkeeper/internal/usage"
)

// noon is when the work of these tests is done.
var noon = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC).UnixNano()

const (
	second = int64(time.Second)
	hour   = int64(time.Hour)
	// ulid is a gateway's record whose time is noon.
	ulid = "01M8997DG00000000000000000"
)

// maker makes observations, each with an identity of its own.
type maker struct{ n int }

// said is an observation and what was decided when it arrived.
type said struct {
	usage.Observation
	usage.Stamp
}

// span is what vLLM says of one finished sequence.
func (m *maker) span(id string, start, input, output int64) said {
	m.n++
	return said{usage.Observation{
		Kind: usage.KindUsage, Domain: usage.DomainSpan,
		Trace: fmt.Sprintf("%032x", 1000+m.n), Span: fmt.Sprintf("%016x", m.n), Parent: "00000000000000aa",
		Start: start, End: start + second, RequestID: id,
		Quantities: amounts(usage.InputTokens, input, usage.OutputTokens, output),
		Resource:   resource("service.instance.id", "i", "service.name", "opt"),
	}, usage.Stamp{Producer: "p"}}
}

// gateway is what a gateway says of the record; kind is opening, partial or
// final.
func (m *maker) gateway(kind string, attempts, input, output int64) said {
	s := said{usage.Observation{
		Kind: usage.KindUsage, Domain: usage.DomainGateway, Source: "node-1", ID: ulid, Start: noon, End: noon + second,
		Quantities: amounts(usage.InputTokens, input, usage.OutputTokens, output, usage.Requests, 1),
		Attributes: usage.Attributes{{Key: "tollkeeper.attempts", Int: attempts, IsInt: true}, {Key: "tollkeeper.grade", Str: kind}},
	}, usage.Stamp{Producer: "gw"}}
	if kind == "opening" {
		s.Kind, s.Quantities, s.Attributes = usage.KindOpening, nil, nil
	}
	return s
}

// tagged is the span under a valid tag that names the record.
func tagged(s said) said {
	s.Observation.Tag = "v1." + ulid + ".key_1.AAECAwQFBgcICQoLDA0ODw"
	s.Stamp = usage.Stamp{Tag: usage.TagValid, Record: ulid, Key: "key_1", Customer: "acme", Project: "chat", Producer: "p"}
	return s
}

// amounts pairs names with amounts.
func amounts(pairs ...any) usage.Quantities {
	var q usage.Quantities
	for pair := range slices.Chunk(pairs, 2) {
		n, ok := pair[1].(int64)
		if !ok {
			n = int64(pair[1].(int))
		}
		q = append(q, usage.Quantity{Name: pair[0].(string), Amount: n})
	}
	return usage.NewQuantities(q...)
}

// resource pairs keys with values.
func resource(pairs ...string) usage.Attributes {
	var list usage.Attributes
	for pair := range slices.Chunk(pairs, 2) {
		list = append(list, usage.Attribute{Key: pair[0], Str: pair[1]})
	}
	return list.Sorted()
}

// facts journals the observations, one an entry, each received when it ended.
func facts(rules *usage.Rules, list ...said) []usage.Fact {
	out := make([]usage.Fact, 0, len(list))
	for i, s := range list {
		p := usage.Position{Received: max(s.End, s.Start), Origin: "j", Seq: uint64(i + 1)}
		out = append(out, usage.NewFact(s.Observation, s.Stamp, p, rules))
	}
	return out
}

func fold(rules *usage.Rules, list ...said) []usage.Record {
	return usage.Fold(facts(rules, list...)).Records
}

// one folds what must be one record.
func one(t *testing.T, rules *usage.Rules, list ...said) usage.Record {
	t.Helper()
	records := fold(rules, list...)
	if len(records) != 1 {
		t.Fatalf("%d records, want 1: %v", len(records), summaries(records))
	}
	return records[0]
}

func compile(t *testing.T, p usage.Policy) *usage.Rules {
	t.Helper()
	r, err := p.Compile()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// opt says what is known of the engines of these tests.
func opt(t *testing.T, e usage.Engine) *usage.Rules {
	t.Helper()
	e.Match = map[string]string{"service.name": "opt"}
	return compile(t, usage.Policy{Engines: []usage.Engine{e}})
}

// summary is what a bill shows of a record.
func summary(r *usage.Record) string {
	return fmt.Sprintf("%s %s %s %v", r.Shape, r.Grade, amountsText(r.Quantities), r.Flags)
}

func amountsText(q usage.Quantities) string {
	return fmt.Sprintf("%d+%d/%d", q.Get(usage.InputTokens), q.Get(usage.OutputTokens), q.Get(usage.Requests))
}

// summaries are sorted, since records come in the order of their keys.
func summaries(records []usage.Record) []string {
	var out []string
	for i := range records {
		out = append(out, summary(&records[i]))
	}
	slices.Sort(out)
	return out
}

// wantRecords compares what is folded with summaries, in any order of arrival.
func wantRecords(t *testing.T, rules *usage.Rules, list []said, want ...string) {
	t.Helper()
	slices.Sort(want)
	random := rand.New(rand.NewPCG(1, 2))
	for range 8 {
		if got := summaries(fold(rules, list...)); !slices.Equal(got, want) {
			t.Fatalf("got  %q\nwant %q", got, want)
		}
		random.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	}
}
