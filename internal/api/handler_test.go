package api_test

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tollkeeper/tollkeeper/internal/api"
	"github.com/tollkeeper/tollkeeper/internal/tenant"
)

var update = flag.Bool("update", false, "write the golden files")

// tokens authenticates by name.
type tokens map[string]tenant.Key

func (k tokens) Authenticate(_ context.Context, token string) (tenant.Key, error) {
	switch key, ok := k[token]; {
	case token == "down":
		return tenant.Key{}, errors.Join(tenant.ErrUnavailable, errors.New("business.db: a secret of the store"))
	case !ok:
		return tenant.Key{}, tenant.ErrUnauthenticated
	default:
		return key, nil
	}
}

var known = tokens{
	"admin":    {ID: "key_admin", Role: tenant.RoleAdmin},
	"reader":   {ID: "key_reader", Role: tenant.RoleReader},
	"producer": {ID: "key_producer", Role: tenant.RoleProducer},
	"acme":     {ID: "key_acme", Role: tenant.RoleReader, Customer: "acme"},
}

func handler(t *testing.T, open bool) http.Handler {
	t.Helper()
	return api.Handler(api.HandlerOptions{
		Local: local(t), Keys: known, Open: open, Ready: func() error { return nil },
		Metrics: http.NotFoundHandler(), Logger: slog.New(slog.DiscardHandler),
	})
}

// ask sends a request whose headers are "Name: value" and returns the answer.
func ask(h http.Handler, method, target, body string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for _, line := range headers {
		name, value, _ := strings.Cut(line, ": ")
		r.Header.Set(name, value)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestWhoMayAsk(t *testing.T) {
	open, closed := handler(t, true), handler(t, false)
	const local = "http://127.0.0.1:8080"
	for _, c := range []struct {
		name           string
		h              http.Handler
		method, target string
		headers        []string
		want           int
	}{
		{"a closed server wants a token", closed, "GET", local + "/v1/usage", nil, 401},
		{"another scheme", closed, "GET", local + "/v1/usage", []string{"Authorization: Basic admin"}, 401},
		{"an unknown token", closed, "GET", local + "/v1/usage", []string{"Authorization: Bearer guess"}, 401},
		{"the store of keys is down", closed, "GET", local + "/v1/usage", []string{"Authorization: Bearer down"}, 503},
		{"a reader reads", closed, "GET", local + "/v1/usage", []string{"Authorization: Bearer reader"}, 200},
		{"a reader changes nothing", closed, "POST", local + "/v1/customers", []string{"Authorization: Bearer reader"}, 403},
		{"an admin changes", closed, "POST", local + "/v1/customers", []string{"Authorization: Bearer admin"}, 200},
		{"a producer does not read", closed, "GET", local + "/v1/usage", []string{"Authorization: Bearer producer"}, 403},
		{"a customer's key reads its own", closed, "GET", local + "/v1/usage?customer=acme", []string{"Authorization: Bearer acme"}, 200},
		{"and nobody else's", closed, "GET", local + "/v1/usage?customer=globex", []string{"Authorization: Bearer acme"}, 403},
		{"nor the operator's lists", closed, "GET", local + "/v1/customers", []string{"Authorization: Bearer acme"}, 403},
		{"nor the audit log", closed, "GET", local + "/v1/audit", []string{"Authorization: Bearer acme"}, 403},
		{"an open server asks nobody on this machine", open, "GET", local + "/v1/usage", nil, 200},
		{"but a proxy's clients", open, "GET", local + "/v1/usage", []string{"X-Forwarded-For: 203.0.113.9"}, 401},
		{"and those who come by another name", open, "GET", "http://rebound.example/v1/usage", nil, 421},
		{"a page of another site changes nothing", open, "POST", local + "/v1/customers", []string{"Sec-Fetch-Site: cross-site"}, 403},
		{"nor one that only names its origin", open, "POST", local + "/v1/customers", []string{"Origin: http://evil.example"}, 403},
		{"a misspelt filter is no filter", open, "GET", local + "/v1/usage?custmer=acme", nil, 422},
		{"health needs no token", closed, "GET", local + "/healthz", nil, 200},
	} {
		t.Run(c.name, func(t *testing.T) {
			body := ""
			if c.method == http.MethodPost {
				body = `{"id":"umbrella"}`
			}
			w := ask(c.h, c.method, c.target, body, c.headers...)
			if w.Code != c.want {
				t.Errorf("%d, want %d: %s", w.Code, c.want, w.Body)
			}
			if strings.Contains(w.Body.String(), "a secret of the store") {
				t.Errorf("a stranger is told what is for the log: %s", w.Body)
			}
			if c.want == http.StatusServiceUnavailable && w.Header().Get("Retry-After") == "" {
				t.Error("no Retry-After")
			}
		})
	}
}

// TestErrorsAreProblems: an error is a problem document (RFC 9457) with a hint.
func TestErrorsAreProblems(t *testing.T) {
	w := ask(handler(t, false), "GET", "http://127.0.0.1/v1/usage", "")
	var p struct {
		Title, Detail, Hint string
		Status              int
	}
	if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || p.Status != 401 || p.Title != "Unauthorized" || p.Detail == "" || !strings.Contains(p.Hint, "tollkeeper key add") {
		t.Errorf("%+v, %v: %s", p, err, w.Body)
	}
	if got := w.Header().Get("Content-Type"); got != "application/problem+json" {
		t.Errorf("content type %q", got)
	}
}

// TestRefusalsBeforeAnyOperation are problems too, not pages.
func TestRefusalsBeforeAnyOperation(t *testing.T) {
	h := handler(t, true)
	for name, w := range map[string]*httptest.ResponseRecorder{
		"another name": ask(h, "GET", "http://rebound.example/v1/usage", ""), "another site": ask(h, "POST", "http://localhost/v1/customers", "{}", "Origin: http://evil.example"),
		"a filter that stands twice": ask(h, "GET", "http://localhost/v1/usage?by=day&by=month", ""),
	} {
		var p struct{ Title, Detail string }
		if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || p.Title == "" || p.Detail == "" || w.Header().Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: %d %s %s", name, w.Code, w.Header(), w.Body)
		}
	}
}

// TestProbes: alive while it stops, but not ready, and why; none of it needs a token.
func TestProbes(t *testing.T) {
	var stopping error
	h := api.Handler(api.HandlerOptions{
		Local: local(t), Keys: known, Ready: func() error { return stopping }, Logger: slog.New(slog.DiscardHandler),
		Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("tollkeeper_up 1")) }),
	})
	probe := func(path string, status int, body string) {
		t.Helper()
		if w := ask(h, "GET", "http://toll.example"+path, ""); w.Code != status || !strings.Contains(w.Body.String(), body) {
			t.Errorf("%s: %d %s; want %d %s", path, w.Code, w.Body, status, body)
		}
	}
	probe("/healthz", 200, "ok")
	probe("/readyz", 200, "ready")
	probe("/metrics", 200, "tollkeeper_up 1")
	probe("/openapi.json", 200, `"openapi":"3.1`)
	probe("/openapi.yaml", 200, "openapi: 3.1")
	stopping = errors.New("stopping")
	probe("/healthz", 200, "ok")
	probe("/readyz", 503, "stopping")
}

// TestOpenAPIIsCurrent compares the published description with the operations;
// -update writes it.
func TestOpenAPIIsCurrent(t *testing.T) {
	got, err := api.OpenAPI()
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join("..", "..", "api", "openapi.yaml")
	if *update {
		if err := os.WriteFile(name, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil || string(got) != string(want) {
		t.Errorf("%s is not what the operations say (%v): go test ./internal/api -update", name, err)
	}
}
