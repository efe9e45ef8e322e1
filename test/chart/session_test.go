package chart

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
)

// export sends one batch as the SDK's exporter does: through a session, with the
// whole time that is left as its timeout. It shows what the exporter would see.
const export = `
import sys, threading
import patient_session
patient_session.PatientSession.attempt = (0.2, 0.2)
patient_session.PatientSession.shortest, patient_session.PatientSession.longest = 0.05, 0.2
session = patient_session.PatientSession()
if sys.argv[2] == "closed":
    threading.Timer(1, session.close).start()
try:
    print(session.request(method="POST", url=sys.argv[1], data=b"spans", headers={"Content-Type": "application/x-protobuf"}, timeout=60, allow_redirects=False).status_code)
except Exception as e:
    print(type(e).__name__)
`

// python is one that has requests, as vLLM's has: $VLLM_PYTHON, or any.
func python(t *testing.T) string {
	t.Helper()
	name := os.Getenv("VLLM_PYTHON")
	if name == "" {
		name = "python3"
		if exec.CommandContext(t.Context(), name, "-c", "import requests").Run() != nil {
			t.Skip("no python3 with requests: VLLM_PYTHON names vLLM's in `make e2e-vllm`")
		}
	}
	return name
}

// TestPatientSession has a Collector that is not there, hangs, or asks for
// patience: the batch arrives, whole, as soon as it is taken. What is refused for
// good is not sent again.
func TestPatientSession(t *testing.T) {
	python := python(t)
	hang := make(chan struct{})
	t.Cleanup(func() { close(hang) }) // after the parallel ones
	drop := func(w http.ResponseWriter, _ *http.Request) {
		c, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		c.Close()
	}
	answer := func(status int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }
	}
	for name, c := range map[string]struct {
		answers []http.HandlerFunc // the last one again and again
		closed  string
		want    string
		tries   int // 0: more than one
	}{
		"taken":              {[]http.HandlerFunc{answer(200)}, "", "200", 1},
		"away, busy, hangs":  {[]http.HandlerFunc{drop, answer(503), answer(429), func(http.ResponseWriter, *http.Request) { <-hang }, answer(502), answer(504), answer(200)}, "", "200", 7},
		"more than six":      {slices.Concat(slices.Repeat([]http.HandlerFunc{drop}, 9), []http.HandlerFunc{answer(200)}), "", "200", 10},
		"refused for good":   {[]http.HandlerFunc{answer(400)}, "", "400", 1},
		"unauthorized":       {[]http.HandlerFunc{answer(503), answer(401)}, "", "401", 2},
		"ends while busy":    {[]http.HandlerFunc{answer(503)}, "closed", "503", 0},
		"ends while refused": {[]http.HandlerFunc{drop}, "closed", "ConnectionError", 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var mu sync.Mutex
			tries := 0
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body, err := io.ReadAll(r.Body)
				if err != nil || string(body) != "spans" || r.Header.Get("Content-Type") != "application/x-protobuf" {
					t.Errorf("%q, %v, %v", body, r.Header, err)
				}
				mu.Lock()
				now := c.answers[min(tries, len(c.answers)-1)]
				tries++
				mu.Unlock()
				now(w, r)
			}))
			t.Cleanup(s.CloseClientConnections)
			run := exec.CommandContext(t.Context(), python, "-c", export, s.URL, c.closed)
			run.Env = append(os.Environ(), "PYTHONPATH="+chart+"/files", "PYTHONDONTWRITEBYTECODE=1")
			var said bytes.Buffer
			run.Stderr = &said
			out, err := run.Output()
			if err != nil {
				t.Fatalf("%v\n%s", err, &said)
			}
			mu.Lock()
			defer mu.Unlock()
			if got := strings.TrimSpace(string(out)); got != c.want || c.tries > 0 && tries != c.tries || c.tries == 0 && tries < 2 {
				t.Errorf("%s after %d tries, want %s after %d\n%s", got, tries, c.want, c.tries, &said)
			}
			if waited := strings.Count(said.String(), "they wait in memory"); waited != min(1, tries-1) {
				t.Errorf("told %d times that spans wait:\n%s", waited, &said)
			}
		})
	}
}
