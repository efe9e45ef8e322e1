package api_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/tollkeeper/tollkeeper/internal/api"
)

// TestNotTollkeeper asks what is no tollkeeper: its answer is never taken for
// usage, and its page not shown.
func TestNotTollkeeper(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		status int
		body   string
		says   string
	}{
		"another path":         {404, "404 page not found\n", "answered 404 Not Found, and not as tollkeeper does"},
		"a web page":           {200, "<html>\x1b[31m welcome", "the server's answer is none of tollkeeper's"},
		"nothing at all":       {200, "", "the server's answer is none of tollkeeper's"},
		"a proxy that is lost": {502, "<html><h1>Bad Gateway</h1></html>", "answered 502 Bad Gateway, and not"},
		"the OTLP receiver":    {404, "\x08\x05\x12\x33\"/v1/usage\": tollkeeper takes traces", "answered 404 Not Found, and not"},
		"who asks for a login": {401, "no", "set TOLLKEEPER_TOKEN to an API key"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(c.status)
				_, _ = w.Write([]byte(c.body))
			}))
			defer s.Close()
			client, err := api.NewClient(s.URL, "")
			if err != nil {
				t.Fatal(err)
			}
			out, err := api.AskUsage.Call(t.Context(), client, &api.UsageQuery{})
			if err == nil || !strings.Contains(err.Error(), c.says) || strings.ContainsAny(err.Error(), "\x1b\x08") || strings.Contains(err.Error(), "html") {
				t.Errorf("%+v, %v", out, err)
			}
		})
	}
}
