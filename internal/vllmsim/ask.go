package vllmsim

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
)

// Bounds of what the load asks for, in tokens; an abort asks for more than it waits for.
const (
	leastTokens, mostTokens = 8, 72
	abortTokens             = 500
	leastEvents, mostEvents = 4, 20 // that a client sees before it leaves
)

// errLeft ends a request whose client left on purpose.
var errLeft = errors.New("the client left")

// subjects are what the load talks about; a longer text is several of them.
var subjects = []string{
	"Explain the difference between a draft and a final invoice.",
	"Summarise this support ticket in two sentences.",
	"Write a short poem about counting tokens.",
	"Translate the following paragraph into German, keeping the tone.",
	"What changed in the quarterly numbers, and why does it matter?",
	"List the risks of running a language model on your own hardware.",
	"Turn these meeting notes into a list of actions with owners.",
	"Which of these two contracts is cheaper over three years?",
}

// ask is one request of the load.
type ask struct {
	kind   Kind
	url    string
	header http.Header
	body   object
	stream bool
	leave  int // events after which the client leaves; 0 is never
}

func newAsk(c *Customer, s *Server, kind Kind, chance *rand.Rand) *ask {
	a := &ask{kind: kind, url: s.URL() + "/v1/chat/completions", header: http.Header{}}
	trace, span := randomHex(chance, 16), randomHex(chance, 8)
	flags := "01"
	if kind == Unsampled {
		flags = "00"
	}
	a.header.Set("Content-Type", "application/json")
	a.header.Set("Traceparent", "00-"+trace+"-"+span+"-"+flags)
	if c.Tracestate != nil {
		a.header.Set("Tracestate", c.Tracestate(trace))
	}
	if c.RequestIDs {
		a.header.Set(requestIDHeader, c.ID+"-"+randomHex(chance, 8))
	}
	text := func() string {
		var b strings.Builder
		for range 1 + chance.IntN(2*c.Sentences) {
			b.WriteString(subjects[chance.IntN(len(subjects))] + " ")
		}
		return b.String()
	}
	tokens := leastTokens + chance.IntN(mostTokens-leastTokens)
	a.body = object{
		{"model", s.Model()}, {"messages", []object{{{"role", "user"}, {"content", text()}}}}, {"max_tokens", tokens}, {"temperature", 0.7},
	}
	streaming := object{{"include_usage", true}, {"continuous_usage_stats", true}}
	switch kind {
	case Stream:
		a.stream = true
		a.body = append(a.body, member{"stream", true}, member{"stream_options", streaming[:1]})
	case Choices:
		a.body = append(a.body, member{"n", 2 + chance.IntN(2)})
	case Prompts:
		a.url = s.URL() + "/v1/completions"
		a.body = object{{"model", s.Model()}, {"prompt", []string{text(), text(), text()}}, {"max_tokens", tokens}, {"temperature", 0.7}}
	case Abort:
		a.stream, a.leave = true, leastEvents+chance.IntN(mostEvents-leastEvents)
		a.body[2].value = abortTokens
		a.body = append(a.body, member{"stream", true}, member{"stream_options", streaming}, member{"ignore_eos", true})
	case Embedding:
		a.url = s.URL() + "/v1/embeddings"
		a.body = object{{"model", s.Model()}, {"input", []string{text(), text()}}}
	}
	return a
}

func randomHex(chance *rand.Rand, n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(chance.Uint32())
	}
	b[0] |= 1 // an id of zeros is none
	return hex.EncodeToString(b)
}

// told is the usage in an answer or an event.
type told struct {
	Usage *struct {
		Input  int64 `json:"prompt_tokens"`
		Output int64 `json:"completion_tokens"`
	} `json:"usage"`
}

// do sends the request and returns the usage that the answer told.
func (a *ask) do(ctx context.Context, client *http.Client) (input, output int64, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // a body that is not read to its end is a client that left
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, a.url, bytes.NewReader(appendJSON(nil, a.body)))
	if err != nil {
		return 0, 0, err
	}
	r.Header = a.header
	w, err := client.Do(r)
	if err != nil {
		return 0, 0, err
	}
	defer w.Body.Close()
	if w.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(w.Body, 1<<10))
		return 0, 0, fmt.Errorf("%s: %s", w.Status, text)
	}
	var t told
	if a.stream {
		return a.events(w.Body)
	}
	if err := json.NewDecoder(w.Body).Decode(&t); err != nil {
		return 0, 0, err
	}
	if t.Usage == nil {
		return 0, 0, errors.New("the answer tells no usage")
	}
	_, err = io.Copy(io.Discard, w.Body)
	return t.Usage.Input, t.Usage.Output, err
}

// events reads a stream; the last usage in it counts.
func (a *ask) events(body io.Reader) (input, output int64, err error) {
	lines := bufio.NewScanner(body)
	for seen := 0; lines.Scan(); {
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok {
			continue
		}
		if data == "[DONE]" {
			_, err := io.Copy(io.Discard, body)
			return input, output, err
		}
		var t told
		if err := json.Unmarshal([]byte(data), &t); err != nil {
			return input, output, err
		}
		if t.Usage != nil {
			input, output = t.Usage.Input, t.Usage.Output
		}
		if seen++; seen == a.leave {
			return input, output, errLeft
		}
	}
	return input, output, errors.Join(lines.Err(), io.ErrUnexpectedEOF)
}
