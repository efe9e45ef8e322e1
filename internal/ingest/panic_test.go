package ingest_test

import (
	"bytes"
	"slices"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/codes"

	"github.com/tollkeeper/tollkeeper/internal/ingest"
	"github.com/tollkeeper/tollkeeper/internal/otlp"
)

// fragile panics on one body, at the first or behind its first observation.
type fragile struct {
	*otlp.Decoder
	bad []byte
}

func (f fragile) EachProto(body []byte, visit otlp.Visit) (otlp.Counts, error) {
	counts, err := f.Decoder.EachProto(body, visit)
	if bytes.Equal(body, f.bad) {
		panic("on purpose")
	}
	return counts, err
}

// TestPanics: the same body is retried twice, whoever sends it and by whatever
// transport, then it is refused for ever: it must not block a queue. Others go
// on, and nothing of it is kept.
func TestPanics(t *testing.T) {
	bad := append(recorded(t), 0xf8, 0x3f, 1) // an unknown field
	s := start(t, func(_ *server, o *ingest.Options) { o.Decoder = fragile{otlp.NewDecoder(nil), bad} })
	for i, want := range []int{503, 503, 400, 400} {
		if a := s.post(t, request{body: bad}); a.status != want || (want == 503) != (a.retry > 0) {
			t.Errorf("time %d: answered %d, want %d (retry %v)", i+1, a.status, want, a.retry)
		}
		if a := s.post(t, request{body: recorded(t)}); a.status != 200 {
			t.Errorf("a neighbour: %d", a.status)
		}
	}
	if a := s.call(t, request{body: bad}); a.status != int(codes.InvalidArgument) {
		t.Errorf("over gRPC: %d", a.status)
	}
	if n := len(s.store.items()); n != 4 {
		t.Errorf("%d items", n)
	}
	if n := counted(t, s, "tollkeeper_ingest_panics_total"); n != 5 {
		t.Errorf("%v panics counted", n)
	}
}

// counted is the sum of a counter over its labels, or over those with one of the
// values.
func counted(t *testing.T, s *server, name string, values ...string) (sum float64) {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(s.Metrics)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			for _, m := range f.GetMetric() {
				wanted := len(values) == 0
				for _, l := range m.GetLabel() {
					wanted = wanted || slices.Contains(values, l.GetValue())
				}
				if wanted {
					sum += m.GetCounter().GetValue()
				}
			}
		}
	}
	return sum
}

// TestPanicsOverGRPC: the same, where a client drops on INTERNAL what it sent.
func TestPanicsOverGRPC(t *testing.T) {
	bad := append(recorded(t), 0xf8, 0x3f, 1)
	s := start(t, func(_ *server, o *ingest.Options) { o.Decoder = fragile{otlp.NewDecoder(nil), bad} })
	for i, want := range []codes.Code{codes.Unavailable, codes.Unavailable, codes.InvalidArgument} {
		if a := s.call(t, request{body: bad}); a.status != int(want) || (want == codes.Unavailable) != (a.retry > 0) {
			t.Errorf("time %d: answered %v, want %v (retry %v)", i+1, codes.Code(a.status), want, a.retry)
		}
	}
}
