package vllmsim_test

import (
	"context"
	"encoding/hex"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/grpc"

	"github.com/tollkeeper/tollkeeper/internal/vllmsim"
)

const (
	trace    = "0af7651916cd43dd8448eb211c80319c"
	oneToken = `{"prompt":"a b c","max_tokens":1}`
)

// TestSamplerFollowsTheCaller sends callers who say 00, 01 and nothing.
func TestSamplerFollowsTheCaller(t *testing.T) {
	for _, c := range []struct {
		sampler, traceparent string
		spans                int
	}{
		{vllmsim.ParentBasedAlwaysOn, "00-" + trace + "-00f067aa0ba902b7-01", 1},
		{vllmsim.ParentBasedAlwaysOn, "00-" + trace + "-00f067aa0ba902b7-00", 0},
		{vllmsim.ParentBasedAlwaysOn, "", 1},
		{vllmsim.ParentBasedAlwaysOn, "00-nonsense-00f067aa0ba902b7-00", 1}, // counts for nothing
		{vllmsim.AlwaysOn, "00-" + trace + "-00f067aa0ba902b7-00", 1},
	} {
		sink := newSink(t)
		s := start(t, sink, vllmsim.Options{Sampler: c.sampler})
		post(t, s, "/v1/completions", oneToken, "traceparent", c.traceparent)
		flush(t, s)
		if got := sink.spans(t); len(got) != c.spans {
			t.Errorf("%s, traceparent %q: %d spans, want %d", c.sampler, c.traceparent, len(got), c.spans)
		}
		if n := counter(t, s, "vllm:request_success_total"); n != 1 {
			t.Errorf("%s, traceparent %q: %v requests counted", c.sampler, c.traceparent, n)
		}
		if got := s.Spans(); got.Unsampled != int64(1-c.spans) || got.Exported != int64(c.spans) || got.Lost() != 0 {
			t.Errorf("%s, traceparent %q: %+v", c.sampler, c.traceparent, got)
		}
	}
}

// TestTracestateReachesTheSpan, and one malformed or doubled member voids all of it.
func TestTracestateReachesTheSpan(t *testing.T) {
	sink := newSink(t)
	s := start(t, sink, vllmsim.Options{})
	parent := "00-" + trace + "-00f067aa0ba902b7-01"
	for state, want := range map[string]string{
		"tollkeeper=v1.-.key_a.mac,vendor=1": "tollkeeper=v1.-.key_a.mac,vendor=1",
		"tollkeeper=a,tollkeeper=b":          "",
		"tollkeeper=a,=b":                    "",
	} {
		sink.mu.Lock()
		sink.bodies = nil
		sink.mu.Unlock()
		post(t, s, "/v1/completions", oneToken, "traceparent", parent, "tracestate", state)
		flush(t, s)
		span := sink.spans(t)[0]
		if span.GetTraceState() != want || hex.EncodeToString(span.GetTraceId()) != trace {
			t.Errorf("tracestate %q: the span has %q", state, span.GetTraceState())
		}
	}
	post(t, s, "/v1/completions", oneToken, "tracestate", "vendor=1") // no traceparent: ignored
	flush(t, s)
	if list := sink.spans(t); list[len(list)-1].GetTraceState() != "" {
		t.Error("a tracestate without a traceparent was taken")
	}
}

// TestFullQueueLosesSpans: the processor drops what does not fit, and nobody is told.
func TestFullQueueLosesSpans(t *testing.T) {
	sink := newSink(t)
	block := make(chan struct{})
	sink.set(0, block)
	s := start(t, sink, vllmsim.Options{QueueSize: 4, BatchSize: 2, ScheduleDelay: time.Millisecond})
	const requests = 40
	for range requests {
		post(t, s, "/v1/completions", oneToken)
	}
	close(block)
	sink.set(0, nil)
	flush(t, s)
	got := s.Spans()
	if got.Ended != requests || got.Lost() == 0 || got.Exported == 0 || got.Lost()+got.Exported != requests || got.Failed != 0 {
		t.Errorf("%+v", got)
	}
	if n := int64(len(sink.spans(t))); n != got.Exported {
		t.Errorf("%d spans arrived, %d counted", n, got.Exported)
	}
}

// TestRefusedExportLosesSpans: a permanent refusal is not tried again, a retryable
// one until the export's time is over.
func TestRefusedExportLosesSpans(t *testing.T) {
	for _, status := range []int{http.StatusBadRequest, http.StatusServiceUnavailable} {
		sink := newSink(t)
		sink.set(status, nil)
		s := start(t, sink, vllmsim.Options{ExportTimeout: 50 * time.Millisecond})
		post(t, s, "/v1/completions", oneToken)
		flush(t, s)
		if got := s.Spans(); got.Failed != 1 || got.Exported != 0 || got.Lost() != 1 {
			t.Errorf("%d: %+v", status, got)
		}
	}
}

func TestResendAndHold(t *testing.T) {
	sink := newSink(t)
	s := start(t, sink, vllmsim.Options{})
	if n, err := s.Resend(t.Context()); n != 0 || err != nil {
		t.Errorf("nothing to resend: %d, %v", n, err)
	}
	post(t, s, "/v1/chat/completions", `{"n":3,"max_tokens":2,"messages":[{"role":"user","content":"a"}]}`)
	flush(t, s)
	if n, err := s.Resend(t.Context()); n != 3 || err != nil {
		t.Fatalf("resent %d, %v", n, err)
	}
	sink.mu.Lock()
	if len(sink.bodies) != 2 || string(sink.bodies[0]) != string(sink.bodies[1]) {
		t.Errorf("%d bodies, the second must be the first again", len(sink.bodies))
	}
	sink.mu.Unlock()
	s.Hold()
	post(t, s, "/v1/completions", oneToken)
	flush(t, s)
	if got := s.Spans(); len(sink.spans(t)) != 6 || got.Held != 1 || got.Lost() != 0 {
		t.Errorf("while holding: %d spans arrived, %+v", len(sink.spans(t)), got)
	}
	post(t, s, "/v1/completions", oneToken) // only one batch is held
	flush(t, s)
	if got := s.Spans(); len(sink.spans(t)) != 7 || got.Held != 1 {
		t.Errorf("after the held batch: %d spans arrived, %+v", len(sink.spans(t)), got)
	}
	if n, err := s.Release(t.Context()); n != 1 || err != nil || len(sink.spans(t)) != 8 {
		t.Errorf("released %d, %v", n, err)
	}
	if got := s.Spans(); got != (vllmsim.Spans{Ended: 5, Exported: 5}) {
		t.Errorf("after: %+v", got)
	}
}

// TestRestart begins a new process at the old address: counters, instance and
// process ids are new, queued spans came, and after a crash they did not.
func TestRestart(t *testing.T) {
	sink := newSink(t)
	s := start(t, sink, vllmsim.Options{})
	url := s.URL()
	post(t, s, "/v1/completions", oneToken)
	if err := s.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s.URL() != url || counter(t, s, "vllm:request_success_total") != 0 {
		t.Error("not a new process at the old address")
	}
	post(t, s, "/v1/completions", oneToken)
	flush(t, s)
	post(t, s, "/v1/completions", oneToken)
	if err := s.Crash(t.Context()); err != nil {
		t.Fatal(err)
	}
	instances, processes := map[string]bool{}, map[string]bool{}
	for _, r := range sink.resources(t) {
		for _, a := range r.GetResource().GetAttributes() {
			switch a.GetKey() {
			case "service.instance.id":
				instances[a.GetValue().GetStringValue()] = true
			case "vllm.process_id":
				processes[a.GetValue().GetStringValue()] = true
			}
		}
	}
	if len(sink.spans(t)) != 2 || len(instances) != 2 || len(processes) != 2 {
		t.Errorf("%d spans of %v, %v", len(sink.spans(t)), instances, processes)
	}
	if got := s.Spans(); got != (vllmsim.Spans{Ended: 3, Exported: 2, Failed: 1}) {
		t.Errorf("%+v", got)
	}
}

// TestResourceAttributes are those of OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES.
func TestResourceAttributes(t *testing.T) {
	sink := newSink(t)
	s := start(t, sink, vllmsim.Options{ServiceName: "chat", ResourceAttributes: map[string]string{"service.namespace": "prod"}, OTLPGzip: true})
	post(t, s, "/v1/completions", oneToken)
	flush(t, s)
	text := sink.resources(t)[0].GetResource().String()
	for _, want := range []string{`"service.name"`, `"chat"`, `"service.namespace"`, `"prod"`, `"python"`} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in %s", want, text)
		}
	}
}

// grpcSink is an OTLP/gRPC receiver.
type grpcSink struct {
	collector.UnimplementedTraceServiceServer

	mu   sync.Mutex
	seen int
}

func (g *grpcSink) Export(_ context.Context, r *collector.ExportTraceServiceRequest) (*collector.ExportTraceServiceResponse, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, rs := range r.GetResourceSpans() {
		for _, scope := range rs.GetScopeSpans() {
			g.seen += len(scope.GetSpans())
		}
	}
	return &collector.ExportTraceServiceResponse{}, nil
}

func TestExportsByGRPC(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g, sink := grpc.NewServer(), &grpcSink{}
	collector.RegisterTraceServiceServer(g, sink)
	var wait sync.WaitGroup
	wait.Go(func() { _ = g.Serve(l) })
	t.Cleanup(func() { g.Stop(); wait.Wait() })
	for _, endpoint := range []string{"http://" + l.Addr().String(), l.Addr().String()} {
		s := start(t, nil, vllmsim.Options{OTLPEndpoint: endpoint, OTLPProtocol: vllmsim.ProtocolGRPC, OTLPGzip: true})
		post(t, s, "/v1/completions", oneToken)
		flush(t, s)
		if got := s.Spans(); got.Exported != 1 {
			t.Errorf("%s: %+v", endpoint, got)
		}
	}
	sink.mu.Lock()
	defer sink.mu.Unlock()
	if sink.seen != 2 {
		t.Errorf("%d spans", sink.seen)
	}
}

func TestWrongEndpoints(t *testing.T) {
	for _, o := range []vllmsim.Options{
		{OTLPEndpoint: "127.0.0.1:4318", OTLPProtocol: vllmsim.ProtocolHTTP},
		{OTLPEndpoint: "http://127.0.0.1:4318", OTLPProtocol: vllmsim.ProtocolHTTP},
		{OTLPEndpoint: "http://127.0.0.1:4317/v1/traces", OTLPProtocol: vllmsim.ProtocolGRPC},
		{OTLPEndpoint: "http://127.0.0.1:4317", OTLPProtocol: "udp"},
	} {
		if s, err := vllmsim.Start("127.0.0.1:0", o); err == nil {
			_ = s.Close(t.Context())
			t.Errorf("%s with %s was taken", o.OTLPEndpoint, o.OTLPProtocol)
		}
	}
	if _, err := vllmsim.Start("256.0.0.1:0", vllmsim.Options{OTLPEndpoint: "http://127.0.0.1:1/v1/traces", OTLPProtocol: vllmsim.ProtocolHTTP}); err == nil {
		t.Error("an address that is none was taken")
	}
}
