package ingest_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/tollkeeper/tollkeeper/internal/ingest"
	"github.com/tollkeeper/tollkeeper/internal/journal"
	"github.com/tollkeeper/tollkeeper/internal/usage"
)

// patience is how long the SDK's exporters try again in these tests.
const patience = 10 * time.Second

// exporters are those of the OTel Go SDK, both transports, with and without
// compression.
var exporters = map[string]func(t *testing.T, s *server, header map[string]string) *otlptrace.Exporter{
	"http": func(t *testing.T, s *server, header map[string]string) *otlptrace.Exporter {
		t.Helper()
		return exporter(t, otlptracehttp.NewClient(otlptracehttp.WithEndpoint(s.http), otlptracehttp.WithInsecure(), otlptracehttp.WithHeaders(header),
			otlptracehttp.WithRetry(otlptracehttp.RetryConfig{Enabled: true, InitialInterval: time.Millisecond, MaxInterval: time.Millisecond, MaxElapsedTime: patience})))
	},
	"http gzip": func(t *testing.T, s *server, header map[string]string) *otlptrace.Exporter {
		t.Helper()
		return exporter(t, otlptracehttp.NewClient(otlptracehttp.WithEndpoint(s.http), otlptracehttp.WithInsecure(), otlptracehttp.WithHeaders(header), otlptracehttp.WithCompression(otlptracehttp.GzipCompression)))
	},
	"grpc": func(t *testing.T, s *server, header map[string]string) *otlptrace.Exporter {
		t.Helper()
		return exporter(t, otlptracegrpc.NewClient(otlptracegrpc.WithEndpoint(s.grpc), otlptracegrpc.WithInsecure(), otlptracegrpc.WithHeaders(header),
			otlptracegrpc.WithRetry(otlptracegrpc.RetryConfig{Enabled: true, InitialInterval: time.Millisecond, MaxInterval: time.Millisecond, MaxElapsedTime: patience})))
	},
	"grpc gzip": func(t *testing.T, s *server, header map[string]string) *otlptrace.Exporter {
		t.Helper()
		return exporter(t, otlptracegrpc.NewClient(otlptracegrpc.WithEndpoint(s.grpc), otlptracegrpc.WithInsecure(), otlptracegrpc.WithHeaders(header), otlptracegrpc.WithCompressor("gzip")))
	},
}

func exporter(t *testing.T, client otlptrace.Client) *otlptrace.Exporter {
	t.Helper()
	e, err := otlptrace.New(t.Context(), client)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Shutdown(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	return e
}

// engineSpans are spans as an engine's SDK hands them to its exporter.
func engineSpans(prompt ...int) []sdktrace.ReadOnlySpan {
	var stubs tracetest.SpanStubs
	for i, n := range prompt {
		stubs = append(stubs, tracetest.SpanStub{
			Name: "llm_request", SpanKind: trace.SpanKindServer, StartTime: time.Unix(1_790_000_000, 0), EndTime: time.Unix(1_790_000_001, 0),
			SpanContext: trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{15: 1}, SpanID: trace.SpanID{7: byte(i + 1)}, TraceFlags: trace.FlagsSampled}),
			Attributes: []attribute.KeyValue{
				attribute.Int("gen_ai.usage.prompt_tokens", n), attribute.Int("gen_ai.usage.completion_tokens", 2), attribute.String("gen_ai.request.id", "cmpl-1-0"),
			},
			Resource: resource.NewSchemaless(attribute.String("service.name", "opt-125m")),
		})
	}
	return stubs.Snapshots()
}

func TestSDK(t *testing.T) {
	for name, export := range exporters {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t, closed)
			e := export(t, s, map[string]string{"authorization": "Bearer " + s.keys.token})
			if err := e.ExportSpans(t.Context(), engineSpans(3, 4)); err != nil {
				t.Fatal(err)
			}
			list, stamps := observations(t, s.store.items())
			if len(list) != 2 || list[1].Quantities.Get(usage.InputTokens) != 4 || list[0].Resource.Str("service.name") != "opt-125m" || stamps[0].Producer != s.keys.producer.ID {
				t.Errorf("%+v %+v", list, stamps)
			}
		})
	}
}

// TestSDKTriesAgain: what is refused for a while arrives, and in the order of
// the answers: one refusal, one acknowledgement.
func TestSDKTriesAgain(t *testing.T) {
	for _, name := range []string{"http", "grpc"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var asked atomic.Int32
			s := start(t, func(s *server, _ *ingest.Options) {
				s.store.fail = func(context.Context) error {
					if asked.Add(1) == 1 {
						return journal.ErrFull
					}
					return nil
				}
			})
			if err := exporters[name](t, s, nil).ExportSpans(t.Context(), engineSpans(3)); err != nil {
				t.Fatal(err)
			}
			if n := len(s.store.items()); n != 1 || asked.Load() != 2 {
				t.Errorf("%d items after %d attempts", n, asked.Load())
			}
		})
	}
}

// TestSDKWaitsForItsRate: a client over its rate waits as it is told.
func TestSDKWaitsForItsRate(t *testing.T) {
	for _, name := range []string{"http", "grpc"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t, func(_ *server, o *ingest.Options) { o.RequestsPerSecond = 1 })
			e := exporters[name](t, s, nil)
			for range 2 {
				if err := e.ExportSpans(t.Context(), engineSpans(3)); err != nil {
					t.Fatal(err)
				}
			}
			if n := len(s.store.items()); n != 2 {
				t.Errorf("%d items", n)
			}
		})
	}
}

// TestSDKIsTold: what cannot be helped by trying again is not tried again, and
// partial success reaches the operator of the client.
func TestSDKIsTold(t *testing.T) {
	for _, name := range []string{"http", "grpc"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t, closed)
			began := time.Now()
			err := exporters[name](t, s, map[string]string{"authorization": "Bearer tk_x"}).ExportSpans(t.Context(), engineSpans(3))
			if err == nil || time.Since(began) > patience/2 {
				t.Errorf("a bad credential: %v after %v", err, time.Since(began))
			}
			err = exporters[name](t, s, map[string]string{"authorization": "Bearer " + s.keys.token}).ExportSpans(t.Context(), engineSpans(-3, 4))
			if err == nil || !strings.Contains(err.Error(), "rejected: 1 bad_count") {
				t.Errorf("partial success: %v", err)
			}
			if n := len(s.store.items()); n != 1 {
				t.Errorf("%d items", n)
			}
		})
	}
}

// TestKeepAlive: many exports of one exporter use one connection (and the SDK's
// HTTP exporters share one).
func TestKeepAlive(t *testing.T) {
	s := start(t, nil)
	for name, export := range exporters {
		e := export(t, s, nil)
		for range 20 {
			if err := e.ExportSpans(t.Context(), engineSpans(1)); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
	}
	if n := len(s.store.items()); n != 80 {
		t.Errorf("%d items", n)
	}
	if n := s.accepted.Load(); n > int64(len(exporters)) {
		t.Errorf("%d connections for %d exporters", n, len(exporters))
	}
}
