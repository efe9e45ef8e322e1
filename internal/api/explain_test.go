package api_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/tollkeeper/tollkeeper/internal/api"
	"github.com/tollkeeper/tollkeeper/internal/tenant"
)

// changingBook has a price of its own for cached input, and a price that changes
// in the middle of a month.
const changingBook = `{"v":1,"currency":"USD","entries":[
	{"model":"facebook/*","from":"2026-01-01T00:00:00Z","per":1000,"prices":{"input_tokens":"0.10","cached_input_tokens":"0.01","output_tokens":"0.40"}},
	{"model":"facebook/*","from":"2026-11-15T00:00:00Z","per":1000,"prices":{"input_tokens":"0.20","cached_input_tokens":"0.02","output_tokens":"0.80","requests":"1.5"}}]}`

// newArchive is a house with a closed November of acme's at two prices, and a
// closed December that adjusts it.
func newArchive(t *testing.T) *house {
	t.Helper()
	h := newHouse(t)
	h.policy()
	h.customer(tenant.Customer{ID: "acme"})
	h.customer(tenant.Customer{ID: "zeta"})
	h.prices(changingBook)
	h.use(
		span{id: "acme-1", at: "2026-11-14T23:59:59.999999999Z", input: 100_000, cached: 40_000, output: 2_000},
		span{id: "acme-2", at: "2026-11-15T00:00:00Z", input: 50_000, cached: 50_000, output: 1_000},
		span{id: "acme-3", at: "2026-11-16T00:00:00Z", input: 7, output: 0, trace: trace},
		span{id: "zeta-3", at: "2026-11-16T00:00:01Z", input: 9, output: 0, trace: trace},
		span{id: "acme-x", at: "2026-11-17T00:00:00Z", input: 1, output: 1, service: "other", model: "other"},
	)
	h.finalise(closing("acme", "2026-11", "unpriced"))
	h.use(
		span{id: "acme-late", at: "2026-11-20T00:00:00Z", input: 10_000, output: 0},
		span{id: "acme-4", at: "2026-12-01T00:00:00Z", input: 1_000, output: 10},
	)
	h.finalise(early(closing("acme", "2026-12")))
	return h
}

// TestEveryLineIsExplained: the records that a line is said to follow from add up
// to it, and the arithmetic ends with its amount.
func TestEveryLineIsExplained(t *testing.T) {
	t.Parallel()
	h := newArchive(t)
	seen := 0
	for _, id := range []string{"acme-0001", "acme-0002"} {
		x, err := same(h, api.ShowInvoice, api.ByID{ID: id})
		h.must(err)
		explained := func(line int, model, quantity string, used int64, amount string) {
			seen++
			e, err := same(h, api.ExplainLine, api.ExplainQuery{ID: id, Line: line})
			if err != nil {
				t.Errorf("%s %d: %v", id, line, err)
				return
			}
			if e.Invoice != id || e.Line != line || e.Model != model || e.Quantity != quantity || e.Used != used || e.Amount != amount || e.Currency != "USD" || e.Price.Book != 1 {
				t.Errorf("%s %d: %+v", id, line, e)
			}
			var sum int64
			for _, r := range e.Records {
				sum += r.Used
				if r.Customer != "acme" || r.Moved {
					t.Errorf("%s %d: %+v", id, line, r)
				}
			}
			if !e.Complete || e.Sum != used || sum != used || e.Count != len(e.Records) || e.Moved != 0 {
				t.Errorf("%s %d: %d records of %d make %d, %d are used", id, line, e.Count, len(e.Records), e.Sum, used)
			}
			if last := e.Arithmetic[len(e.Arithmetic)-1]; !strings.HasSuffix(last, " = "+amount+" USD") {
				t.Errorf("%s %d: %q", id, line, e.Arithmetic)
			}
		}
		for _, n := range x.Lines {
			explained(n.Line, n.Model, n.Quantity, n.Used, n.Amount)
		}
		for _, a := range x.Adjustments {
			explained(a.Line, a.Model, a.Quantity, a.Used, a.Amount)
		}
		_, err = same(h, api.ExplainLine, api.ExplainQuery{ID: id, Line: len(x.Lines) + len(x.Adjustments) + 1})
		h.refused(err, http.StatusNotFound, fmt.Sprintf("its lines are 1 to %d", len(x.Lines)+len(x.Adjustments)))
	}
	if seen != 12 {
		t.Errorf("%d lines", seen)
	}
	for _, line := range []int{0, -1, 1 << 40} {
		_, err := same(h, api.ExplainLine, api.ExplainQuery{ID: "acme-0001", Line: line})
		h.refused(err, http.StatusNotFound, fmt.Sprintf("invoice acme-0001 has no line %d: its lines are 1 to", line))
	}
}

// TestTheArithmeticOfALine pins its words.
func TestTheArithmeticOfALine(t *testing.T) {
	t.Parallel()
	h := newArchive(t)
	x, err := same(h, api.ShowInvoice, api.ByID{ID: "acme-0001"})
	h.must(err)
	input := slices.IndexFunc(x.Lines, func(n api.InvoiceLine) bool { return n.Quantity == "input_tokens" && n.Used > 1000 })
	e, err := same(h, api.ExplainLine, api.ExplainQuery{ID: "acme-0001", Line: x.Lines[input].Line})
	h.must(err)
	if want := []string{"60000 × 0.1 / 1000 = 6", "6 rounded half-even = 6.00 USD"}; !slices.Equal(e.Arithmetic, want) {
		t.Errorf("%q; want %q", e.Arithmetic, want)
	}
	if p := e.Price; p.Model != "facebook/*" || p.Entry != 0 || p.From.String() != "2026-01-01T00:00:00Z" || p.To.String() != "2026-11-15T00:00:00Z" || p.Per != 1000 {
		t.Errorf("%+v", p)
	}
	late, err := same(h, api.ShowInvoice, api.ByID{ID: "acme-0002"})
	h.must(err)
	for _, a := range late.Adjustments {
		if a.Quantity != "input_tokens" {
			continue
		}
		e, err := same(h, api.ExplainLine, api.ExplainQuery{ID: "acme-0002", Line: a.Line})
		h.must(err)
		want := []string{
			"late_usage: of invoice acme-0001, period 2026-11-01T00:00:00Z to 2026-12-01T00:00:00Z",
			"now: 10007 × 0.2 / 1000 = 2.0014, rounded 2.00", "billed before: 7, 0.00", "2.00 - 0.00 = 2.00 USD",
		}
		if !slices.Equal(e.Arithmetic, want) {
			t.Errorf("%q; want %q", e.Arithmetic, want)
		}
	}
}

// TestARequestIsExplained: by the book of its invoice, and where there is none yet
// by the newest; what has no price costs nothing, and says so.
func TestARequestIsExplained(t *testing.T) {
	t.Parallel()
	h := newArchive(t)
	h.prices(strings.ReplaceAll(changingBook, `"0.10"`, `"7"`))
	h.use(span{id: "42", at: "2026-12-01T00:00:01Z", input: 1_000, output: 0})
	all, err := same(h, api.AskRequests, api.RequestsQuery{})
	h.must(err)
	got := map[string]string{}
	for _, r := range all.Records {
		e, err := same(h, api.ExplainRequest, api.ByID{ID: r.ID})
		h.must(err)
		if text(h, e.Record) != text(h, r) {
			t.Errorf("another record: %+v", e.Record)
		}
		s := fmt.Sprintf("%q book %d %s %s:", e.Invoice, e.Book, e.Total, e.Currency)
		for _, c := range e.Charges {
			s += " " + c.Quantity + " " + c.Arithmetic
		}
		got[strings.TrimSuffix(strings.TrimPrefix(r.RequestID, "cmpl-"), "-0")] = s
	}
	for id, want := range map[string]string{
		"acme-1": `"acme-0001" book 1 7.2 USD: input_tokens 60000 × 0.1 / 1000 = 6 cached_input_tokens 40000 × 0.01 / 1000 = 0.4 output_tokens 2000 × 0.4 / 1000 = 0.8`,
		"acme-3": `"acme-0001" book 1 0.0029 USD: input_tokens 7 × 0.2 / 1000 = 0.0014 requests 1 × 1.5 / 1000 = 0.0015`,
		"acme-x": `"acme-0001" book 1 0 USD:`,
		"zeta-3": `"" book 2 0.0033 USD: input_tokens 9 × 0.2 / 1000 = 0.0018 requests 1 × 1.5 / 1000 = 0.0015`,
		"42":     `"" book 2 0.2015 USD: input_tokens 1000 × 0.2 / 1000 = 0.2 requests 1 × 1.5 / 1000 = 0.0015`,
	} {
		if got[id] != want {
			t.Errorf("%s: %s\nwant %s", id, got[id], want)
		}
	}
}

// TestARequestWithoutPrices: what was never priced is explained all the same.
func TestARequestWithoutPrices(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.policy()
	h.customer(tenant.Customer{ID: "acme"})
	h.use(span{id: "acme-1", at: "2026-11-03T00:00:00Z", input: 1, output: 1})
	all, err := same(h, api.AskRequests, api.RequestsQuery{})
	h.must(err)
	explained := func(invoice string) {
		e, err := same(h, api.ExplainRequest, api.ByID{ID: all.Records[0].ID})
		h.must(err)
		if e.Invoice != invoice || e.Book != 0 || e.Currency != "" || len(e.Charges) != 0 || e.Total.String() != "0" {
			t.Errorf("%+v", e)
		}
	}
	explained("")
	h.finalise(closing("acme", "2026-11", "unpriced"))
	h.prices(book) // too late for a closed invoice
	explained("acme-0001")
}

func TestATraceIsExplained(t *testing.T) {
	t.Parallel()
	h := newArchive(t)
	for _, id := range []string{trace, strings.ToUpper(trace)} {
		e, err := same(h, api.ExplainTrace, api.TraceQuery{Trace: id})
		h.must(err)
		if len(e.Requests) != 2 || e.More || e.Requests[0].Record.Customer != "acme" || e.Requests[0].Invoice != "acme-0001" || e.Requests[1].Record.Customer != "zeta" {
			t.Errorf("%+v", e)
		}
	}
	zeta := h.key("zeta", tenant.RoleReader)
	e, err := api.ExplainTrace.Call(t.Context(), zeta, &api.TraceQuery{Trace: trace})
	if err != nil || len(e.Requests) != 1 || e.Requests[0].Record.Customer != "zeta" {
		t.Errorf("a customer sees %+v, %v", e, err)
	}
	all, err := same(h, api.AskRequests, api.RequestsQuery{Customer: "acme"})
	h.must(err)
	id := api.ByID{ID: all.Records[0].ID}
	for _, call := range []func(api.Caller) error{asking(h, api.ExplainRequest, id), asking(h, api.ProveRequest, id)} {
		h.refused(call(zeta), http.StatusNotFound, "no request has the id "+id.ID)
		h.must(call(h.local))
	}
	_, err = same(h, api.ExplainTrace, api.TraceQuery{Trace: strings.Repeat("0", 32)})
	h.refused(err, http.StatusNotFound, "no request is of the trace 0000")
}

// TestALongTraceIsCut and says so.
func TestALongTraceIsCut(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.policy()
	for i := range 101 {
		h.append(h.batch(span{id: fmt.Sprint("acme-x", i), at: "2026-11-03T00:00:00Z", input: 1, trace: trace}))
	}
	h.fold()
	e, err := same(h, api.ExplainTrace, api.TraceQuery{Trace: trace})
	h.must(err)
	if len(e.Requests) != 100 || !e.More {
		t.Errorf("%d, more %t", len(e.Requests), e.More)
	}
}

// TestWhatWentToAnother is listed as it was: late evidence said who really pays.
func TestWhatWentToAnother(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.policy()
	h.customer(tenant.Customer{ID: "acme"})
	h.customer(tenant.Customer{ID: "zeta"})
	h.prices(book)
	first := span{id: "acme-1", at: "2026-11-03T10:00:00Z", input: 1_000_000}
	h.use(first, span{id: "acme-2", at: "2026-11-03T11:00:00Z", input: 100_000})
	h.finalise(closing("acme", "2026-11"))
	first.prompt, first.payer = 1, "zeta"
	h.use(first)

	e, err := same(h, api.ExplainLine, api.ExplainQuery{ID: "acme-0001", Line: 1})
	h.must(err)
	if e.Used != 1_100_000 || e.Sum != e.Used || e.Count != 2 || e.Moved != 1 || !e.Complete || len(e.Records) != 2 || !e.Records[0].Moved || e.Records[1].Moved ||
		e.Records[0].Customer != "acme" || e.Records[0].Used != 1_000_000 || len(e.Records[0].Observations) != 1 {
		t.Errorf("%+v", e)
	}
	x := h.finalise(early(closing("acme", "2026-12")))
	want := "1 less_usage " + opt + " input_tokens -1000000 × 0.1 / 1000000 ~ -0.10"
	if got := lines(x); x.Total != "-0.10" || len(got) != 1 || got[0] != want {
		t.Errorf("%s %q; want %q", x.Total, got, want)
	}
	e, err = same(h, api.ExplainLine, api.ExplainQuery{ID: "acme-0002", Line: 1})
	h.must(err)
	if e.Used != -1_000_000 || e.Sum != e.Used || e.Count != 1 || e.Moved != 1 || e.Amount != "-0.10" {
		t.Errorf("%+v", e)
	}
	draft, err := same(h, api.DraftInvoice, api.DraftQuery{Customer: "zeta", Month: "2026-11"})
	h.must(err)
	if draft.Total != "0.20" {
		t.Errorf("zeta pays %s", draft.Total)
	}
}
