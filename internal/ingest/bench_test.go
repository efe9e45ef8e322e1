package ingest_test

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"

	"github.com/tollkeeper/tollkeeper/internal/ingest"
	"github.com/tollkeeper/tollkeeper/internal/journal"
	"github.com/tollkeeper/tollkeeper/internal/otlp"
	"github.com/tollkeeper/tollkeeper/internal/tenant"
)

// benchProducers is how many exports are under way at a time.
const benchProducers = 8

// BenchmarkStored is an export from the handler to the disk and back, over a
// real journal, without the network: what the process itself costs, for a
// profile. `make bench-ingest` has clients, the network and the Collector.
func BenchmarkStored(b *testing.B) {
	for _, n := range []int{1, 10, 100, 512} {
		b.Run(fmt.Sprintf("spans=%d", n), func(b *testing.B) {
			j, err := journal.Open(b.Context(), filepath.Join(b.TempDir(), "journal.db"), journal.Options{})
			if err != nil {
				b.Fatal(err)
			}
			defer j.Close()
			live, err := tenant.NewLive(b.Context(), newKeys(b), time.Now)
			if err != nil {
				b.Fatal(err)
			}
			handler := ingest.NewReceiver(ingest.Options{Journal: j, Credentials: live, Decoder: otlp.NewDecoder(nil), Open: true}).HTTPServer().Handler
			body := repeated(b, n)
			b.SetParallelism(max(1, benchProducers/runtime.GOMAXPROCS(0)))
			cpu := cpuTime(b)
			b.ResetTimer()
			b.RunParallel(func(p *testing.PB) {
				for p.Next() {
					req := httptest.NewRequest(http.MethodPost, "/v1/traces", bytes.NewReader(body))
					req.Header.Set("Content-Type", "application/x-protobuf")
					w := httptest.NewRecorder()
					if handler.ServeHTTP(w, req); w.Code != http.StatusOK {
						b.Errorf("answered %d %q", w.Code, w.Body)
						return
					}
				}
			})
			spans := float64(b.N) * float64(n)
			b.ReportMetric(spans/b.Elapsed().Seconds(), "spans/s")
			b.ReportMetric((cpuTime(b)-cpu).Seconds()/spans*1e6, "cpu-s/Mspans")
		})
	}
}

// cpuTime is what the process used so far.
func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// repeated is an export of n spans, the recorded one under ids of their own.
func repeated(b *testing.B, n int) []byte {
	b.Helper()
	req := ptraceotlp.NewExportRequest()
	if err := req.UnmarshalProto(recorded(b)); err != nil {
		b.Fatal(err)
	}
	spans := req.Traces().ResourceSpans().At(0).ScopeSpans().At(0).Spans()
	for i := range n {
		s := spans.At(0)
		if i > 0 {
			s = spans.AppendEmpty()
			spans.At(0).CopyTo(s)
		}
		s.SetSpanID(pcommon.SpanID{1, byte(i >> 8), byte(i)})
	}
	body, err := req.MarshalProto()
	if err != nil {
		b.Fatal(err)
	}
	return body
}
