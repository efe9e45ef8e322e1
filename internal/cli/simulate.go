package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/spf13/cobra"

	"github.com/tollkeeper/tollkeeper/internal/vllmsim"
)

func simulateCommand(p *Program) *cobra.Command {
	return parent(&cobra.Command{
		Use: "simulate", GroupID: groupRun, Short: "Stand in for an engine: for load, and for people without a GPU",
		Example: "  tollkeeper simulate vllm --rate 50 --for 1m",
	}, simulateVLLMCommand(p))
}

// closeTime bounds how long a simulator may take to export its last spans.
const closeTime = 10 * time.Second

// simulation is what the flags of `simulate vllm` ask for.
type simulation struct {
	engine    vllmsim.Options
	load      vllmsim.TrafficOptions
	addr      string
	customers []string
	length    time.Duration
	drain     time.Duration
	format    string
}

func simulateVLLMCommand(p *Program) *cobra.Command {
	var o simulation
	c := &cobra.Command{
		Use: "vllm", Args: cobra.NoArgs, Short: "A vLLM without a model: OpenAI's API, OTLP spans and /metrics as vLLM 0.32 has them",
		Long: `Serves completions, chat, responses, messages, embeddings and scores, and answers with words that mean nothing. What matters for billing is
vLLM's: usage blocks, streams, request ids, one span for each finished choice, none for a client that left or a caller whose traceparent ends
in 00, and the counters of /metrics with their moments of change.

The variables of the environment by which OpenTelemetry steers a vLLM (OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES, OTEL_TRACES_SAMPLER,
OTEL_EXPORTER_OTLP_TRACES_ENDPOINT and the others of the exporter, OTEL_BSP_…) stand in for the flags that are not given.

With --rate or --requests it also sends itself requests in the name of --customers: each X-Request-Id begins with the customer's name, so that
attribution.request_id: [ '^(chat)?cmpl-(?P<customer>[a-z]+)-' ] tells them apart. At the end it prints what the clients saw: the other side of
the bill.`,
		Example: `  tollkeeper simulate vllm --addr 127.0.0.1:8000
  tollkeeper simulate vllm --rate 50 --customers acme,globex --for 1m -o json
  tollkeeper simulate vllm --otlp-protocol http/protobuf --otlp-endpoint http://127.0.0.1:4318/v1/traces`,
	}
	o.add(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		if err := o.environment(p, c.Flags().Changed); err != nil {
			return usageError{err}
		}
		return p.simulate(c.Context(), &o)
	}
	return c
}

func (o *simulation) add(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&o.addr, "addr", "127.0.0.1:8000", "listen here; the port may be 0")
	f.StringVar(&o.engine.Model, "model", vllmsim.DefaultModel, "the served model's name")
	f.StringVar(&o.engine.ServiceName, "service-name", vllmsim.DefaultServiceName, "service.name of the spans (vLLM's OTEL_SERVICE_NAME)")
	f.StringVar(&o.engine.Runner, "runner", vllmsim.RunnerBoth, "generate or pooling: only these endpoints (default: both)")
	f.IntVar(&o.engine.MaxModelLen, "max-model-len", vllmsim.DefaultMaxModelLen, "tokens of prompt and completion together")
	f.BoolVar(&o.engine.PromptTokensDetails, "enable-prompt-tokens-details", true, "tell cached tokens in usage")
	f.BoolVar(&o.engine.ForceIncludeUsage, "enable-force-include-usage", false, "tell usage on each event of each stream")
	f.BoolVar(&o.engine.RequestIDHeaders, "enable-request-id-headers", false, "answer with the client's X-Request-Id")
	f.DurationVar(&o.engine.TokenTime, "token-time", 10*time.Millisecond, "how long a token takes; 0 is full speed")
	f.StringVar(&o.engine.OTLPEndpoint, "otlp-endpoint", "http://127.0.0.1:4317", "send spans here; empty for none")
	f.StringVar(&o.engine.OTLPProtocol, "otlp-protocol", vllmsim.ProtocolGRPC, "grpc or http/protobuf (then the endpoint is the whole URL)")
	f.StringToStringVar(&o.engine.OTLPHeaders, "otlp-header", nil, "sent with the spans, e.g. authorization='Bearer …'")
	f.StringVar(&o.engine.Sampler, "sampler", vllmsim.ParentBasedAlwaysOn, "parentbased_always_on (vLLM's) or always_on")
	f.DurationVar(&o.engine.ScheduleDelay, "schedule-delay", vllmsim.DefaultScheduleDelay, "spans wait at most so long (OTEL_BSP_SCHEDULE_DELAY)")
	f.Float64Var(&o.load.Rate, "rate", 0, "send so many requests a second for each customer")
	f.IntVar(&o.load.Requests, "requests", 0, "send so many requests for each customer, and end")
	f.IntVar(&o.load.Parallel, "parallel", 8, "requests that each customer has in flight at most")
	f.Uint64Var(&o.load.Seed, "seed", 1, "the same seed asks the same")
	f.StringSliceVar(&o.customers, "customers", []string{"acme", "globex", "initech"}, "who sends them")
	f.DurationVar(&o.length, "for", 0, "end after so long (default: Ctrl-C)")
	f.DurationVar(&o.drain, "shutdown-timeout", 0, "when told to end, let requests in flight finish for so long; 0 cuts them, as vLLM's own default does")
	f.StringVarP(&o.format, "output", "o", "table", "how to print what the clients saw: table, json or csv")
	_ = c.RegisterFlagCompletionFunc("sampler", cobra.FixedCompletions([]string{vllmsim.ParentBasedAlwaysOn, vllmsim.AlwaysOn}, cobra.ShellCompDirectiveNoFileComp))
	_ = c.RegisterFlagCompletionFunc("otlp-protocol", cobra.FixedCompletions([]string{vllmsim.ProtocolGRPC, vllmsim.ProtocolHTTP}, cobra.ShellCompDirectiveNoFileComp))
}

// Bounds of --rate, in requests a second: one is given a turn of its own, and a
// clock has no turns between its ticks.
const (
	minRate = 0.001
	maxRate = 100_000.0
)

// check refuses what cannot be meant.
func (o *simulation) check() error {
	if err := checkOutput(o.format); err != nil {
		return err
	}
	wrong := func(flag, value, want string) error { return usageError{fmt.Errorf("--%s %s: %s", flag, value, want)} }
	switch e := o.engine; {
	case e.Sampler != vllmsim.ParentBasedAlwaysOn && e.Sampler != vllmsim.AlwaysOn:
		return wrong("sampler", e.Sampler, vllmsim.ParentBasedAlwaysOn+" or "+vllmsim.AlwaysOn)
	case e.Runner != vllmsim.RunnerBoth && e.Runner != vllmsim.RunnerGenerate && e.Runner != vllmsim.RunnerPooling:
		return wrong("runner", e.Runner, "generate or pooling")
	case e.MaxModelLen < 1:
		return wrong("max-model-len", fmt.Sprint(e.MaxModelLen), "at least 1")
	case o.load.Requests < 0 || o.load.Parallel < 1 || o.length < 0 || o.drain < 0 || e.TokenTime < 0 || e.ScheduleDelay < 0:
		return usageError{errors.New("--requests, --parallel, --for, --shutdown-timeout, --token-time and --schedule-delay: no negative numbers, and at least one in parallel")}
	case o.load.Rate != 0 && !(o.load.Rate >= minRate && o.load.Rate <= maxRate): // also what is no number
		return wrong("rate", fmt.Sprint(o.load.Rate), fmt.Sprintf("0, or from %v to %v a second", minRate, maxRate))
	case o.loads() && len(o.customers) == 0:
		return wrong("customers", "", "name at least one")
	}
	return nil
}

func (o *simulation) loads() bool { return o.load.Rate > 0 || o.load.Requests > 0 }

func (p *Program) simulate(ctx context.Context, o *simulation) (err error) {
	if err := o.check(); err != nil {
		return err
	}
	log := slog.New(slog.NewJSONHandler(p.Stderr, nil))
	o.engine.Logger, o.engine.Now = log, p.Now
	s, err := vllmsim.Start(o.addr, o.engine)
	if err != nil {
		return usageError{err}
	}
	log.Info("ready", "url", s.URL(), "model", s.Model(), "otlp", o.engine.OTLPEndpoint)
	if o.length > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.length)
		defer cancel()
	}
	traffic := vllmsim.NewTraffic(o.traffic(s))
	if o.loads() {
		traffic.Run(ctx)
	} else {
		<-ctx.Done()
	}
	if o.drain > 0 {
		drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), o.drain)
		defer cancel()
		if err := s.Drain(drain); err != nil {
			log.Warn("requests were cut: they had not finished", "shutdown_timeout", o.drain)
		}
	}
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTime)
	defer cancel()
	if err := s.Close(end); err != nil {
		return err
	}
	if !o.loads() {
		return nil
	}
	out := &simulated{Tallies: traffic.Tallies(), Total: vllmsim.Sum(traffic.Tallies()), Spans: s.Spans()}
	return printAnswer(p.Stdout, o.format, out, out.grid(o.format))
}

func (o *simulation) traffic(s *vllmsim.Server) vllmsim.TrafficOptions {
	t := o.load
	t.Servers = []*vllmsim.Server{s}
	for _, name := range o.customers {
		t.Customers = append(t.Customers, vllmsim.Customer{ID: name, RequestIDs: true})
	}
	return t
}

// simulated is what the clients saw.
type simulated struct {
	Tallies []vllmsim.Tally `json:"tallies"`
	Total   vllmsim.Tally   `json:"total"`
	Spans   vllmsim.Spans   `json:"spans"`
}

func (s *simulated) grid(format string) *grid {
	number := thousands
	if format == "csv" {
		number = func(n int64) string { return fmt.Sprint(n) }
	}
	amounts := []string{"requests", "input_tokens", "output_tokens", "aborted", "unsampled", "failed"}
	g := &grid{columns: append([]string{"customer", "model"}, amounts...), numbers: amounts}
	row := func(customer, model string, t vllmsim.Tally) []string {
		out := []string{customer, model}
		for _, n := range []int64{t.Requests, t.Input, t.Output, t.Aborted, t.Unsampled, t.Failed} {
			out = append(out, number(n))
		}
		return out
	}
	for _, t := range s.Tallies {
		g.rows = append(g.rows, row(t.Customer, t.Model, t))
	}
	g.total = row("total", "", s.Total)
	return g
}
