package monitoring

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tollkeeper/tollkeeper/internal/vllmsim"
	"github.com/tollkeeper/tollkeeper/test/process"
)

const tollkeeperConfig = `
signing_key: keys/signing.key
prices: prices.yaml
engines: [ { match: { service.name: opt-125m }, model: facebook/opt-125m } ]
attribution: { order: [ tag, request_id ], request_id: [ '^(chat)?cmpl-(?P<customer>[a-z]+)-' ] }
`

const prices = `
currency: USD
prices: [ { model: facebook/opt-125m, from: 2026-01-01, per: 1000, input_tokens: "0.1", output_tokens: "0.2" } ]
`

// collectorConfig has queues like the chart's, those to what is not there too
// small, and an exporter whose spans nobody wants.
const collectorConfig = `
receivers: { otlp: { protocols: { grpc: { endpoint: %[1]q } } } }
processors: { memory_limiter: { check_interval: 1s, limit_mib: 400 } }
extensions:
  file_storage/tollkeeper: { directory: %[3]q, create_directory: true }
  file_storage/clickhouse: { directory: %[4]q, create_directory: true }
exporters:
  otlp_http/tollkeeper:
    endpoint: http://%[5]s
    sending_queue: { storage: file_storage/tollkeeper, sizer: bytes, queue_size: 100000000 }
    retry_on_failure: { max_elapsed_time: 0s }
  otlp_http/unwanted: { endpoint: http://%[6]s }
  otlp_http/handoff:
    endpoint: http://127.0.0.1:1
    sending_queue: { sizer: bytes, queue_size: 20000 }
    retry_on_failure: { max_elapsed_time: 0s }
  clickhouse:
    endpoint: tcp://127.0.0.1:1
    create_schema: false
    sending_queue: { storage: file_storage/clickhouse, sizer: bytes, queue_size: 20000 }
    retry_on_failure: { max_elapsed_time: 0s }
service:
  extensions: [ file_storage/tollkeeper, file_storage/clickhouse ]
  telemetry:
    logs: { level: error }
    metrics: { level: normal, readers: [ { pull: { exporter: { prometheus: { host: 127.0.0.1, port: %[2]s } } } } ] }
  pipelines:
    traces: { receivers: [ otlp ], processors: [ memory_limiter ], exporters: [ otlp_http/tollkeeper, otlp_http/unwanted, otlp_http/handoff, clickhouse ] }
`

// prometheusConfig gives the targets the labels that they have in a cluster.
const prometheusConfig = `
global: { scrape_interval: 1s, evaluation_interval: 1s }
rule_files: [ %q ]
scrape_configs:
  - job_name: pods
    static_configs:
`

const target = `      - targets: [ %q ]
        labels: { namespace: %s, pod: %[3]s-0, app_kubernetes_io_component: %[3]s, app_kubernetes_io_instance: vllm }
`

const namespace = "live"

// TestLive: a real Prometheus that scrapes a real tollkeeper, the simulated vLLM
// and a real Collector has at least one number for each panel, and each series
// that an alert is about; and the alerts that should be up are.
func TestLive(t *testing.T) {
	prometheus, collector := program(t, "PROMETHEUS", "prometheus"), program(t, "OTELCOL", "otelcol")
	tollkeeper := startTollkeeper(t)
	spans, telemetry := startCollector(t, collector, tollkeeper)
	engine := startEngine(t, spans)
	p := startPrometheus(t, prometheus, map[string]string{
		"tollkeeper": tollkeeper.API, "collector": telemetry, "vllm": strings.TrimPrefix(engine.URL(), "http://"),
	})
	p.until(t, `count(up == 1) == 3`) // so that what comes is an increase
	load(t, engine, tollkeeper)
	p.until(t, `tollkeeper_ingest_tags_total`)
	t.Run("documented", func(t *testing.T) { documented(t, tollkeeper) })

	for _, d := range dashboards(t) {
		for _, panel := range d.Panels {
			for _, q := range panel.Targets {
				p.until(t, asked(q.Expr, "15s", namespace))
				p.series(t, q.Expr)
			}
		}
	}
	for _, a := range alerts(t) {
		p.ask(t, a.Expr)
		p.series(t, a.Expr)
	}
	for _, name := range []string{
		"TollkeeperRejectsUsage", "TollkeeperConflicts", "TollkeeperTagsInvalid", "TollkeeperUsageUnattributed", "TollkeeperUsageUnpriced",
		"TollkeeperTurnsSendersAway", "CollectorQueueFilling", "CollectorBillingQueueFilling", "CollectorDropsSpans", "CollectorQueueRefuses", "CollectorRefusesSpans",
		"CollectorCannotDeliver",
	} {
		p.until(t, fmt.Sprintf(`ALERTS{alertname=%q}`, name))
	}
	for _, name := range []string{
		"TollkeeperNotReady", "TollkeeperAbsent", "TollkeeperDiskFull", "TollkeeperPanics", "TollkeeperProjectionBehind", "TollkeeperBlind",
		"CollectorDown", "CollectorDropsUsage", "VLLMDown",
	} {
		if n := p.ask(t, fmt.Sprintf(`ALERTS{alertname=%q}`, name)); n > 0 {
			t.Errorf("%s is up, and nothing is wrong", name)
		}
	}
}

// TestRelease asks the Prometheus of a release that is used, at $PROMETHEUS_URL,
// for each panel.
func TestRelease(t *testing.T) {
	address := os.Getenv("PROMETHEUS_URL")
	if address == "" {
		t.Skip("no $PROMETHEUS_URL: that of a release's Prometheus, such as http://127.0.0.1:9090 by a forwarded port")
	}
	p := prom{url: strings.TrimSuffix(address, "/")}
	for _, d := range dashboards(t) {
		for _, panel := range d.Panels {
			for _, q := range panel.Targets {
				p.until(t, asked(q.Expr, "1m", ".*"))
			}
		}
	}
}

// asked is an expression as Grafana asks it.
func asked(expr, rate, namespace string) string {
	return strings.NewReplacer("$__rate_interval", rate, "$namespace", namespace, "$pod", ".*").Replace(expr)
}

// series wants that each metric of an expression is there.
func (p prom) series(t *testing.T, expr string) {
	t.Helper()
	for _, name := range metric.FindAllString(expr, -1) {
		if !strings.HasPrefix(name, "kubelet_") { // there is no kubelet here
			p.until(t, fmt.Sprintf(`count({__name__=%q})`, name))
		}
	}
}

// documented compares docs/ops/metrics.md with what a tollkeeper that has seen
// everything answers.
func documented(t *testing.T, s *process.Server) {
	t.Helper()
	names := func(text, pattern string) []string {
		var list []string
		for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
			list = append(list, m[1])
		}
		slices.Sort(list)
		return slices.Compact(list)
	}
	resp, err := http.Get("http://" + s.API + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "ops", "metrics.md"))
	if err != nil {
		t.Fatal(err)
	}
	got, want := names(string(page), "`(tollkeeper_[a-z_]+)`"), names(string(answer), `# TYPE (tollkeeper_[a-z_]+) `)
	if !slices.Equal(got, want) {
		t.Errorf("docs/ops/metrics.md has\n%q, /metrics has\n%q", got, want)
	}
}

// metric is the name of a series in an expression.
var metric = regexp.MustCompile(`\b(tollkeeper_|otelcol_|vllm:|kubelet_|process_)\w+|\bup\b`)

func startTollkeeper(t *testing.T) *process.Server {
	t.Helper()
	return startTollkeeperOn(t, t.TempDir())
}

// startTollkeeperOn has its data in a folder of its own.
func startTollkeeperOn(t *testing.T, data string) *process.Server {
	t.Helper()
	dir := t.TempDir()
	path, err := process.Build(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "tollkeeper.yaml"), tollkeeperConfig)
	write(t, filepath.Join(dir, "prices.yaml"), prices)
	program := &process.Program{Path: path, Dir: dir}
	s, err := program.Serve(context.WithoutCancel(t.Context()), filepath.Join(data, "data"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Kill() }) // it may have ended
	if _, err := s.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

// startCollector returns where it takes spans over gRPC, and where its metrics are.
func startCollector(t *testing.T, program string, to *process.Server) (spans, telemetry string) {
	t.Helper()
	dir := t.TempDir()
	spans, telemetry = process.FreeAddress(t), process.FreeAddress(t)
	_, port, err := net.SplitHostPort(telemetry)
	if err != nil {
		t.Fatal(err)
	}
	config := fmt.Sprintf(collectorConfig, spans, port, filepath.Join(dir, "tollkeeper"), filepath.Join(dir, "clickhouse"), to.HTTP, to.API)
	process.StartCollector(t, program, config, spans)
	return spans, telemetry
}

func startEngine(t *testing.T, spans string) *vllmsim.Server {
	t.Helper()
	s, err := vllmsim.Start("127.0.0.1:0", vllmsim.Options{
		TokenTime: time.Millisecond, PromptTokensDetails: true, OTLPEndpoint: "http://" + spans, ScheduleDelay: 500 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), process.Patience)
		defer cancel()
		_ = s.Close(ctx) // what it cannot export is not what is tested
	})
	return s
}

// load is what the engine's clients do until the test ends, and what goes wrong
// once: a span with a count below 0, one without usage, two with one identity, one of a
// model without a price, and something that is no span.
func load(t *testing.T, engine *vllmsim.Server, to *process.Server) {
	t.Helper()
	traffic := vllmsim.NewTraffic(vllmsim.TrafficOptions{
		Servers: []*vllmsim.Server{engine}, Rate: 10, Parallel: 2,
		Customers: []vllmsim.Customer{
			{ID: "acme", RequestIDs: true},
			{ID: "nobody"},
			{ID: "forger", Tracestate: func(string) string { return "tollkeeper=v1.-.key_forged.AAAA" }},
		},
	})
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); traffic.Run(ctx) }()
	t.Cleanup(func() { stop(); <-done })
	now := time.Now().UnixNano()
	for _, s := range []struct {
		name, span string
		out        int
	}{
		{"llm_request", "0000000000000001", -1}, {"GET /health", "0000000000000002", 0},
		{"llm_request", "0000000000000003", 5}, {"llm_request", "0000000000000003", 6},
	} {
		counts := ""
		if s.out != 0 {
			counts = fmt.Sprintf(`,{"key":"gen_ai.usage.prompt_tokens","value":{"intValue":"7"}},{"key":"gen_ai.usage.completion_tokens","value":{"intValue":"%d"}}`, s.out)
		}
		send(t, to, http.StatusOK, fmt.Sprintf(`{"resourceSpans":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"b"}},
			{"key":"gen_ai.request.model","value":{"stringValue":"other/model"}}]},"scopeSpans":[{"spans":[{"traceId":"d5fe1dc9035165ce36952daf29686b6c","spanId":%q,
			"name":%q,"kind":2,"startTimeUnixNano":"%d","endTimeUnixNano":"%d","attributes":[{"key":"gen_ai.request.id","value":{"stringValue":"cmpl-acme-0"}}%s]}]}]}]}`,
			s.span, s.name, now, now+1, counts))
	}
	send(t, to, http.StatusBadRequest, "{")
}

func send(t *testing.T, to *process.Server, want int, body string) {
	t.Helper()
	resp, err := http.Post("http://"+to.HTTP+"/v1/traces", "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != want {
		t.Fatalf("%s: %s, want %d", body, resp.Status, want)
	}
}

// prom is a running Prometheus.
type prom struct{ url string }

func startPrometheus(t *testing.T, program string, targets map[string]string) prom {
	t.Helper()
	rules, err := filepath.Abs(filepath.Join(chart, "rules", "*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	config := fmt.Sprintf(prometheusConfig, rules)
	for component, address := range targets {
		config += fmt.Sprintf(target, address, namespace, component)
	}
	return startPrometheusWith(t, program, config)
}

// ask returns how many series there are with a number; an error is the test's.
func (p prom) ask(t *testing.T, expr string) int {
	t.Helper()
	n, err := p.query(expr)
	if err != nil {
		t.Errorf("%s: %v", expr, err)
	}
	return n
}

func (p prom) query(expr string) (numbers int, err error) {
	resp, err := http.Get(p.url + "/api/v1/query?query=" + url.QueryEscape(expr))
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	var a struct {
		Error string
		Data  struct {
			Result []struct{ Value [2]any }
		}
	}
	if err := json.NewDecoder(resp.Body).Decode(&a); err != nil {
		return 0, err
	}
	if a.Error != "" {
		return 0, fmt.Errorf("%s", a.Error)
	}
	for _, r := range a.Data.Result {
		if x, err := strconv.ParseFloat(fmt.Sprint(r.Value[1]), 64); err == nil && !math.IsNaN(x) {
			numbers++
		}
	}
	return numbers, nil
}

// until asks until there is a number; the test goes on without.
func (p prom) until(t *testing.T, expr string) {
	t.Helper()
	var last error
	err := process.Until(t.Context(), "there is a number for "+expr, func() (bool, error) {
		n, err := p.query(expr)
		last = err
		return n > 0, nil
	})
	if err != nil {
		t.Errorf("%v (%v)", err, last)
	}
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
