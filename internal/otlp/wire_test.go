package otlp_test

import (
	"bytes"
	"math"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
)

// wire is protobuf made by hand, also such as no library would make.
type wire []byte

func (w wire) bytes(n protowire.Number, b []byte) wire {
	return protowire.AppendBytes(protowire.AppendTag(w, n, protowire.BytesType), b)
}

func (w wire) text(n protowire.Number, s string) wire { return w.bytes(n, []byte(s)) }

func (w wire) fixed(n protowire.Number, v uint64) wire {
	return protowire.AppendFixed64(protowire.AppendTag(w, n, protowire.Fixed64Type), v)
}

func (w wire) varint(n protowire.Number, v uint64) wire {
	return protowire.AppendVarint(protowire.AppendTag(w, n, protowire.VarintType), v)
}

// The values of an attribute.
func stringValue(s string) wire  { return wire(nil).text(1, s) }
func boolValue() wire            { return wire(nil).varint(2, 1) }
func intValue(n int64) wire      { return wire(nil).varint(3, uint64(n)) }
func doubleValue(f float64) wire { return wire(nil).fixed(4, math.Float64bits(f)) }
func arrayValue(v wire) wire     { return wire(nil).bytes(5, wire(nil).bytes(1, v)) }

func attribute(key string, value wire) wire { return wire(nil).text(1, key).bytes(2, value) }

// parts are a span before it is encoded.
type parts struct {
	trace, id, parent []byte
	state, name       string
	start, end        uint64
	attributes        []wire
}

const (
	promptKey     = "gen_ai.usage.prompt_tokens"
	completionKey = "gen_ai.usage.completion_tokens"
	requestKey    = "gen_ai.request.id"
)

// goodSpan is what vLLM sends of a finished request; n makes it another one.
func goodSpan(n byte) parts {
	return parts{
		trace: append(make([]byte, 15), n), id: append(make([]byte, 7), n), parent: []byte{1, 2, 3, 4, 5, 6, 7, 8},
		name: "llm_request", start: 1_790_000_000_000_000_000, end: 1_790_000_001_000_000_000,
		attributes: []wire{
			attribute("gen_ai.latency.e2e", doubleValue(1)), attribute(promptKey, intValue(16)), attribute(completionKey, intValue(48)),
			attribute(requestKey, stringValue("cmpl-abc-0")), attribute("gen_ai.request.max_tokens", intValue(64)), attribute("gen_ai.request.n", intValue(1)),
		},
	}
}

// set replaces the attribute under key.
func (p parts) set(key string, value wire) parts { return p.drop(key).with(attribute(key, value)) }

func (p parts) with(attributes ...wire) parts {
	p.attributes = slices.Concat(p.attributes, attributes)
	return p
}

func (p parts) drop(key string) parts {
	var kept []wire
	for _, a := range p.attributes {
		if !bytes.HasPrefix(a, wire(nil).text(1, key)) {
			kept = append(kept, a)
		}
	}
	p.attributes = kept
	return p
}

func (p parts) encode() wire {
	w := wire(nil).bytes(1, p.trace).bytes(2, p.id)
	if p.state != "" {
		w = w.text(3, p.state)
	}
	if p.parent != nil {
		w = w.bytes(4, p.parent)
	}
	w = w.text(5, p.name).varint(6, 2)
	if p.start != 0 {
		w = w.fixed(7, p.start)
	}
	if p.end != 0 {
		w = w.fixed(8, p.end)
	}
	for _, a := range p.attributes {
		w = w.bytes(9, a)
	}
	return w.bytes(15, nil)
}

// export is one resource with spans.
func export(resource []wire, spans ...wire) wire {
	var attributes, scope wire
	for _, a := range resource {
		attributes = attributes.bytes(1, a)
	}
	for _, s := range spans {
		scope = scope.bytes(2, s)
	}
	return wire(nil).bytes(1, wire(nil).bytes(1, attributes).bytes(2, scope))
}

var goodResource = []wire{
	attribute("service.name", stringValue("opt-125m")), attribute("telemetry.sdk.language", stringValue("python")), attribute("vllm.process_id", intValue(7)),
}
