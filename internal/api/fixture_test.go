package api_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/tollkeeper/tollkeeper/internal/api"
	"github.com/tollkeeper/tollkeeper/internal/journal"
	"github.com/tollkeeper/tollkeeper/internal/project"
	"github.com/tollkeeper/tollkeeper/internal/store/business"
	"github.com/tollkeeper/tollkeeper/internal/store/sqlite"
	"github.com/tollkeeper/tollkeeper/internal/tenant"
	"github.com/tollkeeper/tollkeeper/internal/usage"
)

var noon = time.Date(2026, 12, 2, 12, 0, 0, 0, time.UTC)

// local is a Local over stores in a directory of the test; nobody has used
// anything, and there is no journal.
func local(t *testing.T) *api.Local {
	t.Helper()
	return localIn(t, t.TempDir())
}

func localIn(t *testing.T, dir string) *api.Local {
	t.Helper()
	now := func() time.Time { return noon }
	b, err := business.Open(t.Context(), filepath.Join(dir, "business.db"), business.Options{Now: now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	u, err := sqlite.OpenReader(t.Context(), filepath.Join(dir, "usage"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { u.Close() })
	return &api.Local{Usage: u, Business: b, Actor: "test", Now: now}
}

// house is a data directory with a server on it, as `tollkeeper serve` wires
// them. Every answer of the server is held against its own description.
type house struct {
	*testing.T
	local  *api.Local
	client *api.Client // without a token, on this machine
	server *httptest.Server

	journal   *journal.Journal
	projector *project.Projector
	live      *tenant.Live

	description *description
}

func newHouse(t *testing.T) *house {
	t.Helper()
	h, dir := &house{T: t}, t.TempDir()
	signer, err := journal.LoadSigner(filepath.Join(dir, "signing.key"))
	h.must(err)
	h.journal, err = journal.Open(t.Context(), filepath.Join(dir, "journal.db"), journal.Options{Signer: signer, Now: func() time.Time { return noon }})
	h.must(err)
	t.Cleanup(func() { h.journal.Close() })
	store, err := sqlite.Open(t.Context(), filepath.Join(dir, "usage"))
	h.must(err)
	t.Cleanup(func() { store.Close() })
	h.projector, err = project.New(t.Context(), h.journal, store)
	h.must(err)
	h.local = localIn(t, dir)
	h.local.Journal = h.journal.Reader
	h.local.Defaults = api.Defaults{Currency: "USD", TimeZone: "UTC", Grace: 24 * time.Hour}
	h.live, err = tenant.NewLive(t.Context(), h.local.Business, h.local.Now)
	h.must(err)
	handler := api.Handler(api.HandlerOptions{
		Local: h.local, Keys: h.live, Open: true, Ready: func() error { return nil },
		Metrics: http.NotFoundHandler(), Logger: slog.New(slog.DiscardHandler),
	})
	h.description = described(t, handler)
	h.server = httptest.NewServer(h.description.truthful(t, handler))
	t.Cleanup(h.server.Close)
	h.client = h.as("")
	return h
}

func (h *house) must(err error) {
	h.Helper()
	if err != nil {
		h.Fatal(err)
	}
}

// as is a client with a token.
func (h *house) as(token string) *api.Client {
	h.Helper()
	c, err := api.NewClient(h.server.URL, token)
	h.must(err)
	return c
}

// key makes a key and returns a client that asks with it.
func (h *house) key(customer string, role tenant.Role) *api.Client {
	h.Helper()
	in := &api.AddKeyIn{}
	in.Body.Customer, in.Body.Role = customer, string(role)
	k, err := api.AddKey.Call(h.Context(), h.local, in)
	h.must(err)
	return h.as(k.Token)
}

// span is one request as an engine says it: the client's id names the customer.
type span struct {
	id            string // "acme-1"
	at            string
	input, output int64
	cached        int64  // of input
	audio         int64  // ms, which no text request has
	prompt        int    // its place among the prompts of one request
	payer         string // whom a valid tag names
	service       string // "": opt-125m
	trace         string // "": one of its own
	model         string // "": facebook/opt-125m
}

const (
	opt     = "facebook/opt-125m"
	service = "opt-125m"
)

// policy says who pays: whom the tag names, else whom the request id does.
func (h *house) policy() {
	h.Helper()
	b, err := usage.Policy{
		Order: []string{usage.RuleTag, usage.RuleRequestID}, RequestIDs: []string{`^cmpl-(?P<customer>[a-z]+)-`},
		Engines: []usage.Engine{{Match: map[string]string{"service.name": service}, Model: opt}},
	}.Canonical()
	h.must(err)
	h.append(journal.Batch{Producer: "config", Kind: project.KindPolicy, Received: noon, Items: [][]byte{b}})
}

// use journals requests, one entry each, and folds them.
func (h *house) use(spans ...span) {
	h.Helper()
	for _, s := range spans {
		h.append(h.batch(s))
	}
	h.fold()
}

func (h *house) batch(s span) journal.Batch {
	h.Helper()
	return journal.Batch{Producer: "key_sender", Kind: project.KindTraces, Received: noon, Items: [][]byte{h.line(s)}}
}

func (h *house) fold() {
	h.Helper()
	n, err := h.journal.Size(h.Context())
	h.must(err)
	h.must(h.projector.CatchUp(h.Context(), n, nil))
}

func (h *house) append(b journal.Batch) {
	h.Helper()
	_, err := h.journal.Append(h.Context(), b)
	h.must(err)
}

// line is a span as it stands in the journal. The same id is the same span.
func (h *house) line(s span) []byte {
	h.Helper()
	if s.service == "" {
		s.service = service
	}
	unique := fmt.Sprintf("%x", tenant.HashToken(fmt.Sprint(s.id, s.prompt)))
	if s.trace == "" {
		s.trace = unique[:32]
	}
	at := h.time(s.at).UnixNano()
	o := usage.Observation{
		Kind: usage.KindUsage, Domain: usage.DomainSpan, Trace: s.trace, Span: unique[32:48], Start: at, End: at + int64(time.Second), RequestID: fmt.Sprintf("cmpl-%s-%d", s.id, s.prompt),
		Quantities: usage.NewQuantities(usage.Quantity{Name: usage.InputTokens, Amount: s.input}, usage.Quantity{Name: usage.OutputTokens, Amount: s.output}),
		Resource:   usage.Attributes{{Key: "service.instance.id", Str: s.service + "-0"}, {Key: "service.name", Str: s.service}},
	}
	if s.cached != 0 {
		o.Quantities.Add(usage.CachedInputTokens, s.cached)
	}
	if s.audio != 0 {
		o.Quantities.Add("audio_ms", s.audio)
	}
	if s.model != "" {
		o.Resource = append(usage.Attributes{{Key: "gen_ai.request.model", Str: s.model}}, o.Resource...)
	}
	stamp := usage.Stamp{Producer: "key_sender"}
	if s.payer != "" {
		o.Tag, stamp.Tag, stamp.Key, stamp.Customer = "v1.-.key_edge.mac", usage.TagValid, "key_edge", s.payer
	}
	return usage.AppendLine(nil, &o, &stamp, nil)
}

func (h *house) time(s string) time.Time {
	h.Helper()
	at, err := time.Parse(time.RFC3339, s)
	h.must(err)
	return at
}

// customer adds one.
func (h *house) customer(c tenant.Customer) {
	h.Helper()
	_, err := h.local.Business.AddCustomer(h.Context(), "test", c)
	h.must(err)
}

// book is a price book of facebook/opt-125m in dollars, per million tokens, since 2026.
const book = `{"v":1,"currency":"USD","entries":[{"model":"facebook/opt-125m","from":"2026-01-01T00:00:00Z","per":1000000,"prices":{"input_tokens":"0.10","output_tokens":"0.40"}}]}`

// prices brings a book into force.
func (h *house) prices(document string) {
	h.Helper()
	_, err := api.ApplyPrices.Call(h.Context(), h.local, &api.PriceDocumentIn{Body: api.PriceDocument{RawMessage: json.RawMessage(document)}})
	h.must(err)
}

// newOffice is a house in which acme, zeta and a customer whom nobody added used
// something in November, and that has prices.
func newOffice(t *testing.T) *house {
	t.Helper()
	h := newHouse(t)
	h.policy()
	h.customer(tenant.Customer{ID: "acme", Name: "Acme Ltd"})
	h.customer(tenant.Customer{ID: "zeta"})
	h.prices(book)
	h.use(
		span{id: "acme-1", at: "2026-11-03T10:00:00Z", input: 1_000_000, output: 500_000},
		span{id: "acme-2", at: "2026-11-03T10:20:00Z", input: 10, output: 5},
		span{id: "acme-3", at: "2026-11-30T23:59:59Z", input: 100, output: 50, service: "other", model: opt},
		span{id: "zeta-1", at: "2026-11-04T00:00:00Z", input: 7, output: 3},
		span{id: "stranger-1", at: "2026-11-05T00:00:00Z", input: 70, output: 30},
		span{id: "acme-4", at: "2026-12-01T00:00:00Z", input: 1, output: 1},
	)
	return h
}

// same asks in process and over HTTP: the answers are equal, or the refusals.
func same[I, O any](h *house, op *api.Op[I, O], in I) (*O, error) {
	h.Helper()
	return alike(h, op, in, h.local, h.client, func(s string) string { return s })
}

// drawn is what chance made, or a house's own journal.
var drawn = regexp.MustCompile(`key_[a-z0-9]{16}|tk_[a-z0-9]+|sec_[a-z0-9]+|[a-zA-Z0-9_-]{22}\b|[0-9a-f]{64}`)

// twins are two houses of the same make, for what changes them: one is changed in
// process, the other over HTTP.
type twins struct{ inside, outside *house }

func newTwins(t *testing.T, build func(*testing.T) *house) *twins {
	t.Helper()
	w := &twins{build(t), build(t)}
	w.inside.local.Actor = "local" // what the server calls who asks without a token
	return w
}

// change is same for what changes something; what is drawn may differ.
func change[I, O any](w *twins, op *api.Op[I, O], in I) (*O, error) {
	w.inside.Helper()
	return alike(w.inside, op, in, w.inside.local, w.outside.client, func(s string) string { return drawn.ReplaceAllString(s, "…") })
}

// alike compares two callers' answers. A refusal by the description of the
// API (422) need not have the words of the one in process, but both are
// the caller's to mend.
func alike[I, O any](h *house, op *api.Op[I, O], in I, inside, outside api.Caller, mask func(string) string) (*O, error) {
	h.Helper()
	want, wantErr := op.Call(h.Context(), inside, &in)
	got, gotErr := op.Call(h.Context(), outside, &in)
	if wantErr != nil || gotErr != nil {
		a, b := problem(wantErr), problem(gotErr)
		switch {
		case a.Status == http.StatusBadRequest && b.Status == http.StatusUnprocessableEntity:
		case a.Status != b.Status || mask(a.Error()) != mask(b.Error()):
			h.Errorf("%s %+v: refused in process with %d %q, over HTTP with %d %q", op.Name, in, a.Status, a, b.Status, b)
		}
		return want, wantErr
	}
	if a, b := mask(text(h, want)), mask(text(h, got)); a != b {
		h.Errorf("%s %+v: in process\n%s\nover HTTP\n%s", op.Name, in, a, b)
	}
	return want, nil
}

// problem is an error as a caller sees it.
func problem(err error) *api.Error {
	if err == nil {
		return &api.Error{}
	}
	if known, ok := errors.AsType[*api.Error](err); ok {
		return known
	}
	return &api.Error{Message: fmt.Sprintf("no api.Error: %v", err)}
}

func text(h *house, v any) string {
	h.Helper()
	b, err := json.Marshal(v)
	h.must(err)
	return string(b)
}

// refused checks a refusal: its status and a part of what it says.
func (h *house) refused(err error, status int, says string) {
	h.Helper()
	if p := problem(err); err == nil || p.Status != status || !strings.Contains(p.Error(), says) {
		h.Errorf("%d %v; want %d with %q", p.Status, err, status, says)
	}
}
