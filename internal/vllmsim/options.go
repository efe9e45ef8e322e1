package vllmsim

import (
	"context"
	"crypto/tls"
	"log/slog"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// Sampler names, as OTEL_TRACES_SAMPLER takes them.
const (
	ParentBasedAlwaysOn = "parentbased_always_on"
	AlwaysOn            = "always_on"
)

// Protocols of the exporter, as OTEL_EXPORTER_OTLP_TRACES_PROTOCOL takes them.
const (
	ProtocolGRPC = "grpc"
	ProtocolHTTP = "http/protobuf"
)

// Runners, as vLLM's --runner: which endpoints exist.
const (
	RunnerBoth     = ""         // a simulator's convenience: both sets of endpoints
	RunnerGenerate = "generate" // completions, chat, responses, messages
	RunnerPooling  = "pooling"  // embeddings, pooling, score
)

// Defaults of vLLM and of the OpenTelemetry SDK for Python, unless said otherwise.
const (
	DefaultModel         = "facebook/opt-125m"
	DefaultServiceName   = "opt-125m" // OTEL_SERVICE_NAME in the recordings
	DefaultMaxModelLen   = 1024       // tokens; as recorded
	DefaultMaxNumSeqs    = 256        // sequences in one step
	DefaultBlockSize     = 128        // tokens of one prefix cache block; as recorded, on CPU
	DefaultQueueSize     = 2048       // spans
	DefaultBatchSize     = 512        // spans
	DefaultScheduleDelay = 5 * time.Second
	DefaultExportTimeout = 10 * time.Second
)

// Options are one server's settings. The zero value is a server at full speed
// that exports nothing.
type Options struct {
	// Model is the served model's name; DefaultModel when empty.
	Model string
	// MaxModelLen bounds prompt and completion together, in tokens.
	MaxModelLen int
	// MaxNumSeqs bounds the sequences of one engine step; more wait.
	MaxNumSeqs int
	// BlockSize is the prefix cache's granularity in tokens.
	BlockSize int
	// Runner limits the endpoints (RunnerGenerate, RunnerPooling).
	Runner string
	// PromptTokensDetails is --enable-prompt-tokens-details: cached counts in usage.
	PromptTokensDetails bool
	// ForceIncludeUsage is --enable-force-include-usage: usage on every chunk of
	// every stream, asked for or not.
	ForceIncludeUsage bool
	// RequestIDHeaders is --enable-request-id-headers: X-Request-Id on answers.
	RequestIDHeaders bool

	// TokenTime is how long one engine step takes: every running sequence gains a
	// token. Zero is as fast as it goes.
	TokenTime time.Duration
	// PrefillTime is added to a step for each prompt token it computes.
	PrefillTime time.Duration

	// Tokenize splits text into tokens; Words when nil. What it returns is what
	// is counted, cached and billed.
	Tokenize func(text string) []string
	// Next is the model: the token after those before. Babble when nil.
	Next func(Position) Token

	// ServiceName is OTEL_SERVICE_NAME; DefaultServiceName when empty.
	ServiceName string
	// ResourceAttributes are added to the spans' resource (OTEL_RESOURCE_ATTRIBUTES).
	ResourceAttributes map[string]string
	// OTLPEndpoint is --otlp-traces-endpoint. http/protobuf: the whole URL, path
	// included. grpc: http://host:port (plaintext), https://… or host:port
	// (plaintext unless OTLPTLS is set). Empty: tracing is off.
	OTLPEndpoint string
	// OTLPProtocol is ProtocolGRPC (the default, as vLLM's) or ProtocolHTTP.
	OTLPProtocol string
	// OTLPHeaders are sent with every export, e.g. a producer's credential.
	OTLPHeaders map[string]string
	// OTLPTLS is the exporter's client configuration for https.
	OTLPTLS *tls.Config
	// OTLPGzip compresses exports.
	OTLPGzip bool
	// Exporter replaces the OTLP exporter (tests).
	Exporter sdktrace.SpanExporter
	// Sampler is ParentBasedAlwaysOn (the default) or AlwaysOn.
	Sampler string
	// QueueSize, BatchSize, ScheduleDelay and ExportTimeout are the batch span
	// processor's (OTEL_BSP_…). A span that finds the queue full is lost.
	QueueSize     int
	BatchSize     int
	ScheduleDelay time.Duration
	ExportTimeout time.Duration

	// Now is the clock; time.Now when nil.
	Now func() time.Time
	// Sleep waits for d or until ctx is done, whichever is first. It is called
	// once for each engine step, also when d is zero.
	Sleep func(ctx context.Context, d time.Duration)
	// Logger gets what vLLM would log (exports that failed); silent when nil.
	Logger *slog.Logger
}

func (o Options) withDefaults() Options {
	def(&o.Model, DefaultModel)
	def(&o.ServiceName, DefaultServiceName)
	def(&o.MaxModelLen, DefaultMaxModelLen)
	def(&o.MaxNumSeqs, DefaultMaxNumSeqs)
	def(&o.BlockSize, DefaultBlockSize)
	def(&o.QueueSize, DefaultQueueSize)
	def(&o.BatchSize, DefaultBatchSize)
	def(&o.ScheduleDelay, DefaultScheduleDelay)
	def(&o.ExportTimeout, DefaultExportTimeout)
	def(&o.OTLPProtocol, ProtocolGRPC)
	def(&o.Sampler, ParentBasedAlwaysOn)
	if o.Tokenize == nil {
		o.Tokenize = Words
	}
	if o.Next == nil {
		o.Next = Babble
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Sleep == nil {
		o.Sleep = sleep
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

// def gives a field that was left out its default.
func def[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

func sleep(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
