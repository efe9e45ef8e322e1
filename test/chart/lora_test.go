package chart

import (
	"bytes"
	"context"
	"encoding/base64"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"

	"github.com/tollkeeper/tollkeeper/test/process"
)

// TestAdaptersAreNotBilledAsTheirModel goes the whole way: what a real vLLM sent for
// a chat with sql-lora and for one with its base model, under the attributes that
// the chart renders, into a real tollkeeper with the configuration and prices that
// it renders. With the adapter nothing names the model, so nothing has a price;
// all of it is kept and shown.
func TestAdaptersAreNotBilledAsTheirModel(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		values, usage string
		draft         []string
	}{
		"sql-lora": {
			`vllm: {lora: {modules: [{name: sql-lora, path: tiny}]}}`, "demo,,2,28,0,32,0",
			[]string{"28 input_tokens of an unknown model: no price", "32 output_tokens of an unknown model: no price", "not charged: unknown_model", "total 0.00 USD"},
		},
		// 28 × $2.00 and 32 × $6.00, per 1000
		"no adapter": {``, "demo,facebook/opt-125m,2,28,0,32,0", []string{"total 0.25 USD"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			all := objects(t, template(t, values(t, c.values)...))
			vllm := env(find(t, all, vllm).container(t))
			h := startRendered(t, all)
			for _, recorded := range []string{"lora-chat", "lora-base"} {
				h.send(t, underAttributes(t, recorded, vllm))
			}
			if got := h.run(t, "usage", "-o", "csv"); !strings.Contains(got, "\n"+c.usage+"\n") {
				t.Errorf("usage is\n%s\nwithout %q", got, c.usage)
			}
			draft := strings.Join(strings.Fields(h.run(t, "invoice", "draft", "--customer", "demo", "--month", "2026-11")), " ")
			for _, want := range c.draft {
				if !strings.Contains(draft, want) {
					t.Errorf("the draft says\n%s\nwithout %q", draft, want)
				}
			}
		})
	}
}

// underAttributes is a recorded request as a vLLM with this environment would have
// sent it: its SDK adds what OTEL_RESOURCE_ATTRIBUTES has, and nothing else is ours.
func underAttributes(t *testing.T, recorded string, env map[string]string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", "lora", recorded+".pb"))
	request := ptraceotlp.NewExportRequest()
	if err != nil || request.UnmarshalProto(b) != nil {
		t.Fatalf("%s: %v", recorded, err)
	}
	for _, r := range request.Traces().ResourceSpans().All() {
		a := r.Resource().Attributes()
		for key := range a.All() {
			if strings.HasPrefix(key, "gen_ai.") {
				t.Fatalf("%s: the recorded resource has %s", recorded, key)
			}
		}
		for pair := range strings.SplitSeq(env["OTEL_RESOURCE_ATTRIBUTES"], ",") {
			key, value, _ := strings.Cut(pair, "=")
			if value, err = url.PathUnescape(value); err != nil {
				t.Fatal(err)
			}
			a.PutStr(key, value)
		}
		a.PutStr("service.name", env["OTEL_SERVICE_NAME"])
	}
	if b, err = request.MarshalProto(); err != nil {
		t.Fatal(err)
	}
	return b
}

// house is a real tollkeeper with what the chart renders for it.
type house struct {
	program *process.Program
	server  *process.Server
	data    string
	key     string
}

func startRendered(t *testing.T, all []object) *house {
	t.Helper()
	dir := t.TempDir()
	for name, content := range mapping(find(t, all, "Secret/vllm-tollkeeper-keys")["data"]) {
		text, _ := content.(string)
		b, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		put(t, filepath.Join(dir, name), string(b))
	}
	// The volumes' places are folders of the test's.
	here := strings.NewReplacer("/secrets/keys", dir, "/etc/tollkeeper", dir, "/var/lib/tollkeeper", dir)
	for name, content := range mapping(find(t, all, "ConfigMap/vllm-tollkeeper")["data"]) {
		text, _ := content.(string)
		put(t, filepath.Join(dir, name), here.Replace(text))
	}
	path, err := process.Build(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	h := &house{program: &process.Program{Path: path, Dir: dir}, data: filepath.Join(dir, "data")}
	if h.server, err = h.program.Serve(context.WithoutCancel(t.Context()), h.data); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.server.Kill() }) // it may have ended
	if _, err := h.server.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	key, err := os.ReadFile(filepath.Join(dir, "current"))
	if err != nil {
		t.Fatal(err)
	}
	h.key = string(key)
	return h
}

func put(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// send is the Collector, with its key.
func (h *house) send(t *testing.T, body []byte) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+h.server.HTTP+"/v1/traces", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-protobuf")
	r.Header.Set("Authorization", "Bearer "+h.key)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("tollkeeper answers %s", resp.Status)
	}
}

func (h *house) run(t *testing.T, args ...string) string {
	t.Helper()
	if err := h.server.Settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	out, err := h.program.Run(t.Context(), slices.Concat(args, []string{"--data", h.data})...)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}
