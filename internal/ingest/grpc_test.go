package ingest_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"net/http"
	"testing"

	"google.golang.org/grpc/codes"

	"github.com/tollkeeper/tollkeeper/internal/ingest"
)

// frame is a message as gRPC has it on the wire.
func frame(compressed byte, b []byte) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{compressed}, uint32(len(b))), b...)
}

// speak sends gRPC by hand, also such as no library would, and returns the
// status of the answer.
func (s *server) speak(t *testing.T, header map[string]string, body []byte) (code string) {
	t.Helper()
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+s.grpc+exportMethod, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/grpc")
	req.Header.Set("TE", "trailers")
	for k, v := range header {
		req.Header.Set(k, v)
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	io.Copy(io.Discard, resp.Body)
	if code = resp.Trailer.Get("Grpc-Status"); code == "" {
		code = resp.Header.Get("Grpc-Status")
	}
	return code
}

// TestWire are the rows of the table that no gRPC library lets a client send.
func TestWire(t *testing.T) {
	s := start(t, nil)
	span := recorded(t)
	for _, c := range []struct {
		name   string
		header map[string]string
		body   []byte
		code   string
	}{
		{"plain", nil, frame(0, span), "0"},
		{"gzip", map[string]string{"grpc-encoding": "gzip"}, frame(1, gzipped(span)), "0"},
		{"zstd", map[string]string{"grpc-encoding": "zstd"}, frame(1, zstded(span)), "0"},
		{"named but not used", map[string]string{"grpc-encoding": "gzip"}, frame(0, span), "0"},
		{"unknown encoding", map[string]string{"grpc-encoding": "snappy"}, frame(1, span), "12"},
		{"no gzip", map[string]string{"grpc-encoding": "gzip"}, frame(1, span), "3"},
		{"gzip cut short", map[string]string{"grpc-encoding": "gzip"}, frame(1, gzipped(span)[:len(gzipped(span))-9]), "3"},
		{"zstd cut short", map[string]string{"grpc-encoding": "zstd"}, frame(1, zstded(span)[:40]), "3"},
		{"no message", nil, nil, "3"},
		{"too large by its length", nil, frame(0, make([]byte, maxBody+1))[:100], "8"},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := len(s.store.items())
			if code := s.speak(t, c.header, c.body); code != c.code {
				t.Errorf("answered %s, want %s", code, c.code)
			}
			if kept := len(s.store.items()) - before; kept != map[bool]int{true: 1}[c.code == "0"] {
				t.Errorf("%d items kept", kept)
			}
		})
	}
}

// TestOtherSignals: who sends metrics or logs is told that they are not taken.
func TestOtherSignals(t *testing.T) {
	s := start(t, nil)
	for _, path := range []string{
		"/opentelemetry.proto.collector.metrics.v1.MetricsService/Export", "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
		"/opentelemetry.proto.collector.trace.v1.TraceService/Import", "/grpc.health.v1.Health/Check",
	} {
		if a := s.call(t, request{path: path, body: recorded(t)}); a.status != int(codes.Unimplemented) || a.retry != 0 {
			t.Errorf("%s: %+v", path, a)
		}
	}
	if len(s.store.kept()) != 0 {
		t.Error("kept")
	}
}

// TestCredentialFirst: who has no credential is refused before his message is
// taken into memory: here it never comes.
func TestCredentialFirst(t *testing.T) {
	s := start(t, closed)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	body, never := io.Pipe()
	defer never.Close()
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+s.grpc+exportMethod, body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/grpc")
	resp, err := transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if code := resp.Header.Get("Grpc-Status"); code != "16" {
		t.Errorf("answered %q", code)
	}
}

// TestCompressorPools: what a failed decompression leaves behind harms no later
// one.
func TestCompressorPools(t *testing.T) {
	text := bytes.Repeat([]byte("abcdefgh"), 1000)
	for name, pack := range map[string]func([]byte) []byte{"gzip": gzipped, "zstd": zstded} {
		c := ingest.Compressor(name, maxBody)
		for i := range 50 {
			packed := pack(text)
			want := text
			if i%3 == 1 {
				packed, want = packed[:len(packed)/2], []byte{7}
			}
			r, err := c.Decompress(bytes.NewReader(packed))
			if err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, want) {
				t.Fatalf("%s, time %d: %d bytes, %v", name, i, len(got), err)
			}
		}
	}
}
