package cli_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

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

// TestFoldingFails: while usage cannot be folded, what is sent is kept all the
// same, the lag is told, and a rebuild has all of it.
func TestFoldingFails(t *testing.T) {
	h := newHouse(t)
	stop := h.serve()
	h.send(filepath.Join(recordings, "seed"), false)
	before := h.usage("--data", h.data)
	stop()
	damaged := filepath.Join(h.data, "usage", "2026-11-24.db")
	if err := os.WriteFile(damaged, bytes.Repeat([]byte("no database "), 1000), 0o600); err != nil {
		t.Fatal(err)
	}

	stop = h.serve()
	body, err := os.ReadFile(filepath.Join(recordings, "chat", "otlp-1.pb"))
	if err != nil {
		t.Fatal(err)
	}
	if err := h.post(body); err != nil {
		t.Error(err)
	}
	resp, err := h.client.Get(h.api + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if metrics, err := io.ReadAll(resp.Body); err != nil || !bytes.Contains(metrics, []byte("\ntollkeeper_projection_lag_entries 1\n")) {
		t.Errorf("%v\n%s", err, metrics)
	}
	stop()

	h.command("rebuild", "--data", h.data)
	if after := h.usage("--data", h.data); after.Requests != before.Requests+1 {
		t.Errorf("%+v, before %+v", after, before)
	}
}

// TestAPIOverTLS: with a certificate the API speaks HTTPS, and nothing else; who
// tries is not written past the log.
func TestAPIOverTLS(t *testing.T) {
	var past bytes.Buffer
	log.SetOutput(&past)
	t.Cleanup(func() { log.SetOutput(os.Stderr) })
	h := newHouse(t)
	pool := certificate(t, h.home)
	config := "api: { tls: { cert: api.pem, key: api.key } }\n"
	if err := os.WriteFile(filepath.Join(h.home, "tollkeeper.yaml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	stop := h.serve()
	defer func() {
		if stop(); past.Len() > 0 {
			t.Errorf("written past the log: %s", &past)
		}
	}()
	if resp, err := h.client.Get(h.api + "/v1/usage"); err == nil {
		resp.Body.Close()
		if resp.StatusCode != http.StatusBadRequest {
			t.Errorf("over plain HTTP: %s", resp.Status)
		}
	}
	h.client.CloseIdleConnections()
	h.client = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: true}}
	resp, err := h.client.Get("https" + strings.TrimPrefix(h.api, "http") + "/v1/usage")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if answer, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != http.StatusOK || !bytes.Contains(answer, []byte(`"as_of"`)) {
		t.Errorf("%s %s, %v", resp.Status, answer, err)
	}
}

// certificate writes api.pem and api.key for 127.0.0.1 into dir.
func certificate(t *testing.T, dir string) *x509.CertPool {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, private)
	if err != nil {
		t.Fatal(err)
	}
	key, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	for name, block := range map[string]*pem.Block{"api.pem": {Type: "CERTIFICATE", Bytes: der}, "api.key": {Type: "PRIVATE KEY", Bytes: key}} {
		text := pem.EncodeToMemory(block)
		pool.AppendCertsFromPEM(text)
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return pool
}
