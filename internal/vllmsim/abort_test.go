package vllmsim_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/tollkeeper/tollkeeper/internal/vllmsim"
)

// TestAbort leaves while the engine works: whether it streams or not, there is no
// span and no entry in a histogram of requests, and the others go on.
func TestAbort(t *testing.T) {
	for name, body := range map[string]string{
		"streaming":     `{"prompt":"a b","max_tokens":500,"ignore_eos":true,"stream":true}`,
		"not streaming": `{"prompt":"a b","max_tokens":500,"ignore_eos":true}`,
		"beams":         `{"prompt":"a b","max_tokens":500,"ignore_eos":true,"n":2,"use_beam_search":true}`,
		"two prompts":   `{"prompt":["a b","c d"],"max_tokens":500,"ignore_eos":true}`,
	} {
		t.Run(name, func(t *testing.T) {
			sink, gate := newSink(t), newGate(3)
			s := start(t, sink, vllmsim.Options{Sleep: gate.sleep})
			ctx, leave := context.WithCancel(t.Context())
			r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.URL()+"/v1/completions", strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			var wait sync.WaitGroup
			c := client(t)
			wait.Go(func() {
				w, err := c.Do(r)
				if err == nil {
					_, err = io.Copy(io.Discard, w.Body)
					w.Body.Close()
				}
				if !errors.Is(err, context.Canceled) {
					t.Errorf("the answer ended: %v", err)
				}
			})
			eventually(t, "three steps", func() bool { return counter(t, s, "vllm:iteration_tokens_total_count") == 3 })
			spans, finished := counter(t, s, "vllm:request_success_total"), counter(t, s, "vllm:request_prompt_tokens_count")
			leave()
			wait.Wait()
			eventually(t, "the engine is idle", func() bool { return counter(t, s, "vllm:num_requests_running") == 0 })
			gate.open(10)
			post(t, s, "/v1/completions", oneToken)
			flush(t, s)
			if got := counter(t, s, "vllm:request_success_total"); got != spans+1 {
				t.Errorf("%v requests, want one more than %v", got, spans)
			}
			if got := counter(t, s, "vllm:request_prompt_tokens_count"); got != finished+1 {
				t.Errorf("%v in the histogram, want one more than %v", got, finished)
			}
			if got := float64(len(sink.spans(t))); got != spans+1 {
				t.Errorf("%v spans, want one more than %v", got, spans)
			}
		})
	}
}

// TestRestartCutsWhatIsInFlight: the client must see that its answer is not whole.
func TestRestartCutsWhatIsInFlight(t *testing.T) {
	for _, body := range []string{
		`{"prompt":"a b","max_tokens":500,"ignore_eos":true,"stream":true}`,
		`{"prompt":"a b","max_tokens":500,"ignore_eos":true}`,
	} {
		gate := newGate(3)
		s := start(t, nil, vllmsim.Options{Sleep: gate.sleep})
		var wait sync.WaitGroup
		c := client(t)
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL()+"/v1/completions", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		wait.Go(func() {
			w, err := c.Do(r)
			if err == nil {
				_, err = io.Copy(io.Discard, w.Body)
				w.Body.Close()
			}
			if err == nil {
				t.Error("the answer looked whole")
			}
		})
		eventually(t, "three steps", func() bool { return counter(t, s, "vllm:iteration_tokens_total_count") == 3 })
		if err := s.Restart(t.Context()); err != nil {
			t.Error(err)
		}
		wait.Wait()
	}
}

// TestDrainFinishesWhatIsInFlight takes nothing new meanwhile, and the span of what
// finished is sent by Close.
func TestDrainFinishesWhatIsInFlight(t *testing.T) {
	sink, gate := newSink(t), newGate(3)
	s := start(t, sink, vllmsim.Options{Sleep: gate.sleep})
	var wait sync.WaitGroup
	wait.Go(func() {
		if status, body := post(t, s, "/v1/completions", `{"prompt":"a b","max_tokens":50,"ignore_eos":true}`); status != http.StatusOK || !strings.Contains(body, `"completion_tokens":50`) {
			t.Errorf("answered %d %s", status, body)
		}
	})
	eventually(t, "three steps", func() bool { return counter(t, s, "vllm:iteration_tokens_total_count") == 3 })
	wait.Go(func() {
		if err := s.Drain(t.Context()); err != nil {
			t.Error(err)
		}
	})
	eventually(t, "nothing new is taken", func() bool {
		c, err := net.Dial("tcp", strings.TrimPrefix(s.URL(), "http://"))
		if err == nil {
			c.Close()
		}
		return err != nil
	})
	gate.open(100)
	wait.Wait()
	if err := s.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if n := len(sink.spans(t)); n != 1 {
		t.Errorf("%d spans, want that of the request which finished", n)
	}
}

// TestManyAtOnce keeps every request apart, also where all send the same ids: start
// times differ between requests and are equal among the choices of one.
func TestManyAtOnce(t *testing.T) {
	sink := newSink(t)
	s := start(t, sink, vllmsim.Options{MaxNumSeqs: 3})
	const clients, each = 8, 10
	var wait sync.WaitGroup
	for range clients {
		wait.Go(func() {
			for range each {
				post(t, s, "/v1/chat/completions", `{"n":2,"max_tokens":3,"ignore_eos":true,"messages":[{"role":"user","content":"a"}]}`,
					"X-Request-Id", "everyone-sends-this", "traceparent", "00-"+trace+"-00f067aa0ba902b7-01")
			}
		})
	}
	wait.Wait()
	flush(t, s)
	starts := map[uint64]int{}
	for _, span := range sink.spans(t) {
		starts[span.GetStartTimeUnixNano()]++
		if id := attribute(span, "gen_ai.request.id"); id != "chatcmpl-everyone-sends-this" {
			t.Fatalf("id %s", id)
		}
	}
	if len(starts) != clients*each {
		t.Errorf("%d start times of %d requests", len(starts), clients*each)
	}
	for at, n := range starts {
		if n != 2 || at%256 != 0 {
			t.Errorf("%d spans start at %d", n, at)
		}
	}
	if n := counter(t, s, "vllm:generation_tokens_total"); n != clients*each*2*3 {
		t.Errorf("%v tokens", n)
	}
}
