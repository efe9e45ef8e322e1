package cli

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/tollkeeper/tollkeeper/internal/api"
	"github.com/tollkeeper/tollkeeper/internal/ingest"
)

// unknown is the value of a metric that cannot be read.
const unknown = -1

// observe registers what /metrics answers.
func (s *server) observe(m *ingest.Metrics) {
	gauge := func(name, help string, value func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "tollkeeper_" + name, Help: help}, value)
	}
	s.registry.MustRegister(m, api.NewMetrics(s.local(), s.log), collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		gauge("ready", "1 while /readyz says so.", func() float64 { return oneIf(s.ready() == nil) }),
		gauge("data_free_bytes", "Room in the data directory's file system; -1: unknown.", func() float64 { free, _ := s.room(); return free }),
		gauge("data_size_bytes", "Room and what is used there together; -1: unknown.", func() float64 { _, size := s.room(); return size }),
		gauge("journal_entries", "Entries of the journal; -1: unknown.", s.entries),
		gauge("journal_disk_full", "1 while usage is refused because the journal's disk is full.", func() float64 { return oneIf(s.journal.Full()) }),
		gauge("journal_queue_bytes", "Bytes that wait for a commit.", func() float64 { return float64(s.journal.Queued()) }),
		gauge("projection_entries", "Entry up to which usage is folded.", func() float64 { return float64(s.projector.Position()) }),
		gauge("projection_lag_entries", "Entries that are on disk and not folded yet.", func() float64 { return s.entries() - float64(s.projector.Position()) }),
		gauge("projection_lag_seconds", "For how long the oldest of them has been there; -1: unknown.", s.lag),
	)
}

func oneIf(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}

func (s *server) room() (free, size float64) {
	f, n, err := s.journal.Room()
	if err != nil {
		return unknown, unknown
	}
	return float64(f), float64(n)
}

func (s *server) entries() float64 {
	n, err := s.journal.Size(context.Background())
	if err != nil {
		return unknown
	}
	return float64(n)
}

// lag is for how long the oldest entry that is not folded has been on disk.
func (s *server) lag() float64 {
	next := s.projector.Position() + 1
	if s.entries() < float64(next) {
		return 0
	}
	e, err := s.journal.Entry(context.Background(), next)
	if err != nil {
		return unknown
	}
	return max(0, float64(s.now().UnixNano()-e.Header.Received)/1e9)
}
