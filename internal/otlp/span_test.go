package otlp_test

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/tollkeeper/tollkeeper/internal/otlp"
	"github.com/tollkeeper/tollkeeper/internal/usage"
)

// spanCase is a span that is not as usual. reject and ignore are the reason for
// which it alone is no observation.
type spanCase struct {
	name           string
	span           parts
	reject, ignore string
}

// body puts the span between two good ones.
func (c spanCase) body() []byte {
	return export(goodResource, goodSpan(1).encode(), c.span.encode(), goodSpan(2).encode())
}

func changed(change func(p *parts)) parts {
	p := goodSpan(9)
	change(&p)
	return p
}

var spanCases = []spanCase{
	{name: "usual", span: goodSpan(9)},
	{name: "zero counts", span: goodSpan(9).set(promptKey, intValue(0)).set(completionKey, intValue(0))},
	{name: "largest count", span: goodSpan(9).set(promptKey, intValue(usage.MaxAmount))},
	{name: "count as a double", span: goodSpan(9).set(promptKey, doubleValue(16))},

	{name: "negative count", span: goodSpan(9).set(promptKey, intValue(-1)), reject: otlp.RejectCount},
	{name: "smallest int", span: goodSpan(9).set(completionKey, intValue(math.MinInt64)), reject: otlp.RejectCount},
	{name: "NaN", span: goodSpan(9).set(promptKey, doubleValue(math.NaN())), reject: otlp.RejectCount},
	{name: "infinity", span: goodSpan(9).set(promptKey, doubleValue(math.Inf(1))), reject: otlp.RejectCount},
	{name: "negative infinity", span: goodSpan(9).set(promptKey, doubleValue(math.Inf(-1))), reject: otlp.RejectCount},
	{name: "fraction", span: goodSpan(9).set(promptKey, doubleValue(1.5)), reject: otlp.RejectCount},
	{name: "double above 2^53", span: goodSpan(9).set(promptKey, doubleValue(1<<54)), reject: otlp.RejectCount},
	{name: "int above 2^53", span: goodSpan(9).set(promptKey, intValue(1<<53+1)), reject: otlp.RejectTooLarge},
	{name: "one above the largest", span: goodSpan(9).set(completionKey, intValue(usage.MaxAmount+1)), reject: otlp.RejectTooLarge},
	{name: "largest int", span: goodSpan(9).set(promptKey, intValue(math.MaxInt64)), reject: otlp.RejectTooLarge},
	{name: "prompt missing", span: goodSpan(9).drop(promptKey), reject: otlp.RejectCount},
	{name: "completion missing", span: goodSpan(9).drop(completionKey), reject: otlp.RejectCount},
	{name: "count as text", span: goodSpan(9).set(promptKey, stringValue("16")), reject: otlp.RejectCount},
	{name: "count as a bool", span: goodSpan(9).set(promptKey, boolValue()), reject: otlp.RejectCount},
	{name: "count as an array", span: goodSpan(9).set(promptKey, arrayValue(intValue(16))), reject: otlp.RejectCount},
	{name: "count without a value", span: goodSpan(9).set(promptKey, nil), reject: otlp.RejectCount},
	{name: "count twice, the same", span: goodSpan(9).with(attribute(promptKey, intValue(16)))},
	{name: "count twice, different", span: goodSpan(9).with(attribute(promptKey, intValue(17))), reject: otlp.RejectTwice},
	{name: "count twice, once no number", span: goodSpan(9).with(attribute(promptKey, stringValue("17"))), reject: otlp.RejectTwice},
	{name: "count thrice, first and last the same", span: goodSpan(9).with(attribute(promptKey, intValue(17)), attribute(promptKey, intValue(16))), reject: otlp.RejectTwice},

	{name: "end before start", span: changed(func(p *parts) { p.end = p.start - 1 })},
	{name: "end missing", span: changed(func(p *parts) { p.end = 0 })},
	{name: "start missing", span: changed(func(p *parts) { p.start = 0 }), reject: otlp.RejectStart},
	{name: "start of 1970", span: changed(func(p *parts) { p.start = 1 })},
	{name: "last nanosecond of our time", span: changed(func(p *parts) { p.start, p.end = math.MaxInt64, math.MaxInt64 })},
	{name: "start in 2262", span: changed(func(p *parts) { p.start = math.MaxInt64 + 1 }), reject: otlp.RejectTime},
	{name: "end in 2262", span: changed(func(p *parts) { p.end = math.MaxInt64 + 1 }), reject: otlp.RejectTime},
	{name: "end overflows", span: changed(func(p *parts) { p.end = math.MaxUint64 }), reject: otlp.RejectTime},

	{name: "trace id missing", span: changed(func(p *parts) { p.trace = nil }), reject: otlp.RejectTraceID},
	{name: "trace id of zeros", span: changed(func(p *parts) { p.trace = make([]byte, 16) }), reject: otlp.RejectTraceID},
	{name: "trace id short", span: changed(func(p *parts) { p.trace = p.trace[1:] }), reject: otlp.RejectTraceID},
	{name: "trace id long", span: changed(func(p *parts) { p.trace = append(p.trace, 1) }), reject: otlp.RejectTraceID},
	{name: "trace id in hex", span: changed(func(p *parts) { p.trace = []byte("0af7651916cd43dd8448eb211c80319c") }), reject: otlp.RejectTraceID},
	{name: "span id missing", span: changed(func(p *parts) { p.id = nil }), reject: otlp.RejectSpanID},
	{name: "span id of zeros", span: changed(func(p *parts) { p.id = make([]byte, 8) }), reject: otlp.RejectSpanID},
	{name: "span id short", span: changed(func(p *parts) { p.id = p.id[:3] }), reject: otlp.RejectSpanID},
	{name: "parent id of zeros", span: changed(func(p *parts) { p.parent = make([]byte, 8) })},
	{name: "parent id short", span: changed(func(p *parts) { p.parent = []byte{1} })},

	{name: "10,000 attributes", span: goodSpan(9).with(manyAttributes(10_000)...)},
	{name: "request id of 1 MiB", span: goodSpan(9).set(requestKey, stringValue("cmpl-"+strings.Repeat("é", 1<<19)+"-0"))},
	{name: "request id no UTF-8", span: goodSpan(9).set(requestKey, stringValue("cmpl-\xff-0")), reject: otlp.RejectText},
	{name: "long request id no UTF-8", span: goodSpan(9).set(requestKey, stringValue(strings.Repeat("\x80", 2000))), reject: otlp.RejectText},
	{name: "request id no text", span: goodSpan(9).set(requestKey, intValue(7))},
	{name: "control characters", span: goodSpan(9).set(requestKey, stringValue("a\x00b\nc\"d\\e\u2028"))},
	{name: "tag no UTF-8", span: changed(func(p *parts) { p.state = "tollkeeper=v1.\xc0" }), reject: otlp.RejectText},
	{name: "long tag no UTF-8", span: changed(func(p *parts) { p.state = "tollkeeper=" + strings.Repeat("\xbf", 4000) }), reject: otlp.RejectText},
	{name: "tracestate of others no UTF-8", span: changed(func(p *parts) { p.state = "vendor=\xff" })},
	{name: "dropped attribute no UTF-8", span: goodSpan(9).with(attribute("http.\xff", stringValue("\xfe")))},
	{name: "latencies absurd", span: goodSpan(9).set("gen_ai.latency.e2e", doubleValue(math.NaN())).set("gen_ai.latency.time_in_queue", doubleValue(-5)).set("gen_ai.latency.time_to_first_token", doubleValue(1e300))},
	{name: "n absurd", span: goodSpan(9).set("gen_ai.request.n", intValue(math.MinInt64)).set("gen_ai.request.max_tokens", doubleValue(math.Inf(1)))},

	{name: "no usage", span: goodSpan(9).drop(promptKey).drop(completionKey), ignore: otlp.IgnoreNoUsage},
	{name: "no attributes at all", span: changed(func(p *parts) { p.attributes = nil }), ignore: otlp.IgnoreNoUsage},
	{name: "a web framework's span", span: changed(func(p *parts) {
		p.name, p.attributes = "POST /v1/completions", []wire{attribute("http.status_code", intValue(200))}
	}), ignore: otlp.IgnoreNoUsage},
	{name: "a start-up span", span: changed(func(p *parts) { p.name, p.attributes = "Loading (GPU)", nil }), ignore: otlp.IgnoreNoUsage},
	{name: "a client SDK's span", span: changed(func(p *parts) { p.name = "openai.chat" }), ignore: otlp.IgnoreUnknownDialect},
	{name: "newer names of usage", span: changed(func(p *parts) {
		p.name, p.attributes = "chat opt-125m", []wire{attribute("gen_ai.usage.input_tokens", intValue(3)), attribute("gen_ai.usage.output_tokens", intValue(4))}
	}), ignore: otlp.IgnoreUnknownDialect},
	{name: "an empty span", span: parts{}, ignore: otlp.IgnoreNoUsage},
}

func manyAttributes(n int) (list []wire) {
	for i := range n {
		list = append(list, attribute(fmt.Sprintf("gen_ai.latency.%d", i), stringValue("x")))
	}
	return list
}

// TestSpans: what is wrong with one span is counted, and its neighbours stay,
// in both encodings.
func TestSpans(t *testing.T) {
	d := otlp.NewDecoder(nil)
	for _, c := range spanCases {
		t.Run(c.name, func(t *testing.T) {
			r, err := d.Proto(c.body())
			if err != nil {
				t.Fatal(err)
			}
			kept := 3
			for reason, counted := range map[string]map[string]int64{c.reject: r.Rejected, c.ignore: r.Ignored} {
				if reason == "" {
					continue
				}
				kept = 2
				if !maps.Equal(counted, map[string]int64{reason: 1}) {
					t.Errorf("counted %v, want one %s", counted, reason)
				}
			}
			if len(r.Observations) != kept || len(r.Rejected)+len(r.Ignored) != 3-kept {
				t.Fatalf("%d observations, rejected %v, ignored %v", len(r.Observations), r.Rejected, r.Ignored)
			}
			first, last := r.Observations[0], r.Observations[kept-1]
			if first.Span != "0000000000000001" || last.Span != "0000000000000002" || first.Quantities.Get(usage.InputTokens) != 16 || last.Quantities.Get(usage.OutputTokens) != 48 {
				t.Errorf("the neighbours changed: %+v %+v", first, last)
			}
			for i, o := range r.Observations {
				roundTrip(t, o, r.Resources[i])
			}
		})
	}
}

// TestKept looks at what an unusual span became.
func TestKept(t *testing.T) {
	for _, c := range []struct {
		name string
		span parts
		want func(o *usage.Observation) any
		is   any
	}{
		{"double", goodSpan(9).set(promptKey, doubleValue(16)), func(o *usage.Observation) any { return o.Quantities.Get(usage.InputTokens) }, int64(16)},
		{"root", changed(func(p *parts) { p.parent = nil }), func(o *usage.Observation) any { return o.Parent }, ""},
		{"short parent", changed(func(p *parts) { p.parent = []byte{1} }), func(o *usage.Observation) any { return o.Parent }, ""},
		{"parent", goodSpan(9), func(o *usage.Observation) any { return o.Parent }, "0102030405060708"},
		{"end before start", changed(func(p *parts) { p.end = p.start - 1 }), func(o *usage.Observation) any { return o.End - o.Start }, int64(-1)},
		{"last of two request ids", goodSpan(9).with(attribute(requestKey, stringValue("cmpl-b"))), func(o *usage.Observation) any { return o.RequestID }, "cmpl-b"},
		{"no tag", changed(func(p *parts) { p.state = "vendor=1" }), func(o *usage.Observation) any { return o.Tag }, ""},
		{"a tag among others", changed(func(p *parts) { p.state = "vendor=1, tollkeeper=v1.a.b.c ,x=2" }), func(o *usage.Observation) any { return o.Tag }, "v1.a.b.c"},
		{"two tags", changed(func(p *parts) { p.state = "tollkeeper=v1.a.b.c,tollkeeper=v1.a.b.c" }), func(o *usage.Observation) any { return o.Tag }, "doubled"},
		{"an empty tag and another", changed(func(p *parts) { p.state = "tollkeeper=,tollkeeper=v1.a.b.c" }), func(o *usage.Observation) any { return o.Tag }, "doubled"},
		{"an empty tag", changed(func(p *parts) { p.state = "tollkeeper=" }), func(o *usage.Observation) any { return o.Tag }, "empty"},
		{"latencies", goodSpan(9).set("gen_ai.latency.e2e", doubleValue(0.0000015)), func(o *usage.Observation) any {
			us, ok := o.Attributes.Int("gen_ai.latency.e2e_us")
			return fmt.Sprint(us, ok)
		}, "2 true"},
		{"a latency that is none", goodSpan(9).set("gen_ai.latency.e2e", doubleValue(math.NaN())), func(o *usage.Observation) any {
			_, ok := o.Attributes.Get("gen_ai.latency.e2e_us")
			return ok
		}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := otlp.NewDecoder(nil).Proto(export(goodResource, c.span.encode()))
			if err != nil || len(r.Observations) != 1 {
				t.Fatalf("%+v, %v", r, err)
			}
			if got := c.want(&r.Observations[0]); got != c.is {
				t.Errorf("%v, want %v", got, c.is)
			}
		})
	}
}

// TestLongText: a client's long request id is shortened, unambiguously, to text
// that keeps the engine's index at its end.
func TestLongText(t *testing.T) {
	id := func(s string) string {
		r, err := otlp.NewDecoder(nil).Proto(export(nil, goodSpan(1).set(requestKey, stringValue(s)).encode()))
		if err != nil || len(r.Observations) != 1 {
			t.Fatalf("%+v, %v", r, err)
		}
		return r.Observations[0].RequestID
	}
	for _, pad := range []string{"x", "é", "漢", "😀"} {
		long := "cmpl-" + strings.Repeat(pad, 600)
		a, b := id(long+"-0"), id(long+"-1")
		if a == b || len(a) > 512 || !usage.ValidText(a) || !strings.HasPrefix(a, "cmpl-"+pad) || !strings.HasSuffix(a, pad+"-0") {
			t.Errorf("%q and %q", a, b)
		}
	}
	if s := strings.Repeat("x", 512); id(s) != s {
		t.Error("512 bytes were shortened")
	}
}

// TestResource: text that is no UTF-8 in a kept attribute rejects the spans of
// that resource, one in a dropped attribute does not, and the spans of the next
// resource stay.
func TestResource(t *testing.T) {
	bad := strings.Repeat("\x80", 1000)
	for _, c := range []struct {
		name     string
		resource []wire
		rejected int64
	}{
		{"kept", append(goodResource[:1:1], attribute("host.name", stringValue(bad))), 1},
		{"dropped", append(goodResource[:1:1], attribute("process.command", stringValue(bad))), 0},
		{"replaced", append(goodResource[:1:1], attribute("host.name", stringValue(bad)), attribute("host.name", stringValue("h"))), 0},
		{"of another kind", append(goodResource[:1:1], attribute("host.name", doubleValue(1)), attribute("k8s.pod.name", arrayValue(stringValue("x")))), 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			body := append(export(c.resource, goodSpan(1).encode()), export(goodResource, goodSpan(2).encode())...)
			r, err := otlp.NewDecoder(nil).Proto(body)
			if err != nil || r.Rejected[otlp.RejectText] != c.rejected || int64(len(r.Observations)) != 2-c.rejected {
				t.Fatalf("%+v, %v", r, err)
			}
			if last := r.Observations[len(r.Observations)-1]; last.Resource.Str("service.name") != "opt-125m" || len(last.Resource) != 2 {
				t.Errorf("the neighbour's resource: %v", last.Resource)
			}
		})
	}
}

// TestResourceAnywhere: a resource behind its spans, or in two parts, is theirs
// all the same; spans in the field that senders used before 2022 count.
func TestResourceAnywhere(t *testing.T) {
	spans := wire(nil).bytes(2, goodSpan(1).encode())
	part := func(key, value string) wire { return wire(nil).bytes(1, attribute(key, stringValue(value))) }
	for name, body := range map[string]wire{
		"behind": wire(nil).bytes(2, spans).bytes(1, part("service.name", "a")),
		"parts":  wire(nil).bytes(1, part("service.name", "b")).bytes(2, spans).bytes(1, part("service.name", "a")),
		"old":    wire(nil).bytes(1, part("service.name", "a")).bytes(1000, spans),
		"both":   wire(nil).bytes(1, part("service.name", "a")).bytes(1000, nil).bytes(2, spans),
	} {
		r, err := otlp.NewDecoder(nil).Proto(wire(nil).bytes(1, body))
		if err != nil || len(r.Observations) != 1 || r.Observations[0].Resource.Str("service.name") != "a" {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
	}
}

// TestMatched: what the policy looks at is kept too.
func TestMatched(t *testing.T) {
	body := export([]wire{attribute("team", stringValue("red")), attribute("other", stringValue("x"))}, goodSpan(1).encode())
	r, err := otlp.NewDecoder([]string{"team"}).Proto(body)
	if err != nil || len(r.Observations) != 1 || r.Observations[0].Resource.Str("team") != "red" || len(r.Observations[0].Resource) != 1 {
		t.Errorf("%+v, %v", r, err)
	}
}

// TestMalformed: a body that is no protobuf is refused whole, wherever it
// breaks, and never panics.
func TestMalformed(t *testing.T) {
	d := otlp.NewDecoder(nil)
	whole := spanCases[0].body()
	for n := range whole {
		if _, err := d.Proto(whole[:n]); n > 0 && !errors.Is(err, otlp.ErrUndecodable) {
			t.Errorf("cut at %d: %v", n, err)
		}
	}
	for name, body := range map[string][]byte{
		"wire type 7":          {0x0f},
		"field 0":              {0x02, 0x00},
		"resource spans int":   wire(nil).varint(1, 5),
		"scope spans int":      wire(nil).bytes(1, wire(nil).varint(2, 5)),
		"resource int":         wire(nil).bytes(1, wire(nil).varint(1, 5)),
		"span int":             wire(nil).bytes(1, wire(nil).bytes(2, wire(nil).varint(2, 5))),
		"start varint":         export(nil, wire(nil).varint(7, 5)),
		"attribute int":        export(nil, wire(nil).varint(9, 5)),
		"value int":            export(nil, wire(nil).bytes(9, wire(nil).varint(2, 5))),
		"int value as double":  export(nil, wire(nil).bytes(9, wire(nil).bytes(2, wire(nil).fixed(3, 5)))),
		"overlong varint":      export(nil, wire(nil).bytes(9, wire(nil).bytes(2, append(wire{0x18}, bytes.Repeat([]byte{0xff}, 10)...)))),
		"length over the end":  {0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f},
		"negative length":      {0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01},
		"group without an end": protowire.AppendTag(nil, 77, protowire.StartGroupType),
		"end without a group":  protowire.AppendTag(nil, 77, protowire.EndGroupType),
		"text":                 []byte("hello, world"),
	} {
		if r, err := d.Proto(body); !errors.Is(err, otlp.ErrUndecodable) {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
	}
}

// TestGroups: a group among unknown fields is passed over, as protobuf asks.
func TestGroups(t *testing.T) {
	group := append(wire(protowire.AppendTag(nil, 77, protowire.StartGroupType)).varint(3, 5).text(4, "x"), protowire.AppendTag(nil, 77, protowire.EndGroupType)...)
	span := slices.Concat(group, goodSpan(1).encode())
	body := slices.Concat(group, export(goodResource, slices.Concat(span, group)))
	r, err := otlp.NewDecoder(nil).Proto(append(body, group...))
	if err != nil || len(r.Observations) != 1 || r.Observations[0].Quantities.Get(usage.InputTokens) != 16 {
		t.Errorf("%+v, %v", r, err)
	}
}

// TestVisitEnds: the visitor's error ends the walk and is the walk's.
func TestVisitEnds(t *testing.T) {
	d := otlp.NewDecoder(nil)
	enough := errors.New("enough")
	n := 0
	if _, err := d.EachProto(spanCases[0].body(), func(*usage.Observation, []byte) error { n++; return enough }); !errors.Is(err, enough) || errors.Is(err, otlp.ErrUndecodable) || n != 1 {
		t.Errorf("%d visits, %v", n, err)
	}
}
