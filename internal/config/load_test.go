package config_test

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/tollkeeper/tollkeeper/internal/config"
	"github.com/tollkeeper/tollkeeper/internal/usage"
)

// file writes a file of a name into a new folder.
func file(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func load(t *testing.T, path string, environ ...string) (*config.Config, *config.Provenance) {
	t.Helper()
	c, p, err := config.Load(path, environ)
	if err != nil {
		t.Fatal(err)
	}
	return c, p
}

// refused loads what has to be refused.
func refused(t *testing.T, path string, environ ...string) config.Problems {
	t.Helper()
	_, _, err := config.Load(path, environ)
	var problems config.Problems
	if !errors.As(err, &problems) {
		t.Fatalf("%v; want problems", err)
	}
	return problems
}

// TestDefaults reads no file and no variable.
func TestDefaults(t *testing.T) {
	t.Parallel()
	c, p := load(t, "")
	want := &config.Config{
		Listen:      config.Listen{OTLPGRPC: "127.0.0.1:4317", OTLPHTTP: "127.0.0.1:4318", API: "127.0.0.1:8080"},
		Ingest:      config.Ingest{OnBadCredential: config.OnBadReject, MaxBodyBytes: 64 << 20},
		Attribution: config.Attribution{Order: []string{usage.RuleTag, usage.RuleResource}},
		Invoice:     config.Invoice{Currency: "USD", TimeZone: "UTC", Rounding: "half-even", Grace: 24 * time.Hour},
	}
	if !reflect.DeepEqual(c, want) {
		t.Errorf("%+v\nwant %+v", c, want)
	}
	for _, s := range p.Settings {
		if s.From != "default" {
			t.Errorf("%s comes from %s", s.Key, s.From)
		}
	}
}

const whole = `
data: data
listen: { otlp_grpc: "0.0.0.0:4317", otlp_http: ":0", api: 127.0.0.1:8081 }
ingest:
  auth: none
  on_bad_credential: retry
  max_body_bytes: 1048576
  requests_per_second: 50
  tls: { cert: tls/server.pem, key: /etc/tls/server.key, client_ca: ca.pem }
api: { tls: { cert: api.pem, key: api.key } }
signing_key: ../keys/signing
engines:
  - { match: { service.name: opt-125m, port: 8000 }, model: facebook/opt-125m, role: prefill, beams: fold }
  - { match: { host: a }, model: }
attribution:
  order: [request_id, resource]
  request_id: [ '^(chat)?cmpl-(?P<customer>[a-z]+)-' ]
  resource: [ { match: { service.name: opt-125m }, customer: acme, project: chat } ]
prices: prices.yaml
invoice:
  { currency: JPY, time_zone: Asia/Tokyo, rounding: up, grace: 90m, note: "Pay within 14 days.", issuer: { name: Inference Ltd, address: "1 Quay\nHamburg" } }
`

// TestWholeFile reads a file that says everything; paths are relative to it.
func TestWholeFile(t *testing.T) {
	t.Parallel()
	path := file(t, "tollkeeper.yaml", whole)
	in := func(name string) string { return filepath.Join(filepath.Dir(path), name) }
	if err := os.WriteFile(in("prices.yaml"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	c, _ := load(t, path)
	engines := []config.Engine{{Match: map[string]string{"service.name": "opt-125m", "port": "8000"}, Model: "facebook/opt-125m", Role: "prefill", Beams: "fold"}, {Match: map[string]string{"host": "a"}}}
	want := &config.Config{
		Data: in("data"), SigningKey: in("../keys/signing"), Prices: in("prices.yaml"), Engines: engines,
		Listen: config.Listen{OTLPGRPC: "0.0.0.0:4317", OTLPHTTP: ":0", API: "127.0.0.1:8081"},
		Ingest: config.Ingest{
			Auth: config.AuthNone, OnBadCredential: config.OnBadRetry, MaxBodyBytes: 1 << 20, RequestsPerSecond: 50,
			TLS: config.TLS{Cert: in("tls/server.pem"), Key: "/etc/tls/server.key", ClientCA: in("ca.pem")},
		},
		API: config.API{TLS: config.TLS{Cert: in("api.pem"), Key: in("api.key")}},
		Attribution: config.Attribution{
			Order: []string{"request_id", "resource"}, RequestIDs: []string{`^(chat)?cmpl-(?P<customer>[a-z]+)-`},
			Resources: []config.ResourceRule{{Match: map[string]string{"service.name": "opt-125m"}, Customer: "acme", Project: "chat"}},
		},
		Invoice: config.Invoice{
			Currency: "JPY", TimeZone: "Asia/Tokyo", Rounding: "up", Grace: 90 * time.Minute, Note: "Pay within 14 days.",
			Issuer: config.Issuer{Name: "Inference Ltd", Address: "1 Quay\nHamburg"},
		},
	}
	if !reflect.DeepEqual(c, want) {
		t.Errorf("%+v\nwant %+v", c, want)
	}
	policy := usage.Policy{
		Order: want.Attribution.Order, RequestIDs: want.Attribution.RequestIDs,
		Engines:   []usage.Engine{{Match: engines[0].Match, Model: "facebook/opt-125m", Role: usage.RolePrefill, Beams: usage.BeamsFold}, {Match: engines[1].Match}},
		Resources: []usage.ResourceRule{{Match: map[string]string{"service.name": "opt-125m"}, Customer: "acme", Project: "chat"}},
	}
	if got := c.Policy(); !reflect.DeepEqual(got, policy) {
		t.Errorf("the policy is %+v\nwant %+v", got, policy)
	}
}

// TestUnreadableFiles are told from files with something wrong in them.
func TestUnreadableFiles(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	absent := filepath.Join(folder, "absent.yaml")
	large := file(t, "large.yaml", strings.Repeat("# a log, say\n", 1<<17))
	for path, want := range map[string]string{
		absent: absent + ": no such file or directory",
		folder: folder + ": is a directory",
		large:  large + ": larger than 1048576 bytes: is it the right file?",
	} {
		if got := refused(t, path).Error(); got != want {
			t.Errorf("%s\nwant %s", got, want)
		}
	}
}

// TestNothingSaid reads files that say nothing.
func TestNothingSaid(t *testing.T) {
	t.Parallel()
	want, _ := load(t, "")
	for _, text := range []string{"", "\n", "# nothing yet\n", "---\n", "listen:\nengines:\ninvoice: { currency: }\n", "listen: {}\nengines: []\n"} {
		c, p := load(t, file(t, "tollkeeper.yaml", text))
		if len(c.Engines) == 0 {
			c.Engines = nil
		}
		if !reflect.DeepEqual(c, want) || p.From("invoice.currency") != "default" {
			t.Errorf("%q makes it\n%+v\nwant\n%+v", text, c, want)
		}
	}
}

// TestOddNumbers refuses numbers that one reader of YAML takes for another
// number than the next.
func TestOddNumbers(t *testing.T) {
	t.Parallel()
	for _, number := range []string{"010", "00", "+5", "1_000", "0x10", "0o17", "1e3", "-1", "5.0"} {
		for _, key := range []string{"requests_per_second", "max_body_bytes"} {
			path := file(t, "tollkeeper.yaml", "ingest: { "+key+": "+number+" }\n")
			if p := refused(t, path); len(p) != 1 || p[0].Line != 1 || !strings.Contains(p[0].Text, number) {
				t.Errorf("%s: %v", number, p)
			}
		}
	}
	path := file(t, "tollkeeper.yaml", "ingest: { max_body_bytes: 0100000 }\n")
	if p := refused(t, path); len(p) != 1 || p[0].Key != "ingest.max_body_bytes" {
		t.Errorf("%v", p)
	}
}

// TestControlCharacters refuses in a value what could not stand in the file.
func TestControlCharacters(t *testing.T) {
	t.Parallel()
	path := file(t, "tollkeeper.yaml", `invoice: { note: "a\x1b[2Jb" }`)
	if p := refused(t, path); len(p) != 1 || p[0].Line != 1 || p[0].Key != "invoice.note" || !strings.Contains(p[0].Text, "U+001B") {
		t.Errorf("%v", p)
	}
	path = file(t, "tollkeeper.yaml", `"a\x1b[2J\nb": 1`)
	if p := refused(t, path); len(p) != 1 || p[0].Line != 1 || !strings.HasSuffix(p.Error(), `a key has to be a word, found "a\x1b[2J\nb"`) {
		t.Errorf("%v", p)
	}
	for _, value := range []string{"a\x1b[2Jb", "a\xffb"} {
		if p := refused(t, "", "TOLLKEEPER_INVOICE_NOTE="+value); len(p) != 1 || p[0].Variable != "TOLLKEEPER_INVOICE_NOTE" {
			t.Errorf("%q: %v", value, p)
		}
	}
	if c, _ := load(t, "", "TOLLKEEPER_INVOICE_NOTE=a\tb\nc"); c.Invoice.Note != "a\tb\nc" {
		t.Errorf("%q", c.Invoice.Note)
	}
}

// TestKeyFiles are relative to the file that names them; those of the
// environment are as they can be opened.
func TestKeyFiles(t *testing.T) {
	t.Parallel()
	path := file(t, "tollkeeper.yaml", "ingest: { keys: [ { name: collector, files: [ keys/current, /run/previous ] } ] }\napi: { admin_token_file: keys/admin }\n")
	c, _ := load(t, path)
	dir := filepath.Dir(path)
	want := []config.KeyFiles{{Name: "collector", Files: []string{filepath.Join(dir, "keys/current"), "/run/previous"}}}
	if !reflect.DeepEqual(c.Ingest.Keys, want) || c.API.AdminTokenFile != filepath.Join(dir, "keys/admin") {
		t.Errorf("%+v, %s", c.Ingest.Keys, c.API.AdminTokenFile)
	}
	c, _ = load(t, path, "TOLLKEEPER_INGEST_KEYS=[{name: edge, files: [edge.key]}]", "TOLLKEEPER_API_ADMIN_TOKEN_FILE=admin")
	if want := []config.KeyFiles{{Name: "edge", Files: []string{"edge.key"}}}; !reflect.DeepEqual(c.Ingest.Keys, want) || c.API.AdminTokenFile != "admin" {
		t.Errorf("%+v, %s", c.Ingest.Keys, c.API.AdminTokenFile)
	}
}
