package ingest_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"google.golang.org/grpc/credentials"

	"github.com/tollkeeper/tollkeeper/internal/ingest"
)

// authority signs certificates.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	a := &authority{}
	a.certificate, a.key = template, newKey(t)
	der, err := x509.CreateCertificate(rand.Reader, template, template, &a.key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	if a.certificate, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return a
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// sign makes a certificate for a server at loopback or a client.
func (a *authority) sign(t *testing.T, serial int64, change func(c *x509.Certificate)) (certificate, key []byte) {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	change(template)
	k := newKey(t)
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, &k.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw})
}

func (a *authority) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.certificate.Raw})
}

func (a *authority) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.certificate)
	return p
}

func loopback(c *x509.Certificate) { c.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)} }

// tlsFiles writes a server's files.
type tlsFiles struct {
	ingest.TLSFiles
	t *testing.T
}

func newTLSFiles(t *testing.T) tlsFiles {
	t.Helper()
	dir := t.TempDir()
	return tlsFiles{ingest.TLSFiles{Cert: filepath.Join(dir, "tls.crt"), Key: filepath.Join(dir, "tls.key"), ClientCA: filepath.Join(dir, "ca.crt")}, t}
}

func (f tlsFiles) write(certificate, key, clientCA []byte) {
	f.t.Helper()
	for name, b := range map[string][]byte{f.Cert: certificate, f.Key: key, f.ClientCA: clientCA} {
		if err := os.WriteFile(name, b, 0o600); err != nil {
			f.t.Fatal(err)
		}
	}
}

// secure starts a server that takes certificates of the authority.
func secure(t *testing.T, a *authority) *server {
	t.Helper()
	f := newTLSFiles(t)
	certificate, key := a.sign(t, 2, loopback)
	f.write(certificate, key, a.pem())
	config, err := f.Config(time.Now, func(err error) { t.Error(err) })
	if err != nil {
		t.Fatal(err)
	}
	return start(t, func(_ *server, o *ingest.Options) { o.TLS, o.Open = config, false })
}

// clientTLS is a client's side; without a certificate it shows none.
func clientTLS(t *testing.T, a *authority, change func(c *x509.Certificate)) *tls.Config {
	t.Helper()
	c := &tls.Config{RootCAs: a.pool()}
	if change == nil {
		return c
	}
	certificate, key := a.sign(t, 3, change)
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		t.Fatal(err)
	}
	c.Certificates = []tls.Certificate{pair}
	return c
}

// TestMutualTLS: a certificate that the authority signed names the producer,
// over both transports and by the SDK's exporters.
func TestMutualTLS(t *testing.T) {
	a := newAuthority(t)
	s := secure(t, a)
	for _, c := range []struct {
		name     string
		change   func(c *x509.Certificate)
		producer string
	}{
		{"common name", func(c *x509.Certificate) { c.Subject.CommonName = "engine-7" }, "cert:engine-7"},
		{"URI", func(c *x509.Certificate) {
			c.URIs = []*url.URL{{Scheme: "spiffe", Host: "prod", Path: "/ns/inference/sa/vllm"}}
		}, "cert:spiffe://prod/ns/inference/sa/vllm"},
		{"DNS name", func(c *x509.Certificate) { c.DNSNames = []string{"vllm.inference.svc"} }, "cert:vllm.inference.svc"},
		{"serial number", func(*x509.Certificate) {}, "cert:serial 3"},
		{"a long name", func(c *x509.Certificate) { c.Subject.CommonName = strings.Repeat("é", 300) }, "cert:" + strings.Repeat("é", 128)},
	} {
		t.Run(c.name, func(t *testing.T) {
			config := clientTLS(t, a, c.change)
			for transport, client := range map[string]otlptrace.Client{
				"http": otlptracehttp.NewClient(otlptracehttp.WithEndpoint(s.http), otlptracehttp.WithTLSClientConfig(config), otlptracehttp.WithRetry(otlptracehttp.RetryConfig{})),
				"grpc": otlptracegrpc.NewClient(otlptracegrpc.WithEndpoint(s.grpc), otlptracegrpc.WithTLSCredentials(credentials.NewTLS(config)), otlptracegrpc.WithRetry(otlptracegrpc.RetryConfig{})),
			} {
				before := len(s.store.kept())
				if err := exporter(t, client).ExportSpans(t.Context(), engineSpans(1)); err != nil {
					t.Fatalf("%s: %v", transport, err)
				}
				if b := s.store.kept()[before]; b.Producer != c.producer {
					t.Errorf("%s: by %q", transport, b.Producer)
				}
			}
		})
	}
}

// TestTLSCredentials: without a certificate a token is asked for; a certificate
// of another authority ends the handshake.
func TestTLSCredentials(t *testing.T) {
	a, other := newAuthority(t), newAuthority(t)
	s := secure(t, a)
	client := func(c *tls.Config) *http.Client {
		transport := &http.Transport{TLSClientConfig: c, ForceAttemptHTTP2: true}
		t.Cleanup(transport.CloseIdleConnections)
		return &http.Client{Transport: transport}
	}
	none := client(clientTLS(t, a, nil))
	if got, err := s.postBy(t.Context(), none, request{body: recorded(t)}); err != nil || got.status != 401 {
		t.Errorf("%d, %v", got.status, err)
	}
	if got, err := s.postBy(t.Context(), none, request{body: recorded(t), header: map[string]string{"authorization": "Bearer " + s.keys.token}}); err != nil || got.status != 200 {
		t.Errorf("%d, %v", got.status, err)
	}
	foreign := clientTLS(t, other, func(c *x509.Certificate) { c.Subject.CommonName = "intruder" })
	foreign.RootCAs = a.pool()
	// A client that is asked shows only a certificate that the server would take.
	foreign.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &foreign.Certificates[0], nil }
	if got, err := s.postBy(t.Context(), client(foreign), request{body: recorded(t)}); err == nil {
		t.Errorf("answered %d to a certificate of another authority", got.status)
	}
	good := client(clientTLS(t, a, func(c *x509.Certificate) { c.Subject.CommonName = "engine" }))
	if got, err := s.postBy(t.Context(), good, request{body: recorded(t), header: map[string]string{"authorization": "Bearer tk_x"}}); err != nil || got.status != 401 {
		t.Errorf("a bad token with a good certificate: %d, %v", got.status, err)
	}
}

// TestTLSReload: a renewed certificate is served without a restart; files that
// cannot be read leave the old one in force, and are told.
func TestTLSReload(t *testing.T) {
	a := newAuthority(t)
	f := newTLSFiles(t)
	certificate, key := a.sign(t, 10, loopback)
	f.write(certificate, key, a.pem())
	clock := time.Now()
	var told []error
	config, err := f.Config(func() time.Time { return clock }, func(err error) { told = append(told, err) })
	if err != nil {
		t.Fatal(err)
	}
	serial := func() int64 {
		t.Helper()
		server, err := tls.Listen("tcp", "127.0.0.1:0", config)
		if err != nil {
			t.Fatal(err)
		}
		defer server.Close()
		go func() {
			if c, err := server.Accept(); err == nil {
				c.(*tls.Conn).Handshake()
				c.Close()
			}
		}()
		c, err := tls.Dial("tcp", server.Addr().String(), &tls.Config{RootCAs: a.pool()})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		return c.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
	}
	renewed, renewedKey := a.sign(t, 11, loopback)
	for _, step := range []struct {
		name   string
		change func()
		serial int64
		told   int
	}{
		{"as written", func() {}, 10, 0},
		{"renewed, not looked at yet", func() { f.write(renewed, renewedKey, a.pem()) }, 10, 0},
		{"looked at", func() { clock = clock.Add(time.Minute) }, 11, 0},
		{"a key of another certificate", func() { f.write(renewed, key, a.pem()); clock = clock.Add(time.Minute) }, 11, 1},
		{"no authority", func() { f.write(renewed, renewedKey, []byte("x")); clock = clock.Add(time.Minute) }, 11, 2},
		{"gone", func() { os.Remove(f.Cert); clock = clock.Add(time.Minute) }, 11, 3},
		{"whole again", func() { f.write(certificate, key, a.pem()); clock = clock.Add(time.Minute) }, 10, 3},
	} {
		step.change()
		if got := serial(); got != step.serial || len(told) != step.told {
			t.Errorf("%s: certificate %d, told %v", step.name, got, told)
		}
	}
}

// TestTLSFiles: what cannot be used is an error at start, with the file's part
// in it.
func TestTLSFiles(t *testing.T) {
	a := newAuthority(t)
	certificate, key := a.sign(t, 1, loopback)
	_, otherKey := a.sign(t, 2, loopback)
	for _, c := range []struct {
		name                       string
		certificate, key, clientCA []byte
		says                       string
	}{
		{"no certificate", nil, key, a.pem(), "TLS certificate"},
		{"another's key", certificate, otherKey, a.pem(), "TLS certificate"},
		{"no authority", certificate, key, []byte("none"), "client CA"},
	} {
		f := newTLSFiles(t)
		f.write(c.certificate, c.key, c.clientCA)
		if _, err := f.Config(time.Now, nil); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	f := newTLSFiles(t)
	f.write(certificate, key, nil)
	os.Remove(f.ClientCA)
	if _, err := f.Config(time.Now, nil); err == nil || !strings.Contains(err.Error(), "client CA") {
		t.Errorf("a missing authority: %v", err)
	}
}
