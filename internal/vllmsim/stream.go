package vllmsim

import "net/http"

// stream writes server-sent events, each at once. A client that left is noticed by
// the call's context, so errors of writing say nothing new.
type stream struct {
	w       http.ResponseWriter
	control *http.ResponseController
	buf     []byte
}

// newStream writes the head.
func newStream(c *call) *stream {
	c.w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
	c.w.WriteHeader(http.StatusOK)
	s := &stream{w: c.w, control: http.NewResponseController(c.w)}
	_ = s.control.Flush()
	return s
}

func (s *stream) event(o object) {
	s.buf = append(s.buf[:0], "data: "...)
	s.send(appendJSON(s.buf, o))
}

// named is an event with a name, as the Responses and Messages APIs have.
func (s *stream) named(kind string, o object) {
	s.buf = append(append(append(s.buf[:0], "event: "...), kind...), "\ndata: "...)
	s.send(appendJSON(s.buf, o))
}

// done is how OpenAI's older streams end.
func (s *stream) done() {
	s.send(append(s.buf[:0], "data: [DONE]"...))
}

func (s *stream) send(b []byte) {
	b = append(b, "\n\n"...)
	s.buf = b
	_, _ = s.w.Write(b)
	_ = s.control.Flush()
}
