package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"sync"
	"time"

	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/tollkeeper/tollkeeper/test/process"
)

const (
	// connections is how many clients send at once, each over its own.
	connections = 10
	// again is of how many exports one is sent once more, as clients do that
	// missed the answer.
	again = 4
	// pause is how long a client waits after an answer that is no acknowledgement.
	pause = 5 * time.Millisecond
)

// clients are those of one data directory, over all of its rounds.
type clients struct {
	seed uint64
	base time.Time
	dir  string // of their ledgers
	all  []*client
}

// client sends one export after the other.
type client struct {
	of     *clients
	index  int
	ledger *ledger
	chance *rand.Rand
	next   int // export
	count  counts
}

// counts are answers.
type counts struct{ sent, acked, doubt, again int }

func (c *counts) add(o counts) {
	c.sent += o.sent
	c.acked += o.acked
	c.doubt += o.doubt
	c.again += o.again
}

func newClients(seed uint64, dir string, now time.Time) (*clients, error) {
	cs := &clients{seed: seed, base: now, dir: dir}
	for i := range connections {
		l, err := openLedger(cs.ledgerPath(i))
		if err != nil {
			return nil, err
		}
		cs.all = append(cs.all, &client{of: cs, index: i, ledger: l, chance: rand.New(rand.NewPCG(seed, uint64(i)))}) //nolint:gosec // chance that can be repeated
	}
	return cs, nil
}

func (cs *clients) ledgerPath(i int) string {
	return filepath.Join(cs.dir, fmt.Sprintf("client-%d.txt", i))
}

func (cs *clients) export(client, n int) *export { return newExport(cs.seed, client, n, cs.base) }

func (cs *clients) close() error {
	var err error
	for _, c := range cs.all {
		err = errors.Join(err, c.ledger.close())
	}
	return err
}

// load sends from all clients until the context ends. The error is an answer
// that no server may give.
func (cs *clients) load(ctx context.Context, s *process.Server) (counts, error) {
	var wait sync.WaitGroup
	errs := make([]error, len(cs.all))
	for i, c := range cs.all {
		wait.Go(func() { errs[i] = c.run(ctx, s) })
	}
	wait.Wait()
	var sum counts
	for _, c := range cs.all {
		sum.add(c.count)
		c.count = counts{}
	}
	return sum, errors.Join(errs...)
}

// sender is one connection. Its error wraps errDoubt where the export may have
// been kept or not.
type sender interface {
	send(ctx context.Context, r ptraceotlp.ExportRequest) error
	close() error
}

var errDoubt = errors.New("no acknowledgement")

func (c *client) run(ctx context.Context, s *process.Server) (err error) {
	to, err := c.connect(s)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, to.close()) }()
	for ctx.Err() == nil {
		n := c.next
		if n > 0 && c.chance.IntN(again) == 0 {
			n = c.chance.IntN(n)
			c.count.again++
		} else {
			c.next++
		}
		if err := c.send(ctx, to, n); err != nil {
			return fmt.Errorf("client %d, export %d: %w", c.index, n, err)
		}
	}
	return nil
}

func (c *client) send(ctx context.Context, to sender, n int) error {
	r, err := c.of.export(c.index, n).otlp()
	if err != nil {
		return err
	}
	if err := c.ledger.sent(n); err != nil {
		return err
	}
	c.count.sent++
	switch err := to.send(ctx, r); {
	case err == nil:
		c.count.acked++
		return c.ledger.acked(n)
	case errors.Is(err, errDoubt) || ctx.Err() != nil:
		c.count.doubt++
	default:
		return err
	}
	select {
	case <-ctx.Done():
	case <-time.After(pause):
	}
	return nil
}

// connect gives the clients the ways of sending in turn.
func (c *client) connect(s *process.Server) (sender, error) {
	switch c.index % 5 {
	case 0:
		return newHTTP(s, "application/x-protobuf", ptraceotlp.ExportRequest.MarshalProto, false), nil
	case 1:
		return newHTTP(s, "application/x-protobuf", ptraceotlp.ExportRequest.MarshalProto, true), nil
	case 2:
		return newHTTP(s, "application/json", ptraceotlp.ExportRequest.MarshalJSON, false), nil
	default:
		conn, err := grpc.NewClient(s.GRPC, grpc.WithTransportCredentials(insecure.NewCredentials()))
		return &grpcSender{conn}, err
	}
}

type httpSender struct {
	client  *http.Client
	url     string
	kind    string
	marshal func(ptraceotlp.ExportRequest) ([]byte, error)
	zip     bool
}

func newHTTP(s *process.Server, kind string, marshal func(ptraceotlp.ExportRequest) ([]byte, error), zip bool) *httpSender {
	return &httpSender{client: &http.Client{Transport: &http.Transport{}}, url: "http://" + s.HTTP + "/v1/traces", kind: kind, marshal: marshal, zip: zip}
}

func (h *httpSender) send(ctx context.Context, r ptraceotlp.ExportRequest) error {
	body, err := h.marshal(r)
	if err != nil {
		return err
	}
	if h.zip {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		if _, err := w.Write(body); err != nil {
			return err
		}
		if err := w.Close(); err != nil {
			return err
		}
		body = b.Bytes()
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, h.url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", h.kind)
	if h.zip {
		req.Header.Set("Content-Encoding", "gzip")
	}
	resp, err := h.client.Do(req)
	if err != nil {
		return fmt.Errorf("%w: %w", errDoubt, err)
	}
	defer resp.Body.Close()
	return h.answer(resp)
}

// answer takes 200 for an acknowledgement as soon as its head is there, as a
// client may.
func (h *httpSender) answer(resp *http.Response) error {
	switch resp.StatusCode {
	case http.StatusOK:
	case http.StatusServiceUnavailable:
		return errDoubt
	default:
		b, _ := io.ReadAll(resp.Body) // for the message
		return fmt.Errorf("%s: %q", resp.Status, b)
	}
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil //nolint:nilerr // killed within its answer: the promise was made
	}
	answer := ptraceotlp.NewExportResponse()
	if h.kind == "application/json" {
		err = answer.UnmarshalJSON(b)
	} else {
		err = answer.UnmarshalProto(b)
	}
	if err != nil {
		return fmt.Errorf("answer %q: %w", b, err)
	}
	return whole(answer)
}

func (h *httpSender) close() error {
	h.client.CloseIdleConnections()
	return nil
}

type grpcSender struct{ conn *grpc.ClientConn }

func (g *grpcSender) send(ctx context.Context, r ptraceotlp.ExportRequest) error {
	answer, err := ptraceotlp.NewGRPCClient(g.conn).Export(ctx, r)
	switch {
	case err == nil:
		return whole(answer)
	case status.Code(err) == codes.Unavailable:
		return fmt.Errorf("%w: %w", errDoubt, err)
	default:
		return err
	}
}

func (g *grpcSender) close() error { return g.conn.Close() }

// whole wants that nothing was refused of what is right.
func whole(answer ptraceotlp.ExportResponse) error {
	if p := answer.PartialSuccess(); p.RejectedSpans() != 0 {
		return fmt.Errorf("%d spans were rejected: %s", p.RejectedSpans(), p.ErrorMessage())
	}
	return nil
}
