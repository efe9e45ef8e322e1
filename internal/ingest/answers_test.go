package ingest_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tollkeeper/tollkeeper/internal/ingest"
	"github.com/tollkeeper/tollkeeper/internal/journal"
	"github.com/tollkeeper/tollkeeper/internal/otlp"
	"github.com/tollkeeper/tollkeeper/internal/tenant"
)

func retryInfo(s *status.Status) time.Duration {
	for _, d := range s.Details() {
		if info, ok := d.(*errdetails.RetryInfo); ok {
			return info.GetRetryDelay().AsDuration()
		}
	}
	return 0
}

// longestRetry is how long a client may be told to wait: OTel's Python exporter
// gives a batch up after 7 to 31 s in all.
const longestRetry = 5 * time.Second

// answersTable is the design's table. kept says whether the span is in the
// journal then.
var answersTable = []struct {
	name   string
	change func(s *server, o *ingest.Options)
	ask    func(t *testing.T, s *server) request
	http   int
	grpc   codes.Code
	retry  bool
	kept   bool
	says   string
}{
	{name: "on disk", http: 200, grpc: codes.OK, kept: true},
	{name: "gzip", ask: encoded("gzip", gzipped), http: 200, grpc: codes.OK, kept: true},
	{name: "zstd", ask: encoded("zstd", zstded), http: 200, grpc: codes.OK, kept: true},
	{name: "an empty export", ask: body(nil), http: 200, grpc: codes.OK},
	{name: "undecodable", ask: body([]byte("hello, world")), http: 400, grpc: codes.InvalidArgument, says: "undecodable"},
	{name: "too large", ask: body(make([]byte, maxBody+1)), http: 413, grpc: codes.ResourceExhausted},
	{name: "the largest, undecodable", ask: body(make([]byte, maxBody)), http: 400, grpc: codes.InvalidArgument},
	{name: "gzip bomb", ask: encoded("gzip", bomb(gzipped)), http: 413, grpc: codes.ResourceExhausted},
	{name: "zstd bomb", ask: encoded("zstd", bomb(zstded)), http: 413, grpc: codes.ResourceExhausted},

	{name: "the journal is busy", change: failing(journal.ErrBusy), http: 503, grpc: codes.Unavailable, retry: true},
	{name: "the disk is full", change: failing(journal.ErrFull), http: 503, grpc: codes.Unavailable, retry: true, says: "full"},
	{name: "the disk failed", change: failing(journal.ErrFailed), http: 503, grpc: codes.Unavailable, retry: true},
	{name: "the journal is closing", change: failing(journal.ErrStopping), http: 503, grpc: codes.Unavailable, retry: true},
	{name: "an error nobody knows", change: failing(errors.New("moon in the wrong phase")), http: 503, grpc: codes.Unavailable, retry: true},
	{name: "an error that is no UTF-8", change: failing(errors.New("\xff\xfe")), http: 503, grpc: codes.Unavailable, retry: true, says: "\uFFFD"},
	{name: "the disk hangs", change: func(s *server, o *ingest.Options) {
		s.store.fail = func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
		o.AnswerTimeout = 20 * time.Millisecond
	}, http: 503, grpc: codes.Unavailable, retry: true},
	{name: "the journal panics", change: func(s *server, _ *ingest.Options) {
		s.store.fail = func(context.Context) error { panic("on purpose") }
	}, http: 503, grpc: codes.Unavailable, retry: true, says: "internal error"},
	{name: "more than an entry holds", change: failing(journal.ErrTooLarge), http: 413, grpc: codes.ResourceExhausted},
	{name: "rate limited", change: func(_ *server, o *ingest.Options) { o.RequestsPerSecond, o.Now = 1, stopped() },
		ask: func(t *testing.T, s *server) request {
			t.Helper()
			s.post(t, request{}) // the first of this second; an empty one keeps nothing
			return request{body: recorded(t)}
		}, http: 429, grpc: codes.ResourceExhausted, retry: true},
	{name: "stopping", ask: func(t *testing.T, s *server) request {
		t.Helper()
		s.Stop()
		return request{body: recorded(t)}
	}, http: 503, grpc: codes.Unavailable, retry: true, says: "stopping"},

	{name: "good credential", change: closed, ask: bearer(func(k *keys) string { return "Bearer " + k.token }), http: 200, grpc: codes.OK, kept: true},
	{name: "good credential, lower case", change: closed, ask: bearer(func(k *keys) string { return "bearer  " + k.token }), http: 200, grpc: codes.OK, kept: true},
	{name: "no credential", change: closed, http: 401, grpc: codes.Unauthenticated, says: "key add"},
	{name: "unknown token", change: closed, ask: bearer(unknownToken), http: 401, grpc: codes.Unauthenticated},
	{name: "no token", change: closed, ask: bearer(func(*keys) string { return "Bearer x" }), http: 401, grpc: codes.Unauthenticated},
	{name: "basic credential", change: closed, ask: bearer(func(*keys) string { return "Basic dTpw" }), http: 401, grpc: codes.Unauthenticated},
	{name: "bad token where none is needed", ask: bearer(func(*keys) string { return "Bearer tk_x" }), http: 401, grpc: codes.Unauthenticated},
	{name: "a reader's key", change: closed, ask: bearer(func(k *keys) string { return "Bearer " + k.readers }), http: 403, grpc: codes.PermissionDenied, says: "producer"},
	{name: "no credential, retried", change: retried, http: 503, grpc: codes.Unavailable, retry: true, says: "key add"},
	{name: "unknown token, retried", change: retried, ask: bearer(func(*keys) string { return "Bearer tk_x" }), http: 503, grpc: codes.Unavailable, retry: true},
	{name: "a reader's key, retried", change: retried, ask: bearer(func(k *keys) string { return "Bearer " + k.readers }), http: 503, grpc: codes.Unavailable, retry: true},
	{name: "credential store down, unknown token", change: closed, ask: func(t *testing.T, s *server) request {
		t.Helper()
		s.keys.fails(errors.New("locked"))
		return bearer(unknownToken)(t, s)
	}, http: 503, grpc: codes.Unavailable, retry: true},
	{name: "credential store down for long", change: func(_ *server, o *ingest.Options) { o.Credentials = broken{} }, http: 503, grpc: codes.Unavailable, retry: true},
}

func TestAnswers(t *testing.T) {
	for _, c := range answersTable {
		for transport, want := range map[string]int{"http": c.http, "grpc": int(c.grpc)} {
			t.Run(c.name+"/"+transport, func(t *testing.T) {
				t.Parallel()
				s := start(t, c.change)
				ask := c.ask
				if ask == nil {
					ask = body(recorded(t))
				}
				var a answered
				if q := ask(t, s); transport == "http" {
					a = s.post(t, q)
				} else {
					q.body = plain(t, q)
					a = s.call(t, q)
				}
				if a.status != want || !strings.Contains(a.note, c.says) {
					t.Errorf("answered %d %q, want %d and %q", a.status, a.note, want, c.says)
				}
				if c.retry != (a.retry > 0) || a.retry > longestRetry {
					t.Errorf("told to try again after %v", a.retry)
				}
				if kept := len(s.store.items()); kept != map[bool]int{true: 1}[c.kept] {
					t.Errorf("%d items kept", kept)
				}
			})
		}
	}
}

// plain undoes the compression: gRPC's client compresses itself.
func plain(t *testing.T, q request) []byte {
	t.Helper()
	if q.encoding == "" {
		return q.body
	}
	r, err := ingest.Compressor(q.encoding, 64<<20).Decompress(strings.NewReader(string(q.body)))
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func body(b []byte) func(*testing.T, *server) request {
	return func(*testing.T, *server) request { return request{body: b} }
}

func encoded(encoding string, pack func([]byte) []byte) func(*testing.T, *server) request {
	return func(t *testing.T, _ *server) request {
		t.Helper()
		return request{encoding: encoding, body: pack(recorded(t))}
	}
}

// bomb packs what unpacks to more than the limit.
func bomb(pack func([]byte) []byte) func([]byte) []byte {
	return func([]byte) []byte { return pack(make([]byte, 20*maxBody)) }
}

func bearer(authorization func(*keys) string) func(*testing.T, *server) request {
	return func(t *testing.T, s *server) request {
		t.Helper()
		return request{body: recorded(t), header: map[string]string{"authorization": authorization(s.keys)}}
	}
}

// unknownToken has the form of one.
func unknownToken(k *keys) string { return "Bearer tk_" + strings.Repeat("0", len(k.token)-3) }

func failing(err error) func(*server, *ingest.Options) {
	return func(s *server, _ *ingest.Options) { s.store.fail = func(context.Context) error { return err } }
}

func closed(_ *server, o *ingest.Options)  { o.Open = false }
func retried(_ *server, o *ingest.Options) { o.Open, o.RetryBadCredential = false, true }

// stopped is a clock that stands still.
func stopped() func() time.Time {
	now := time.Now()
	return func() time.Time { return now }
}

// broken is a credential store that cannot be asked.
type broken struct{}

func (broken) Authenticate(context.Context, string) (tenant.Key, error) {
	return tenant.Key{}, tenant.ErrUnavailable
}
func (broken) Batch(context.Context) (*tenant.Batch, error) { return nil, tenant.ErrUnavailable }

// TestRetriedBadCredentialsAreToldApart: a Collector with a wrong key is answered
// like a busy server, and counted as what it is, so that somebody mends it.
func TestRetriedBadCredentialsAreToldApart(t *testing.T) {
	s := start(t, retried)
	s.post(t, request{body: recorded(t)})
	s.call(t, request{body: recorded(t)})
	const name = "tollkeeper_ingest_requests_total"
	if bad, busy := counted(t, s, name, "bad_credential"), counted(t, s, name, "unavailable"); bad != 2 || busy != 0 {
		t.Errorf("%v bad credentials and %v times unavailable, want 2 and 0", bad, busy)
	}
}

// TestHTTPOnly are the rows that gRPC's own protocol has no place for.
func TestHTTPOnly(t *testing.T) {
	s := start(t, nil)
	span := recorded(t)
	for _, c := range []struct {
		name   string
		q      request
		status int
	}{
		{"unknown encoding", request{encoding: "snappy", body: span}, 415},
		{"two encodings", request{encoding: "gzip, gzip", body: gzipped(gzipped(span))}, 415},
		{"upper-case encoding", request{encoding: "GZIP", body: gzipped(span)}, 200},
		{"identity", request{encoding: "identity", body: span}, 200},
		{"no gzip", request{encoding: "gzip", body: span}, 400},
		{"empty gzip", request{encoding: "gzip"}, 400},
		{"gzip cut short", request{encoding: "gzip", body: gzipped(span)[:60]}, 400},
		{"gzip with a wrong sum", request{encoding: "gzip", body: wrong(gzipped(span))}, 400},
		{"no zstd", request{encoding: "zstd", body: span}, 400},
		{"zstd cut short", request{encoding: "zstd", body: zstded(span)[:60]}, 400},
		{"zstd with a wrong sum", request{encoding: "zstd", body: wrong(zstded(span))}, 400},
		{"compressed body too large", request{encoding: "gzip", body: make([]byte, maxBody+1)}, 413},
		{"wrong type", request{kind: "text/plain", body: span}, 415},
		{"no type", request{kind: "-", body: span}, 415},
		{"type with a parameter", request{kind: "application/x-protobuf; charset=utf-8", body: span}, 200},
		{"JSON", request{kind: "application/json; charset=utf-8", body: []byte(`{}`)}, 200},
		{"no JSON", request{kind: "application/json", body: span}, 400},
		{"metrics", request{path: "/v1/metrics"}, 404},
		{"logs", request{path: "/v1/logs"}, 404},
		{"another version", request{path: "/v2/traces"}, 404},
		{"a doubled slash is no redirection", request{path: "//v1/traces", body: span}, 404},
		{"dots are no redirection", request{path: "/x/../v1/traces", body: span}, 404},
		{"GET", request{method: http.MethodGet}, 405},
		{"PUT", request{method: http.MethodPut, body: span}, 405},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := len(s.store.items())
			a := s.post(t, c.q)
			if a.status != c.status || a.retry != 0 {
				t.Errorf("answered %d %q (retry %v), want %d", a.status, a.body, a.retry, c.status)
			}
			if kept := len(s.store.items()) - before; (kept > 0) != (c.status == 200 && len(c.q.body) > 2) {
				t.Errorf("%d items kept", kept)
			}
		})
	}
	if a := s.post(t, request{method: http.MethodGet}); a.header.Get("Allow") != http.MethodPost {
		t.Errorf("Allow: %q", a.header.Get("Allow"))
	}
}

// wrong flips the last bit.
func wrong(b []byte) []byte {
	b[len(b)-1] ^= 1
	return b
}

// TestSpeaksTheClientsEncoding: answers come in the encoding of the request,
// errors as google.rpc.Status.
func TestSpeaksTheClientsEncoding(t *testing.T) {
	s := start(t, nil)
	for _, c := range []struct{ kind, body, want string }{
		{"application/json", `{}`, `{"partialSuccess":{}}`},
		{"application/json", `{"resourceSpans":[{"scopeSpans":[{"spans":[{"name":"llm_request","attributes":[{"key":"gen_ai.usage.prompt_tokens","value":{"intValue":"-1"}}]}]}]}]}`,
			`{"partialSuccess":{"rejectedSpans":"1","errorMessage":"rejected: 1 bad_count"}}`},
		{"application/json", `{`, `{"code":3,"message":"otlp: undecodable body: no JSON"}`},
	} {
		a := s.post(t, request{kind: c.kind, body: []byte(c.body)})
		if got := strings.ReplaceAll(string(a.body), `", "`, `","`); strings.ReplaceAll(got, `, "`, `,"`) != c.want || a.header.Get("Content-Type") != c.kind {
			t.Errorf("%s answered %s as %s, want %s", c.body, a.body, a.header.Get("Content-Type"), c.want)
		}
	}
	if a := s.post(t, request{body: []byte{0x0f}}); a.header.Get("Content-Type") != "application/x-protobuf" || a.note == "" {
		t.Errorf("%+v", a)
	}
	a := s.post(t, request{body: recorded(t)})
	if len(a.body) != 0 || a.header.Get("Content-Type") != "application/x-protobuf" {
		t.Errorf("%+v", a)
	}
}

// TestPartialSuccess: some spans are invalid for ever, and the rest is on disk.
func TestPartialSuccess(t *testing.T) {
	s := start(t, nil)
	req := ptraceotlp.NewExportRequest()
	if err := req.UnmarshalProto(recorded(t)); err != nil {
		t.Fatal(err)
	}
	spans := req.Traces().ResourceSpans().At(0).ScopeSpans().At(0).Spans()
	for range 2 {
		bad := spans.AppendEmpty()
		spans.At(0).CopyTo(bad)
		bad.SetStartTimestamp(0)
	}
	negative := spans.AppendEmpty()
	spans.At(0).CopyTo(negative)
	negative.Attributes().PutInt("gen_ai.usage.prompt_tokens", -1)
	b, err := req.MarshalProto()
	if err != nil {
		t.Fatal(err)
	}
	for transport, a := range map[string]answered{"http": s.post(t, request{body: b}), "grpc": s.call(t, request{body: b})} {
		resp := ptraceotlp.NewExportResponse()
		if err := resp.UnmarshalProto(a.body); err != nil {
			t.Fatal(err)
		}
		if p := resp.PartialSuccess(); p.RejectedSpans() != 3 || p.ErrorMessage() != "rejected: 1 bad_count, 2 missing_start" {
			t.Errorf("%s: %d %q", transport, p.RejectedSpans(), p.ErrorMessage())
		}
	}
	for _, kept := range s.store.kept() {
		if len(kept.Items) != 1 || kept.Rejected[otlp.RejectStart] != 2 || kept.Rejected[otlp.RejectCount] != 1 {
			t.Errorf("%d items, rejected %v", len(kept.Items), kept.Rejected)
		}
	}
}

// TestOnlyCounted: an export with nothing to bill is kept as counts.
func TestOnlyCounted(t *testing.T) {
	s := start(t, nil)
	req := ptraceotlp.NewExportRequest()
	req.Traces().ResourceSpans().AppendEmpty().ScopeSpans().AppendEmpty().Spans().AppendEmpty().SetName("GET /health")
	b, err := req.MarshalProto()
	if err != nil {
		t.Fatal(err)
	}
	if a := s.post(t, request{body: b}); a.status != 200 || len(a.body) != 0 {
		t.Errorf("%+v", a)
	}
	if kept := s.store.kept(); len(kept) != 1 || len(kept[0].Items) != 0 || kept[0].Ignored[otlp.IgnoreNoUsage] != 1 {
		t.Errorf("%+v", kept)
	}
}

// TestRealJournal: over a real journal a full disk is a refusal that passes, and
// a disk that failed is one until the process ends.
func TestRealJournal(t *testing.T) {
	var fault error
	clock := time.Now()
	j, err := journal.Open(t.Context(), filepath.Join(t.TempDir(), "journal.db"), journal.Options{
		Fault: func() error { return fault }, Now: func() time.Time { return clock },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	s := start(t, func(_ *server, o *ingest.Options) { o.Journal = j })
	ask := func(want int) {
		t.Helper()
		if a := s.post(t, request{body: recorded(t)}); a.status != want || (want == 503) != (a.retry > 0) {
			t.Errorf("answered %d %q, want %d", a.status, a.note, want)
		}
		if a := s.call(t, request{body: recorded(t)}); (want == 503) != (a.status == int(codes.Unavailable) && a.retry > 0) {
			t.Errorf("answered %d %q, want %d", a.status, a.note, want)
		}
	}
	ask(200)
	fault = syscall.ENOSPC
	ask(503)
	fault = nil
	ask(503) // it is left alone for a while
	clock = clock.Add(time.Minute)
	ask(200)
	fault = syscall.EIO
	ask(503)
	fault = nil
	clock = clock.Add(time.Minute)
	ask(503)
	if size, err := j.Size(t.Context()); err != nil || size != 4 {
		t.Errorf("%d entries, %v", size, err)
	}
}
