package main

import (
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
)

// customers are those that the configuration finds in a request's id.
var customers = []string{"acme", "globex", "initech"}

// export is what a client sends at once: spans of one or more API requests. All
// of it follows from the seed of its data directory, its client and its number,
// so that a client need remember only the number.
type export struct {
	requests []request
}

// request is one API request, with the spans that vLLM makes of it, and what
// they come to.
type request struct {
	customer string
	start    time.Time
	spans    []span
	input    int64
	output   int64
}

type span struct {
	trace, span string // hex
	id          string
	input       int64
	output      int64
}

const (
	maxRequests = 6   // in one export
	maxChoices  = 3   // n, or prompts, of one request
	maxTokens   = 500 // of one span, input and output each
	// spread is over how long the requests of one directory began: usage has a file
	// for each day.
	spread = 60 * time.Hour
)

// newExport makes export n of a client.
func newExport(seed uint64, client, n int, base time.Time) *export {
	chance := rand.New(rand.NewPCG(seed, uint64(client)<<32|uint64(n))) //nolint:gosec // chance that can be repeated
	e := &export{}
	for range 1 + chance.IntN(maxRequests) {
		e.requests = append(e.requests, newRequest(chance, base))
	}
	return e
}

// newRequest has one span, or several choices of one prompt, which say the same
// input each, or several prompts, whose inputs add up.
func newRequest(chance *rand.Rand, base time.Time) request {
	r := request{customer: customers[chance.IntN(len(customers))], start: base.Add(-time.Duration(chance.Int64N(int64(spread))))}
	trace := randomHex(chance, 16)
	prompts := chance.IntN(2) == 0
	id := fmt.Sprintf("chatcmpl-%s-%s", r.customer, randomHex(chance, 16))
	input := 1 + chance.Int64N(maxTokens)
	for i := range 1 + chance.IntN(maxChoices) {
		s := span{trace: trace, span: randomHex(chance, 8), id: id, input: input, output: 1 + chance.Int64N(maxTokens)}
		if prompts {
			s.id = fmt.Sprintf("%s-%d", id[len("chat"):], i)
			s.input = 1 + chance.Int64N(maxTokens)
			r.input += s.input
		} else {
			r.input = input
		}
		r.output += s.output
		r.spans = append(r.spans, s)
	}
	return r
}

func randomHex(chance *rand.Rand, bytes int) string {
	b := make([]byte, bytes)
	for i := range b {
		b[i] = byte(chance.Uint32())
	}
	return hex.EncodeToString(b)
}

// otlp is the export as vLLM's SDK sends it.
func (e *export) otlp() (ptraceotlp.ExportRequest, error) {
	traces := ptrace.NewTraces()
	r := traces.ResourceSpans().AppendEmpty()
	r.Resource().Attributes().PutStr("service.name", "opt-125m")
	r.Resource().Attributes().PutStr("service.instance.id", "opt-125m-0")
	list := r.ScopeSpans().AppendEmpty()
	list.Scope().SetName("vllm.llm_engine")
	for i := range e.requests {
		for _, s := range e.requests[i].spans {
			x := list.Spans().AppendEmpty()
			x.SetName("llm_request")
			x.SetKind(ptrace.SpanKindServer)
			trace, err1 := hex.DecodeString(s.trace)
			id, err2 := hex.DecodeString(s.span)
			if err1 != nil || err2 != nil {
				return ptraceotlp.ExportRequest{}, fmt.Errorf("span %s of trace %s: %w %w", s.span, s.trace, err1, err2)
			}
			x.SetTraceID(pcommon.TraceID(trace))
			x.SetSpanID(pcommon.SpanID(id))
			x.SetStartTimestamp(pcommon.NewTimestampFromTime(e.requests[i].start))
			x.SetEndTimestamp(pcommon.NewTimestampFromTime(e.requests[i].start.Add(time.Second)))
			a := x.Attributes()
			a.PutStr("gen_ai.request.id", s.id)
			a.PutDouble("gen_ai.request.temperature", 1)
			a.PutInt("gen_ai.request.max_tokens", maxTokens)
			a.PutInt("gen_ai.usage.prompt_tokens", s.input)
			a.PutInt("gen_ai.usage.completion_tokens", s.output)
			a.PutDouble("gen_ai.latency.e2e", 1)
		}
	}
	return ptraceotlp.NewExportRequestFromTraces(traces), nil
}
