package vllmsim

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// readTimeout bounds how long a client may take to send a request's head.
const readTimeout = 10 * time.Second

// Server is a vLLM that listens.
type Server struct {
	o        Options
	listener net.Listener
	http     *http.Server
	served   chan struct{}

	mu       sync.RWMutex
	current  *process
	restarts int
	past     Spans // of the processes before
}

// Start listens on addr ("127.0.0.1:0" picks a port) and serves until Close.
func Start(addr string, o Options) (*Server, error) {
	o = o.withDefaults()
	p, err := newProcess(o, 0)
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, errors.Join(err, p.end(context.Background(), true))
	}
	s := &Server{o: o, listener: l, served: make(chan struct{}), current: p}
	s.http = &http.Server{Handler: s, ReadHeaderTimeout: readTimeout}
	go func() {
		defer close(s.served)
		_ = s.http.Serve(l) // it ends with Close, and says only that
	}()
	return s, nil
}

// URL is where it listens, without a slash at the end.
func (s *Server) URL() string { return "http://" + s.listener.Addr().String() }

// Model is the served model's name.
func (s *Server) Model() string { return s.o.Model }

func (s *Server) process() *process {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.current
}

// Flush exports the spans that are queued.
func (s *Server) Flush(ctx context.Context) error { return s.process().tracer.flush(ctx) }

// Restart ends the process as SIGTERM does and starts another one at the same
// address: requests in flight are lost without a span, queued spans are exported,
// counters begin at zero, and the spans' resource names a new instance.
func (s *Server) Restart(ctx context.Context) error { return s.replace(ctx, false) }

// Crash is Restart after SIGKILL: queued spans are lost too.
func (s *Server) Crash(ctx context.Context) error { return s.replace(ctx, true) }

func (s *Server) replace(ctx context.Context, crashed bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.restarts++
	p, err := newProcess(s.o, s.restarts)
	if err != nil {
		return err
	}
	old := s.current
	s.current = p
	err = old.end(ctx, crashed)
	s.past = s.past.plus(old.tracer.count())
	return err
}

// Drain stops listening and lets requests in flight finish, as vLLM does for its
// --shutdown-timeout: until the context ends. Close has to follow.
func (s *Server) Drain(ctx context.Context) error { return s.http.Shutdown(ctx) }

// Close ends the process as SIGTERM does, and stops listening.
func (s *Server) Close(ctx context.Context) error {
	p := s.process()
	p.leave()
	err := s.http.Shutdown(ctx)
	if err != nil {
		err = errors.Join(err, s.http.Close())
	}
	<-s.served
	return errors.Join(err, p.end(ctx, false))
}

// process is one life of a server: what a restart takes away.
type process struct {
	o       Options
	metrics *metrics
	engine  *engine
	tracer  *tracer
	started time.Time
	life    context.Context // done when the process is gone
	leave   context.CancelFunc
}

func newProcess(o Options, restarts int) (*process, error) {
	t, err := newTracer(o, newUUID(), restarts)
	if err != nil {
		return nil, err
	}
	m := newMetrics(o)
	p := &process{o: o, metrics: m, tracer: t, engine: newEngine(o, m, t.end), started: o.Now()}
	p.life, p.leave = context.WithCancel(context.Background())
	return p, nil
}

// end cuts what is in flight, and sends the spans that are queued unless it crashed.
func (p *process) end(ctx context.Context, crashed bool) error {
	p.leave()
	p.engine.stop()
	return p.tracer.stop(ctx, crashed)
}

// call is one request being answered.
type call struct {
	*process

	w     http.ResponseWriter
	r     *http.Request
	ctx   context.Context // done when the client left or the process ended
	trace traceContext
	at    int64 // "created": Unix seconds
}

// route is one endpoint.
type route struct {
	method string
	answer func(*call) error
	runner string // the --runner that has it; "" for both
	silent bool   // not in the HTTP server's metrics
}

var routes = map[string]route{
	"/v1/completions":      {"POST", (*call).completions, RunnerGenerate, false},
	"/v1/chat/completions": {"POST", (*call).chat, RunnerGenerate, false},
	"/v1/responses":        {"POST", (*call).responses, RunnerGenerate, false},
	"/v1/messages":         {"POST", (*call).messages, RunnerGenerate, false},
	"/v1/embeddings":       {"POST", (*call).embeddings, RunnerPooling, false},
	"/pooling":             {"POST", (*call).pooling, RunnerPooling, false},
	"/score":               {"POST", (*call).score, RunnerPooling, false},
	"/v1/score":            {"POST", (*call).score, RunnerPooling, false},
	"/rerank":              {"POST", (*call).rerank, RunnerPooling, false},
	"/v1/rerank":           {"POST", (*call).rerank, RunnerPooling, false},
	"/v2/rerank":           {"POST", (*call).rerank, RunnerPooling, false},
	"/tokenize":            {"POST", (*call).tokenize, "", false},
	"/v1/models":           {"GET", (*call).models, "", false},
	"/version":             {"GET", (*call).version, "", true},
	"/health":              {"GET", (*call).health, "", true},
	"/ping":                {"GET", (*call).health, "", true},
	"/metrics":             {"GET", (*call).exposition, "", true},
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p := s.process()
	begun := p.o.Now()
	counted := &countingWriter{ResponseWriter: w}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(p.life, cancel)()
	c := &call{process: p, w: counted, r: r, ctx: ctx, trace: traceOf(r.Header), at: begun.Unix()}
	h := w.Header()
	h.Set("Server", "uvicorn")
	h.Set("Vary", "Origin")

	to, known := routes[r.URL.Path]
	known = known && (to.runner == "" || p.o.Runner == "" || p.o.Runner == to.runner)
	var err error
	switch {
	case !known:
		err = plain(http.StatusNotFound)
	case r.Method != to.method && !(r.Method == http.MethodHead && to.method == http.MethodGet):
		h.Set("Allow", to.method)
		err = plain(http.StatusMethodNotAllowed)
	default:
		if id := r.Header.Get(requestIDHeader); id != "" && p.o.RequestIDHeaders {
			h.Set(requestIDHeader, id)
		}
		err = to.answer(c)
	}
	if f, ok := errors.AsType[*failure](err); ok {
		c.write(f.status, f.body())
	}
	if known && !to.silent {
		p.metrics.request(r, counted, p.o.Now().Sub(begun))
	}
	if errors.Is(err, errGone) {
		panic(http.ErrAbortHandler) // cut the connection: the client must not take it for the end
	}
}

// json answers 200 with o.
func (c *call) json(o object) error {
	c.write(http.StatusOK, o)
	return nil
}

func (c *call) write(status int, o object) {
	b := appendJSON(nil, o)
	h := c.w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(b)))
	c.w.WriteHeader(status)
	_, _ = c.w.Write(b) // a client that left is noticed elsewhere
}

func gone(err error) error {
	if err != nil {
		return errGone
	}
	return nil
}

// requestIDHeader is where a client names its request; the wire has it as X-Request-Id.
const requestIDHeader = "X-Request-ID"

// baseID is the client's id for its request, by header before body, or a random one.
func (c *call) baseID(body string) string {
	switch {
	case len(c.r.Header.Values(requestIDHeader)) > 0:
		return c.r.Header.Get(requestIDHeader)
	case body != "":
		return body
	default:
		return newID()
	}
}

// checkModel refuses a name that is not served; none is as good as the one.
func (c *call) checkModel(name string) error {
	if name != "" && name != c.o.Model {
		return noSuchModel(name, c.o.Model)
	}
	return nil
}

// countingWriter keeps what the HTTP server's metrics tell of an answer.
type countingWriter struct {
	http.ResponseWriter

	status int
}

// WriteHeader keeps the status.
func (w *countingWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap lets http.ResponseController flush.
func (w *countingWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// request counts one HTTP request that was answered.
func (m *metrics) request(r *http.Request, w *countingWriter, took time.Duration) {
	status := "2xx"
	if w.status >= 100 {
		status = strconv.Itoa(w.status/100) + "xx"
	}
	handler, method := label{"handler", r.URL.Path}, label{"method", strings.ToUpper(r.Method)}
	length := func(s string) float64 {
		n, err := strconv.Atoi(s)
		if err != nil {
			return 0 // streamed: only the header is looked at
		}
		return float64(n)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.byName["http_requests"].child(m.now, handler, method, label{"status", status}).value++
	see := func(name string, v float64, labels ...label) {
		f := m.byName[name]
		f.observe(f.child(m.now, labels...), v)
	}
	see("http_request_size_bytes", length(r.Header.Get("Content-Length")), handler)
	see("http_response_size_bytes", length(w.Header().Get("Content-Length")), handler)
	see("http_request_duration_highr_seconds", took.Seconds())
	see("http_request_duration_seconds", took.Seconds(), handler, method)
}
