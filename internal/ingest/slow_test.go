package ingest_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/tollkeeper/tollkeeper/internal/ingest"
)

// impatient has limits that a test can wait for.
func impatient(_ *server, o *ingest.Options) {
	o.HeaderTimeout, o.BodyTimeout = 100*time.Millisecond, 200*time.Millisecond
}

// raw opens a connection and sends text.
func raw(t *testing.T, address, text string) (net.Conn, *bufio.Reader) {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	return c, bufio.NewReader(c)
}

// trickle sends a byte now and then until the other end has had enough.
func trickle(t *testing.T, c net.Conn) {
	t.Helper()
	done := make(chan struct{})
	t.Cleanup(func() { <-done })
	go func() {
		defer close(done)
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for range tick.C {
			if _, err := c.Write([]byte("x")); err != nil {
				return
			}
		}
	}()
}

// TestSlowHeader: headers that come a byte at a time are waited for, but not for
// ever.
func TestSlowHeader(t *testing.T) {
	s := start(t, impatient)
	c, r := raw(t, s.http, "POST /v1/traces HTTP/1.1\r\nHost: x\r\nX-Slow: ")
	trickle(t, c)
	if _, err := io.Copy(io.Discard, r); err != nil && !strings.Contains(err.Error(), "reset") {
		t.Error(err)
	}
}

// TestSlowBody: so are bodies, and their sender may try again.
func TestSlowBody(t *testing.T) {
	for _, encoding := range []string{"identity", "gzip", "zstd"} {
		t.Run(encoding, func(t *testing.T) {
			t.Parallel()
			s := start(t, impatient)
			head := "POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-protobuf\r\nContent-Encoding: " + encoding + "\r\nContent-Length: 100000\r\n\r\n"
			switch encoding {
			case "gzip":
				head += string(gzipped(recorded(t))[:20])
			case "zstd":
				head += string(zstded(recorded(t))[:12])
			}
			c, r := raw(t, s.http, head)
			trickle(t, c)
			resp, err := http.ReadResponse(r, nil)
			if err != nil {
				t.Fatal(err)
			}
			if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" || !resp.Close {
				t.Errorf("%s, close %v, %v", resp.Status, resp.Close, resp.Header)
			}
			if len(s.store.kept()) != 0 {
				t.Error("kept")
			}
		})
	}
}

// TestSlowClientsHoldLittle: clients that announce the largest body and send it
// slowly leave room for others.
func TestSlowClientsHoldLittle(t *testing.T) {
	s := start(t, func(_ *server, o *ingest.Options) { o.MaxBody = 256 << 20 })
	for range 64 {
		raw(t, s.http, "POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-protobuf\r\nContent-Length: 268435456\r\n\r\nxxx")
	}
	until(t, "64 connections", func() bool { return s.accepted.Load() == 64 })
	for range 8 {
		if a := s.post(t, request{body: gzipped(recorded(t)), encoding: "gzip"}); a.status != 200 {
			t.Fatalf("answered %d %q", a.status, a.note)
		}
	}
}

// TestCutBody: a connection that breaks within the body keeps nothing, and
// harms nobody.
func TestCutBody(t *testing.T) {
	s := start(t, nil)
	c, _ := raw(t, s.http, "POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-protobuf\r\nContent-Length: 1000\r\n\r\n"+string(recorded(t)[:300]))
	c.Close()
	if a := s.post(t, request{body: recorded(t)}); a.status != 200 || len(s.store.items()) != 1 {
		t.Errorf("%d, %d items", a.status, len(s.store.items()))
	}
}

// TestSlowMessage: over gRPC a message that does not come is answered in time.
func TestSlowMessage(t *testing.T) {
	s := start(t, impatient)
	conn, err := grpc.NewClient("passthrough:///"+s.grpc, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true}, exportMethod, grpc.ForceCodecV2(plainCodec{}))
	if err != nil {
		t.Fatal(err)
	}
	var answer []byte
	st := status.Convert(stream.RecvMsg(&answer))
	if st.Code() != codes.Unavailable || retryInfo(st) == 0 {
		t.Errorf("answered %v, retry %v", st, retryInfo(st))
	}
}

// TestSlowHandshake: a connection that never becomes HTTP/2 is closed.
func TestSlowHandshake(t *testing.T) {
	s := start(t, impatient)
	_, r := raw(t, s.grpc, "PRI * HT")
	if _, err := io.Copy(io.Discard, r); err != nil && !strings.Contains(err.Error(), "reset") {
		t.Error(err)
	}
}
