package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// look says what an output shows, or what it lacks.
type look func(output string) (seen string, err error)

// expectations are what commands of the walk-through must show, by what they
// begin with or hold. poll: it may take a while to be there.
func expectations(command string) (want look, poll bool) {
	switch {
	case strings.HasPrefix(command, "curl") && strings.Contains(command, `"stream": true`):
		return all("a stream to its end", `(?m)^data: \[DONE\]`), false
	case strings.Contains(command, "/v1/completions"):
		return completion, false
	case strings.HasPrefix(command, "clickhouse client") && strings.Contains(command, serverTraceID):
		return serverSpan, true
	case strings.HasPrefix(command, "clickhouse client"):
		return traces, true
	case strings.Contains(command, "/api/v1/query"):
		return series, true
	case strings.Contains(command, "tollkeeper requests"):
		return all("the request's record: customer, model, 5 and 7 tokens", `rec_[0-9a-f]{32} +demo +resource +facebook/opt-125m +5 +7 +final`, `cmpl-some-user-request-id`), true
	case strings.Contains(command, "tollkeeper invoice"):
		return all("its cents: 0.01 + 0.04 = 0.05 USD", `input_tokens +5 .* 0\.01`, `output_tokens +7 .* 0\.04`, `(?m)^total +0\.05 +USD`), true
	case strings.Contains(command, "tollkeeper explain"):
		return all("from quantity × price to trace, span and journal position", `input_tokens: 5 × 2 / 1000 = 0\.01`, `output_tokens: 7 × 6 / 1000 = 0\.042`, traceID+` +[0-9a-f]{16} +\d+ +\d+ +tollkeeper-journal`), true
	}
	return nil, false
}

// all wants every pattern in the output.
func all(what string, patterns ...string) look {
	return func(output string) (string, error) {
		for _, p := range patterns {
			if !regexp.MustCompile(p).MatchString(output) {
				return "", fmt.Errorf("it lacks %s:\n%s", p, output)
			}
		}
		return what, nil
	}
}

// completion is an answer of vLLM's shape, with the counts of the contract.
func completion(output string) (string, error) {
	from, to := strings.Index(output, "{"), strings.LastIndex(output, "}")
	if from < 0 || to < from {
		return "", fmt.Errorf("no JSON:\n%s", output)
	}
	var a struct {
		ID      string `json:"id"`
		Object  string `json:"object"`
		Model   string `json:"model"`
		Choices []struct {
			Text *string `json:"text"`
		} `json:"choices"`
		Usage struct {
			Prompt     int `json:"prompt_tokens"`
			Completion int `json:"completion_tokens"`
		} `json:"usage"`
	}
	if err := json.Unmarshal([]byte(output[from:to+1]), &a); err != nil {
		return "", fmt.Errorf("%w:\n%s", err, output)
	}
	if a.Object != "text_completion" || !strings.Contains(a.ID, "some-user-request-id") || len(a.Choices) != 1 || a.Choices[0].Text == nil {
		return "", fmt.Errorf("not a completion:\n%s", output)
	}
	if a.Usage.Prompt != 5 || a.Usage.Completion != 7 {
		return "", fmt.Errorf("%d prompt and %d completion tokens, want 5 and 7", a.Usage.Prompt, a.Usage.Completion)
	}
	return fmt.Sprintf("%s: 5 prompt, 7 completion tokens of %s", a.ID, a.Model), nil
}

// traces is the caller's trace on a request's span, with its counts.
func traces(output string) (string, error) {
	for line := range strings.Lines(output) {
		if strings.Contains(line, traceID) && strings.Contains(line, "llm_request") {
			if !strings.Contains(line, "'gen_ai.usage.prompt_tokens':'5'") || !strings.Contains(line, "'gen_ai.usage.completion_tokens':'7'") {
				return "", fmt.Errorf("the span lacks its counts: %s", line)
			}
			return "the caller's TraceId on llm_request, 5 and 7 tokens", nil
		}
	}
	return "", errors.New("no llm_request with the caller's TraceId")
}

var (
	serverLine = regexp.MustCompile(`^POST /v1/completions\tServer\t[0-9a-f]{16}\t14330be33197dd1a\t.*another-user-request-id`)
	vllmLine   = regexp.MustCompile(`^llm_request\tServer\t[0-9a-f]{16}\t14330be33197dd1a\t.*'gen_ai.usage.completion_tokens':'7'`)
)

// serverSpan is the web server's span beside vLLM's, both below the caller's, and
// nothing else: of SSE's pieces there must be none. Either may be there twice.
func serverSpan(output string) (string, error) {
	var server, vllm int
	for line := range strings.Lines(strings.TrimSpace(output)) {
		switch {
		case serverLine.MatchString(line):
			server++
		case vllmLine.MatchString(line):
			vllm++
		default:
			return "", fmt.Errorf("neither the server's span nor vLLM's: %s", line)
		}
	}
	if server == 0 || vllm == 0 {
		return "", fmt.Errorf("%d spans of the server and %d of vLLM below the caller's, want both:\n%s", server, vllm, output)
	}
	return "the server's span with its X-Request-Id and vLLM's, below the caller's", nil
}

// series is at least one of the pod's own.
func series(output string) (string, error) {
	var a struct {
		Status string `json:"status"`
		Data   struct {
			Result []struct {
				Metric map[string]string `json:"metric"`
			} `json:"result"`
		} `json:"data"`
	}
	if err := json.Unmarshal([]byte(output), &a); err != nil {
		return "", fmt.Errorf("%w:\n%s", err, output)
	}
	for _, r := range a.Data.Result {
		if name, pod := r.Metric["__name__"], r.Metric["pod"]; strings.HasPrefix(name, "vllm:") && pod != "" {
			return fmt.Sprintf("%s of pod %s", name, pod), nil
		}
	}
	return "", fmt.Errorf("no vllm: series of a pod:\n%s", output)
}
