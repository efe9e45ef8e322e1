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
	RejectTooLarge = "count_too_large"   // above usage.MaxAmount
	RejectStart    = "missing_start"     // zero
	RejectTime     = "time_out_of_range" // after the year 2262
	RejectText     = "invalid_utf8"      // in a field that is kept
)

// Reasons for which a span is not kept.
const (
	IgnoreNoUsage        = "no_usage"        // it tells no usage
	IgnoreUnknownDialect = "unknown_dialect" // it tells usage, but no known engine wrote it
)

// latencies are kept as whole microseconds.
var latencies = []string{
	"gen_ai.latency.e2e", "gen_ai.latency.time_in_model_decode", "gen_ai.latency.time_in_model_inference",
	"gen_ai.latency.time_in_model_prefill", "gen_ai.latency.time_in_queue", "gen_ai.latency.time_to_first_token",
}

// numbers are span attributes kept as they are.
var numbers = []string{"gen_ai.request.max_tokens", "gen_ai.request.n"}

func (w *walker) vllm(s *span) {
	prompt, hasPrompt := s.get(attrPrompt)
	completion, hasCompletion := s.get(attrCompletion)
	if s.name != vllmSpanName {
		w.result.ignore(ignoreReason(s))
		return
	}
	if !hasPrompt && !hasCompletion {
		w.result.ignore(IgnoreNoUsage)
		return
	}
	o, reason := w.observation(s, prompt, completion)
	if reason != "" {
		w.result.reject(reason)
		return
	}
	w.result.Observations = append(w.result.Observations, o)
	w.result.Resources = append(w.result.Resources, w.encoded)
}

func ignoreReason(s *span) string {
	for i := range s.attributes {
		if strings.HasPrefix(s.attributes[i].key, "gen_ai.usage.") {
			return IgnoreUnknownDialect
		}
	}
	return IgnoreNoUsage
}

func (w *walker) observation(s *span, prompt, completion keyValue) (o usage.Observation, reason string) {
	input, output, reason := counts(prompt, completion)
	if reason == "" {
		reason = checkSpan(s)
	}
	if reason != "" {
		return o, reason
	}
	id, _ := s.get(attrRequestID)
	tag := tagMember(s.tracestate)
	if w.badText || !usage.ValidText(id.str) || !usage.ValidText(tag) {
		return o, RejectText
	}
	return usage.Observation{
		Kind: usage.KindUsage, Domain: usage.DomainSpan,
		Trace: hex.EncodeToString(s.trace), Span: hex.EncodeToString(s.id), Parent: parentID(s.parent),
		Start: int64(s.start), End: int64(s.end),
		RequestID: shorten(id.str), Tag: shorten(tag),
		Quantities: usage.Quantities{{Name: usage.InputTokens, Amount: input}, {Name: usage.OutputTokens, Amount: output}},
		Attributes: spanAttributes(s), Resource: w.resource,
	}, ""
}

func counts(prompt, completion keyValue) (input, output int64, reason string) {
	input, okIn := prompt.whole()
	output, okOut := completion.whole()
	switch {
	case !okIn || !okOut || input < 0 || output < 0:
		return 0, 0, RejectCount
	case input > usage.MaxAmount || output > usage.MaxAmount:
		return 0, 0, RejectTooLarge
	}
	return input, output, ""
}

func checkSpan(s *span) string {
	switch {
	case len(s.trace) != 16 || allZero(s.trace):
		return RejectTraceID
	case len(s.id) != 8 || allZero(s.id):
		return RejectSpanID
	case s.start == 0:
		return RejectStart
	case s.start > math.MaxInt64 || s.end > math.MaxInt64:
		return RejectTime
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

// parentID is the parent's id in hex, "" for a root or a malformed one.
func parentID(b []byte) string {
	if len(b) != 8 || allZero(b) {
		return ""
	}
	return hex.EncodeToString(b)
}

func spanAttributes(s *span) usage.Attributes {
	var list usage.Attributes
	for _, key := range latencies {
		if kv, ok := s.get(key); ok && kv.kind == kindDouble {
			if us := math.Round(kv.double * 1e6); us >= 0 && us <= 1<<53 {
				list = append(list, usage.Attribute{Key: key + "_us", Int: int64(us), IsInt: true})
			}
		}
	}
	for _, key := range numbers {
		if kv, ok := s.get(key); ok {
			if n, ok := kv.whole(); ok {
				list = append(list, usage.Attribute{Key: key, Int: n, IsInt: true})
			}
		}
	}
	return list // both lists are sorted, and latency stands before request
}

// tagMember returns the value of the tracestate member "tollkeeper" (W3C Trace
// Context, section 3.3). A doubled one voids all of them: it is returned as it
// stands, and cannot verify.
func tagMember(tracestate string) string {
	if tracestate == "" {
		return ""
	}
	found := ""
	for member := range strings.SplitSeq(tracestate, ",") {
		key, value, ok := strings.Cut(strings.TrimSpace(member), "=")
		if !ok || key != "tollkeeper" {
			continue
		}
		if found != "" {
			return "doubled"
		}
		found = strings.TrimSpace(value)
	}
	return found
}
