package usage_test

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	"pgregory.net/rapid"

	"github.com/tollkeeper/tollkeeper/internal/otlp"
	"github.com/tollkeeper/tollkeeper/internal/tenant"
	"github.com/tollkeeper/tollkeeper/internal/usage"
)

// What a client chooses of a request: X-Request-Id (of the responses API the
// whole id but its end), traceparent and tracestate. These tests let it choose
// the worst, send it through an engine that makes spans as vLLM 0.32 does, and
// compare the bill with what was done. docs/adr/0003 says what is trusted.

// call is one API request and what its client chose.
type call struct {
	api        string
	prompts    []int64
	n          int
	output     int64 // tokens a choice
	id         string
	trace      string
	parent     string
	tracestate string
}

// engine makes the spans of calls, one process with one clock.
type engine struct {
	clock int64
	spans uint64
	out   ptrace.SpanSlice
	body  ptraceotlp.ExportRequest
}

func newEngine() *engine {
	traces := ptrace.NewTraces()
	rs := traces.ResourceSpans().AppendEmpty()
	rs.Resource().Attributes().PutStr("service.name", "opt")
	rs.Resource().Attributes().PutStr("service.instance.id", "i")
	rs.Resource().Attributes().PutStr("vllm.process_id", "1")
	return &engine{clock: noon, out: rs.ScopeSpans().AppendEmpty().Spans(), body: ptraceotlp.NewExportRequestFromTraces(traces)}
}

// tick is the least difference of two of the engine's times: a float64 of
// seconds, 2^-22 s in this century.
const tick = 238

func (e *engine) now() int64 { e.clock += tick; return e.clock }

func (e *engine) span(c call, id string, start, input, output, limit int64) {
	e.spans++
	s := e.out.AppendEmpty()
	s.SetName("llm_request")
	s.SetTraceID(pcommon.TraceID(unhex(c.trace, 16)))
	s.SetSpanID(pcommon.SpanID(binary.BigEndian.AppendUint64(nil, e.spans)))
	s.SetParentSpanID(pcommon.SpanID(unhex(c.parent, 8)))
	s.TraceState().FromRaw(c.tracestate)
	s.SetStartTimestamp(pcommon.Timestamp(start))
	s.SetEndTimestamp(pcommon.Timestamp(start + second))
	s.Attributes().PutStr("gen_ai.request.id", id)
	s.Attributes().PutInt("gen_ai.usage.prompt_tokens", input)
	s.Attributes().PutInt("gen_ai.usage.completion_tokens", output)
	s.Attributes().PutInt("gen_ai.request.max_tokens", limit)
	s.Attributes().PutInt("gen_ai.request.n", 1)
}

func unhex(s string, n int) []byte {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != n {
		return make([]byte, n)
	}
	return b
}

// serve does the call and returns what must be billed at the least: the usage
// that the API answers, and for a beam search what its spans say.
func (e *engine) serve(c call) (least usage.Quantities) {
	start := e.now()
	least.Add(usage.Requests, 1)
	count := func(id string, start, input, output, limit int64, first bool) {
		e.span(c, id, start, input, output, limit)
		if first {
			least.Add(usage.InputTokens, input)
		}
		least.Add(usage.OutputTokens, output)
	}
	for i, prompt := range c.prompts {
		switch c.api {
		case "completions":
			for choice := range c.n {
				count(fmt.Sprintf("cmpl-%s-%d", c.id, i), start, prompt, c.output, c.output, choice == 0)
			}
		case "embeddings", "score":
			prefix := map[string]string{"embeddings": "embd", "score": "score"}[c.api]
			count(fmt.Sprintf("%s-%s-%d", prefix, c.id, i), e.now(), prompt, 0, 0, true)
		case "beams":
			for step := range c.output {
				uuid := e.now()
				for beam := range c.n {
					if step > 0 || beam == 0 {
						count(fmt.Sprintf("cmpl-%s-%016x-beam-%d", c.id, uuid, beam), e.now(), prompt+step, 1, 1, true)
					}
				}
			}
		}
		if i > 0 {
			continue // the others take one prompt
		}
		switch c.api {
		case "chat":
			for choice := range c.n {
				count("chatcmpl-"+c.id, start, prompt, c.output, c.output, choice == 0)
			}
		case "responses":
			count(c.id+"_0", start, prompt, c.output, c.output, true)
		case "generate":
			count("generate-tokens-"+c.id, start, prompt, c.output, c.output, true)
		}
	}
	return least
}

// journal brings the engine's spans through the decoder and the judge of tags.
func (e *engine) facts(t require, rules *usage.Rules, d *tenant.Directory) []usage.Fact {
	body, err := e.body.MarshalProto()
	if err != nil {
		t.Fatalf("%v", err)
	}
	result, err := otlp.NewDecoder(nil).Proto(body)
	if err != nil || len(result.Rejected)+len(result.Ignored) > 0 || len(result.Observations) != e.out.Len() {
		t.Fatalf("%v, rejected %v, ignored %v", err, result.Rejected, result.Ignored)
	}
	var out []usage.Fact
	for i, o := range result.Observations {
		s := usage.Stamp{Producer: "p"}
		if o.Tag != "" {
			v := d.Judge(tenant.MemberKey+"="+o.Tag, o.Trace, time.Unix(0, noon))
			s.Tag, s.Record, s.Key, s.Customer, s.Project = usage.TagVerdict(v.State), v.Record, v.Key, v.Customer, v.Project
		}
		out = append(out, usage.NewFact(o, s, usage.Position{Received: o.End, Origin: "j", Seq: 1, Index: i}, rules))
	}
	return out
}

// require is what rapid.T and testing.T share.
type require interface {
	Fatalf(format string, args ...any)
}

// nasty are ids that look like something else.
var nasty = []string{
	"", "x", "-", "0", "-0", "x-0", "x-1", "x-0-0", "cmpl-x", "cmpl-x-0", "chatcmpl-x", "embd-x-1", "score-x-7", "pooling-1", "classify-x-1", "resp_x",
	"cmpl-x-0123456789abcdef-beam-0", "x-0123456789abcdef-beam-0", "x-0123456789abcdef-beam-1", "cmpl-x-0123456789abcdef-beam-0-0", "x-0123456789abcdef-beam",
	"embd-x-0123456789abcdef-beam-3", "x_0", "_", "é", "x\u0000", " x", strings.Repeat("x", 600), strings.Repeat("x", 600) + "-1", strings.Repeat("é", 300) + "-beam-0",
}

var (
	traces = []string{"", "000000000000000000000000000000aa", "000000000000000000000000000000bb"}
	spans  = []string{"", "00000000000000cc"}
)

func anyCall(states []string) *rapid.Generator[call] {
	return rapid.Custom(func(t *rapid.T) call {
		c := call{
			api:     rapid.SampledFrom([]string{"completions", "chat", "responses", "generate", "embeddings", "score", "beams"}).Draw(t, "api"),
			prompts: rapid.SliceOfN(rapid.Int64Range(1, 3), 1, 3).Draw(t, "prompts"),
			n:       rapid.IntRange(1, 3).Draw(t, "n"), output: rapid.Int64Range(1, 3).Draw(t, "output"),
			id: rapid.SampledFrom(nasty).Draw(t, "id"), trace: rapid.SampledFrom(traces).Draw(t, "trace"), parent: rapid.SampledFrom(spans).Draw(t, "parent"),
			tracestate: rapid.SampledFrom(states).Draw(t, "tracestate"),
		}
		if c.trace == "" { // without a traceparent the engine makes a trace, and ignores tracestate
			c.trace, c.parent, c.tracestate = rapid.StringMatching(`[1-9a-f][0-9a-f]{31}`).Draw(t, "own trace"), "", ""
		}
		return c
	})
}

func total(records []usage.Record) (q usage.Quantities) {
	for i := range records {
		q.AddAll(records[i].Quantities)
	}
	return q
}

// TestNoShapeMakesABillSmaller: with `beams: plain`, nothing that clients choose
// makes the sum smaller than what was done, and tokens put out are exact.
func TestNoShapeMakesABillSmaller(t *testing.T) {
	h := newHouse(t)
	for name, rules := range map[string]*usage.Rules{"no policy": nil, "plain": opt(t, usage.Engine{Beams: usage.BeamsPlain})} {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				e := newEngine()
				var least usage.Quantities
				for _, c := range rapid.SliceOfN(anyCall(h.hostile()), 1, 8).Draw(t, "calls") {
					least.AddAll(e.serve(c))
				}
				got := total(usage.Fold(e.facts(t, rules, h.directory)).Records)
				for _, name := range []string{usage.InputTokens, usage.OutputTokens, usage.Requests} {
					if got.Get(name) < least.Get(name) || (name == usage.OutputTokens && got.Get(name) != least.Get(name)) {
						t.Fatalf("%s: billed %d of %d", name, got.Get(name), least.Get(name))
					}
				}
			})
		})
	}
}

// TestNobodyElsePays: what hostile clients send changes no record of a customer
// whose requests the edge tagged, though they use its trace, its request ids
// and the tag itself on a trace of theirs.
func TestNobodyElsePays(t *testing.T) {
	h := newHouse(t)
	rules := compile(t, usage.Policy{Order: []string{usage.RuleTag, usage.RuleRequestID}, RequestIDs: []string{`^(chat)?cmpl-(?P<customer>evil)`}})
	acme := func(records []usage.Record) (out []string) {
		for _, r := range records {
			if r.Customer == "acme" {
				out = append(out, r.ID()+" "+summary(&r))
			}
		}
		return out
	}
	rapid.Check(t, func(t *rapid.T) {
		honest := rapid.SliceOfN(anyCall([]string{""}), 1, 4).Draw(t, "honest")
		for i := range honest {
			honest[i].trace, honest[i].parent = fmt.Sprintf("%032x", 0xaa+0x11*(i%2)), "00000000000000cc"
			honest[i].tracestate = h.sign(honest[i].trace, rapid.SampledFrom([]string{"", ulid}).Draw(t, "record"))
		}
		alone, among := newEngine(), newEngine()
		for _, c := range honest {
			for _, bad := range rapid.SliceOfN(anyCall(h.hostile()), 0, 4).Draw(t, "hostile") {
				among.serve(bad)
			}
			alone.clock = among.clock // the same moment in both worlds
			alone.spans = among.spans
			alone.serve(c)
			among.serve(c)
		}
		want, got := acme(usage.Fold(alone.facts(t, rules, h.directory)).Records), acme(usage.Fold(among.facts(t, rules, h.directory)).Records)
		if !slices.Equal(got, want) {
			t.Fatalf("acme pays\n%q, alone\n%q", got, want)
		}
	})
}

// TestForgedTags: each is invalid, and none falls through to the request id.
func TestForgedTags(t *testing.T) {
	h := newHouse(t)
	rules := compile(t, usage.Policy{Order: []string{usage.RuleTag, usage.RuleRequestID}, RequestIDs: []string{`^chatcmpl-(?P<customer>[a-z]+)`}})
	for _, state := range h.hostile()[1:] {
		e := newEngine()
		e.serve(call{api: "chat", prompts: []int64{5}, n: 1, output: 1, id: "evil", trace: traces[2], parent: spans[1], tracestate: state})
		r := usage.Fold(e.facts(t, rules, h.directory)).Records[0]
		if r.Customer != "" || !slices.Contains(r.Flags, usage.FlagTagInvalid) {
			t.Errorf("%s: %s pays by %s, flags %v", state, r.Customer, r.Rule, r.Flags)
		}
	}
}

// TestEqualStart bounds what is left: two requests of one id that begin in the
// same tick of one process fall together, and agree on the prompt by chance or
// by their client's choice. Then one prompt is not billed; their output is.
func TestEqualStart(t *testing.T) {
	var m maker
	wantRecords(t, nil, []said{m.span("chatcmpl-x", noon, 16, 5), m.span("chatcmpl-x", noon, 16, 7)}, "generation final 16+12/1 []")
	wantRecords(t, nil, []said{m.span("chatcmpl-x", noon, 16, 5), m.span("chatcmpl-x", noon+tick, 16, 7)}, "generation final 16+5/1 []", "generation final 16+7/1 []")
	wantRecords(t, nil, []said{m.span("chatcmpl-x", noon, 16, 5), m.span("chatcmpl-x", noon, 17, 7)}, "generation final 33+12/1 [inputs_differ]")
	wantRecords(t, nil, []said{m.span("embd-x-0", noon, 16, 0), m.span("embd-x-0", noon, 16, 0)}, "pooling final 16+0/1 []", "pooling final 16+0/1 []")
}

// house is a customer with a key, and the secret that signs its tags.
type house struct {
	directory *tenant.Directory
	secret    tenant.Secret
	key       tenant.Key
	fatalf    func(format string, args ...any)
}

func newHouse(t *testing.T) *house {
	t.Helper()
	now := time.Unix(0, noon)
	key, _, err := tenant.NewKey(tenant.Key{Customer: "acme", Role: tenant.RoleCaller}, rand.NewChaCha8([32]byte{1}), now)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := tenant.NewSecret(rand.NewChaCha8([32]byte{2}), now)
	if err != nil {
		t.Fatal(err)
	}
	return &house{
		tenant.NewDirectory([]tenant.Customer{{ID: "acme", Created: now}}, []tenant.Key{key}, []tenant.Secret{secret}), secret, key, t.Fatalf,
	}
}

// sign is the tracestate that the edge sets.
func (h *house) sign(trace, record string) string {
	value, err := h.secret.Sign(tenant.Tag{Record: record, Key: h.key.ID}, trace)
	if err != nil {
		h.fatalf("%v", err)
	}
	return tenant.MemberKey + "=" + value
}

// hostile are tracestates that a client may come with: none, and then some that
// claim what they cannot prove.
func (h *house) hostile() []string {
	good, elsewhere := h.sign(traces[1], ""), h.sign("000000000000000000000000000000dd", ulid)
	withoutRecord := strings.Replace(elsewhere, ulid, "-", 1)
	last := good[len(good)-1]
	flipped := good[:len(good)-1] + string("AQ"[map[bool]int{true: 1}[last == 'A']])
	return []string{
		"", elsewhere, withoutRecord, flipped, elsewhere + ",vendor=1", "vendor=1," + elsewhere,
		good + "," + good, good + "," + flipped, elsewhere + "," + good,
		strings.ToLower(elsewhere), strings.Replace(good, "v1", "v2", 1), strings.Replace(good, h.key.ID, h.key.ID+"x", 1),
		"tollkeeper=v1.-.key_1.AAECAwQFBgcICQoLDA0ODw", "tollkeeper=" + strings.Repeat("x", 700), "tollkeeper=x",
	}
}
