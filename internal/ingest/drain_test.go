package ingest_test

import (
	"context"
	"errors"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/tollkeeper/tollkeeper/internal/ingest"
)

// TestDrain: when the server ends, what was begun is finished and told so, and
// what comes on a connection that is open is refused retryably.
func TestDrain(t *testing.T) {
	release, waiting := make(chan struct{}), new(atomic.Int32)
	s := start(t, func(s *server, o *ingest.Options) {
		s.store.fail = func(context.Context) error {
			waiting.Add(1)
			<-release
			return nil
		}
		o.AnswerTimeout = time.Minute
	})
	conn, err := grpc.NewClient("passthrough:///"+s.grpc, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	begun := make(chan answered, 2)
	body := recorded(t)
	go func() {
		a, err := s.postBy(context.Background(), client, request{body: body})
		if err != nil {
			a.note = err.Error()
		}
		begun <- a
	}()
	go func() { begun <- callBy(context.Background(), conn, request{body: body}) }()
	until(t, "both wait for the journal", func() bool { return waiting.Load() == 2 })

	s.Stop()
	if a := callBy(t.Context(), conn, request{body: body}); a.status != int(codes.Unavailable) || a.retry == 0 {
		t.Errorf("while stopping: %+v", a)
	}
	if a := s.post(t, request{body: body}); a.status != 503 || a.retry == 0 {
		t.Errorf("while stopping: %+v", a)
	}
	drained := make(chan error, 2)
	go func() { drained <- s.httpServer.Shutdown(context.Background()) }()
	go func() { s.grpcServer.GracefulStop(); drained <- nil }()
	select {
	case <-drained:
		t.Error("drained although requests wait")
	case a := <-begun:
		t.Errorf("answered before it was on disk: %+v", a)
	case <-time.After(50 * time.Millisecond):
	}
	close(release)
	for range 2 {
		if a := <-begun; a.status != 200 && a.status != 0 || a.note != "" {
			t.Errorf("what was begun: %+v", a)
		}
		if err := <-drained; err != nil {
			t.Error(err)
		}
	}
	if n := len(s.store.items()); n != 2 {
		t.Errorf("%d items", n)
	}
}

// TestClientLeaves: a client that does not wait for the answer costs no answer,
// and what it sent may be kept.
func TestClientLeaves(t *testing.T) {
	left := make(chan struct{})
	s := start(t, func(s *server, o *ingest.Options) {
		s.store.fail = func(ctx context.Context) error {
			<-ctx.Done()
			close(left)
			return ctx.Err()
		}
		o.AnswerTimeout = time.Minute
	})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	if _, err := s.postBy(ctx, client, request{body: recorded(t)}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
	select {
	case <-left:
	case <-time.After(10 * time.Second):
		t.Error("the journal was not told")
	}
}
