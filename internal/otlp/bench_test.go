package otlp_test

import (
	"fmt"
	"os"
	"testing"

	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"

	"github.com/tollkeeper/tollkeeper/internal/otlp"
	"github.com/tollkeeper/tollkeeper/internal/usage"
)

// BenchmarkDecode is what one span costs before it is hashed: decoding and the
// canonical JSON, one core. pdata is the decoding alone by the Collector's
// library. The spans are a real vLLM's, with what an operator's resource adds.
func BenchmarkDecode(b *testing.B) {
	for _, n := range []int{1, 100, 512} {
		body := recordedSpans(b, n)
		b.Run(fmt.Sprintf("canonical/%d", n), func(b *testing.B) {
			d, stamp := otlp.NewDecoder(nil), usage.Stamp{Producer: "key_0123456789abcdef"}
			var lines []byte
			perSpan(b, n, body, func() error {
				lines = lines[:0]
				_, err := d.EachProto(body, func(o *usage.Observation, resource []byte) error {
					lines = usage.AppendLine(lines, o, &stamp, resource)
					return nil
				})
				return err
			})
			b.ReportMetric(float64(len(lines))/float64(n), "line-B/span")
		})
		b.Run(fmt.Sprintf("pdata/%d", n), func(b *testing.B) {
			perSpan(b, n, body, func() error { return ptraceotlp.NewExportRequest().UnmarshalProto(body) })
		})
	}
	body, err := asPdata(b, recordedSpans(b, 100)).MarshalJSON()
	if err != nil {
		b.Fatal(err)
	}
	b.Run("json/100", func(b *testing.B) {
		d := otlp.NewDecoder(nil)
		perSpan(b, 100, body, func() error {
			_, err := d.EachJSON(body, func(*usage.Observation, []byte) error { return nil })
			return err
		})
	})
}

func perSpan(b *testing.B, n int, body []byte, fn func() error) {
	b.Helper()
	b.ReportAllocs()
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		if err := fn(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N*n)/b.Elapsed().Seconds(), "spans/s")
}

// recordedSpans is one export of n spans that a real vLLM sent.
func recordedSpans(tb testing.TB, n int) []byte {
	tb.Helper()
	recorded, err := os.ReadFile(recordings + "/many-at-once/otlp-1.pb")
	if err != nil {
		tb.Fatal(err)
	}
	found := asPdata(tb, recorded).Traces().ResourceSpans().At(0)
	traces := ptrace.NewTraces()
	rs := traces.ResourceSpans().AppendEmpty()
	found.Resource().CopyTo(rs.Resource())
	for _, name := range []string{"k8s.namespace.name", "k8s.pod.name", "k8s.node.name"} {
		rs.Resource().Attributes().PutStr(name, "opt-125m-5d8f9c7b6-x2x7q")
	}
	from, to := found.ScopeSpans().At(0).Spans(), rs.ScopeSpans().AppendEmpty().Spans()
	for i := range n {
		s := to.AppendEmpty()
		from.At(i % from.Len()).CopyTo(s)
		id := s.SpanID()
		id[0], id[1] = byte(i>>8), byte(i)
		s.SetSpanID(id)
	}
	body, err := ptraceotlp.NewExportRequestFromTraces(traces).MarshalProto()
	if err != nil {
		tb.Fatal(err)
	}
	return body
}
