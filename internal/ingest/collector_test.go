package ingest_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync/atomic"
	"testing"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"

	"github.com/tollkeeper/tollkeeper/internal/ingest"
	"github.com/tollkeeper/tollkeeper/internal/journal"
	"github.com/tollkeeper/tollkeeper/internal/otlp"
	"github.com/tollkeeper/tollkeeper/test/process"
)

// collectorConfig is what an operator would write, with one consumer, so that a
// body that is never taken would block all that come after it.
const collectorConfig = `
receivers: { otlp: { protocols: { http: { endpoint: %q } } } }
extensions: { file_storage/queue: { directory: %q, fsync: true } }
exporters:
  %s:
    %s
    sending_queue: { enabled: true, storage: file_storage/queue, num_consumers: 1 }
    retry_on_failure: { enabled: true, initial_interval: 100ms, max_interval: 100ms, max_elapsed_time: 0s }
service:
  extensions: [ file_storage/queue ]
  telemetry: { metrics: { level: none }, logs: { level: error } }
  pipelines: { traces: { receivers: [ otlp ], exporters: [ %s ] } }
`

// collector starts a stock Collector with a persistent queue, and returns where
// it takes traces over HTTP.
func collector(t *testing.T, exporter, fields string) (url string) {
	t.Helper()
	address, program := process.FreeAddress(t), process.FindCollector(t)
	process.StartCollector(t, program, fmt.Sprintf(collectorConfig, address, t.TempDir(), exporter, fields, exporter), address)
	return "http://" + address + "/v1/traces"
}

// poisoned panics on bodies that hold the word, however they are encoded anew.
type poisoned struct{ *otlp.Decoder }

func (p poisoned) EachProto(body []byte, visit otlp.Visit) (otlp.Counts, error) {
	if bytes.Contains(body, []byte("poison")) {
		panic("on purpose")
	}
	return p.Decoder.EachProto(body, visit)
}

// TestCollector: a Collector with a persistent queue brings everything through a
// full disk, exactly once, and a body that always fails does not block what
// waits behind it.
func TestCollector(t *testing.T) {
	for exporter, fields := range map[string]func(s *server) string{
		"otlp_http": func(s *server) string { return "endpoint: http://" + s.http },
		"otlp_grpc": func(s *server) string { return "endpoint: " + s.grpc + "\n    tls: { insecure: true }" },
	} {
		t.Run(exporter, func(t *testing.T) {
			t.Parallel()
			var asked atomic.Int32
			s := start(t, func(s *server, o *ingest.Options) {
				s.store.fail = func(context.Context) error {
					if asked.Add(1) == 1 {
						return journal.ErrFull
					}
					return nil
				}
				o.Decoder = poisoned{otlp.NewDecoder(nil)}
			})
			url := collector(t, exporter, fields(s))
			for id, word := range []string{"first", "poison", "last"} {
				give(t, url, numbered(t, byte(id), word))
			}
			until(t, "the last span arrived", func() bool { return len(s.store.items()) >= 2 })
			list, _ := observations(t, s.store.items())
			var ids []string
			for i := range list {
				ids = append(ids, list[i].Span)
			}
			if want := []string{spanID(0).String(), spanID(2).String()}; !slices.Equal(ids, want) {
				t.Errorf("spans %v, want %v", ids, want)
			}
			if n := counted(t, s, "tollkeeper_ingest_panics_total"); n != 3 {
				t.Errorf("%v panics, want 3", n)
			}
		})
	}
}

// give hands a body to the Collector.
func give(t *testing.T, url string, body []byte) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Post(url, "application/x-protobuf", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("the Collector did not take it: %s", resp.Status)
	}
}

func spanID(n byte) pcommon.SpanID { return pcommon.SpanID{1, 7: n} }

// numbered is the recorded span with an id and a word of its own.
func numbered(t *testing.T, id byte, word string) []byte {
	t.Helper()
	req := ptraceotlp.NewExportRequest()
	if err := req.UnmarshalProto(recorded(t)); err != nil {
		t.Fatal(err)
	}
	span := req.Traces().ResourceSpans().At(0).ScopeSpans().At(0).Spans().At(0)
	span.SetSpanID(spanID(id))
	span.Attributes().PutStr("word", word)
	body, err := req.MarshalProto()
	if err != nil {
		t.Fatal(err)
	}
	return body
}
