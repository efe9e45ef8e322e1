package vllmsim

import (
	"context"
	"strings"
	"sync"
	"time"
)

// Finish reasons, as the API and request_success_total name them.
const (
	reasonStop   = "stop"
	reasonLength = "length"
)

// sampling is what a request asks of the engine.
type sampling struct {
	maxTokens   int
	temperature float64
	topP        float64
	ignoreEOS   bool
	stop        []string
	includeStop bool
	logprobs    int // how many alternatives are told; -1 for none
	pooling     bool
}

// group is the n choices of one prompt: counted as one request in some histograms.
type group struct {
	n    int
	left int
	most int // tokens of the longest choice
}

// sequence is one prompt being continued: one span.
type sequence struct {
	sampling

	id             string // gen_ai.request.id
	trace          traceContext
	index          int // the choice's number in the answer
	choice         int // among the n of its prompt
	group          *group
	job            *job
	text           string // the prompt
	prompt         []string
	promptLogprobs bool

	arrival, queued, scheduled, first, last time.Time

	cached     int
	generated  int
	out        strings.Builder
	tokens     []string // kept when logprobs are asked for
	sent       int      // bytes of out that the client has
	reason     string   // "" while it runs
	stopReason any      // the stop string that was met
}

// advance computes the next token and counts it; the result is the tokens that
// this step had to compute. The metrics are locked.
func (s *sequence) advance(e *engine, now time.Time) int {
	m := e.metrics
	computed := 0
	if s.first.IsZero() {
		computed = len(s.prompt) - s.cached
		m.add("vllm:prompt_tokens", float64(len(s.prompt)))
		m.add("vllm:prompt_tokens_by_source", float64(computed), "local_compute")
		m.add("vllm:prompt_tokens_by_source", float64(s.cached), "local_cache_hit")
		m.add("vllm:prompt_tokens_cached", float64(s.cached))
		m.observe("vllm:time_to_first_token_seconds", now.Sub(s.arrival).Seconds())
		s.first = now
	} else {
		m.observe("vllm:inter_token_latency_seconds", now.Sub(s.last).Seconds())
	}
	s.last = now
	if s.pooling {
		s.reason = reasonStop
	} else {
		computed++
		m.add("vllm:generation_tokens", 1)
		s.generate(e.o.Next)
	}
	if s.reason != "" {
		s.count(m, now)
	}
	return computed
}

// generate takes the next token and decides whether it was the last.
func (s *sequence) generate(next func(Position) Token) {
	t := next(Position{Prompt: s.text, Choice: s.choice, Step: s.generated, Temperature: s.temperature})
	s.generated++
	if s.logprobs >= 0 {
		s.tokens = append(s.tokens, t.Text)
	}
	switch {
	case t.End && !s.ignoreEOS:
		s.reason = reasonStop
		return
	case s.generated >= s.maxTokens:
		s.reason = reasonLength
	}
	from := s.out.Len()
	s.out.WriteString(t.Text)
	s.checkStop(from)
}

// checkStop looks for a stop string that ends in the newest token, whose text
// begins at from, and cuts it off.
func (s *sequence) checkStop(from int) {
	all := s.out.String()
	for _, stop := range s.stop {
		if stop == "" {
			continue
		}
		start := max(0, from-len(stop)+1)
		i := strings.Index(all[start:], stop)
		if i < 0 {
			continue
		}
		cut := start + i
		if s.includeStop {
			cut += len(stop)
		}
		s.out.Reset()
		s.out.WriteString(all[:cut])
		s.reason, s.stopReason = reasonStop, stop
		return
	}
}

// held is how many bytes wait because a stop string may have begun in them.
func (s *sequence) held() int {
	if s.reason != "" || s.includeStop {
		return 0
	}
	n := 0
	for _, stop := range s.stop {
		n = max(n, len(stop)-1)
	}
	return n
}

// count is what the finish of a sequence adds to the histograms. The metrics are
// locked.
func (s *sequence) count(m *metrics, now time.Time) {
	m.add("vllm:request_success", 1, s.reason)
	m.observe("vllm:request_prompt_tokens", float64(len(s.prompt)))
	m.observe("vllm:request_generation_tokens", float64(s.generated))
	m.observe("vllm:request_prefill_kv_computed_tokens", float64(len(s.prompt)-s.cached))
	m.observe("vllm:request_num_preemptions", 0)
	if !s.pooling {
		m.observe("vllm:request_params_max_tokens", float64(s.maxTokens))
	}
	decode := s.last.Sub(s.first).Seconds()
	m.observe("vllm:e2e_request_latency_seconds", now.Sub(s.arrival).Seconds())
	m.observe("vllm:request_queue_time_seconds", s.scheduled.Sub(s.queued).Seconds())
	m.observe("vllm:request_prefill_time_seconds", s.first.Sub(s.scheduled).Seconds())
	m.observe("vllm:request_inference_time_seconds", s.last.Sub(s.scheduled).Seconds())
	m.observe("vllm:request_decode_time_seconds", decode)
	perToken := 0.0
	if s.generated > 1 {
		perToken = decode / float64(s.generated-1)
	}
	m.observe("vllm:request_time_per_output_token_seconds", perToken)

	g := s.group
	g.most = max(g.most, s.generated)
	if g.left--; g.left == 0 { // counted once for all choices
		m.observe("vllm:request_max_num_generation_tokens", float64(g.most))
		m.observe("vllm:request_params_n", float64(g.n))
	}
}

// job is the sequences that one handler waits for together.
type job struct {
	seqs   []*sequence
	stream bool // outputs are wanted one by one

	ctx   context.Context
	done  chan struct{} // closed when finished or aborted
	ready chan struct{} // capacity 1: outputs has more
	left  int           // of the engine

	mu      sync.Mutex
	outputs []output
	closed  bool
}

// output is what one step added to one choice.
type output struct {
	seq        *sequence
	text       string
	tokens     []string // when logprobs are asked for
	generated  int
	reason     string
	stopReason any
}

// publish hands the newest token to a streaming handler. The queue has no limit,
// since the engine waits for no client; a request's max_tokens bounds it.
func (j *job) publish(s *sequence) {
	if !j.stream {
		return
	}
	text := s.out.String()
	end := max(s.sent, len(text)-s.held())
	o := output{seq: s, text: text[min(s.sent, len(text)):min(end, len(text))], generated: s.generated, reason: s.reason, stopReason: s.stopReason}
	s.sent = end
	if n := len(s.tokens); n > 0 {
		o.tokens = s.tokens[n-1:]
	}
	j.mu.Lock()
	j.outputs = append(j.outputs, o)
	j.mu.Unlock()
	select {
	case j.ready <- struct{}{}:
	default:
	}
}

func (j *job) finish() {
	j.mu.Lock()
	defer j.mu.Unlock()
	if !j.closed {
		j.closed = true
		close(j.done)
	}
}

// next takes what is queued, waiting for it; nil after the last, or when the
// client left.
func (j *job) next() []output {
	for {
		j.mu.Lock()
		out, closed := j.outputs, j.closed
		j.outputs = nil
		j.mu.Unlock()
		if j.ctx.Err() != nil {
			return nil
		}
		if len(out) > 0 || closed {
			return out
		}
		select {
		case <-j.ready:
		case <-j.done:
		case <-j.ctx.Done():
		}
	}
}

// wait says whether all sequences finished: false when the client left first.
func (j *job) wait() bool {
	select {
	case <-j.done:
	case <-j.ctx.Done():
	}
	return j.ctx.Err() == nil && j.finished()
}

func (j *job) finished() bool {
	for _, s := range j.seqs {
		if s.reason == "" {
			return false
		}
	}
	return true
}
