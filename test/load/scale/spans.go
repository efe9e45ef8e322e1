package main

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"

	"github.com/tollkeeper/tollkeeper/internal/usage"
)

// firstDay is when the first record began, in a month that all of them are of.
var firstDay = time.Date(2026, 10, 1, 0, 0, 0, 0, time.UTC)

const (
	month     = "2026-10"
	customers = 100
	engines   = 8 // processes, each with a model
)

var models = []string{"facebook/opt-125m", "meta-llama/Llama-3.1-8B-Instruct"}

// policy is what the configuration below says.
func policy() usage.Policy {
	p := usage.Policy{Order: []string{usage.RuleRequestID}, RequestIDs: []string{`^(chat)?cmpl-(?P<customer>c[0-9]+)-`}}
	for i, model := range models {
		p.Engines = append(p.Engines, usage.Engine{Match: map[string]string{"service.name": service(i)}, Model: model})
	}
	return p
}

func service(model int) string { return fmt.Sprintf("vllm-%d", model) }

// configure writes the binary's configuration.
func (b *bench) configure() error {
	var c, prices strings.Builder
	fmt.Fprintf(&c, "signing_key: keys/signing.key\nprices: prices.yaml\ninvoice: { currency: USD, time_zone: UTC }\nengines:\n")
	fmt.Fprintf(&prices, "currency: USD\nprices:\n")
	for i, model := range models {
		fmt.Fprintf(&c, "  - { match: { service.name: %s }, model: %s }\n", service(i), model)
		fmt.Fprintf(&prices, "  - { model: %s, from: 2026-01-01, per: 1000000, input_tokens: \"0.1%d\", output_tokens: \"0.40\" }\n", model, i)
	}
	fmt.Fprintf(&c, "attribution: { order: [request_id], request_id: [ '%s' ] }\n", policy().RequestIDs[0])
	for name, text := range map[string]string{"tollkeeper.yaml": c.String(), "prices.yaml": prices.String()} {
		if err := os.WriteFile(filepath.Join(b.dir, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	return os.MkdirAll(filepath.Join(b.dir, dataDir), 0o750)
}

// request is what is random of record i, the same each time.
type request struct {
	trace    pcommon.TraceID
	span     pcommon.SpanID
	id       string
	engine   int
	in, out  int64
	took     time.Duration
	customer string
}

func requestOf(i int) request {
	r := rand.New(rand.NewPCG(1, uint64(i))) //nolint:gosec // a benchmark wants the same again
	var q request
	binary.BigEndian.PutUint64(q.trace[:], r.Uint64())
	binary.BigEndian.PutUint64(q.trace[8:], r.Uint64())
	binary.BigEndian.PutUint64(q.span[:], r.Uint64())
	q.customer = fmt.Sprintf("c%d", r.IntN(customers))
	q.id = fmt.Sprintf("cmpl-%s-%016x-0", q.customer, r.Uint64())
	q.engine, q.in, q.out = r.IntN(engines), 1+r.Int64N(4000), 1+r.Int64N(800)
	q.took = time.Duration(1+r.Int64N(30_000)) * time.Millisecond
	return q
}

// export is the records of [from, to) as a vLLM's exporter sends them, a
// resource for each process, and when the last of them ended.
func export(from, to int, step time.Duration) (body []byte, last time.Time, err error) {
	traces := ptrace.NewTraces()
	var spans [engines]ptrace.SpanSlice
	for e := range engines {
		rs := traces.ResourceSpans().AppendEmpty()
		a := rs.Resource().Attributes()
		a.PutStr("telemetry.sdk.language", "python")
		a.PutStr("telemetry.sdk.name", "opentelemetry")
		a.PutStr("telemetry.sdk.version", "1.45.2")
		a.PutStr("service.instance.id", fmt.Sprintf("ad61402d-07a9-4f14-a341-308f5b7e6b%02d", e))
		a.PutStr("service.name", service(e%len(models)))
		a.PutStr("vllm.instrumenting_module_name", "vllm.llm_engine")
		a.PutStr("vllm.process_id", "4711")
		a.PutStr("k8s.pod.name", fmt.Sprintf("vllm-5d8f9c7b6-x2x7%d", e))
		ss := rs.ScopeSpans().AppendEmpty()
		ss.Scope().SetName("vllm.llm_engine")
		spans[e] = ss.Spans()
	}
	for i := from; i < to; i++ {
		q := requestOf(i)
		start := firstDay.Add(time.Duration(i) * step)
		end := start.Add(q.took)
		if end.After(last) {
			last = end
		}
		q.write(spans[q.engine].AppendEmpty(), start, end)
	}
	traces.ResourceSpans().RemoveIf(func(rs ptrace.ResourceSpans) bool { return rs.ScopeSpans().At(0).Spans().Len() == 0 })
	body, err = ptraceotlp.NewExportRequestFromTraces(traces).MarshalProto()
	return body, last, err
}

// write makes the span that vLLM 0.32 makes of a request.
func (q *request) write(s ptrace.Span, start, end time.Time) {
	s.SetTraceID(q.trace)
	s.SetSpanID(q.span)
	s.SetName("llm_request")
	s.SetKind(ptrace.SpanKindServer)
	s.SetStartTimestamp(pcommon.NewTimestampFromTime(start))
	s.SetEndTimestamp(pcommon.NewTimestampFromTime(end))
	a := s.Attributes()
	seconds := q.took.Seconds()
	a.PutDouble("gen_ai.latency.time_to_first_token", seconds/10)
	a.PutDouble("gen_ai.latency.e2e", seconds)
	a.PutDouble("gen_ai.latency.time_in_queue", seconds/100)
	a.PutInt("gen_ai.usage.prompt_tokens", q.in)
	a.PutInt("gen_ai.usage.completion_tokens", q.out)
	a.PutDouble("gen_ai.latency.time_in_model_prefill", seconds/11)
	a.PutDouble("gen_ai.latency.time_in_model_decode", seconds*0.9)
	a.PutDouble("gen_ai.latency.time_in_model_inference", seconds*0.99)
	a.PutStr("gen_ai.request.id", q.id)
	a.PutDouble("gen_ai.request.top_p", 1)
	a.PutInt("gen_ai.request.max_tokens", 1024)
	a.PutDouble("gen_ai.request.temperature", 0.7)
	a.PutInt("gen_ai.request.n", 1)
}
