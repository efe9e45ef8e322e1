package api_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/tollkeeper/tollkeeper/internal/api"
)

// answering is a server that answers everything alike, whatever it is.
func answering(t *testing.T, status int, headers, body string) *api.Client {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		for line := range strings.Lines(headers) {
			name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
			w.Header().Set(name, value)
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}))
	t.Cleanup(s.Close)
	c, err := api.NewClient(s.URL, "")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestServersThatAreNone: whatever answers, no question succeeds that tollkeeper
// did not answer; the error says what to do, and shows no page.
func TestServersThatAreNone(t *testing.T) {
	t.Parallel()
	const problemType = "Content-Type: application/problem+json"
	for name, c := range map[string]struct {
		status        int
		headers, body string
		want          int
		says          string
	}{
		"a web page":        {200, "Content-Type: text/html", "<html>Welcome to nginx!</html>", 502, "does http://127.0.0.1:"},
		"nothing":           {200, "", "", 502, "does http://127.0.0.1:"},
		"no content":        {204, "", "", 502, "name the API of a tollkeeper?"},
		"half an answer":    {200, "Content-Type: application/json", `{"from":"","to":"","as_of":{"jour`, 502, "cut off"},
		"other JSON":        {200, "Content-Type: application/json", `["usage"]`, 502, "none of tollkeeper's"},
		"nothing of ours":   {200, "Content-Type: application/json", `{"total":{"requests":"many"}}`, 502, "none of tollkeeper's"},
		"null":              {200, "Content-Type: application/json", "null", 502, "none of tollkeeper's"},
		"sent elsewhere":    {301, "Location: https://toll.example/v1/usage", "", 301, "the server sends on to https://toll.example/v1/usage: name that one"},
		"sent to a login":   {302, "Location: /login", "", 302, "the server sends on to /login"},
		"another's 401":     {401, "", "go away", 401, "set TOLLKEEPER_TOKEN to an API key"},
		"another path":      {404, "", "404 page not found\n", 404, "answered 404 Not Found, and not as tollkeeper does\nname the address that `tollkeeper serve` logs as api"},
		"a bad gateway":     {502, "Content-Type: text/html", "<html>502 \x1b[31m", 502, "answered 502 Bad Gateway, and not"},
		"the OTLP receiver": {404, "", "\x08\x05\x12\x33\"/v1/usage\": tollkeeper takes traces", 404, "answered 404 Not Found, and not"},
		"a silent error":    {500, "", "", 500, "answered 500 Internal Server Error"},
		"an endless error":  {500, "", strings.Repeat("x", 1<<20), 500, "answered 500 Internal Server Error"},
		"a problem":         {409, problemType, `{"status":409,"detail":"no","hint":"do otherwise"}`, 409, "no\ndo otherwise"},
		"a problem of many": {422, problemType, `{"detail":"validation failed","errors":[{"message":"expected integer","location":"query.limit"}]}`, 422, "validation failed; query.limit expected integer"},
	} {
		_, err := api.AskUsage.Call(t.Context(), answering(t, c.status, c.headers, c.body), &api.UsageQuery{})
		if p := problem(err); err == nil || p.Status != c.want || !strings.Contains(p.Error(), c.says) || len(p.Error()) > 300 || strings.ContainsAny(p.Error(), "\x1b\x08") || strings.Contains(p.Error(), "html") {
			t.Errorf("%s: %d %.300v; want %d with %q", name, p.Status, err, c.want, c.says)
		}
	}
}

// TestARedirectedChangeIsNotDone: following would ask a question in its place, and
// call its answer the change's.
func TestARedirectedChangeIsNotDone(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, h.server.URL+r.URL.Path, http.StatusMovedPermanently)
	}))
	defer s.Close()
	c, err := api.NewClient(s.URL, "")
	h.must(err)
	_, err = api.AddCustomer.Call(t.Context(), c, &api.AddCustomerIn{Body: spec("acme", "")})
	h.refused(err, http.StatusMovedPermanently, "the server sends on to "+h.server.URL+"/v1/customers: name that one")
}

func TestAServerThatIsAway(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(http.NotFoundHandler())
	c, err := api.NewClient(s.URL, "")
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	_, err = api.AskUsage.Call(t.Context(), c, &api.UsageQuery{})
	if p := problem(err); p.Status != http.StatusServiceUnavailable || !strings.Contains(p.Error(), "the server did not answer") || !strings.Contains(p.Hint, "`tollkeeper serve`") {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := api.AskUsage.Call(ctx, c, &api.UsageQuery{}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

func TestServersThatCannotBeNamed(t *testing.T) {
	t.Parallel()
	for _, base := range []string{"", "localhost", "localhost:8080", "127.0.0.1:8080", "ftp://host", "http://", "https:///v1", "http://a b", ":", "http://[::1", "/data"} {
		if _, err := api.NewClient(base, ""); err == nil || problem(err).Status != http.StatusBadRequest || !strings.Contains(err.Error(), "http://HOST:PORT") {
			t.Errorf("%q: %v", base, err)
		}
	}
}

// TestWhatIsAsked: a question's path, query and headers, also under a prefix that
// a proxy adds.
func TestWhatIsAsked(t *testing.T) {
	t.Parallel()
	var got *http.Request
	var body map[string]any
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got, body = r, nil
		if r.Method != http.MethodGet {
			_ = json.NewDecoder(r.Body).Decode(&body)
		}
		_, _ = io.WriteString(w, "{}")
	}))
	defer s.Close()
	c, err := api.NewClient(s.URL+"/billing/", "tk_secret")
	if err != nil {
		t.Fatal(err)
	}
	name := "Ä & Söhne"
	for want, call := range map[string]func() error{
		"GET /billing/v1/usage?by=day%2Ccustomer&from=2026-11-03T00%3A00%3A00Z": func() error {
			_, err := api.AskUsage.Call(t.Context(), c, &api.UsageQuery{By: []string{"day", "customer"}, From: day(11, 3)})
			return err
		},
		"GET /billing/v1/requests?limit=7&request_id=a+b%26c&unattributed=true": func() error {
			_, err := api.AskRequests.Call(t.Context(), c, &api.RequestsQuery{RequestID: "a b&c", Unattributed: true, Limit: 7})
			return err
		},
		"GET /billing/v1/invoices/acme-0001/lines/2": func() error {
			_, err := api.ExplainLine.Call(t.Context(), c, &api.ExplainQuery{ID: "acme-0001", Line: 2})
			return err
		},
		"PATCH /billing/v1/customers/a%2Fb%20c": func() error {
			_, err := api.UpdateCustomer.Call(t.Context(), c, &api.UpdateCustomerIn{ID: "a/b c", Body: api.CustomerSpec{Name: &name}})
			if len(body) != 1 || body["name"] != name {
				t.Errorf("sent %v", body)
			}
			return err
		},
		"POST /billing/v1/customers/acme/archive": func() error {
			_, err := api.ArchiveCustomer.Call(t.Context(), c, &api.ByID{ID: "acme"})
			return err
		},
	} {
		if err := call(); err != nil {
			t.Errorf("%s: %v", want, err)
		}
		if asked := got.Method + " " + got.URL.RequestURI(); asked != want {
			t.Errorf("asked %s; want %s", asked, want)
		}
		if got.Header.Get("Authorization") != "Bearer tk_secret" || got.Header.Get("Accept") != "application/json" {
			t.Errorf("headers %v", got.Header)
		}
		if _, hasBody := got.Header["Content-Type"]; hasBody != (got.Method == http.MethodPatch) {
			t.Errorf("%s: content type %q", want, got.Header["Content-Type"])
		}
	}
}
