package ingest_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"go.uber.org/goleak"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/tollkeeper/tollkeeper/internal/ingest"
	"github.com/tollkeeper/tollkeeper/internal/journal"
	"github.com/tollkeeper/tollkeeper/internal/otlp"
	"github.com/tollkeeper/tollkeeper/internal/tenant"
	"github.com/tollkeeper/tollkeeper/internal/usage"
)

// maxBody is the limit in these tests, in bytes.
const maxBody = 1 << 20

func TestMain(m *testing.M) {
	// As cli does: gRPC's registry is global. The SDK's exporter has put gRPC's own
	// gzip there, which these replace.
	for _, name := range []string{"gzip", "zstd"} {
		encoding.RegisterCompressor(ingest.Compressor(name, maxBody))
	}
	// A journal whose disk failed is left open: closing would write.
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("database/sql.(*DB).connectionOpener"))
}

// store is a journal that keeps batches in memory. fail, when set, is asked
// before each.
type store struct {
	mu      sync.Mutex
	batches []journal.Batch
	fail    func(ctx context.Context) error
}

func (s *store) Append(ctx context.Context, b journal.Batch) (uint64, error) {
	if s.fail != nil {
		if err := s.fail(ctx); err != nil {
			return 0, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	items := make([][]byte, len(b.Items))
	for i, item := range b.Items {
		items[i] = bytes.Clone(item) // as the interface says, they are the caller's again
	}
	b.Items = items
	s.batches = append(s.batches, b)
	return uint64(len(s.batches)), nil
}

func (s *store) kept() []journal.Batch {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.batches)
}

// items are all lines that were kept.
func (s *store) items() (list [][]byte) {
	for _, b := range s.kept() {
		list = append(list, b.Items...)
	}
	return list
}

// keys is a credential store in memory; down is its error when it has one.
type keys struct {
	producer, reader tenant.Key
	token, readers   string // the tokens of both

	mu   sync.Mutex
	down error
}

func newKeys(t testing.TB) *keys {
	t.Helper()
	k := &keys{}
	var err error
	if k.producer, k.token, err = tenant.NewKey(tenant.Key{Role: tenant.RoleProducer}, chance{}, time.Now()); err != nil {
		t.Fatal(err)
	}
	if k.reader, k.readers, err = tenant.NewKey(tenant.Key{Role: tenant.RoleReader}, chance{}, time.Now()); err != nil {
		t.Fatal(err)
	}
	return k
}

func (k *keys) fails(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.down = err
}

func (k *keys) Revision(context.Context) (int64, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return 1, k.down
}

func (k *keys) Directory(context.Context) (*tenant.Directory, error) {
	return tenant.NewDirectory(nil, []tenant.Key{k.producer, k.reader}, nil), nil
}

// server is a receiver that listens on both transports.
type server struct {
	*ingest.Receiver
	store      *store
	keys       *keys
	http, grpc string
	httpServer *http.Server
	grpcServer *grpc.Server
	accepted   *atomic.Int64 // connections
}

// start starts a server that needs no credential unless changed.
func start(t *testing.T, change func(s *server, o *ingest.Options)) *server {
	t.Helper()
	s := &server{store: &store{}, keys: newKeys(t)}
	live, err := tenant.NewLive(t.Context(), s.keys, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	o := ingest.Options{Journal: s.store, Credentials: live, Decoder: otlp.NewDecoder(nil), Open: true, MaxBody: maxBody}
	if change != nil {
		change(s, &o)
	}
	s.Receiver = ingest.NewReceiver(o)
	s.accepted = new(atomic.Int64)
	h, g := counting{listen(t), s.accepted}, counting{listen(t), s.accepted}
	s.http, s.grpc = h.Addr().String(), g.Addr().String()
	s.httpServer, s.grpcServer = s.HTTPServer(), s.GRPCServer()
	var wait sync.WaitGroup
	wait.Go(func() {
		serve := s.httpServer.Serve
		if o.TLS != nil {
			serve = func(l net.Listener) error { return s.httpServer.ServeTLS(l, "", "") }
		}
		if err := serve(h); !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	wait.Go(func() {
		if err := s.grpcServer.Serve(g); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		s.httpServer.Close()
		s.grpcServer.Stop()
		wait.Wait()
	})
	return s
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// counting counts the connections of a listener.
type counting struct {
	net.Listener
	accepted *atomic.Int64
}

func (l counting) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		l.accepted.Add(1)
	}
	return c, err
}

// request is an export as a client sends it.
type request struct {
	path, method, kind, encoding string
	header                       map[string]string
	body                         []byte
}

// answered is what came back, over either transport.
type answered struct {
	status int // HTTP's, or the gRPC code
	retry  time.Duration
	header http.Header
	body   []byte
	note   string // the message of the status
}

// post sends the request over HTTP.
func (s *server) post(t *testing.T, q request) answered {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{}, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	defer client.CloseIdleConnections()
	a, err := s.postBy(t.Context(), client, q)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func (s *server) postBy(ctx context.Context, client *http.Client, q request) (a answered, err error) {
	path, method, kind := q.path, q.method, q.kind
	if path == "" {
		path = "/v1/traces"
	}
	if method == "" {
		method = http.MethodPost
	}
	if kind == "" {
		kind = "application/x-protobuf"
	}
	scheme := "http://"
	if s.TLS != nil {
		scheme = "https://"
	}
	req, err := http.NewRequestWithContext(ctx, method, scheme+s.http+path, bytes.NewReader(q.body))
	if err != nil {
		return a, err
	}
	req.Header.Set("Content-Type", kind)
	if q.encoding != "" {
		req.Header.Set("Content-Encoding", q.encoding)
	}
	for k, v := range q.header {
		req.Header.Set(k, v)
	}
	resp, err := client.Do(req)
	if err != nil {
		return a, err
	}
	defer resp.Body.Close()
	a = answered{status: resp.StatusCode, header: resp.Header}
	if a.body, err = io.ReadAll(resp.Body); err != nil {
		return a, err
	}
	if after := resp.Header.Get("Retry-After"); after != "" {
		if a.retry, err = time.ParseDuration(after + "s"); err != nil {
			return a, err
		}
	}
	if a.status != http.StatusOK && kind == "application/x-protobuf" {
		var st spb.Status
		if err := proto.Unmarshal(a.body, &st); err != nil {
			return a, err
		}
		a.note = st.GetMessage()
	}
	return a, nil
}

const exportMethod = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"

// call sends the request over gRPC.
func (s *server) call(t *testing.T, q request) answered {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+s.grpc, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	return callBy(t.Context(), conn, q)
}

func callBy(ctx context.Context, conn *grpc.ClientConn, q request) (a answered) {
	path := q.path
	if path == "" {
		path = exportMethod
	}
	options := []grpc.CallOption{grpc.ForceCodecV2(plainCodec{})}
	if q.encoding != "" {
		options = append(options, grpc.UseCompressor(q.encoding))
	}
	ctx = metadata.NewOutgoingContext(ctx, metadata.New(q.header))
	err := conn.Invoke(ctx, path, q.body, &a.body, options...)
	st := status.Convert(err)
	a.status, a.note, a.retry = int(st.Code()), st.Message(), retryInfo(st)
	return a
}

// plainCodec passes bytes through.
type plainCodec struct{}

func (plainCodec) Name() string { return "proto" }

func (plainCodec) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(v.([]byte))}, nil
}

func (plainCodec) Unmarshal(data mem.BufferSlice, v any) error {
	*v.(*[]byte) = data.Materialize()
	return nil
}

// chance is repeatable and never the same.
type chance struct{}

var drawn struct {
	sync.Mutex
	n byte
}

func (chance) Read(p []byte) (int, error) {
	drawn.Lock()
	defer drawn.Unlock()
	for i := range p {
		drawn.n++
		p[i] = drawn.n
	}
	return len(p), nil
}

// recorded is what a real vLLM sent: one span.
func recorded(t testing.TB) []byte {
	t.Helper()
	body, err := os.ReadFile("../../testdata/recordings/vllm-0.32.0/seed/otlp-1.pb")
	if err != nil {
		t.Fatal(err)
	}
	return body
}

func gzipped(b []byte) []byte {
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	z.Write(b)
	z.Close()
	return out.Bytes()
}

func zstded(b []byte) []byte {
	e, err := zstd.NewWriter(nil)
	if err != nil {
		panic(err)
	}
	defer e.Close()
	return e.EncodeAll(b, nil)
}

// observations reads lines back.
func observations(t *testing.T, lines [][]byte) (list []usage.Observation, stamps []usage.Stamp) {
	t.Helper()
	for _, line := range lines {
		o, s, err := usage.ParseLine(line)
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		list, stamps = append(list, o), append(stamps, s)
	}
	return list, stamps
}

// until polls a condition, for what happens in another goroutine.
func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for !done() {
		if time.Now().After(deadline) {
			t.Fatalf("not in 10 s: %s", what)
		}
		time.Sleep(time.Millisecond) //nolint:forbidigo // the one helper that polls
	}
}
