package vllmsim

import (
	"context"
	"slices"
	"sync"
	"time"
)

// engine is vLLM's core loop: in each step every running sequence gains one token,
// and new ones are taken in. Its goroutine alone touches the sequences.
type engine struct {
	o       Options
	metrics *metrics
	trace   func(*sequence, time.Time) // called for each sequence that finished
	life    context.Context
	end     context.CancelFunc
	done    chan struct{}

	mu       sync.Mutex
	waiting  []*sequence
	active   map[*job]bool      // neither finished nor aborted
	wake     chan struct{}      // capacity 1: there is something to do
	skip     context.CancelFunc // ends the current step's wait
	arrival  int64              // the newest arrival's time, ns
	accepted bool               // false once it stopped

	// Of the loop's goroutine alone.
	running []*sequence
	cache   *prefixCache
}

func newEngine(o Options, m *metrics, trace func(*sequence, time.Time)) *engine {
	e := &engine{
		o: o, metrics: m, trace: trace, done: make(chan struct{}), active: map[*job]bool{},
		wake: make(chan struct{}, 1), accepted: true, cache: newPrefixCache(o.BlockSize),
	}
	e.life, e.end = context.WithCancel(context.Background())
	go e.loop()
	return e
}

// stop ends the loop: what runs is never finished, as when vLLM gets SIGTERM.
func (e *engine) stop() {
	e.mu.Lock()
	e.accepted = false
	e.mu.Unlock()
	e.end()
	<-e.done
}

// clockTick is the resolution of Python's float time.time() these years: 2⁻²² s,
// of which int(t·10⁹) makes multiples of 256 ns (or one less).
const clockTick = 256

// arrive is the time at which a request came: no two of one process share it,
// because vLLM's event loop takes one after the other.
func (e *engine) arrive() time.Time {
	e.mu.Lock()
	defer e.mu.Unlock()
	now := e.o.Now().UnixNano() / clockTick * clockTick
	e.arrival = max(now, e.arrival+clockTick)
	return time.Unix(0, e.arrival).UTC()
}

// submit queues a job's sequences together. The job is aborted when ctx is done
// first; j.done is closed when all are finished or it was aborted.
func (e *engine) submit(ctx context.Context, j *job) {
	j.ctx = ctx
	j.done = make(chan struct{})
	j.ready = make(chan struct{}, 1)
	j.left = len(j.seqs)
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.accepted || ctx.Err() != nil {
		j.finish()
		return
	}
	now := e.o.Now()
	for _, s := range j.seqs {
		s.job, s.queued = j, now
	}
	e.active[j] = true
	e.waiting = append(e.waiting, j.seqs...)
	context.AfterFunc(ctx, func() { e.abort(j) })
	e.poke()
}

// poke says that there is something to do.
func (e *engine) poke() {
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

// abort forgets a job whose client left. A step that nobody waits for any more
// ends at once.
func (e *engine) abort(j *job) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.active[j] {
		return
	}
	delete(e.active, j)
	j.finish()
	if len(e.active) == 0 && e.skip != nil {
		e.skip()
	}
	e.poke()
}

func (e *engine) loop() {
	defer close(e.done)
	for e.life.Err() == nil {
		if !e.admit() {
			select {
			case <-e.wake:
			case <-e.life.Done():
			}
			continue
		}
		e.step()
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for j := range e.active { // their clients wait for ever, as the recorded one did
		delete(e.active, j)
	}
}

// admit drops aborted sequences, takes waiting ones in and says whether any runs.
func (e *engine) admit() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	gone := func(s *sequence) bool { return !e.active[s.job] }
	e.running = slices.DeleteFunc(e.running, gone)
	e.waiting = slices.DeleteFunc(e.waiting, gone)
	n := min(len(e.waiting), e.o.MaxNumSeqs-len(e.running))
	taken := e.waiting[:n]
	e.running = append(e.running, taken...)
	e.waiting = slices.Delete(e.waiting, 0, n)

	e.metrics.mu.Lock()
	defer e.metrics.mu.Unlock()
	now := e.o.Now()
	for _, s := range e.running[len(e.running)-n:] {
		s.scheduled = now
		if s.promptLogprobs { // needs every position computed: the cache is not asked
			continue
		}
		s.cached = e.cache.lookup(s.prompt)
		e.cache.store(s.prompt)
		e.metrics.add("vllm:prefix_cache_queries", float64(len(s.prompt)))
		e.metrics.add("vllm:prefix_cache_hits", float64(s.cached))
		e.metrics.add("vllm:prompt_tokens_cached_by_source", float64(s.cached), "device")
	}
	e.metrics.set("vllm:num_requests_running", float64(len(e.running)))
	e.metrics.set("vllm:num_requests_waiting", float64(len(e.waiting)))
	e.metrics.set("vllm:num_requests_waiting_by_reason", float64(len(e.waiting)), "capacity")
	return len(e.running) > 0
}

// step computes one token for each running sequence.
func (e *engine) step() {
	work := e.o.TokenTime
	for _, s := range e.running {
		if s.first.IsZero() {
			work += time.Duration(len(s.prompt)-s.cached) * e.o.PrefillTime
		}
	}
	ctx, cancel := context.WithCancel(e.life)
	defer cancel()
	e.mu.Lock()
	if len(e.active) > 0 {
		e.skip = cancel
	} else {
		cancel()
	}
	e.mu.Unlock()
	e.o.Sleep(ctx, work)

	e.mu.Lock()
	defer e.mu.Unlock()
	e.skip = nil
	if e.life.Err() != nil {
		return
	}
	e.running = slices.DeleteFunc(e.running, func(s *sequence) bool { return !e.active[s.job] })
	if len(e.running) == 0 {
		return
	}
	now := e.o.Now()
	e.metrics.mu.Lock()
	tokens := 0
	for _, s := range e.running {
		tokens += s.advance(e, now)
	}
	e.metrics.observe("vllm:iteration_tokens_total", float64(tokens))
	running := e.running
	e.running = slices.DeleteFunc(slices.Clone(running), func(s *sequence) bool { return s.reason != "" })
	e.metrics.set("vllm:num_requests_running", float64(len(e.running)))
	e.metrics.mu.Unlock()

	// Spans and counters first, then the clients: one who has the answer finds
	// its request counted.
	for _, s := range running {
		if s.reason != "" {
			e.trace(s, now)
		}
	}
	for _, s := range running {
		s.job.publish(s)
		if s.reason == "" {
			continue
		}
		s.job.left--
		if s.job.left == 0 {
			delete(e.active, s.job)
			s.job.finish()
		}
	}
}
