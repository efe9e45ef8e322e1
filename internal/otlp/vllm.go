package otlp

import (
	"encoding/hex"
	"math"
	"strings"

	"github.com/tollkeeper/tollkeeper/internal/usage"
)

// The vLLM dialect: vllm/tracing/otel.py of vLLM 0.32, one "llm_request" span
// for each finished sequence group.
const (
	vllmSpanName   = "llm_request"
	attrRequestID  = "gen_ai.request.id"
	attrPrompt     = "gen_ai.usage.prompt_tokens"
	attrCompletion = "gen_ai.usage.completion_tokens"
)

// Reasons for which a span is refused for ever.
const (
	RejectTraceID  = "bad_trace_id"      // not 16 bytes, or all zero
	RejectSpanID   = "bad_span_id"       // not 8 bytes, or all zero
	RejectCount    = "bad_count"         // missing, negative, no whole number
	RejectTwice    = "count_said_twice"  // two values under one key
	RejectTooLarge = "count_too_large"   // above usage.MaxAmount
	RejectStart    = "missing_start"     // zero
	RejectTime     = "time_out_of_range" // after the year 2262, or no number
	RejectText     = "invalid_utf8"      // in a field that is kept
)

// Reasons for which a span is not kept.
const (
	IgnoreNoUsage        = "no_usage"        // it tells no usage
	IgnoreUnknownDialect = "unknown_dialect" // it tells usage, but no known engine wrote it
)

// latencies are kept as whole microseconds, under keptLatencies.
var latencies = [...]string{
	"gen_ai.latency.e2e", "gen_ai.latency.time_in_model_decode", "gen_ai.latency.time_in_model_inference",
	"gen_ai.latency.time_in_model_prefill", "gen_ai.latency.time_in_queue", "gen_ai.latency.time_to_first_token",
}

var keptLatencies = [len(latencies)]string{
	"gen_ai.latency.e2e_us", "gen_ai.latency.time_in_model_decode_us", "gen_ai.latency.time_in_model_inference_us",
	"gen_ai.latency.time_in_model_prefill_us", "gen_ai.latency.time_in_queue_us", "gen_ai.latency.time_to_first_token_us",
}

// numbers are span attributes kept as they are.
var numbers = [...]string{"gen_ai.request.max_tokens", "gen_ai.request.n"}

// scratch is what observations of one export are built in, one after the other.
type scratch struct {
	observation usage.Observation
	quantities  [2]usage.Quantity
	attributes  [len(latencies) + len(numbers)]usage.Attribute
	ids         [2*traceBytes + 2*2*spanBytes]byte
}

const (
	traceBytes = 16 // of a trace id
	spanBytes  = 8  // of a span id
)

func (w *walker) vllm(s *span) error {
	if s.name != vllmSpanName {
		reason := IgnoreNoUsage
		if s.tellsUsage {
			reason = IgnoreUnknownDialect
		}
		w.counts.ignore(reason)
		return nil
	}
	if s.prompt.key == "" && s.completion.key == "" {
		w.counts.ignore(IgnoreNoUsage)
		return nil
	}
	o, reason := w.observation(s)
	if reason != "" {
		w.counts.reject(reason)
		return nil
	}
	return w.visit(o, w.encoded)
}

// observation builds what the span says in the walker's scratch, or says why it
// cannot be kept.
func (w *walker) observation(s *span) (o *usage.Observation, reason string) {
	input, output, reason := s.counts()
	if reason == "" {
		reason = s.check()
	}
	if reason != "" {
		return nil, reason
	}
	tag := tagMember(s.tracestate)
	if w.badText || !usage.ValidText(s.requestID) || !usage.ValidText(tag) {
		return nil, RejectText
	}
	x := &w.scratch
	x.quantities = [2]usage.Quantity{{Name: usage.InputTokens, Amount: input}, {Name: usage.OutputTokens, Amount: output}}
	x.observation = usage.Observation{
		Kind: usage.KindUsage, Domain: usage.DomainSpan,
		Start: int64(s.start), End: int64(s.end),
		RequestID: shorten(s.requestID), Tag: shorten(tag),
		Quantities: x.quantities[:], Attributes: x.spanAttributes(s), Resource: w.resource,
	}
	x.setIDs(s)
	return &x.observation, ""
}

// setIDs writes the ids in hex, all in one string.
func (x *scratch) setIDs(s *span) {
	n := hex.Encode(x.ids[:], s.trace)
	n += hex.Encode(x.ids[n:], s.id)
	if len(s.parent) == spanBytes && !allZero(s.parent) { // "" for a root or a malformed one
		n += hex.Encode(x.ids[n:], s.parent)
	}
	text := string(x.ids[:n])
	x.observation.Trace, x.observation.Span, x.observation.Parent = text[:2*traceBytes], text[2*traceBytes:][:2*spanBytes], text[2*(traceBytes+spanBytes):]
}

func (s *span) counts() (input, output int64, reason string) {
	input, okIn := s.prompt.whole()
	output, okOut := s.completion.whole()
	switch {
	case s.contradicts:
		return 0, 0, RejectTwice
	case !okIn || !okOut || input < 0 || output < 0:
		return 0, 0, RejectCount
	case input > usage.MaxAmount || output > usage.MaxAmount:
		return 0, 0, RejectTooLarge
	}
	return input, output, ""
}

func (s *span) check() string {
	switch {
	case len(s.trace) != traceBytes || allZero(s.trace):
		return RejectTraceID
	case len(s.id) != spanBytes || allZero(s.id):
		return RejectSpanID
	case s.badTime || s.start > math.MaxInt64 || s.end > math.MaxInt64:
		return RejectTime
	case s.start == 0:
		return RejectStart
	}
	return ""
}

func allZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

// spanAttributes are in order: both lists are sorted, and latency stands before
// request.
func (x *scratch) spanAttributes(s *span) usage.Attributes {
	list := x.attributes[:0]
	for i := range s.latencies {
		if kv := &s.latencies[i]; kv.kind == kindDouble {
			if us := math.Round(kv.double * 1e6); us >= 0 && us <= 1<<53 {
				list = append(list, usage.Attribute{Key: keptLatencies[i], Int: int64(us), IsInt: true})
			}
		}
	}
	for i := range s.numbers {
		if n, ok := s.numbers[i].whole(); ok {
			list = append(list, usage.Attribute{Key: numbers[i], Int: n, IsInt: true})
		}
	}
	return list
}

const (
	tagKey = "tollkeeper"
	// doubledTag and emptyTag stand for a tag that names us twice, or says
	// nothing: neither can verify.
	doubledTag, emptyTag = "doubled", "empty"
)

// tagMember returns the value of the tracestate member "tollkeeper" (W3C Trace
// Context, section 3.3), "" when there is none. A doubled one voids all of them.
func tagMember(tracestate string) (tag string) {
	for member := range strings.SplitSeq(tracestate, ",") {
		key, value, ok := strings.Cut(strings.TrimSpace(member), "=")
		if !ok || key != tagKey {
			continue
		}
		if tag != "" {
			return doubledTag
		}
		if tag = strings.TrimSpace(value); tag == "" {
			tag = emptyTag
		}
	}
	return tag
}
