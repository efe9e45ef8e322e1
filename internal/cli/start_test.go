package cli_test

import (
	"bytes"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"
)

// TestStartFails: a start that fails, early or late, says why and lets go of all
// that it took; mended, the same directory starts.
func TestStartFails(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	h := newHouse(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	bad := filepath.Join(h.home, "bad.yaml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(bad, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		config string
		flags  []string
		code   int
		says   string
	}{
		{"prices: none.yaml", nil, 2, "none.yaml: no such file or directory"},
		{"prices: bad.yaml", nil, 2, "bad.yaml:1:9: prices: want a list"},
		{"attribution: { order: [request_id], request_id: ['('] }", nil, 2, "bad.yaml:1:"},
		{"signing_key: bad.yaml", nil, 1, "signing key: "},
		{"ingest: { tls: { cert: bad.yaml, key: bad.yaml } }", nil, 1, "bad.yaml: tls: failed to find any PEM data"},
		{"api: { tls: { cert: bad.yaml, key: bad.yaml } }", nil, 1, "bad.yaml"},
		{"", []string{"--otlp-grpc", taken.Addr().String()}, 1, "OTLP/gRPC: listen tcp"},
		{"", []string{"--otlp-http", taken.Addr().String()}, 1, "OTLP/HTTP: listen tcp"},
		{"", []string{"--api", taken.Addr().String()}, 1, "API: listen tcp"},
		{"", []string{"--api", "nowhere"}, 2, `--api: "nowhere" is not HOST:PORT`},
		{"", []string{"--otlp-http", "0.0.0.0:0"}, 2, "can be reached by others"},
	} {
		write(c.config + "\n")
		var stdout, stderr bytes.Buffer
		args := append([]string{"serve", "--data", h.data, "--config", bad, "--otlp-grpc", "127.0.0.1:0", "--otlp-http", "127.0.0.1:0", "--api", "127.0.0.1:0"}, c.flags...)
		code := h.program(&stdout, &stderr).Run(t.Context(), args)
		if code != c.code || !strings.Contains(stderr.String(), c.says) || strings.Contains(stderr.String(), `"msg":"ready"`) || stdout.Len() > 0 {
			t.Errorf("%s %v: %d %s%s", c.config, c.flags, code, &stderr, &stdout)
		}
	}
	h.serve()()
	if got := h.command("verify", "--data", h.data); !strings.HasPrefix(got, "OK: ") {
		t.Error(got)
	}
}

// TestStopUnderLoad: what was answered 200 before or while the server stops is in
// the books, and nothing stays open or half written.
func TestStopUnderLoad(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	h := newHouse(t)
	stop := h.serve()
	const clients = 8
	acked := make([]int64, clients)
	warm := make(chan struct{}, clients)
	var wait sync.WaitGroup
	for i := range clients {
		wait.Go(func() {
			for n := 0; ; n++ {
				s := defaultSpans(t.Name())
				s.id = strings.Repeat("x", i+1) + "-" + strings.Repeat("y", n+1)
				body, err := s.body()
				if err != nil {
					t.Error(err)
					return
				}
				if h.post(body) != nil {
					return
				}
				if acked[i]++; acked[i] == 3 {
					warm <- struct{}{}
				}
			}
		})
	}
	for range clients {
		<-warm
	}
	stop()
	wait.Wait()
	h.client.CloseIdleConnections()
	left, err := filepath.Glob(filepath.Join(h.data, "*-wal"))
	if err != nil || len(left) > 0 {
		t.Errorf("not written back: %v, %v", left, err)
	}

	h.command("rebuild", "--data", h.data)
	var sum int64
	for _, n := range acked {
		sum += n
	}
	if got := h.usage("--data", h.data); got.Requests < sum || got.Requests > sum+clients {
		t.Errorf("%d requests in the books, %d acknowledged", got.Requests, sum)
	}
	if got := h.command("verify", "--data", h.data); !strings.HasPrefix(got, "OK: ") {
		t.Error(got)
	}
}
