package main

import (
	"net"
	"os"
	"slices"
	"strings"
	"testing"
)

// contract is the walk-through of the proof of concept, word for word.
var contract = []string{
	`make build-minikube`,
	`export HUGGING_FACE_HUB_TOKEN=<YOUR-TOKEN-HERE>`,
	`cd charts`,
	`helm install vllm llm-inference-app --set env.HUGGING_FACE_HUB_TOKEN=${HUGGING_FACE_HUB_TOKEN}`,
	`kubectl port-forward services/vllm-llm-inference-app 8000:8000`,
	`curl http://localhost:8000/v1/completions -H "Content-Type: application/json" -H "traceparent: 00-d5fe1dc9035165ce36952daf29686b6c-14330be33197dd1a-01" -H "X-Request-Id: some-user-request-id" -d '{"model": "facebook/opt-125m", "prompt": "San Francisco is a", "max_tokens": 7, "temperature": 0}'`,
	`kubectl port-forward services/vllm-clickhouse 9000:9000`,
	`clickhouse client --password default-password`,
}

// TestTheReadmeKeepsTheContract wants its commands there, in order, with nothing
// between them that they would need.
func TestTheReadmeKeepsTheContract(t *testing.T) {
	readme, err := os.ReadFile("../../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	list, err := commands(string(readme), "## On Kubernetes")
	if err != nil {
		t.Fatal(err)
	}
	for i := range list {
		list[i] = shown(list[i])
	}
	if len(list) < len(contract) || !slices.Equal(list[:len(contract)], contract) {
		t.Errorf("the README says\n%s\nthe contract is\n%s", strings.Join(list, "\n"), strings.Join(contract, "\n"))
	}
	for _, command := range list[len(contract):] {
		if look, _ := expectations(command); look == nil && !forwarded.MatchString(command) {
			t.Errorf("nothing is expected of %q", command)
		}
	}
}

// TestTheSecondWalkthroughIsLookedAt wants each of its commands that shows something looked at.
func TestTheSecondWalkthroughIsLookedAt(t *testing.T) {
	text, err := os.ReadFile("../../../docs/ops/minikube.md")
	if err != nil {
		t.Fatal(err)
	}
	list, err := commands(string(text), "## Server spans")
	if err != nil {
		t.Fatal(err)
	}
	looked := 0
	for _, command := range list {
		if look, _ := expectations(command); look != nil {
			looked++
		}
	}
	if len(list) != 5 || looked != 2 {
		t.Errorf("%d of %d commands are looked at, want 2 of 5:\n%s", looked, len(list), strings.Join(list, "\n"))
	}
}

func TestCommandsWantsTheSection(t *testing.T) {
	for _, readme := range []string{"", "# x\n## On Kubernetes\nnothing\n", "## Elsewhere\n```sh\nls\n```\n"} {
		if list, err := commands(readme, "## On Kubernetes"); err == nil {
			t.Errorf("%q: %q", readme, list)
		}
	}
}

const answer = `  % Total    % Received
{"id":"cmpl-some-user-request-id-0","object":"text_completion","model":"facebook/opt-125m","choices":[{"index":0,"text":" b"}],"usage":{"prompt_tokens":5,"completion_tokens":7}}`

// TestExpectationsTellAWrongOutput: the proof is worth what it refuses.
func TestExpectationsTellAWrongOutput(t *testing.T) {
	span := traceID + "\tllm_request\t{'gen_ai.usage.prompt_tokens':'5','gen_ai.usage.completion_tokens':'7'}\n"
	const serverSpans = "POST /v1/completions\tServer\t00f067aa0ba902b7\t14330be33197dd1a\t{'http.request.header.x_request_id':\"['another-user-request-id']\"}\n" +
		"llm_request\tServer\tb7ad6b7169203331\t14330be33197dd1a\t{'gen_ai.usage.completion_tokens':'7'}\n"
	for _, c := range []struct {
		name   string
		look   look
		right  string
		wrongs []string
	}{
		{"completion", completion, answer, []string{
			"", "curl: (7) Failed to connect", `{"object":"error","message":"no such model"}`,
			strings.Replace(answer, `"completion_tokens":7`, `"completion_tokens":8`, 1), strings.Replace(answer, `"prompt_tokens":5`, `"prompt_tokens":0`, 1),
			strings.Replace(answer, "some-user-request-id", "another", 1),
		}},
		{"traces", traces, span, []string{
			"", strings.Replace(span, traceID, strings.Repeat("0", 32), 1), strings.Replace(span, "llm_request", "POST /v1", 1), strings.Replace(span, "'7'", "'6'", 1),
		}},
		{"server span", serverSpan, serverSpans, []string{
			"", strings.Replace(serverSpans, "14330be33197dd1a", "0000000000000000", 1), strings.Replace(serverSpans, "another", "no", 1),
			strings.Replace(serverSpans, "331\t14330be33197dd1a\t{", "331\t0000000000000000\t{", 1), serverSpans + "POST /v1/completions http send\tInternal\t1\t2\t{}\n",
		}},
		{"series", series, `{"status":"success","data":{"result":[{"metric":{"__name__":"vllm:x","pod":"p-0"}}]}}`, []string{
			"", `{"status":"success","data":{"result":[]}}`, `{"data":{"result":[{"metric":{"__name__":"up","pod":"p"}}]}}`, `{"data":{"result":[{"metric":{"__name__":"vllm:x"}}]}}`,
		}},
	} {
		if _, err := c.look(c.right); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		for _, wrong := range c.wrongs {
			if seen, err := c.look(wrong); err == nil {
				t.Errorf("%s: took %q for %q", c.name, wrong, seen)
			}
		}
	}
}

// TestShell keeps what an interactive one keeps, and tells how a command ended.
func TestShell(t *testing.T) {
	s, err := newShell(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	for _, c := range []struct{ command, input, want string }{
		{"export A='two words'; mkdir in; cd in", "", ""},
		{`echo "$A into $(basename "$PWD")"`, "", "two words into in\n"},
		{"cat; echo said >&2", "select 'it';", "select 'it';\nsaid\n"},
		{"printf unended", "", "unended"},
		{"cat", "", ""},
	} {
		if got, err := s.fed(t.Context(), c.command, c.input); err != nil || got != c.want {
			t.Errorf("%s: %q, %v, want %q", c.command, got, err, c.want)
		}
	}
	if out, err := s.run(t.Context(), "echo why; (exit 3)"); !strings.Contains(out, "why") || err == nil || !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("%q, %v", out, err)
	}
}

// TestBackground replaces what served the port before.
func TestBackground(t *testing.T) {
	s, err := newShell(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	l, err := net.Listen("tcp", "127.0.0.1:0") // takes the connections of both
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	port := l.Addr().(*net.TCPAddr).Port
	for range 2 {
		if err := s.background(t.Context(), "sleep 1000", port); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := s.run(t.Context(), "jobs -r | wc -l"); err != nil || strings.TrimSpace(out) != "1" {
		t.Errorf("%s run, %v", out, err)
	}
}
