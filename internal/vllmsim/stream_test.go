package vllmsim_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/tollkeeper/tollkeeper/internal/vllmsim"
)

// events are the data of a stream, or "name: data" where events have names.
func events(body string) (out []string) {
	for e := range strings.SplitSeq(strings.TrimSuffix(body, "\n\n"), "\n\n") {
		e = strings.TrimPrefix(e, "data: ")
		e = strings.TrimPrefix(strings.Replace(e, "\ndata: ", ": ", 1), "event: ")
		out = append(out, e)
	}
	return out
}

type chunk struct {
	ID      string `json:"id"`
	Choices []struct {
		Index        int    `json:"index"`
		Text         string `json:"text"`
		FinishReason string `json:"finish_reason"`
		Logprobs     *struct {
			Tokens  []string `json:"tokens"`
			Offsets []int    `json:"text_offset"`
		} `json:"logprobs"`
		Delta struct {
			Content string `json:"content"`
		} `json:"delta"`
	} `json:"choices"`
	Usage *struct {
		apiUsage

		Details *struct {
			Cached int `json:"cached_tokens"`
		} `json:"prompt_tokens_details"`
	} `json:"usage"`
}

// TestStreamedCompletionSaysTheSame compares a stream with the answer in one piece.
func TestStreamedCompletionSaysTheSame(t *testing.T) {
	s := start(t, nil, vllmsim.Options{PromptTokensDetails: true})
	const ask = `{"prompt":["one two","three"],"n":2,"temperature":0.5,"max_tokens":9,"ignore_eos":true,"echo":true,"logprobs":1`
	_, whole := post(t, s, "/v1/completions", ask+`}`)
	want := decodeJSON[apiAnswer](t, whole)
	_, body := post(t, s, "/v1/completions", ask+`,"stream":true,"stream_options":{"include_usage":true,"continuous_usage_stats":true}}`)
	list := events(body)
	if list[len(list)-1] != "[DONE]" {
		t.Fatalf("the end: %q", list[len(list)-1])
	}
	texts, tokens, running := make([]string, 4), make([]int, 4), make([]int, 4)
	var last chunk
	for _, e := range list[:len(list)-1] {
		last = decodeJSON[chunk](t, e)
		for _, c := range last.Choices {
			if at := c.Logprobs.Offsets[0]; at != len(texts[c.Index]) {
				t.Errorf("choice %d: offset %d after %q", c.Index, at, texts[c.Index])
			}
			texts[c.Index] += c.Text
			tokens[c.Index] += len(c.Logprobs.Tokens)
			running[c.Index] = last.Usage.Completion
		}
	}
	for i, c := range want.Choices {
		if texts[i] != c.Text || running[i] != 9 {
			t.Errorf("choice %d: %q with %d tokens, in one piece %q", i, texts[i], running[i], c.Text)
		}
	}
	if tokens[0] != 2+9 || tokens[2] != 1+9 {
		t.Errorf("tokens with logprobs: %v", tokens)
	}
	if len(last.Choices) != 0 || last.Usage == nil || last.Usage.apiUsage != want.Usage || last.Usage.Details == nil {
		t.Errorf("usage at the end %+v, in one piece %+v", last.Usage, want.Usage)
	}
}

// TestStreamHoldsBackWhatMayBeAStop streams up to a stop string of several tokens.
func TestStreamHoldsBackWhatMayBeAStop(t *testing.T) {
	words := strings.Fields("a b c d e f g h")
	s := start(t, nil, vllmsim.Options{Next: func(p vllmsim.Position) vllmsim.Token {
		return vllmsim.Token{Text: words[p.Step%len(words)], End: p.Step == 7}
	}})
	_, body := post(t, s, "/v1/completions", `{"prompt":"x","max_tokens":8,"stream":true,"stop":["cde"]}`)
	text := ""
	for _, e := range events(body) {
		if e != "[DONE]" {
			text += decodeJSON[chunk](t, e).Choices[0].Text
		}
		if strings.Contains(text, "c") {
			t.Fatalf("%q was sent", text)
		}
	}
	if text != "ab" {
		t.Errorf("%q, want ab", text)
	}
	_, body = post(t, s, "/v1/chat/completions", `{"max_tokens":80,"stream":true,"messages":[{"role":"user","content":"x"}],"stop":["zz"]}`)
	text, reason := "", ""
	for _, e := range events(body) {
		if e != "[DONE]" {
			c := decodeJSON[chunk](t, e).Choices[0]
			text, reason = text+c.Delta.Content, c.FinishReason
		}
	}
	if text != "abcdefg" || reason != "stop" { // the end token has no text
		t.Errorf("%q, %s", text, reason)
	}
}

func TestResponsesStream(t *testing.T) {
	s := start(t, nil, vllmsim.Options{})
	_, body := post(t, s, "/v1/responses", `{"input":[{"role":"user","content":[{"type":"input_text","text":"hi"}]}],"instructions":"be brief","max_output_tokens":3,"stream":true}`)
	var kinds []string
	text := ""
	for i, e := range events(body) {
		kind, data, _ := strings.Cut(e, ": ")
		v := decodeJSON[struct {
			Type     string `json:"type"`
			Number   int    `json:"sequence_number"`
			Delta    string `json:"delta"`
			Text     string `json:"text"`
			Response struct {
				Status string `json:"status"`
				Usage  *struct {
					Output int `json:"output_tokens"`
				} `json:"usage"`
			} `json:"response"`
		}](t, data)
		if v.Type != kind || v.Number != i {
			t.Errorf("event %d: %s", i, e)
		}
		text += v.Delta
		switch kind {
		case "response.output_text.done":
			if v.Text != text {
				t.Errorf("text %q, deltas %q", v.Text, text)
			}
		case "response.completed":
			if v.Response.Usage == nil || v.Response.Usage.Output == 0 || v.Response.Usage.Output > 3 {
				t.Errorf("completed: %s", data)
			}
		}
		kinds = append(kinds, kind)
	}
	want := []string{
		"response.created", "response.in_progress", "response.output_item.added", "response.content_part.added", "response.output_text.delta",
		"response.output_text.done", "response.content_part.done", "response.output_item.done", "response.completed",
	}
	if kinds = slices.Compact(kinds); !slices.Equal(kinds, want) {
		t.Errorf("events %v", kinds)
	}
}

func TestMessagesStream(t *testing.T) {
	s := start(t, nil, vllmsim.Options{PromptTokensDetails: true})
	_, body := post(t, s, "/v1/messages", `{"system":"be brief","max_tokens":3,"stream":true,"messages":[{"role":"user","content":"hi"}]}`)
	var kinds []string
	for _, e := range events(body) {
		kind, data, _ := strings.Cut(e, ": ")
		kinds = append(kinds, kind)
		if kind == "message_delta" && !strings.Contains(data, `"stop_reason":"max_tokens","stop_sequence":null}`) && !strings.Contains(data, "end_turn") {
			t.Errorf("the end: %s", data)
		}
	}
	want := []string{"message_start", "content_block_start", "content_block_delta", "content_block_stop", "message_delta", "message_stop"}
	if kinds = slices.Compact(kinds); !slices.Equal(kinds, want) {
		t.Errorf("events %v", kinds)
	}
}
