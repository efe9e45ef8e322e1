package vllmsim_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"

	"github.com/tollkeeper/tollkeeper/internal/vllmsim"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds how long a test waits for what must happen.
const patience = 10 * time.Second

// sink is an OTLP/HTTP receiver that keeps what it gets.
type sink struct {
	*httptest.Server

	mu     sync.Mutex
	bodies [][]byte
	status int           // answered instead of 200
	block  chan struct{} // answers wait for it, if set
}

func newSink(t *testing.T) *sink {
	t.Helper()
	s := &sink{}
	s.Server = httptest.NewServer(http.HandlerFunc(s.receive))
	t.Cleanup(s.Close)
	return s
}

func (s *sink) receive(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	status, block := s.status, s.block
	s.mu.Unlock()
	if block != nil {
		select {
		case <-block:
		case <-r.Context().Done():
			return
		}
	}
	if status != 0 {
		http.Error(w, "refused", status)
		return
	}
	body, err := io.ReadAll(r.Body)
	if err == nil && r.Header.Get("Content-Encoding") == "gzip" {
		var z *gzip.Reader
		if z, err = gzip.NewReader(bytes.NewReader(body)); err == nil {
			body, err = io.ReadAll(z)
		}
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	s.bodies = append(s.bodies, body)
	s.mu.Unlock()
	w.Header().Set("Content-Type", "application/x-protobuf")
}

func (s *sink) endpoint() string { return s.URL + "/v1/traces" }

func (s *sink) set(status int, block chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status, s.block = status, block
}

// resources decodes what came.
func (s *sink) resources(t *testing.T) []*tracepb.ResourceSpans {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	return decode(t, s.bodies)
}

func decode(t *testing.T, bodies [][]byte) (out []*tracepb.ResourceSpans) {
	t.Helper()
	for _, b := range bodies {
		var r collector.ExportTraceServiceRequest
		if err := proto.Unmarshal(b, &r); err != nil {
			t.Fatal(err)
		}
		out = append(out, r.GetResourceSpans()...)
	}
	return out
}

func (s *sink) spans(t *testing.T) (out []*tracepb.Span) {
	t.Helper()
	for _, r := range s.resources(t) {
		for _, scope := range r.GetScopeSpans() {
			out = append(out, scope.GetSpans()...)
		}
	}
	return out
}

// attribute is a span's attribute as text; "" when it has none.
func attribute(span *tracepb.Span, name string) string {
	for _, a := range span.GetAttributes() {
		if a.GetKey() != name {
			continue
		}
		if s := a.GetValue().GetStringValue(); s != "" {
			return s
		}
		return strconv.FormatInt(a.GetValue().GetIntValue(), 10)
	}
	return ""
}

// start starts a server that exports to the sink, if there is one.
func start(t *testing.T, s *sink, o vllmsim.Options) *vllmsim.Server {
	t.Helper()
	if s != nil {
		o.OTLPEndpoint, o.OTLPProtocol = s.endpoint(), vllmsim.ProtocolHTTP
	}
	server, err := vllmsim.Start("127.0.0.1:0", o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := server.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return server
}

func flush(t *testing.T, s *vllmsim.Server) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := s.Flush(ctx); err != nil {
		t.Fatal(err)
	}
}

// client keeps no connection open after the test.
func client(t *testing.T) *http.Client {
	t.Helper()
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// post sends a body and returns the status and the answer.
func post(t *testing.T, s *vllmsim.Server, path, body string, headers ...string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL()+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	return do(t, r)
}

func get(t *testing.T, s *vllmsim.Server, path string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL()+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	return do(t, r)
}

func do(t *testing.T, r *http.Request) (int, string) {
	t.Helper()
	w, err := client(t).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Body.Close()
	b, err := io.ReadAll(w.Body)
	if err != nil {
		t.Fatal(err)
	}
	return w.StatusCode, string(b)
}

// samples reads an exposition.
func samples(text string) map[string]float64 {
	out := map[string]float64{}
	for line := range strings.Lines(text) {
		i := strings.LastIndexByte(line, ' ')
		if strings.HasPrefix(line, "#") || i < 0 {
			continue
		}
		v, err := strconv.ParseFloat(strings.TrimSpace(line[i:]), 64)
		if err != nil {
			panic(fmt.Sprintf("%q: %v", line, err))
		}
		out[line[:i]] = v
	}
	return out
}

// counter adds up the samples of a family.
func counter(t *testing.T, s *vllmsim.Server, name string) (sum float64) {
	t.Helper()
	_, text := get(t, s, "/metrics")
	for k, v := range samples(text) {
		if k == name || strings.HasPrefix(k, name+"{") {
			sum += v
		}
	}
	return sum
}

// eventually polls until ok says yes.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", patience, what)
		}
		<-tick.C
	}
}

// gate lets an engine take so many steps, and holds it then.
type gate struct{ steps chan struct{} }

func newGate(steps int) *gate {
	g := &gate{make(chan struct{}, 1<<16)}
	g.open(steps)
	return g
}

func (g *gate) open(steps int) {
	for range steps {
		g.steps <- struct{}{}
	}
}

func (g *gate) sleep(ctx context.Context, _ time.Duration) {
	select {
	case <-g.steps:
	case <-ctx.Done():
	}
}

// sorted is a copy in order.
func sorted(list []string) []string {
	out := slices.Clone(list)
	slices.Sort(out)
	return out
}
