package ingest

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tollkeeper/tollkeeper/internal/journal"
	"github.com/tollkeeper/tollkeeper/internal/tenant"
)

// Metrics count what was asked and answered. Every label has few values, none
// of a client's choosing.
type Metrics struct {
	requests     *prometheus.CounterVec
	observations prometheus.Counter
	rejected     *prometheus.CounterVec
	ignored      *prometheus.CounterVec
	tags         *prometheus.CounterVec
	seconds      *prometheus.HistogramVec
	bytes        prometheus.Counter
	panics       prometheus.Counter
}

// NewMetrics returns metrics that are registered nowhere yet.
func NewMetrics() *Metrics {
	vec := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	one := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	m := &Metrics{
		requests:     vec("tollkeeper_ingest_requests_total", "Requests, by transport and outcome.", "transport", "outcome"),
		observations: one("tollkeeper_ingest_observations_total", "Observations that were kept, duplicates included."),
		rejected:     vec("tollkeeper_ingest_rejected_total", "Spans that say they carry usage and cannot be kept, by reason.", "reason"),
		ignored:      vec("tollkeeper_ingest_ignored_total", "Spans that carry no usage, by reason.", "reason"),
		tags:         vec("tollkeeper_ingest_tags_total", "Tags judged, by verdict and reason.", "verdict", "reason"),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "tollkeeper_ingest_seconds", Help: "Time from the first byte of a request to its answer.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}, []string{"transport"}),
		bytes:  one("tollkeeper_ingest_bytes_total", "Bytes of bodies, decompressed."),
		panics: one("tollkeeper_ingest_panics_total", "Requests that panicked and were refused."),
	}
	// All answers stand at 0 from the start: the first refusal is an increase.
	for o := range httpStatus {
		m.requests.WithLabelValues(overHTTP, string(o))
		m.requests.WithLabelValues(overGRPC, string(o))
	}
	return m
}

// Describe implements prometheus.Collector.
func (m *Metrics) Describe(ch chan<- *prometheus.Desc) {
	m.each(func(c prometheus.Collector) { c.Describe(ch) })
}

// Collect implements prometheus.Collector.
func (m *Metrics) Collect(ch chan<- prometheus.Metric) {
	m.each(func(c prometheus.Collector) { c.Collect(ch) })
}

func (m *Metrics) each(fn func(prometheus.Collector)) {
	for _, c := range []prometheus.Collector{m.requests, m.observations, m.rejected, m.ignored, m.tags, m.seconds, m.bytes, m.panics} {
		fn(c)
	}
}

// The transports, as a label.
const (
	overHTTP = "http"
	overGRPC = "grpc"
)

func (m *Metrics) answered(transport string, o outcome, took time.Duration) {
	m.requests.WithLabelValues(transport, string(o)).Inc()
	m.seconds.WithLabelValues(transport).Observe(took.Seconds())
}

func (m *Metrics) kept(b journal.Batch) {
	m.observations.Add(float64(len(b.Items)))
	for reason, n := range b.Rejected {
		m.rejected.WithLabelValues(reason).Add(float64(n))
	}
	for reason, n := range b.Ignored {
		m.ignored.WithLabelValues(reason).Add(float64(n))
	}
}

func (m *Metrics) tag(v tenant.Verdict) {
	if v.State != tenant.TagAbsent {
		m.tags.WithLabelValues(string(v.State), string(v.Reason)).Inc()
	}
}
