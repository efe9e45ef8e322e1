package cli_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
)

const recordings = "../../testdata/recordings/vllm-0.32.0"

// spans are spans as vLLM sends them, one request each.
type spans struct {
	asked
	attributes int // beside those of vLLM
	long       int // bytes of the request id, if more
}

// asked is what makes one span another.
type asked struct {
	service, model string
	id             string // of the request; the second is ID-2 and so on
	trace          string // of all; "": one each
	tracestate     string
	in, out        int64
	at             time.Time
	count          int
	seed           string // of the ids that are drawn
}

func defaultSpans(seed string) spans {
	return spans{asked: asked{
		service: "opt-125m", model: "facebook/opt-125m", id: "cmpl-", in: 10, out: 5, count: 1, seed: seed,
		at: time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC),
	}}
}

func (s *spans) set(key, value string) (err error) {
	switch key {
	case "service":
		s.service = value
	case "model":
		s.model = value
	case "id":
		s.id = value
	case "trace":
		s.trace = value
	case "tracestate":
		s.tracestate = value
	case "in":
		s.in, err = strconv.ParseInt(value, 10, 64)
	case "out":
		s.out, err = strconv.ParseInt(value, 10, 64)
	case "at":
		s.at, err = time.Parse(time.RFC3339, value)
	case "count":
		s.count, err = strconv.Atoi(value)
	case "attributes":
		s.attributes, err = strconv.Atoi(value)
	case "long":
		s.long, err = strconv.Atoi(value)
	default:
		err = fmt.Errorf("no such key: %s", key)
	}
	return err
}

// body is an export of the spans in protobuf. What is the same gives the same
// bytes, so sending it again makes duplicates.
func (s *spans) body() ([]byte, error) {
	traces := ptrace.NewTraces()
	r := traces.ResourceSpans().AppendEmpty()
	r.Resource().Attributes().PutStr("service.name", s.service)
	r.Resource().Attributes().PutStr("service.instance.id", s.service+"-0")
	if s.model != "" {
		r.Resource().Attributes().PutStr("gen_ai.request.model", s.model)
	}
	list := r.ScopeSpans().AppendEmpty().Spans()
	for i := range s.count {
		chance := sha256.Sum256(fmt.Appendf(nil, "%s %+v %d", s.seed, s.asked, i))
		x := list.AppendEmpty()
		x.SetName("llm_request")
		trace := pcommon.TraceID(chance[:16])
		if s.trace != "" {
			b, err := hex.DecodeString(s.trace)
			if err != nil || len(b) != len(trace) {
				return nil, fmt.Errorf("trace %q: 32 hex digits", s.trace)
			}
			trace = pcommon.TraceID(b)
		}
		x.SetTraceID(trace)
		x.SetSpanID(pcommon.SpanID(chance[16:24]))
		x.TraceState().FromRaw(s.tracestate)
		at := s.at.Add(time.Duration(i) * time.Second)
		x.SetStartTimestamp(pcommon.NewTimestampFromTime(at))
		x.SetEndTimestamp(pcommon.NewTimestampFromTime(at.Add(500 * time.Millisecond)))
		id := s.id
		if id == "cmpl-" {
			id += hex.EncodeToString(chance[24:]) + "-0"
		}
		if i > 0 {
			id += "-" + strconv.Itoa(i+1)
		}
		id += strings.Repeat("x", max(0, s.long-len(id)))
		for n := range s.attributes {
			x.Attributes().PutStr(fmt.Sprintf("gen_ai.odd.%d", n), "x")
		}
		x.Attributes().PutStr("gen_ai.request.id", id)
		x.Attributes().PutInt("gen_ai.usage.prompt_tokens", s.in)
		x.Attributes().PutInt("gen_ai.usage.completion_tokens", s.out)
	}
	return ptraceotlp.NewExportRequestFromTraces(traces).MarshalProto()
}
