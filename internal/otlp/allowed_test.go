package otlp_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/tollkeeper/tollkeeper/internal/otlp"
	"github.com/tollkeeper/tollkeeper/internal/usage"
)

// TestNothingElseReachesTheLine: no prompt, completion or header, wherever a
// sender put it, is in what the journal keeps. Each place holds its own secret.
func TestNothingElseReachesTheLine(t *testing.T) {
	secret := func(where string) wire { return stringValue("SECRET-" + where) }
	resource := slices.Concat(goodResource, []wire{
		attribute("process.command_args", arrayValue(secret("args"))), attribute("process.command_line", secret("command")), attribute("authorization", secret("resource")),
		attribute("service.name.SECRET", stringValue("x"))})
	span := goodSpan(1).with(
		attribute("gen_ai.prompt", secret("prompt")), attribute("gen_ai.completion", secret("completion")),
		attribute("gen_ai.input.messages", secret("input")), attribute("gen_ai.output.messages", secret("output")), attribute("gen_ai.system_instructions", secret("system")),
		attribute("http.request.header.authorization", arrayValue(secret("authorization"))), attribute("http.request.header.cookie", arrayValue(secret("cookie"))),
		attribute("gen_ai.usage.SECRET", intValue(1)), attribute("gen_ai.latency.SECRET", doubleValue(1)), attribute("user", secret("user")),
		attribute("gen_ai.latency.e2e", secret("latency")), attribute("gen_ai.request.max_tokens", secret("max_tokens")), attribute("gen_ai.request.n", secret("n")))
	span.state = "vendor=SECRET-vendor,tollkeeper=v1.-.key_a.mac"
	event := wire(nil).fixed(1, 1).text(2, "SECRET-event").bytes(3, attribute("gen_ai.prompt", secret("event")))
	status := wire(nil).text(2, "SECRET-status")
	link := wire(nil).text(3, "SECRET-link")
	encoded := span.encode().bytes(11, event).bytes(13, link).bytes(15, status)
	scope := wire(nil).text(1, "SECRET-scope")
	body := append(export(resource, encoded), wire(nil).bytes(1, wire(nil).bytes(2, wire(nil).bytes(1, scope).text(3, "SECRET-schema")))...)
	r, err := otlp.NewDecoder(nil).Proto(body)
	if err != nil || len(r.Observations) != 1 {
		t.Fatalf("%+v, %v", r, err)
	}
	line := usage.AppendLine(nil, &r.Observations[0], &usage.Stamp{Producer: "p"}, r.Resources[0])
	if strings.Contains(string(line), "SECRET") {
		t.Errorf("kept: %s", line)
	}
	if want := `{"observation":{"attributes":{"gen_ai.request.n":1},`; strings.Contains(string(line), want) {
		t.Errorf("replaced by an earlier value: %s", line)
	}
}

// TestRecordingsKeepNothingElse: of all that a real vLLM and its web framework
// sent, only these names are kept.
func TestRecordingsKeepNothingElse(t *testing.T) {
	names := map[string]bool{}
	for _, body := range recordedBodies(t) {
		r, err := otlp.NewDecoder(nil).Proto(body)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range r.Observations {
			for _, list := range []usage.Attributes{o.Attributes, o.Resource} {
				for _, a := range list {
					names[a.Key] = true
				}
			}
		}
	}
	want := strings.FieldsSeq(`gen_ai.latency.e2e_us gen_ai.latency.time_in_model_decode_us gen_ai.latency.time_in_model_inference_us
		gen_ai.latency.time_in_model_prefill_us gen_ai.latency.time_in_queue_us gen_ai.latency.time_to_first_token_us
		gen_ai.request.max_tokens gen_ai.request.n service.instance.id service.name vllm.process_id`)
	for name := range want {
		if !names[name] {
			t.Errorf("%s is not kept", name)
		}
		delete(names, name)
	}
	for name := range names {
		t.Errorf("%s is kept", name)
	}
}

// TestRecordedNeighbours: what auto-instrumentation adds is counted and ignored.
func TestRecordedNeighbours(t *testing.T) {
	d, ignored, kept := otlp.NewDecoder(nil), map[string]int64{}, 0
	for _, body := range recordedBodies(t) {
		r, err := d.Proto(body)
		if err != nil || len(r.Rejected) > 0 {
			t.Fatalf("%v, %v", r.Rejected, err)
		}
		kept += len(r.Observations)
		for reason, n := range r.Ignored {
			ignored[reason] += n
		}
	}
	if kept == 0 || ignored[otlp.IgnoreNoUsage] == 0 || len(ignored) != 1 {
		t.Errorf("kept %d, ignored %v", kept, ignored)
	}
}
