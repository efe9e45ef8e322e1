package cli

import (
	"cmp"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/tollkeeper/tollkeeper/internal/vllmsim"
)

// environment takes what OpenTelemetry's variables say about a vLLM, as the SDK
// for Python reads them, for all that no flag says.
func (o *simulation) environment(p *Program, given func(flag string) bool) error {
	e := &o.engine
	attributes, err := pairs("OTEL_RESOURCE_ATTRIBUTES", p.env("OTEL_RESOURCE_ATTRIBUTES"))
	if err != nil {
		return err
	}
	texts := []struct {
		to          *string
		flag, value string
	}{
		{&e.ServiceName, "service-name", cmp.Or(p.env("OTEL_SERVICE_NAME"), attributes["service.name"])},
		{&e.OTLPProtocol, "otlp-protocol", p.otlp("PROTOCOL")},
		{&e.Sampler, "sampler", strings.ToLower(p.env("OTEL_TRACES_SAMPLER"))},
	}
	for _, x := range texts {
		if x.value != "" && !given(x.flag) {
			*x.to = x.value
		}
	}
	// What is left names the resource; service.name is decided.
	delete(attributes, "service.name")
	e.ResourceAttributes = attributes
	if !given("otlp-endpoint") {
		e.OTLPEndpoint = cmp.Or(p.tracesEndpoint(e.OTLPProtocol), e.OTLPEndpoint)
	}
	if strings.EqualFold(p.env("OTEL_SDK_DISABLED"), "true") {
		e.OTLPEndpoint = ""
	}
	if !given("otlp-header") {
		if e.OTLPHeaders, err = pairs("OTEL_EXPORTER_OTLP_HEADERS", p.otlp("HEADERS")); err != nil {
			return err
		}
	}
	e.OTLPGzip = strings.EqualFold(p.otlp("COMPRESSION"), "gzip")
	return o.batches(p, given)
}

// batches takes the numbers of the environment.
func (o *simulation) batches(p *Program, given func(flag string) bool) error {
	e := &o.engine
	const seconds, milliseconds, one = float64(time.Second), float64(time.Millisecond), 1.0
	for _, x := range []struct {
		name, value string
		unit        float64
		set         func(float64)
	}{
		{"OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", p.otlp("TIMEOUT"), seconds, func(n float64) { e.ExportTimeout = time.Duration(n) }},
		{"OTEL_BSP_SCHEDULE_DELAY", p.env("OTEL_BSP_SCHEDULE_DELAY"), milliseconds, func(n float64) {
			if !given("schedule-delay") {
				e.ScheduleDelay = time.Duration(n)
			}
		}},
		{"OTEL_BSP_MAX_QUEUE_SIZE", p.env("OTEL_BSP_MAX_QUEUE_SIZE"), one, func(n float64) { e.QueueSize = int(n) }},
		{"OTEL_BSP_MAX_EXPORT_BATCH_SIZE", p.env("OTEL_BSP_MAX_EXPORT_BATCH_SIZE"), one, func(n float64) { e.BatchSize = int(n) }},
	} {
		if x.value == "" {
			continue
		}
		n, err := strconv.ParseFloat(x.value, 64)
		if err != nil || !(n > 0 && n <= maxVariable) { // also what is no number
			return fmt.Errorf("%s=%s: a number above 0, up to %d", x.name, x.value, maxVariable)
		}
		x.set(n * x.unit)
	}
	return nil
}

// maxVariable is a day in seconds and far more spans than wait anywhere, and
// keeps a mistake from overflowing.
const maxVariable = 10_000_000

// otlp is a variable of the exporter: that of traces before that of all signals.
func (p *Program) otlp(name string) string {
	return cmp.Or(p.env("OTEL_EXPORTER_OTLP_TRACES_"+name), p.env("OTEL_EXPORTER_OTLP_"+name))
}

// tracesEndpoint is where the environment sends spans, "" for nowhere. The
// endpoint of all signals is a base to which HTTP adds the path of traces.
func (p *Program) tracesEndpoint(protocol string) string {
	base := p.env("OTEL_EXPORTER_OTLP_ENDPOINT")
	if base != "" && protocol == vllmsim.ProtocolHTTP {
		base = strings.TrimSuffix(base, "/") + "/v1/traces"
	}
	return cmp.Or(p.env("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"), base)
}

// pairs reads "key=value,key=value", percent-encoded.
func pairs(variable, s string) (map[string]string, error) {
	out := map[string]string{}
	for pair := range strings.SplitSeq(s, ",") {
		if strings.TrimSpace(pair) == "" {
			continue
		}
		key, value, ok := strings.Cut(pair, "=")
		decoded, err := url.PathUnescape(strings.TrimSpace(value))
		if key = strings.TrimSpace(key); !ok || key == "" || err != nil {
			return nil, fmt.Errorf("%s: want key=value,key=value with the values percent-encoded", variable)
		}
		out[key] = decoded
	}
	return out, nil
}
