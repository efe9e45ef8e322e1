package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// sums are requests and their tokens.
type sums struct {
	Requests int64 `json:"requests"`
	Input    int64 `json:"input_tokens"`
	Output   int64 `json:"output_tokens"`
}

func (s sums) plus(o sums) sums {
	return sums{s.Requests + o.Requests, s.Input + o.Input, s.Output + o.Output}
}

func (s sums) minus(o sums) sums {
	return sums{s.Requests - o.Requests, s.Input - o.Input, s.Output - o.Output}
}

func (s sums) String() string {
	return fmt.Sprintf("%d requests, %d + %d tokens", s.Requests, s.Input, s.Output)
}

// load is traffic of some clients at a time, and what they saw of usage.
type load struct {
	url   string // of vLLM
	model string
	name  string // begins each request's id
	// client takes a connection for each request: vLLM closes idle ones, and a
	// request on such a one fails.
	client http.Client

	began    time.Time
	mu       sync.Mutex
	told     map[string]sums // usage by request id, of those that were answered whole
	failed   int
	lastFail error

	number atomic.Int64
	stop   context.CancelFunc
	done   sync.WaitGroup
}

const (
	// clients is how many requests are under way at a time.
	clients = 4
	// clientPause is before a client asks again whose request failed.
	clientPause = 200 * time.Millisecond
)

func newLoad(url, model string) *load {
	return &load{
		url: url, model: model, name: fmt.Sprintf("e2e-%d", time.Now().UnixNano()),
		client: http.Client{Transport: &http.Transport{DisableKeepAlives: true}},
		began:  time.Now(), told: map[string]sums{},
	}
}

// start begins the traffic.
func (l *load) start(ctx context.Context) {
	ctx, l.stop = context.WithCancel(ctx)
	for range clients {
		l.done.Go(func() {
			for ctx.Err() == nil {
				if err := l.one(context.WithoutCancel(ctx), l.number.Add(1)); err != nil {
					_ = pause(ctx, clientPause)
				}
			}
		})
	}
}

// finish lets what is under way end, and tells what was seen.
func (l *load) finish() (seen sums, failed int) {
	l.stop()
	l.done.Wait()
	for _, used := range l.told {
		seen = seen.plus(used)
	}
	return seen, l.failed
}

// ended is how many requests were answered or failed.
func (l *load) ended() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.told) + l.failed
}

// answerTime bounds one request.
const answerTime = time.Minute

// one is a request, each second one streamed. What failed is no usage to its
// client: the engine may have another view of it.
func (l *load) one(ctx context.Context, n int64) error {
	return l.record(ctx, question{number: n, tokens: 4 + n%13, stream: n%2 == 0})
}

// question is what one request asks for.
type question struct {
	number int64 // of the load's, in its id and its prompt
	tokens int64 // of the answer
	stream bool
	begun  func() // called when the answer begins
}

// record asks, and keeps what the client saw.
func (l *load) record(ctx context.Context, q question) error {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	id := fmt.Sprintf("%s-%d", l.name, q.number)
	used, err := l.ask(ctx, id, q)
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		l.failed++
		l.lastFail = err
		return err
	}
	l.told[id] = used
	return nil
}

// burst begins n streams, and returns when all are under way. end waits for them,
// and wants each whole.
func (l *load) burst(ctx context.Context, n, tokens int) (end func() error, err error) {
	begun, ended := make(chan struct{}, n), make(chan error, n)
	for range n {
		q := question{number: l.number.Add(1), tokens: int64(tokens), stream: true, begun: func() { begun <- struct{}{} }}
		go func() { ended <- l.record(ctx, q) }()
	}
	for range n {
		select {
		case <-begun:
		case err := <-ended:
			return nil, fmt.Errorf("a stream of %d tokens ended before all ran: %w", tokens, cmp.Or(err, errors.New("too short")))
		}
	}
	return func() error {
		var failed []error
		for range n {
			failed = append(failed, <-ended)
		}
		return errors.Join(failed...)
	}, nil
}

type reported struct {
	Usage *struct {
		Prompt     int64 `json:"prompt_tokens"`
		Completion int64 `json:"completion_tokens"`
	} `json:"usage"`
}

func (l *load) ask(ctx context.Context, id string, q question) (sums, error) {
	asked := map[string]any{"model": l.model, "prompt": fmt.Sprintf("San Francisco is number %d of", q.number), "max_tokens": q.tokens, "ignore_eos": true}
	if q.stream {
		asked["stream"], asked["stream_options"] = true, map[string]any{"include_usage": true}
	}
	body, err := json.Marshal(asked)
	if err != nil {
		return sums{}, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, l.url+"/v1/completions", bytes.NewReader(body))
	if err != nil {
		return sums{}, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-Request-ID", id)
	resp, err := l.client.Do(req)
	if err != nil {
		return sums{}, err
	}
	defer resp.Body.Close()
	text := bufio.NewReader(resp.Body)
	if _, err := text.Peek(1); err == nil && q.begun != nil && resp.StatusCode == http.StatusOK {
		q.begun()
	}
	answer, err := io.ReadAll(text)
	if err != nil {
		return sums{}, err
	}
	if resp.StatusCode != http.StatusOK {
		return sums{}, fmt.Errorf("%s: %.200s", resp.Status, answer)
	}
	return used(answer, q.stream)
}

// used reads the usage of an answer; of a stream, that of its last piece.
func used(answer []byte, stream bool) (sums, error) {
	if stream {
		pieces := strings.Split(strings.TrimSpace(string(answer)), "\n\n")
		if n := len(pieces); n < 2 || pieces[n-1] != "data: [DONE]" {
			return sums{}, errors.New("the stream broke off")
		}
		answer = []byte(strings.TrimPrefix(pieces[len(pieces)-2], "data: "))
	}
	var r reported
	if err := json.Unmarshal(answer, &r); err != nil {
		return sums{}, err
	}
	if r.Usage == nil {
		return sums{}, errors.New("an answer without usage")
	}
	return sums{1, r.Usage.Prompt, r.Usage.Completion}, nil
}
