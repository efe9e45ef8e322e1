package otlp_test

import (
	"encoding/hex"
	"math"
	"slices"
	"strings"
	"unicode/utf8"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/tollkeeper/tollkeeper/internal/otlp"
	"github.com/tollkeeper/tollkeeper/internal/usage"
)

// reference says what an export means, slowly and by pdata's reading of it. It
// shares nothing with the decoder but the words.
func reference(traces ptrace.Traces) *otlp.Result {
	r := &otlp.Result{}
	for _, rs := range traces.ResourceSpans().All() {
		resource, ok := referenceResource(rs.Resource().Attributes())
		for _, ss := range rs.ScopeSpans().All() {
			for _, s := range ss.Spans().All() {
				referenceSpan(r, s, resource, ok)
			}
		}
	}
	return r
}

func referenceResource(m pcommon.Map) (list usage.Attributes, ok bool) {
	kept := map[string]usage.Attribute{}
	for k, v := range m.All() {
		switch {
		case !slices.Contains(allowedResource, k):
		case v.Type() == pcommon.ValueTypeStr:
			kept[k] = usage.Attribute{Key: k, Str: v.Str()}
		case v.Type() == pcommon.ValueTypeInt:
			kept[k] = usage.Attribute{Key: k, Int: v.Int(), IsInt: true}
		}
	}
	ok = true
	for _, a := range kept {
		if !utf8.ValidString(a.Str) {
			ok = false
			continue
		}
		a.Str = otlp.Shorten(a.Str)
		list = append(list, a)
	}
	return list.Sorted(), ok
}

var allowedResource = []string{
	"deployment.environment", "deployment.environment.name", "gen_ai.request.model", "host.name",
	"k8s.cluster.name", "k8s.container.name", "k8s.deployment.name", "k8s.namespace.name", "k8s.node.name", "k8s.pod.name", "k8s.pod.uid",
	"k8s.statefulset.name", "service.instance.id", "service.name", "service.namespace", "service.version", "vllm.process_id",
}

func referenceSpan(r *otlp.Result, s ptrace.Span, resource usage.Attributes, resourceOK bool) {
	add := func(to *map[string]int64, reason string) {
		if *to == nil {
			*to = map[string]int64{}
		}
		(*to)[reason]++
	}
	values, tells := map[string][]pcommon.Value{}, false
	for k, v := range s.Attributes().All() {
		values[k] = append(values[k], v)
		tells = tells || strings.HasPrefix(k, "gen_ai.usage.")
	}
	prompt, completion := values["gen_ai.usage.prompt_tokens"], values["gen_ai.usage.completion_tokens"]
	switch {
	case s.Name() != "llm_request" && tells:
		add(&r.Ignored, otlp.IgnoreUnknownDialect)
		return
	case s.Name() != "llm_request", prompt == nil && completion == nil:
		add(&r.Ignored, otlp.IgnoreNoUsage)
		return
	}
	o, reason := referenceObservation(s, values)
	if reason == "" && (!resourceOK || !utf8.ValidString(o.RequestID) || !utf8.ValidString(o.Tag)) {
		reason = otlp.RejectText
	}
	if reason != "" {
		add(&r.Rejected, reason)
		return
	}
	o.RequestID, o.Tag, o.Resource = otlp.Shorten(o.RequestID), otlp.Shorten(o.Tag), resource
	r.Observations = append(r.Observations, o)
	r.Resources = append(r.Resources, usage.AppendAttributes(nil, resource))
}

func referenceObservation(s ptrace.Span, values map[string][]pcommon.Value) (o usage.Observation, reason string) {
	last := func(key string) pcommon.Value {
		if list := values[key]; list != nil {
			return list[len(list)-1]
		}
		return pcommon.NewValueEmpty()
	}
	var amounts [2]float64
	for i, key := range []string{"gen_ai.usage.prompt_tokens", "gen_ai.usage.completion_tokens"} {
		amount, ok := referenceNumber(last(key))
		for _, v := range values[key] {
			if a, isNumber := referenceNumber(v); isNumber != ok || a != amount {
				return o, otlp.RejectTwice
			}
		}
		if !ok {
			amount = -1
		}
		amounts[i] = amount
	}
	trace, span, parent := s.TraceID(), s.SpanID(), s.ParentSpanID()
	switch {
	case amounts[0] < 0 || amounts[1] < 0:
		return o, otlp.RejectCount
	case amounts[0] > usage.MaxAmount || amounts[1] > usage.MaxAmount:
		return o, otlp.RejectTooLarge
	case trace.IsEmpty():
		return o, otlp.RejectTraceID
	case span.IsEmpty():
		return o, otlp.RejectSpanID
	case s.StartTimestamp() > math.MaxInt64 || s.EndTimestamp() > math.MaxInt64:
		return o, otlp.RejectTime
	case s.StartTimestamp() == 0:
		return o, otlp.RejectStart
	}
	o = usage.Observation{
		Kind: usage.KindUsage, Domain: usage.DomainSpan, Trace: hex.EncodeToString(trace[:]), Span: hex.EncodeToString(span[:]),
		Start: int64(s.StartTimestamp()), End: int64(s.EndTimestamp()), RequestID: last("gen_ai.request.id").Str(), Tag: referenceTag(s.TraceState().AsRaw()),
		Quantities: usage.Quantities{{Name: usage.InputTokens, Amount: int64(amounts[0])}, {Name: usage.OutputTokens, Amount: int64(amounts[1])}},
	}
	if !parent.IsEmpty() {
		o.Parent = hex.EncodeToString(parent[:])
	}
	for key := range values {
		v := last(key)
		if strings.HasPrefix(key, "gen_ai.latency.") && slices.Contains(latencyNames, key[len("gen_ai.latency."):]) && v.Type() == pcommon.ValueTypeDouble {
			if us := math.Round(v.Double() * 1e6); us >= 0 && us <= 1<<53 {
				o.Attributes = append(o.Attributes, usage.Attribute{Key: key + "_us", Int: int64(us), IsInt: true})
			}
		}
		if key == "gen_ai.request.n" || key == "gen_ai.request.max_tokens" {
			if n, ok := exactNumber(v); ok {
				o.Attributes = append(o.Attributes, usage.Attribute{Key: key, Int: n, IsInt: true})
			}
		}
	}
	o.Attributes = o.Attributes.Sorted()
	return o, ""
}

var latencyNames = []string{"e2e", "time_in_model_decode", "time_in_model_inference", "time_in_model_prefill", "time_in_queue", "time_to_first_token"}

func referenceNumber(v pcommon.Value) (float64, bool) {
	n, ok := exactNumber(v)
	return float64(n), ok
}

func exactNumber(v pcommon.Value) (int64, bool) {
	switch v.Type() {
	case pcommon.ValueTypeInt:
		return v.Int(), true
	case pcommon.ValueTypeDouble:
		f := v.Double()
		if math.IsNaN(f) || math.Abs(f) > 1<<53 || f != math.Floor(f) {
			return 0, false
		}
		return int64(f), true
	default:
		return 0, false
	}
}

func referenceTag(tracestate string) string {
	var found []string
	for member := range strings.SplitSeq(tracestate, ",") {
		if key, value, ok := strings.Cut(strings.TrimSpace(member), "="); ok && key == "tollkeeper" {
			found = append(found, strings.TrimSpace(value))
		}
	}
	switch {
	case len(found) == 0:
		return ""
	case len(found) > 1:
		return "doubled"
	case found[0] == "":
		return "empty"
	}
	return found[0]
}

// readPart returns the part of an export that the decoder reads, encoded anew:
// what is malformed elsewhere is no matter, and an id of a wrong length is an
// empty one, since it rejects its span and not the export.
type readPart struct {
	ok      bool // the part is well-formed
	groups  bool // it has groups, of which pdata passes over empty ones only
	badText bool // it holds text that is no UTF-8
}

func (p *readPart) export(b []byte) (out []byte) {
	p.fields(b, func(n protowire.Number, kind protowire.Type, v []byte) {
		if n == 1 {
			out = p.message(out, n, kind, v, p.resourceSpans)
		}
	})
	return out
}

func (p *readPart) resourceSpans(b []byte) (out []byte) {
	scopes := protowire.Number(1000)
	p.fields(b, func(n protowire.Number, _ protowire.Type, _ []byte) {
		if n == 2 {
			scopes = 2
		}
	})
	p.fields(b, func(n protowire.Number, kind protowire.Type, v []byte) {
		switch n {
		case 1:
			out = p.message(out, n, kind, v, func(b []byte) []byte { return p.attributes(b, 1) })
		case scopes:
			out = p.message(out, n, kind, v, p.scopeSpans)
		}
	})
	return out
}

func (p *readPart) attributes(b []byte, field protowire.Number) (out []byte) {
	p.fields(b, func(n protowire.Number, kind protowire.Type, v []byte) {
		if n == field {
			out = p.message(out, n, kind, v, p.keyValue)
		}
	})
	return out
}

func (p *readPart) scopeSpans(b []byte) (out []byte) {
	p.fields(b, func(n protowire.Number, kind protowire.Type, v []byte) {
		if n == 2 {
			out = p.message(out, n, kind, v, p.span)
		}
	})
	return out
}

func (p *readPart) span(b []byte) (out []byte) {
	p.fields(b, func(n protowire.Number, kind protowire.Type, v []byte) {
		switch n {
		case 1, 2, 4:
			out = p.message(out, n, kind, v, func(b []byte) []byte {
				if len(b) != map[protowire.Number]int{1: 16, 2: 8, 4: 8}[n] {
					return nil
				}
				return b
			})
		case 3, 5:
			out = p.message(out, n, kind, v, p.text)
		case 7, 8:
			p.ok = p.ok && kind == protowire.Fixed64Type
			out = append(protowire.AppendTag(out, n, kind), v...)
		case 9:
			out = p.message(out, n, kind, v, p.keyValue)
		}
	})
	return out
}

func (p *readPart) keyValue(b []byte) (out []byte) {
	p.fields(b, func(n protowire.Number, kind protowire.Type, v []byte) {
		switch n {
		case 1:
			out = p.message(out, n, kind, v, p.text)
		case 2:
			out = p.message(out, n, kind, v, p.value)
		}
	})
	return out
}

func (p *readPart) value(b []byte) (out []byte) {
	want := map[protowire.Number]protowire.Type{3: protowire.VarintType, 4: protowire.Fixed64Type}
	p.fields(b, func(n protowire.Number, kind protowire.Type, v []byte) {
		switch n {
		case 1:
			out = p.message(out, n, kind, v, p.text)
		case 3, 4:
			p.ok = p.ok && kind == want[n]
			out = append(protowire.AppendTag(out, n, kind), v...)
		case 2, 5, 6, 7:
			out = protowire.AppendVarint(protowire.AppendTag(out, 2, protowire.VarintType), 1)
		}
	})
	return out
}

func (p *readPart) text(b []byte) []byte {
	p.badText = p.badText || !utf8.Valid(b)
	return b
}

func (p *readPart) message(out []byte, n protowire.Number, kind protowire.Type, v []byte, fn func([]byte) []byte) []byte {
	if kind != protowire.BytesType {
		p.ok = false
		return out
	}
	content, _ := protowire.ConsumeBytes(v)
	return protowire.AppendBytes(protowire.AppendTag(out, n, kind), fn(content))
}

// fields calls fn with each field and its value as it is encoded.
func (p *readPart) fields(b []byte, fn func(n protowire.Number, kind protowire.Type, v []byte)) {
	for len(b) > 0 {
		number, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			p.ok = false
			return
		}
		if kind == protowire.StartGroupType || kind == protowire.EndGroupType {
			p.groups = true
		}
		m := protowire.ConsumeFieldValue(number, kind, b[n:])
		if m < 0 {
			p.ok = false
			return
		}
		fn(number, kind, b[n:n+m])
		b = b[n+m:]
	}
}
