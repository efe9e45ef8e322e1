package config_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
	"pgregory.net/rapid"

	"github.com/tollkeeper/tollkeeper/internal/config"
)

// settable are keys of one value each, with values that they may have.
var settable = map[string][]string{
	"data":                       {"/d/1", "/d/2"},
	"listen.otlp_grpc":           {"0.0.0.0:1", ":0"},
	"listen.otlp_http":           {"[::1]:2", "localhost:0"},
	"listen.api":                 {":65535", "127.0.0.1:3"},
	"ingest.auth":                {"none"},
	"ingest.on_bad_credential":   {"reject", "retry"},
	"ingest.max_body_bytes":      {"65536", "1073741824"},
	"ingest.requests_per_second": {"0", "1000000"},
	"signing_key":                {"/k/1", "/k/2"},
	"invoice.currency":           {"EUR", "JPY", "KWD"},
	"invoice.time_zone":          {"Europe/Berlin", "Asia/Kathmandu"},
	"invoice.rounding":           {"half-up", "down"},
	"invoice.grace":              {"0s", "90m", "48h0m0s"},
	"invoice.issuer.name":        {"yes", "12", "Größe & Co, Ltd", "[not, a list]", "null"},
	"invoice.issuer.address":     {"one\ntwo", "#1"},
	"invoice.note":               {"a: b", "{{.Total}}", "- x"},
	"ingest.tls.cert":            {"/c/1"},
	"ingest.tls.key":             {"/c/2"},
	"api.tls.cert":               {"/c/3"},
	"api.tls.key":                {"/c/4"},
	"attribution.order":          {"tag", "resource,tag", "request_id,resource"},
}

// TestEnvironmentOverFileOverDefaults sets any keys in the file and any in the
// environment: each is what the environment says, else the file, else its
// default, and says so.
func TestEnvironmentOverFileOverDefaults(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		inFile, environ := map[string]string{}, map[string]string{}
		draw := func(into map[string]string, label string) {
			for _, k := range config.Keys() {
				if values := settable[k.Name]; values != nil && rapid.Bool().Draw(t, label+k.Name) {
					into[k.Name] = rapid.SampledFrom(values).Draw(t, label+"value of "+k.Name)
				}
			}
			for _, tls := range []string{"ingest.tls", "api.tls"} { // one without the other is refused
				_, cert := into[tls+".cert"]
				_, key := into[tls+".key"]
				if cert != key {
					delete(into, tls+".cert")
					delete(into, tls+".key")
				}
			}
		}
		draw(inFile, "file: ")
		draw(environ, "env: ")
		path := filepath.Join(dir, "tollkeeper.yaml")
		lines := writeConfig(t, path, inFile)
		var pairs []string
		for _, k := range config.Keys() {
			if value, ok := environ[k.Name]; ok {
				pairs = append(pairs, k.Variable+"="+value)
			}
		}
		_, p, err := config.Load(path, pairs)
		if err != nil {
			t.Fatalf("%v", err)
		}
		if len(p.Settings) != len(config.Keys()) {
			t.Fatalf("%d settings of %d keys", len(p.Settings), len(config.Keys()))
		}
		for i, k := range config.Keys() {
			want := config.Setting{Key: k.Name, Value: k.Default, From: "default"}
			if value, ok := inFile[k.Name]; ok {
				want.Value, want.From = value, fmt.Sprintf("%s:%d", path, lines[k.Name])
			}
			if value, ok := environ[k.Name]; ok {
				want.Value, want.From = value, "env "+k.Variable
			}
			got := p.Settings[i]
			if list, ok := got.Value.([]any); ok {
				got.Value = strings.Trim(strings.ReplaceAll(fmt.Sprint(list), " ", ","), "[]")
			}
			if got != want {
				t.Fatalf("%+v, want %+v", got, want)
			}
		}
	})
}

// writeConfig writes keys and values as a file and returns the line of each.
func writeConfig(t *rapid.T, path string, values map[string]string) map[string]int {
	var out strings.Builder
	lines, line := map[string]int{}, 0
	write := func(depth int, key, value string) {
		line++
		fmt.Fprintf(&out, "%s%s: %s\n", strings.Repeat("  ", depth), key, value)
	}
	var above []string
	for _, k := range config.Keys() {
		value, ok := values[k.Name]
		if !ok {
			continue
		}
		parts := strings.Split(k.Name, ".")
		for i, part := range parts[:len(parts)-1] {
			if i >= len(above) || !slices.Equal(above[:i+1], parts[:i+1]) {
				write(i, part, "")
			}
		}
		above = parts[:len(parts)-1]
		text := fmt.Sprintf("%q", value) // JSON's quotes are YAML's for these
		if k.Name == "attribution.order" {
			text = "[" + value + "]"
		}
		write(len(parts)-1, parts[len(parts)-1], text)
		lines[k.Name] = line
	}
	if err := os.WriteFile(path, []byte(out.String()), 0o600); err != nil {
		t.Fatalf("%v", err)
	}
	if err := yaml.Unmarshal([]byte(out.String()), new(any)); err != nil {
		t.Fatalf("%v in\n%s", err, out.String())
	}
	return lines
}

// TestListsInVariables gives lists in one line, as YAML; words also by commas.
func TestListsInVariables(t *testing.T) {
	t.Parallel()
	for _, order := range []string{"request_id,tag", " request_id , tag ", "[request_id, tag]", `["request_id", "tag"]`} {
		if c, _ := load(t, "", "TOLLKEEPER_ATTRIBUTION_ORDER="+order); !slices.Equal(c.Attribution.Order, []string{"request_id", "tag"}) {
			t.Errorf("%q is %q", order, c.Attribution.Order)
		}
	}
	path := file(t, "tollkeeper.yaml", "engines: [ { match: { host: a }, model: a }, { match: { host: b }, model: b } ]\n")
	c, p := load(t, path, "TOLLKEEPER_ENGINES=[{match: {service.name: opt}, model: m}]",
		"TOLLKEEPER_ATTRIBUTION_ORDER=request_id", `TOLLKEEPER_ATTRIBUTION_REQUEST_ID=['^(?P<customer>[a-z]{1,3}),']`)
	if len(c.Engines) != 1 || c.Engines[0].Model != "m" || c.Engines[0].Match["service.name"] != "opt" {
		t.Errorf("a list replaces a list, it does not add to it: %+v", c.Engines)
	}
	if len(c.Attribution.RequestIDs) != 1 || p.From("engines") != "env TOLLKEEPER_ENGINES" {
		t.Errorf("%q, %s", c.Attribution.RequestIDs, p.From("engines"))
	}
}

// TestVariablesThatSayNothing are other programs', a command's, and empty ones.
func TestVariablesThatSayNothing(t *testing.T) {
	t.Parallel()
	_, p := load(t, "", "PATH=/bin", "tollkeeper_data=x", "TOLLKEEPERS=3", "nonsense", "",
		"TOLLKEEPER_SERVER=https://x", "TOLLKEEPER_TOKEN=secret", "TOLLKEEPER_INVOICE_CURRENCY=",
		// What Kubernetes gives to a container beside Services tollkeeper and tollkeeper-otlp.
		"TOLLKEEPER_SERVICE_HOST=10.0.0.1", "TOLLKEEPER_SERVICE_PORT=8080", "TOLLKEEPER_SERVICE_PORT_OTLP_GRPC=4317", "TOLLKEEPER_PORT=tcp://10.0.0.1:8080",
		"TOLLKEEPER_PORT_8080_TCP=tcp://10.0.0.1:8080", "TOLLKEEPER_PORT_8080_TCP_PROTO=tcp", "TOLLKEEPER_PORT_8080_TCP_PORT=8080", "TOLLKEEPER_PORT_8080_TCP_ADDR=10.0.0.1",
		"TOLLKEEPER_OTLP_SERVICE_HOST=10.0.0.2", "TOLLKEEPER_OTLP_PORT_4317_UDP_ADDR=10.0.0.2")
	for _, s := range p.Settings {
		if s.From != "default" || strings.Contains(s.Text(), "secret") {
			t.Errorf("%+v", s)
		}
	}
}

// TestBadVariables name the variable, not a file.
func TestBadVariables(t *testing.T) {
	t.Parallel()
	path := file(t, "tollkeeper.yaml", "invoice: { currency: XXX1 }\nlisten: { api: x }\n")
	got := refused(t, path, "TOLLKEEPER_INVOICE_CURENCY=EUR", "TOLLKEEPER_TOKENS=x", "TOLLKEEPER_WHATEVER=1", "TOLLKEEPER_INVOICE_GRACE=1d",
		"TOLLKEEPER_LISTEN_OTLP_GRPC=4317", "TOLLKEEPER_ATTRIBUTION_ORDER=tag,tags", "TOLLKEEPER_ENGINES=[{match: {a: b}", "TOLLKEEPER_ATTRIBUTION_RESOURCE=acme").Error()
	golden(t, filepath.Join("testdata", "variables.golden"), strings.ReplaceAll(got, filepath.Dir(path)+"/", "")+"\n")
}

// TestReferencesNameTheirSource has keys that do not fit together, one of which
// a variable sets: that is where to look.
func TestReferencesNameTheirSource(t *testing.T) {
	t.Parallel()
	path := file(t, "tollkeeper.yaml", "ingest:\n  tls:\n    cert: a.pem\n    key: b.pem\nattribution:\n  order: [tag, request_id]\n  request_id: [ '^(?P<customer>x)' ]\n")
	load(t, path)
	for environ, want := range map[string]string{
		"TOLLKEEPER_API_TLS_KEY=/k.pem":               "TOLLKEEPER_API_TLS_KEY: needs api.tls.cert beside it",
		"TOLLKEEPER_API_TLS_CERT=/k.pem":              "TOLLKEEPER_API_TLS_CERT: needs api.tls.key beside it",
		"TOLLKEEPER_PRICES=/absent/prices.yaml":       "TOLLKEEPER_PRICES: the file cannot be read: stat /absent/prices.yaml: no such file or directory",
		"TOLLKEEPER_PRICES=/":                         "TOLLKEEPER_PRICES: / is a directory",
		"TOLLKEEPER_ATTRIBUTION_ORDER=[tag,resource]": path + ":7:3: attribution.request_id: the patterns never count",
	} {
		if got := refused(t, path, environ).Error(); !strings.HasPrefix(got, want) {
			t.Errorf("%s: %s\nwant %s", environ, got, want)
		}
	}
}
