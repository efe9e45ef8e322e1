package vllmsim_test

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/tollkeeper/tollkeeper/internal/vllmsim"
)

// decodeJSON reads an answer.
func decodeJSON[T any](t *testing.T, text string) (v T) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%v in %.300q", err, text)
	}
	return v
}

type apiUsage struct {
	Prompt     int `json:"prompt_tokens"`
	Completion int `json:"completion_tokens"`
	Total      int `json:"total_tokens"`
}

type apiAnswer struct {
	ID      string `json:"id"`
	Choices []struct {
		Index        int    `json:"index"`
		Text         string `json:"text"`
		FinishReason string `json:"finish_reason"`
		StopReason   any    `json:"stop_reason"`
		Message      struct {
			Content string `json:"content"`
		} `json:"message"`
	} `json:"choices"`
	Usage apiUsage `json:"usage"`
	Error *struct {
		Message string `json:"message"`
		Type    string `json:"type"`
		Param   any    `json:"param"`
		Code    int    `json:"code"`
	} `json:"error"`
}

// TestErrorsHaveTheShapeOfVLLM asks wrongly and reads what clients would read.
func TestErrorsHaveTheShapeOfVLLM(t *testing.T) {
	s := start(t, nil, vllmsim.Options{Runner: vllmsim.RunnerGenerate, MaxModelLen: 20})
	const chat, completion = "/v1/chat/completions", "/v1/completions"
	words := strings.Repeat("word ", 30)
	for _, c := range []struct {
		name, path, body string
		status           int
		kind, says       string
	}{
		{"not JSON", chat, `{"model":`, 400, "Bad Request", "json_invalid"},
		{"no body", chat, ``, 400, "Bad Request", "Field required"},
		{"not an object", chat, `[1]`, 400, "Bad Request", "validation error"},
		{"null", chat, `null`, 400, "Bad Request", "dictionary"},
		{"a text where a number belongs", completion, `{"prompt":"a","max_tokens":"many"}`, 400, "Bad Request", "body.max_tokens"},
		{"no messages", chat, `{}`, 400, "Bad Request", "body.messages"},
		{"empty messages", chat, `{"messages":[]}`, 400, "BadRequestError", "messages"},
		{"no prompt", completion, `{}`, 400, "BadRequestError", "prompt"},
		{"no prompts", completion, `{"prompt":[]}`, 400, "BadRequestError", "at least one prompt"},
		{"a prompt of another type", completion, `{"prompt":{"a":1}}`, 400, "Bad Request", "body.prompt"},
		{"unknown model", chat, `{"model":"gpt","messages":[{"role":"user","content":"a"}]}`, 404, "NotFoundError", "gpt"},
		{"too long", completion, `{"prompt":"` + words + `"}`, 400, "BadRequestError", "at least 21 input tokens"},
		{"too much asked", completion, `{"prompt":"a b c","max_tokens":19}`, 400, "BadRequestError", "requested 19 output tokens"},
		{"nothing asked", completion, `{"prompt":"a","max_tokens":0}`, 400, "BadRequestError", "max_tokens must be at least 1"},
		{"greedy choices", chat, `{"n":2,"temperature":0,"messages":[{"role":"user","content":"a"}]}`, 400, "BadRequestError", "greedy"},
		{"no choices", completion, `{"n":0,"prompt":"a"}`, 400, "BadRequestError", "n must be at least 1"},
		{"too many choices", completion, `{"n":100000,"prompt":"a"}`, 400, "BadRequestError", "at most 16384"},
		{"too hot", completion, `{"temperature":3,"prompt":"a"}`, 400, "BadRequestError", "temperature"},
		{"top_p of nothing", completion, `{"top_p":0,"prompt":"a"}`, 400, "BadRequestError", "top_p"},
		{"stream options without a stream", completion, `{"prompt":"a","stream_options":{"include_usage":true}}`, 400, "BadRequestError", "stream=True"},
		{"streamed beams", completion, `{"prompt":"a","stream":true,"use_beam_search":true}`, 400, "BadRequestError", "beam search"},
		{"no input", "/v1/responses", `{}`, 400, "Bad Request", "body.input"},
		{"an earlier response", "/v1/responses", `{"input":"a","previous_response_id":"resp_1"}`, 404, "invalid_request_error", "resp_1"},
		{"no max_tokens", "/v1/messages", `{"messages":[]}`, 400, "Bad Request", "body.max_tokens"},
		{"a model that embeds not", "/v1/embeddings", `{"input":"a"}`, 404, "Not Found", "Not Found"},
		{"no such path", "/v1/nothing", `{}`, 404, "Not Found", "Not Found"},
	} {
		status, body := post(t, s, c.path, c.body)
		a := decodeJSON[apiAnswer](t, body)
		if status != c.status || a.Error == nil || a.Error.Type != c.kind || a.Error.Code != c.status || !strings.Contains(a.Error.Message, c.says) {
			t.Errorf("%s: %d %s; want %d, %q and %q", c.name, status, body, c.status, c.kind, c.says)
		}
	}
	if status, body := get(t, s, chat); status != http.StatusMethodNotAllowed || !strings.Contains(body, "Method Not Allowed") {
		t.Errorf("GET: %d %s", status, body)
	}
	// Anthropic's errors look different.
	status, body := post(t, s, "/v1/messages", `{"model":"gpt","max_tokens":1,"messages":[{"role":"user","content":"a"}]}`)
	if want := `{"type":"error","error":{"type":"NotFoundError","message":`; status != 404 || !strings.HasPrefix(body, want) {
		t.Errorf("messages: %d %s", status, body)
	}
	if n := counter(t, s, "vllm:request_success_total"); n != 0 {
		t.Errorf("%v requests counted", n)
	}
}

func TestCatalogue(t *testing.T) {
	s := start(t, nil, vllmsim.Options{Model: "acme/small"})
	if status, body := get(t, s, "/health"); status != 200 || body != "" {
		t.Errorf("health: %d %q", status, body)
	}
	if _, body := get(t, s, "/version"); body != `{"version":"0.32.0"}` {
		t.Errorf("version: %s", body)
	}
	_, body := get(t, s, "/v1/models")
	list := decodeJSON[struct {
		Data []struct {
			ID  string `json:"id"`
			Len int    `json:"max_model_len"`
		} `json:"data"`
	}](t, body)
	if len(list.Data) != 1 || list.Data[0].ID != "acme/small" || list.Data[0].Len != vllmsim.DefaultMaxModelLen {
		t.Errorf("models: %s", body)
	}
	_, body = post(t, s, "/tokenize", `{"messages":[{"role":"user","content":[{"type":"text","text":"hi"}]}],"return_token_strs":true}`)
	tokens := decodeJSON[struct {
		Count  int      `json:"count"`
		Tokens []int    `json:"tokens"`
		Strs   []string `json:"token_strs"`
	}](t, body)
	if want := "user: hi\nassistant:"; strings.Join(tokens.Strs, "") != want || tokens.Count != len(tokens.Strs) || len(tokens.Tokens) != tokens.Count {
		t.Errorf("tokenize: %s", body)
	}
}

// TestCompletionForms asks in the forms that no recording has.
func TestCompletionForms(t *testing.T) {
	s := start(t, nil, vllmsim.Options{})
	ask := func(body string) apiAnswer {
		t.Helper()
		status, text := post(t, s, "/v1/completions", body)
		if status != 200 {
			t.Fatalf("%d %s", status, text)
		}
		return decodeJSON[apiAnswer](t, text)
	}
	a := ask(`{"prompt":[[1,2,3],[4,5]],"max_tokens":4,"ignore_eos":true,"n":2}`)
	if len(a.Choices) != 4 || a.Usage != (apiUsage{5, 16, 21}) || a.Choices[3].Index != 3 {
		t.Errorf("prompts of token ids: %+v", a)
	}
	a = ask(`{"prompt":[7,8,9],"max_tokens":1}`)
	if a.Usage != (apiUsage{3, 1, 4}) {
		t.Errorf("a prompt of token ids: %+v", a)
	}
	a = ask(`{"prompt":"one two","echo":true,"max_tokens":0}`)
	if a.Choices[0].Text != "one two" || a.Usage != (apiUsage{2, 1, 3}) {
		t.Errorf("echo alone is computed, one token of it: %+v", a)
	}
	a = ask(`{"prompt":"one two"}`)
	if a.Usage.Completion > 16 {
		t.Errorf("a completion that names no number: %+v", a)
	}
	stop := ask(`{"prompt":"one two","temperature":0,"ignore_eos":true,"max_tokens":20}`)
	word := strings.Fields(stop.Choices[0].Text)[2]
	a = ask(`{"prompt":"one two","temperature":0,"ignore_eos":true,"max_tokens":20,"stop":"` + word + `"}`)
	if c := a.Choices[0]; c.FinishReason != "stop" || c.StopReason != word || strings.Contains(c.Text, word) {
		t.Errorf("stop at %q in %q: %+v", word, stop.Choices[0].Text, c)
	}
	a = ask(`{"prompt":"one two","temperature":0,"ignore_eos":true,"max_tokens":20,"stop":["","` + word + `"],"include_stop_str_in_output":true}`)
	if c := a.Choices[0]; !strings.HasSuffix(c.Text, word) {
		t.Errorf("the stop string is wanted: %+v", c)
	}
	a = ask(`{"prompt":["one","two"],"max_tokens":3,"n":2,"temperature":0,"use_beam_search":true}`)
	if len(a.Choices) != 4 || a.Usage != (apiUsage{2, 12, 14}) || a.Choices[0].Text == a.Choices[1].Text {
		t.Errorf("beams of two prompts: %+v", a)
	}
}

func TestGreedyIsTheSameAgain(t *testing.T) {
	s := start(t, nil, vllmsim.Options{})
	const body = `{"prompt":"say it","temperature":0,"max_tokens":100}`
	_, one := post(t, s, "/v1/completions", body)
	_, two := post(t, s, "/v1/completions", body)
	a, b := decodeJSON[apiAnswer](t, one), decodeJSON[apiAnswer](t, two)
	if a.Choices[0].Text == "" || a.Choices[0].Text != b.Choices[0].Text || a.ID == b.ID {
		t.Errorf("%+v\n%+v", a, b)
	}
}

func TestPoolingForms(t *testing.T) {
	s := start(t, nil, vllmsim.Options{})
	type embedded struct {
		Data []struct {
			Embedding any `json:"embedding"`
		} `json:"data"`
		Usage apiUsage `json:"usage"`
	}
	_, body := post(t, s, "/v1/embeddings", `{"input":["a b","c"],"encoding_format":"base64"}`)
	e := decodeJSON[embedded](t, body)
	text, ok := e.Data[0].Embedding.(string)
	raw, err := base64.StdEncoding.DecodeString(text)
	if !ok || err != nil || len(raw) != 128*4 || e.Usage != (apiUsage{3, 0, 3}) {
		t.Errorf("base64: %s", body)
	}
	_, body = post(t, s, "/v1/rerank", `{"query":"red fish","documents":["a stone","red fish","a fish"],"top_n":2}`)
	r := decodeJSON[struct {
		Results []struct {
			Index int     `json:"index"`
			Score float64 `json:"relevance_score"`
		} `json:"results"`
		Usage apiUsage `json:"usage"`
	}](t, body)
	if len(r.Results) != 2 || r.Results[0].Index != 1 || r.Results[0].Score < 0.999 || r.Results[1].Score > r.Results[0].Score || r.Usage.Prompt != 8 {
		t.Errorf("rerank: %s", body)
	}
	status, body := post(t, s, "/score", `{"queries":["a","b","c"],"documents":["d","e"]}`)
	if status != 400 || !strings.Contains(body, "N:N") {
		t.Errorf("unequal sides: %d %s", status, body)
	}
	status, body = post(t, s, "/pooling", `{"input":"`+strings.Repeat("x ", 1025)+`"}`)
	if status != 400 || !strings.Contains(body, "at least 1025 input tokens") {
		t.Errorf("too long: %d %.300s", status, body)
	}
}

// TestRequestIDs are the client's, by header before body; the answer carries the id
// as vLLM writes it, and the header when the server was told so.
func TestRequestIDs(t *testing.T) {
	sink := newSink(t)
	s := start(t, sink, vllmsim.Options{RequestIDHeaders: true})
	_, body := post(t, s, "/v1/chat/completions", `{"request_id":"of-the-body","max_tokens":1,"messages":[{"role":"user","content":"a"}]}`, "X-Request-Id", "of-the-header")
	if a := decodeJSON[apiAnswer](t, body); a.ID != "chatcmpl-of-the-header" {
		t.Errorf("id %s", a.ID)
	}
	post(t, s, "/v1/completions", `{"prompt":["a","b"],"max_tokens":1}`, "X-Request-Id", "mine")
	post(t, s, "/v1/embeddings", `{"input":["a","b"]}`, "X-Request-Id", "mine")
	flush(t, s)
	var ids []string
	for _, span := range sink.spans(t) {
		ids = append(ids, attribute(span, "gen_ai.request.id"))
	}
	want := []string{"chatcmpl-of-the-header", "cmpl-mine-0", "cmpl-mine-1", "embd-mine-0", "embd-mine-1"}
	if slices.Sort(ids); !slices.Equal(ids, want) {
		t.Errorf("ids %v, want %v", ids, want)
	}
}
