package vllmsim

import (
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// Customer is one of those who send requests, and how they are told apart.
type Customer struct {
	ID string
	// Tracestate is the value of that header for a request's trace; nil sends none.
	Tracestate func(trace string) string
	// RequestIDs begins each X-Request-Id with the customer's id.
	RequestIDs bool
	// Mix says how often the customer sends what; Even when nil.
	Mix Mix
	// Sentences is how long a prompt is, on average; 3 when 0.
	Sentences int
}

// Kind is what a request asks for, and what becomes of it.
type Kind string

// Kinds of requests.
const (
	Plain     Kind = "plain"     // a chat in one piece
	Stream    Kind = "stream"    // a chat in events
	Choices   Kind = "choices"   // a chat with n > 1
	Prompts   Kind = "prompts"   // a completion of several prompts
	Abort     Kind = "abort"     // a stream whose client leaves: the engine makes no span
	Unsampled Kind = "unsampled" // a caller whose traceparent switches the span off
	Embedding Kind = "embedding"
)

// Mix is how often each kind is sent, in relation to the others.
type Mix map[Kind]int

// Even is a mix of everything that a bill must get right.
func Even() Mix {
	return Mix{Plain: 6, Stream: 8, Choices: 3, Prompts: 2, Abort: 2, Unsampled: 1}
}

// TrafficOptions say who sends how much to where.
type TrafficOptions struct {
	// Servers get the requests, one picked at random for each.
	Servers []*Server
	// Customers send them.
	Customers []Customer
	// Rate is how many requests a second each customer sends at most; 0 is as many
	// as Parallel allows.
	Rate float64
	// Parallel is how many requests each customer has in flight at most; 1 when 0.
	Parallel int
	// Requests ends the load after so many of each customer; 0 does not.
	Requests int
	// Resend is how often each server's newest batch of spans is exported once more;
	// 0 is never.
	Resend time.Duration
	// Seed makes two loads ask the same.
	Seed uint64
}

// Tally is what the clients of one customer saw at one model: the other side of a bill.
type Tally struct {
	Customer string `json:"customer"`
	Model    string `json:"model"`
	// Requests finished, with the usage that the answers told.
	Requests int64 `json:"requests"`
	Input    int64 `json:"input_tokens"`
	Output   int64 `json:"output_tokens"`
	// Aborted were left by their client; AbortedTokens is the output it had got.
	Aborted       int64 `json:"aborted"`
	AbortedTokens int64 `json:"aborted_output_tokens"`
	// Unsampled finished too, and have no span: theirs is not in Input and Output.
	Unsampled       int64 `json:"unsampled"`
	UnsampledInput  int64 `json:"unsampled_input_tokens"`
	UnsampledOutput int64 `json:"unsampled_output_tokens"`
	// Failed have no answer.
	Failed int64 `json:"failed"`
}

// plus adds o's amounts to t.
func (t Tally) plus(o Tally) Tally {
	t.Requests, t.Input, t.Output = t.Requests+o.Requests, t.Input+o.Input, t.Output+o.Output
	t.Aborted, t.AbortedTokens = t.Aborted+o.Aborted, t.AbortedTokens+o.AbortedTokens
	t.Unsampled, t.UnsampledInput, t.UnsampledOutput = t.Unsampled+o.Unsampled, t.UnsampledInput+o.UnsampledInput, t.UnsampledOutput+o.UnsampledOutput
	t.Failed += o.Failed
	return t
}

// Sum adds tallies up.
func Sum(list []Tally) (sum Tally) {
	for _, t := range list {
		sum = sum.plus(t)
	}
	return sum
}

// Traffic is a bounded load of several customers that keeps the client's own sums.
// An abort is exact only where an engine's step takes its time (Options.TokenTime):
// else the answer may be finished before the server sees its client leave.
type Traffic struct {
	o      TrafficOptions
	client *http.Client

	mu      sync.Mutex
	tallies map[[2]string]Tally // by customer and model
	resent  int64
}

// NewTraffic prepares a load; Run starts it.
func NewTraffic(o TrafficOptions) *Traffic {
	def(&o.Parallel, 1)
	o.Customers = slices.Clone(o.Customers)
	for i := range o.Customers {
		def(&o.Customers[i].Sentences, 3)
	}
	return &Traffic{
		o: o, tallies: map[[2]string]Tally{},
		client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: o.Parallel * len(o.Customers)}},
	}
}

// Run sends requests until the context ends or all were sent, and then waits for
// those in flight: after it the tallies are final.
func (t *Traffic) Run(ctx context.Context) {
	defer t.client.CloseIdleConnections()
	var wait sync.WaitGroup
	for i, c := range t.o.Customers {
		turns := make(chan struct{})
		wait.Go(func() { t.pace(ctx, turns) })
		for k := range t.o.Parallel {
			chance := rand.New(rand.NewPCG(t.o.Seed, uint64(i*t.o.Parallel+k))) //nolint:gosec // because a load wants to be the same again, not unpredictable
			wait.Go(func() {
				for range turns {
					// A request that began is finished whatever happens: its client wants to know.
					t.send(context.WithoutCancel(ctx), &c, chance)
				}
			})
		}
	}
	loaded := make(chan struct{})
	var resending sync.WaitGroup
	resending.Go(func() { t.resend(ctx, loaded) })
	wait.Wait()
	close(loaded)
	resending.Wait()
}

// pace gives turns: one a tick, or whenever a worker is free.
func (t *Traffic) pace(ctx context.Context, turns chan<- struct{}) {
	defer close(turns)
	var tick <-chan time.Time
	if t.o.Rate > 0 {
		ticker := time.NewTicker(time.Duration(float64(time.Second) / t.o.Rate))
		defer ticker.Stop()
		tick = ticker.C
	}
	for sent := 0; t.o.Requests == 0 || sent < t.o.Requests; sent++ {
		if tick != nil && sent > 0 {
			select {
			case <-tick:
			case <-ctx.Done():
				return
			}
		}
		select {
		case turns <- struct{}{}:
		case <-ctx.Done():
			return
		}
	}
}

// resend exports batches twice, now and then.
func (t *Traffic) resend(ctx context.Context, loaded <-chan struct{}) {
	if t.o.Resend <= 0 {
		return
	}
	tick := time.NewTicker(t.o.Resend)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		case <-loaded:
			return
		}
		for _, s := range t.o.Servers {
			if n, err := s.Resend(ctx); err == nil {
				t.mu.Lock()
				t.resent += n
				t.mu.Unlock()
			}
		}
	}
}

// Tallies are the sums so far, by customer and model, in order.
func (t *Traffic) Tallies() []Tally {
	t.mu.Lock()
	defer t.mu.Unlock()
	var out []Tally
	for _, x := range t.tallies {
		out = append(out, x)
	}
	slices.SortFunc(out, func(a, b Tally) int {
		return cmp.Or(strings.Compare(a.Customer, b.Customer), strings.Compare(a.Model, b.Model))
	})
	return out
}

// Resent is how many spans were exported once more.
func (t *Traffic) Resent() int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.resent
}

func (t *Traffic) add(x Tally) {
	key := [2]string{x.Customer, x.Model}
	t.mu.Lock()
	defer t.mu.Unlock()
	old := t.tallies[key]
	old.Customer, old.Model = x.Customer, x.Model
	t.tallies[key] = old.plus(x)
}

// send sends one request and adds what its client saw.
func (t *Traffic) send(ctx context.Context, c *Customer, chance *rand.Rand) {
	s := t.o.Servers[chance.IntN(len(t.o.Servers))]
	kind := c.pick(chance)
	r := newAsk(c, s, kind, chance)
	input, output, err := r.do(ctx, t.client)
	x := Tally{Customer: c.ID, Model: s.Model()}
	switch {
	case errors.Is(err, errLeft):
		x.Aborted, x.AbortedTokens = 1, output
	case err != nil:
		x.Failed = 1
	case kind == Unsampled:
		x.Unsampled, x.UnsampledInput, x.UnsampledOutput = 1, input, output
	default:
		x.Requests, x.Input, x.Output = 1, input, output
	}
	t.add(x)
}

// pick draws a kind by its weight.
func (c *Customer) pick(chance *rand.Rand) Kind {
	mix := c.Mix
	if mix == nil {
		mix = Even()
	}
	kinds, sum := []Kind{}, 0
	for k, weight := range mix {
		kinds = append(kinds, k)
		sum += weight
	}
	slices.Sort(kinds)
	if sum == 0 {
		return Plain
	}
	at := chance.IntN(sum)
	for _, k := range kinds {
		if at -= mix[k]; at < 0 {
			return k
		}
	}
	return Plain
}
