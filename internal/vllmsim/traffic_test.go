package vllmsim_test

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"

	"github.com/tollkeeper/tollkeeper/internal/vllmsim"
)

// sums are tokens by customer.
type sums map[string][2]int64

// billed folds spans as a bill must: each span once, the prompt of n choices once.
func billed(spans []*tracepb.Span) sums {
	type choices struct {
		customer, id string
		start        uint64
	}
	out, seen, prompts := sums{}, map[string]bool{}, map[choices]int64{}
	for _, s := range spans {
		if seen[string(s.GetSpanId())] {
			continue
		}
		seen[string(s.GetSpanId())] = true
		customer := strings.TrimPrefix(s.GetTraceState(), "customer=")
		var input, output int64
		for _, a := range s.GetAttributes() {
			switch a.GetKey() {
			case "gen_ai.usage.prompt_tokens":
				input = a.GetValue().GetIntValue()
			case "gen_ai.usage.completion_tokens":
				output = a.GetValue().GetIntValue()
			}
		}
		sum := out[customer]
		key := choices{customer, attribute(s, "gen_ai.request.id"), s.GetStartTimeUnixNano()}
		if _, known := prompts[key]; !known {
			prompts[key] = input
			sum[0] += input
		}
		sum[1] += output
		out[customer] = sum
	}
	return out
}

// TestTrafficKeepsTheClientsSums compares what the clients saw with what the spans
// say, over two servers, with aborts, callers that are not sampled, and batches sent
// twice.
func TestTrafficKeepsTheClientsSums(t *testing.T) {
	sink := newSink(t)
	options := vllmsim.Options{TokenTime: time.Millisecond, ScheduleDelay: 5 * time.Millisecond}
	options.Model = "large"
	large := start(t, sink, options)
	options.Model = "small"
	small := start(t, sink, options)
	const each = 60
	var customers []vllmsim.Customer
	for i, id := range []string{"acme", "globex"} {
		c := vllmsim.Customer{ID: id, Tracestate: func(string) string { return "customer=" + id }, Mix: vllmsim.Even()}
		c.Mix[vllmsim.Embedding] = i // of one of them
		customers = append(customers, c)
	}
	traffic := vllmsim.NewTraffic(vllmsim.TrafficOptions{
		Servers: []*vllmsim.Server{large, small}, Customers: customers, Parallel: 6, Requests: each, Resend: 20 * time.Millisecond, Seed: 1,
	})
	traffic.Run(t.Context())
	flush(t, large)
	flush(t, small)

	seen, sum := sums{}, vllmsim.Sum(traffic.Tallies())
	for _, x := range traffic.Tallies() {
		s := seen[x.Customer]
		seen[x.Customer] = [2]int64{s[0] + x.Input, s[1] + x.Output}
	}
	if got := billed(sink.spans(t)); !maps.Equal(got, seen) {
		t.Errorf("the spans say %v, the clients saw %v", got, seen)
	}
	if sum.Failed != 0 || sum.Requests+sum.Aborted+sum.Unsampled != each*2 {
		t.Errorf("%d requests were sent, of which %+v", each*2, sum)
	}
	if sum.Aborted == 0 || sum.AbortedTokens == 0 || sum.Unsampled == 0 || sum.UnsampledOutput == 0 || traffic.Resent() == 0 {
		t.Errorf("the load has too little of something: %+v, %d spans resent", sum, traffic.Resent())
	}
	if len(traffic.Tallies()) != 4 {
		t.Errorf("two customers at two models: %+v", traffic.Tallies())
	}
}

// TestTrafficAsksTheSameAgain: a seed fixes what is asked.
func TestTrafficAsksTheSameAgain(t *testing.T) {
	ask := func(seed uint64) string {
		s := start(t, nil, vllmsim.Options{})
		traffic := vllmsim.NewTraffic(vllmsim.TrafficOptions{
			Servers: []*vllmsim.Server{s}, Seed: seed, Requests: 10,
			Customers: []vllmsim.Customer{{ID: "acme", RequestIDs: true, Mix: vllmsim.Mix{vllmsim.Plain: 1, vllmsim.Stream: 1, vllmsim.Prompts: 1}}},
		})
		traffic.Run(t.Context())
		return fmt.Sprint(traffic.Tallies())
	}
	if a, b := ask(7), ask(7); a != b {
		t.Errorf("%s\n%s", a, b)
	}
	if a, b := ask(7), ask(8); a == b {
		t.Error("another seed asks the same")
	}
}

// TestTrafficStops when told to, and finishes what it began.
func TestTrafficStops(t *testing.T) {
	s := start(t, nil, vllmsim.Options{TokenTime: time.Millisecond})
	ctx, stop := context.WithCancel(t.Context())
	traffic := vllmsim.NewTraffic(vllmsim.TrafficOptions{
		Servers: []*vllmsim.Server{s}, Customers: []vllmsim.Customer{{ID: "acme"}, {ID: "globex"}}, Rate: 200, Parallel: 2,
	})
	var wait sync.WaitGroup
	wait.Go(func() { traffic.Run(ctx) })
	eventually(t, "some requests", func() bool { return vllmsim.Sum(traffic.Tallies()).Requests >= 5 })
	stop()
	wait.Wait()
	sum := vllmsim.Sum(traffic.Tallies())
	eventually(t, "the server counts as many as the clients", func() bool {
		return counter(t, s, "http_requests_total") == float64(sum.Requests+sum.Aborted+sum.Unsampled)
	})
	if sum.Failed != 0 {
		t.Errorf("%+v", sum)
	}
}
