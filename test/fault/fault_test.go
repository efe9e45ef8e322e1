// Package fault takes the disk away from the real binary. `make fault` runs it:
// it mounts a file system and traces a process, which not every machine allows.
package fault

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/tollkeeper/tollkeeper/test/process"
)

// wanted says that the tests shall run: they are not for every `go test`.
const wanted = "TOLLKEEPER_FAULT"

// bench is a data directory with a program, and what its clients know.
type bench struct {
	program *process.Program
	data    string // its directory
	server  *process.Server
	next    int
	acked   []string // ids of requests
	doubted []string // sent, and neither acknowledged nor refused
}

// newBench builds the program. Its working directory is not on the disk that is
// taken away.
func newBench(t *testing.T, data string) *bench {
	t.Helper()
	dir := t.TempDir()
	path, err := process.Build(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "tollkeeper.yaml"), []byte("signing_key: keys/signing.key\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return &bench{program: &process.Program{Path: path, Dir: dir}, data: data}
}

// start starts the server; what still runs at the test's end is killed.
func (b *bench) start(t *testing.T) {
	t.Helper()
	s, err := b.program.Serve(context.WithoutCancel(t.Context()), b.data)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Kill() }) // it may have ended
	if _, err := s.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.server = s
}

// request is the next request's export.
func (b *bench) request() (id string, body ptraceotlp.ExportRequest) {
	b.next++
	id = fmt.Sprintf("cmpl-%d-0", b.next)
	traces := ptrace.NewTraces()
	r := traces.ResourceSpans().AppendEmpty()
	r.Resource().Attributes().PutStr("service.name", "opt-125m")
	x := r.ScopeSpans().AppendEmpty().Spans().AppendEmpty()
	x.SetName("llm_request")
	x.SetTraceID(pcommon.TraceID{14: byte(b.next >> 8), 15: byte(b.next)})
	x.SetSpanID(pcommon.SpanID{7: 1})
	at := time.Now()
	x.SetStartTimestamp(pcommon.NewTimestampFromTime(at))
	x.SetEndTimestamp(pcommon.NewTimestampFromTime(at.Add(time.Millisecond)))
	x.Attributes().PutStr("gen_ai.request.id", id)
	x.Attributes().PutInt("gen_ai.usage.prompt_tokens", 3)
	x.Attributes().PutInt("gen_ai.usage.completion_tokens", 2)
	return id, ptraceotlp.NewExportRequestFromTraces(traces)
}

// errRefused is an answer that tells the client to try again, with a time.
var errRefused = errors.New("refused retryably")

// post sends one request over HTTP and remembers an acknowledgement.
func (b *bench) post(ctx context.Context) error {
	id, r := b.request()
	body, err := r.MarshalProto()
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+b.server.HTTP+"/v1/traces", bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-protobuf")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	switch seconds, err := strconv.Atoi(resp.Header.Get("Retry-After")); {
	case resp.StatusCode == http.StatusOK:
		b.acked = append(b.acked, id)
		return nil
	case resp.StatusCode == http.StatusServiceUnavailable && err == nil && seconds > 0 && seconds <= 5:
		return errRefused
	default:
		return fmt.Errorf("%s, Retry-After %q", resp.Status, resp.Header.Get("Retry-After"))
	}
}

// call sends one request over gRPC and remembers an acknowledgement.
func (b *bench) call(ctx context.Context) (err error) {
	conn, err := grpc.NewClient(b.server.GRPC, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	id, r := b.request()
	_, err = ptraceotlp.NewGRPCClient(conn).Export(ctx, r)
	if err == nil {
		b.acked = append(b.acked, id)
		return nil
	}
	s := status.Convert(err)
	timed := slices.ContainsFunc(s.Details(), func(d any) bool {
		info, ok := d.(*errdetails.RetryInfo)
		return ok && info.GetRetryDelay().AsDuration() > 0
	})
	if s.Code() == codes.Unavailable && timed {
		return errRefused
	}
	return err
}

// wantAccepted sends by both ways and wants that it is kept.
func (b *bench) wantAccepted(t *testing.T) {
	t.Helper()
	if err := errors.Join(b.post(t.Context()), b.call(t.Context())); err != nil {
		t.Fatalf("%v\n%s", err, b.server.Log())
	}
}

// wantRefused sends by both ways and wants that it is refused retryably.
func (b *bench) wantRefused(t *testing.T) {
	t.Helper()
	for name, send := range map[string]func(context.Context) error{"HTTP": b.post, "gRPC": b.call} {
		if err := send(t.Context()); !errors.Is(err, errRefused) {
			t.Fatalf("over %s: %v\n%s", name, err, b.server.Log())
		}
	}
}

// run runs a command, whose exit code shall be 0.
func (b *bench) run(t *testing.T, args ...string) []byte {
	t.Helper()
	out, err := b.program.Run(t.Context(), args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// wantReadable asks the server and the files for everything that was
// acknowledged, each once, and for nothing else but what is in doubt.
func (b *bench) wantReadable(t *testing.T) {
	t.Helper()
	if err := b.server.Settle(t.Context()); err != nil {
		t.Fatalf("%v\n%s", err, b.server.Log())
	}
	type list struct {
		Records []struct {
			ID        string `json:"id"`
			RequestID string `json:"request_id"`
		} `json:"records"`
	}
	var asked, read list
	if err := b.server.Get(t.Context(), "/v1/requests?limit=10000", &asked); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b.run(t, "requests", "--data", b.data, "--limit", "10000", "-o", "json"), &read); err != nil {
		t.Fatal(err)
	}
	want := slices.Sorted(slices.Values(b.acked))
	for name, l := range map[string]list{"the server": asked, "the files": read} {
		var got []string
		for _, r := range l.Records {
			if !slices.Contains(b.doubted, r.RequestID) {
				got = append(got, r.RequestID)
			}
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Fatalf("%s: %d records, %d requests were acknowledged\nhave %v\nwant %v", name, len(got), len(want), got, want)
		}
	}
	b.run(t, "verify", "--data", b.data, "--key", filepath.Join("keys", "signing.key.pub"))
	b.run(t, "prove", "--data", b.data, "--request", read.Records[0].ID)
}

// wantMetric wants that the server says whether its disk is full.
func (b *bench) wantMetric(t *testing.T, want int64) {
	t.Helper()
	if got, err := b.server.Metric(t.Context(), "tollkeeper_journal_disk_full"); err != nil || got != want {
		t.Errorf("tollkeeper_journal_disk_full is %d, %v; want %d", got, err, want)
	}
}
