package vllmsim

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
)

// traceContext is what a caller's traceparent and tracestate say; the zero value
// is a caller who sent none.
type traceContext struct{ caller trace.SpanContext }

// traceOf reads W3C Trace Context as the SDKs do: a malformed traceparent counts
// for nothing, and a malformed tracestate is left out. vLLM reads the first header
// of a name only.
func traceOf(h http.Header) traceContext {
	ctx := propagation.TraceContext{}.Extract(context.Background(), propagation.HeaderCarrier(h))
	return traceContext{trace.SpanContextFromContext(ctx)}
}

// tracer makes the spans of one process.
type tracer struct {
	provider  *sdktrace.TracerProvider
	spans     trace.Tracer
	uplink    *uplink
	unsampled atomic.Int64
	ended     atomic.Int64
}

// newTracer is nil-safe for its users: without an endpoint there is none.
func newTracer(o Options, instance string, restarts int) (*tracer, error) {
	if o.OTLPEndpoint == "" {
		return nil, nil
	}
	client, err := newClient(o)
	if err != nil {
		return nil, err
	}
	up := &uplink{Client: client, log: o.Logger}
	exporter, err := otlptrace.New(context.Background(), up)
	if err != nil {
		return nil, err
	}
	sampler := sdktrace.ParentBased(sdktrace.AlwaysSample())
	if o.Sampler == AlwaysOn {
		sampler = sdktrace.AlwaysSample()
	}
	provider := sdktrace.NewTracerProvider(
		sdktrace.WithResource(resourceOf(o, instance, restarts)),
		sdktrace.WithSampler(sampler),
		sdktrace.WithBatcher(quiet{exporter}, sdktrace.WithMaxQueueSize(o.QueueSize), sdktrace.WithMaxExportBatchSize(o.BatchSize),
			sdktrace.WithBatchTimeout(o.ScheduleDelay), sdktrace.WithExportTimeout(o.ExportTimeout)),
	)
	return &tracer{provider: provider, spans: provider.Tracer("vllm.tracing.otel"), uplink: up}, nil
}

// resourceOf is the recorded resource: that of Python's SDK and vLLM's own.
func resourceOf(o Options, instance string, restarts int) *resource.Resource {
	list := []attribute.KeyValue{
		attribute.String("telemetry.sdk.language", "python"),
		attribute.String("telemetry.sdk.name", "opentelemetry"),
		attribute.String("telemetry.sdk.version", "1.45.2"),
		attribute.String("service.instance.id", instance),
		attribute.String("service.name", o.ServiceName),
		attribute.String("vllm.instrumenting_module_name", "vllm.llm_engine"),
		// A restart is a new process, and so has a new id.
		attribute.String("vllm.process_id", strconv.Itoa(os.Getpid()+restarts)),
	}
	for name, value := range o.ResourceAttributes {
		list = append(list, attribute.String(name, value))
	}
	return resource.NewSchemaless(list...)
}

// end makes the span of a sequence that finished.
func (t *tracer) end(s *sequence, now time.Time) {
	if t == nil {
		return
	}
	parent := context.Background()
	if s.trace.caller.IsValid() {
		parent = trace.ContextWithRemoteSpanContext(parent, s.trace.caller)
	}
	_, span := t.spans.Start(parent, "llm_request", trace.WithTimestamp(s.arrival), trace.WithSpanKind(trace.SpanKindServer))
	if !span.IsRecording() {
		t.unsampled.Add(1)
		return
	}
	t.ended.Add(1)
	span.SetAttributes(s.attributes(now)...)
	span.End(trace.WithTimestamp(now))
}

// attributes are vLLM's, in its order; a request parameter of zero is left out.
func (s *sequence) attributes(now time.Time) []attribute.KeyValue {
	list := []attribute.KeyValue{
		attribute.Float64("gen_ai.latency.time_to_first_token", s.first.Sub(s.arrival).Seconds()),
		attribute.Float64("gen_ai.latency.e2e", now.Sub(s.arrival).Seconds()),
		attribute.Float64("gen_ai.latency.time_in_queue", s.scheduled.Sub(s.queued).Seconds()),
		attribute.Int("gen_ai.usage.prompt_tokens", len(s.prompt)),
		attribute.Int("gen_ai.usage.completion_tokens", s.generated),
		attribute.Float64("gen_ai.latency.time_in_model_prefill", s.first.Sub(s.scheduled).Seconds()),
		attribute.Float64("gen_ai.latency.time_in_model_decode", s.last.Sub(s.first).Seconds()),
		attribute.Float64("gen_ai.latency.time_in_model_inference", s.last.Sub(s.scheduled).Seconds()),
		attribute.String("gen_ai.request.id", s.id),
	}
	if s.pooling {
		return list
	}
	list = append(list, attribute.Float64("gen_ai.request.top_p", s.topP), attribute.Int("gen_ai.request.max_tokens", s.maxTokens))
	if s.temperature != 0 {
		list = append(list, attribute.Float64("gen_ai.request.temperature", s.temperature))
	}
	return append(list, attribute.Int("gen_ai.request.n", 1)) // each choice is an engine's request of its own
}

func (t *tracer) flush(ctx context.Context) error {
	if t == nil {
		return nil
	}
	return t.provider.ForceFlush(ctx)
}

// stop flushes what is queued, unless the process crashed.
func (t *tracer) stop(ctx context.Context, crashed bool) error {
	if t == nil {
		return nil
	}
	if crashed {
		t.uplink.cut()
	}
	return t.provider.Shutdown(ctx)
}

// quiet keeps export errors, which the uplink has counted and logged, from the
// SDK's global error handler.
type quiet struct{ sdktrace.SpanExporter }

// ExportSpans never fails.
func (q quiet) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	_ = q.SpanExporter.ExportSpans(ctx, spans)
	return nil
}

// uplink is the way of the spans to their receiver: it counts, and on demand it
// repeats and delays as networks and Collectors do.
type uplink struct {
	otlptrace.Client

	log *slog.Logger

	mu       sync.Mutex
	last     []*tracepb.ResourceSpans   // the newest batch that arrived
	holding  bool                       // the next batch stays here
	held     [][]*tracepb.ResourceSpans // those that stayed
	dead     bool
	exported int64
	failed   int64
}

// UploadTraces sends a batch, or keeps it back.
func (u *uplink) UploadTraces(ctx context.Context, batch []*tracepb.ResourceSpans) error {
	asPython(batch)
	u.mu.Lock()
	dead, holding := u.dead, u.holding
	if holding && !dead {
		u.held = append(u.held, batch)
		u.holding = false
	}
	u.mu.Unlock()
	switch {
	case dead:
		u.count(batch, errCrashed)
		return errCrashed
	case holding:
		return nil
	}
	return u.send(ctx, batch)
}

var errCrashed = errors.New("the process is gone")

func (u *uplink) send(ctx context.Context, batch []*tracepb.ResourceSpans) error {
	err := u.Client.UploadTraces(ctx, batch)
	u.count(batch, err)
	return err
}

func (u *uplink) count(batch []*tracepb.ResourceSpans, err error) {
	n := spanCount(batch)
	u.mu.Lock()
	defer u.mu.Unlock()
	if err != nil {
		u.failed += n
		u.log.Warn("exporting spans failed; they are lost", "spans", n, "error", err)
		return
	}
	u.exported += n
	u.last = batch
}

// resend sends the newest batch that arrived once more.
func (u *uplink) resend(ctx context.Context) (int64, error) {
	u.mu.Lock()
	batch := u.last
	u.mu.Unlock()
	if batch == nil {
		return 0, nil
	}
	return spanCount(batch), u.Client.UploadTraces(ctx, batch)
}

func (u *uplink) hold() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.holding = true
}

// release sends what was held back.
func (u *uplink) release(ctx context.Context) (n int64, err error) {
	u.mu.Lock()
	held := u.held
	u.held = nil
	u.mu.Unlock()
	for _, batch := range held {
		if e := u.send(ctx, batch); e != nil {
			err = errors.Join(err, e)
			continue
		}
		n += spanCount(batch)
	}
	return n, err
}

func (u *uplink) cut() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.dead = true
}

func spanCount(batch []*tracepb.ResourceSpans) (n int64) {
	for _, r := range batch {
		for _, s := range r.GetScopeSpans() {
			n += int64(len(s.GetSpans()))
		}
	}
	return n
}

// traceFlags are the bits of a span's flags that Python's exporter leaves out and
// Go's fills with the trace flags.
const traceFlags = 0xff

// asPython takes out of a batch what Go's exporter writes and Python's does not.
func asPython(batch []*tracepb.ResourceSpans) {
	for _, r := range batch {
		for _, scope := range r.GetScopeSpans() {
			for _, span := range scope.GetSpans() {
				span.Flags &^= traceFlags
			}
		}
	}
}
