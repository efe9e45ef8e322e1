package vllmsim

import "context"

// Spans counts a server's spans by what became of them.
type Spans struct {
	// Ended were made: one for each sequence that finished and whose caller was sampled.
	Ended int64 `json:"ended"`
	// Unsampled were not made, because the caller's traceparent said so.
	Unsampled int64 `json:"unsampled"`
	// Exported arrived, as far as the exporter knows; Failed did not.
	Exported int64 `json:"exported"`
	Failed   int64 `json:"failed"`
	// Held wait for Release.
	Held int64 `json:"held"`
}

// Lost were made and are neither on their way nor there. It is exact after a Flush,
// before it the queued ones count too.
func (s Spans) Lost() int64 { return s.Ended - s.Exported - s.Held }

func (s Spans) plus(t Spans) Spans {
	return Spans{s.Ended + t.Ended, s.Unsampled + t.Unsampled, s.Exported + t.Exported, s.Failed + t.Failed, s.Held + t.Held}
}

// Spans counts those of all processes since the start.
func (s *Server) Spans() Spans {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.past.plus(s.current.tracer.count())
}

func (t *tracer) count() Spans {
	if t == nil {
		return Spans{}
	}
	u := t.uplink
	u.mu.Lock()
	defer u.mu.Unlock()
	s := Spans{Ended: t.ended.Load(), Unsampled: t.unsampled.Load(), Exported: u.exported, Failed: u.failed}
	for _, batch := range u.held {
		s.Held += spanCount(batch)
	}
	return s
}

// Resend exports the newest batch that arrived once more, as an exporter or a
// Collector does that did not get the answer, and says how many spans it has.
func (s *Server) Resend(ctx context.Context) (int64, error) {
	if t := s.process().tracer; t != nil {
		return t.uplink.resend(ctx)
	}
	return 0, nil
}

// Hold keeps the next batch back until Release, as a Collector does that could not
// reach its receiver in time.
func (s *Server) Hold() {
	if t := s.process().tracer; t != nil {
		t.uplink.hold()
	}
}

// Release exports what was held back: late spans. It says how many.
func (s *Server) Release(ctx context.Context) (int64, error) {
	if t := s.process().tracer; t != nil {
		return t.uplink.release(ctx)
	}
	return 0, nil
}
