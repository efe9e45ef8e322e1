package chart

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"

	"github.com/tollkeeper/tollkeeper/test/process"
)

// bench is the chart's Collector as a real process, with servers of the test
// where its exporters send to.
type bench struct {
	otlp, health, metrics string
	clickhouse            http.HandlerFunc
	config                string
	kill                  func() // as kill -9 does

	mu       sync.Mutex
	away     bool           // tollkeeper answers 503
	received map[string]int // by span id, how often tollkeeper got it
	asked    int            // requests that reached ClickHouse
}

// patience bounds how long a test waits for what must happen.
const patience = 30 * time.Second

// start runs the Collector with the rendered configuration, whose addresses and
// folders are made those of this machine.
func (b *bench) start(t *testing.T, args ...string) {
	t.Helper()
	program := os.Getenv("OTELCOL")
	if program == "" {
		t.Skip("no $OTELCOL: a Collector with the chart's parts (../shared/images/collector builds one)")
	}
	all := objects(t, template(t, args...))
	config, _ := find(t, all, "ConfigMap/vllm-collector").at("data", "config.yaml").(string)
	tollkeeper := httptest.NewServer(http.HandlerFunc(b.take))
	t.Cleanup(tollkeeper.Close)
	clickhouse := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b.mu.Lock()
		b.asked++
		b.mu.Unlock()
		b.clickhouse(w, r)
	}))
	t.Cleanup(clickhouse.Close)
	b.otlp, b.health, b.metrics, b.received = process.FreeAddress(t), process.FreeAddress(t), process.FreeAddress(t), map[string]int{}
	dir := t.TempDir()
	config = strings.NewReplacer(
		"http://vllm-tollkeeper:4318", tollkeeper.URL, "http://vllm-clickhouse:8123", clickhouse.URL, "/var/lib/otelcol", dir,
		"0.0.0.0:4318", b.otlp, "0.0.0.0:4317", process.FreeAddress(t), "0.0.0.0:13133", b.health, "127.0.0.1:14317", process.FreeAddress(t),
		"host: 0.0.0.0", "host: 127.0.0.1", "port: 8888", "port: "+strings.TrimPrefix(b.metrics, "127.0.0.1:"),
	).Replace(config)
	b.config = config
	b.run(t, program)
}

// run starts the Collector, again after a kill.
func (b *bench) run(t *testing.T, program string) {
	t.Helper()
	b.kill = process.StartCollector(t, program, b.config, b.otlp, "TOLLKEEPER_KEY=key", "CLICKHOUSE_PASSWORD=password")
	b.until(t, "the Collector is healthy", func() bool {
		resp, err := http.Get("http://" + b.health)
		if err == nil {
			resp.Body.Close()
		}
		return err == nil && resp.StatusCode == http.StatusOK
	})
}

// take is tollkeeper: it accepts everything that shows the key.
func (b *bench) take(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Authorization") != "Bearer key" {
		http.Error(w, "no key", http.StatusUnauthorized)
		return
	}
	body, err := gzip.NewReader(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	raw, err := io.ReadAll(body)
	request := ptraceotlp.NewExportRequest()
	if err != nil || request.UnmarshalProto(raw) != nil {
		http.Error(w, "no OTLP", http.StatusBadRequest)
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.away {
		http.Error(w, "away", http.StatusServiceUnavailable)
		return
	}
	for _, resource := range request.Traces().ResourceSpans().All() {
		for _, scope := range resource.ScopeSpans().All() {
			for _, span := range scope.Spans().All() {
				b.received[span.SpanID().String()]++
			}
		}
	}
}

// send sends one span of some size, and wants it taken at once: an SDK that has
// to wait drops what comes meanwhile.
func (b *bench) send(t *testing.T, n uint64, size int) {
	t.Helper()
	traces := ptrace.NewTraces()
	span := traces.ResourceSpans().AppendEmpty().ScopeSpans().AppendEmpty().Spans().AppendEmpty()
	var id [8]byte
	binary.BigEndian.PutUint64(id[:], n)
	span.SetSpanID(id)
	span.SetTraceID(pcommon.TraceID{15: 1})
	span.Attributes().PutStr("filler", strings.Repeat("x", size))
	body, err := ptraceotlp.NewExportRequestFromTraces(traces).MarshalProto()
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.Post("http://"+b.otlp+"/v1/traces", "application/x-protobuf", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(resp.Body)
		t.Fatalf("span %d: %s %q", n, resp.Status, text)
	}
}

func (b *bench) until(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !done(); <-time.After(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("it did not come to it in %s: %s", patience, what)
		}
	}
}

// queue is how much waits for an exporter, in bytes.
func (b *bench) queue(t *testing.T, exporter string) float64 {
	t.Helper()
	resp, err := http.Get("http://" + b.metrics + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "otelcol_exporter_queue_size{") && strings.Contains(line, fmt.Sprintf("exporter=%q", exporter)) {
			_, number, _ := strings.Cut(line, "} ")
			value, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
			if err != nil {
				t.Fatal(err)
			}
			return value
		}
	}
	t.Fatalf("no queue of %s in\n%s", exporter, text)
	return 0
}

// TestClickHouseCostsNoSpan: while ClickHouse refuses, or its queue is full, each
// span is taken at the first try and reaches tollkeeper once.
func TestClickHouseCostsNoSpan(t *testing.T) {
	b := bench{clickhouse: func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "Code: 516. DB::Exception: default: Authentication failed", http.StatusForbidden)
	}}
	// Eight times what the queue holds.
	b.start(t, "--set", "collector.queues.clickhouse=1Mi")
	const spans, size = 80, 100 << 10
	for n := range uint64(spans) {
		b.send(t, n+1, size)
	}
	b.until(t, "tollkeeper has all spans", func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		return len(b.received) == spans && b.asked > 0
	})
	for id, times := range b.received {
		if times != 1 {
			t.Errorf("span %s came %d times", id, times)
		}
	}
	// The handoff is not held up either: its queue is empty again.
	b.until(t, "the handoff's queue is empty", func() bool { return b.queue(t, "otlp_grpc/handoff") == 0 })
	if full := b.queue(t, "clickhouse"); full == 0 || full > 1<<20 {
		t.Errorf("ClickHouse's queue has %.0f bytes", full)
	}
}

// TestKilledCollector: what it took is on disk. Killed while nobody takes
// anything, and started again, it brings all of it to tollkeeper, and what was on
// its way to ClickHouse into that queue.
func TestKilledCollector(t *testing.T) {
	b := bench{away: true, clickhouse: func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "away", http.StatusServiceUnavailable)
	}}
	b.start(t)
	const spans = 50
	for n := range uint64(spans) {
		b.send(t, n+1, 1000)
	}
	b.kill()
	b.mu.Lock()
	b.away = false
	b.mu.Unlock()
	b.run(t, os.Getenv("OTELCOL"))
	b.until(t, "tollkeeper has all spans", func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		return len(b.received) == spans
	})
	b.until(t, "the handoff's queue is empty", func() bool { return b.queue(t, "otlp_grpc/handoff") == 0 })
	if waiting := b.queue(t, "clickhouse"); waiting < spans*1000 {
		t.Errorf("%.0f bytes wait for ClickHouse: spans of %d bytes got lost between the queues", waiting, spans*1000)
	}
}
