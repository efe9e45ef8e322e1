package api_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/tollkeeper/tollkeeper/internal/api"
	"github.com/tollkeeper/tollkeeper/internal/billing"
	"github.com/tollkeeper/tollkeeper/internal/tenant"
)

func closing(customer, month string, allow ...billing.Permission) (in api.FinaliseIn) {
	in.Body.Customer, in.Body.Month, in.Body.Allow = customer, month, allow
	return in
}

func early(in api.FinaliseIn) api.FinaliseIn {
	in.Body.Early = true
	return in
}

// finalise closes an invoice in process.
func (h *house) finalise(in api.FinaliseIn) *api.Invoice {
	h.Helper()
	x, err := api.FinaliseInvoice.Call(h.Context(), h.local, &in)
	h.must(err)
	return x
}

// lines are an invoice's, "MODEL QUANTITY USED × PRICE / PER = CHARGE ~ AMOUNT".
func lines(x *api.Invoice) (out []string) {
	for _, n := range x.Lines {
		out = append(out, fmt.Sprintf("%d %s %s %d × %s / %d = %s ~ %s", n.Line, n.Model, n.Quantity, n.Used, n.Price, n.Per, n.Charge, n.Amount))
	}
	for _, a := range x.Adjustments {
		out = append(out, fmt.Sprintf("%d %s %s %s %d × %s / %d ~ %s", a.Line, a.Reason, a.Model, a.Quantity, a.Used, a.Price, a.Per, a.Amount))
	}
	return out
}

func TestDrafts(t *testing.T) {
	t.Parallel()
	h := newOffice(t)
	h.use(span{id: "acme-9", at: "2026-11-09T00:00:00Z", input: 3, output: 1, service: "dear", model: "dear"})
	for _, c := range []struct {
		name  string
		q     api.DraftQuery
		total string
		start string
		lines []string
		says  []string // left out and blocks
	}{
		{
			"the last month", api.DraftQuery{Customer: "acme", Month: "2026-11"}, "0.30", "2026-11-01T00:00:00Z",
			[]string{
				"1 " + opt + " input_tokens 1000110 × 0.1 / 1000000 = 0.100011 ~ 0.10",
				"2 " + opt + " output_tokens 500055 × 0.4 / 1000000 = 0.200022 ~ 0.20",
			},
			[]string{"dear input_tokens 3 unknown_model", "dear output_tokens 1 unknown_model"},
		},
		{"this month, when none is named", api.DraftQuery{Customer: "acme"}, "0.00", "2026-12-01T00:00:00Z", []string{
			"1 " + opt + " input_tokens 1 × 0.1 / 1000000 = 0.0000001 ~ 0.00", "2 " + opt + " output_tokens 1 × 0.4 / 1000000 = 0.0000004 ~ 0.00",
		}, nil},
		{"a month without usage", api.DraftQuery{Customer: "zeta", Month: "2026-10"}, "0.00", "2026-10-01T00:00:00Z", nil, []string{"no usage"}},
		{"a month to come", api.DraftQuery{Customer: "zeta", Month: "2027-01"}, "0.00", "2027-01-01T00:00:00Z", nil, []string{"no usage"}},
		{"of one whom nobody added", api.DraftQuery{Customer: "stranger", Month: "2026-11"}, "0.00", "2026-11-01T00:00:00Z", []string{
			"1 " + opt + " input_tokens 70 × 0.1 / 1000000 = 0.000007 ~ 0.00", "2 " + opt + " output_tokens 30 × 0.4 / 1000000 = 0.000012 ~ 0.00",
		}, []string{"customer stranger was never added"}},
	} {
		x, err := same(h, api.DraftInvoice, c.q)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if x.State != "draft" || x.ID != "" || x.Total != c.total || x.Start.String() != c.start || x.Currency != "USD" || !slices.Equal(lines(x), c.lines) {
			t.Errorf("%s: %s from %s, %s %s %q", c.name, x.State, x.Start, x.Total, x.Currency, lines(x))
		}
		var says []string
		for _, u := range x.LeftOut {
			says = append(says, fmt.Sprintf("%s %s %d %s", u.Model, u.Quantity, u.Used, u.Reason))
		}
		if len(x.LeftOut) == 0 {
			says = append(says, x.Blocks...)
		}
		if !slices.Equal(says, c.says) {
			t.Errorf("%s: %q; want %q", c.name, says, c.says)
		}
	}
}

func TestMonthsThatCannotBeInvoiced(t *testing.T) {
	t.Parallel()
	h := newOffice(t)
	for month, says := range map[string]string{
		"2026-13": "a month is written as 2026-11", "2026-1": "2026-11", "November": "2026-11", "2026-11-01": "2026-11", "-001-01": "2026-11", "2026-00": "2026-11",
		"0000-01": "2026-11", "0001-01": "2020", "1969-12": "2020", "2019-12": "2020", "2300-01": "2099", "9999-12": "2026-11", "2261-12": "2099",
	} {
		_, err := same(h, api.DraftInvoice, api.DraftQuery{Customer: "acme", Month: month})
		h.refused(err, http.StatusBadRequest, says)
		_, err = same(h, api.FinaliseInvoice, early(closing("acme", month)))
		h.refused(err, http.StatusBadRequest, says)
	}
	for _, month := range []string{"2020-01", "2099-12"} {
		if _, err := same(h, api.DraftInvoice, api.DraftQuery{Customer: "acme", Month: month}); err != nil {
			t.Errorf("%s: %v", month, err)
		}
	}
}

// TestWhatKeepsAnInvoiceOpen: each refusal says what would close it.
func TestWhatKeepsAnInvoiceOpen(t *testing.T) {
	t.Parallel()
	h := newOffice(t)
	h.use(
		span{id: "acme-9", at: "2026-10-09T00:00:00Z", input: 3, output: 1, service: "dear", model: "dear"},
		span{id: "42", at: "2026-10-10T00:00:00Z", input: 5, output: 1},
	)
	yen := "JPY"
	_, err := api.UpdateCustomer.Call(t.Context(), h.local, &api.UpdateCustomerIn{ID: "zeta", Body: api.CustomerSpec{Currency: &yen}})
	h.must(err)
	for name, c := range map[string]struct {
		in     api.FinaliseIn
		status int
		says   string
	}{
		"no month":              {closing("acme", ""), 400, "name the month, such as 2026-11"},
		"no customer":           {closing("", "2026-11"), 400, "invalid customer id"},
		"no such permission":    {closing("acme", "2026-11", "everything"), 400, `allow "everything": one of`},
		"a stranger":            {closing("stranger", "2026-11"), 404, "only a known customer gets a final invoice\n`tollkeeper customer add stranger` adds it"},
		"nobody at all":         {closing("nobody", "2026-11"), 404, "customer nobody was never added"},
		"not over":              {closing("acme", "2026-12"), 409, "may be closed from 2027-01-02T00:00:00Z on, when late usage had time to arrive\n--early closes it now"},
		"not begun":             {early(closing("acme", "2027-01")), 400, "the period begins at 2027-01-01T00:00:00Z: there is nothing to invoice yet"},
		"no price, and nobody":  {closing("acme", "2026-10"), 409, "--allow-unpriced --allow-unattributed closes it all the same"},
		"nobody":                {closing("acme", "2026-10", billing.AllowUnpriced), 409, "\n--allow-unattributed closes it all the same"},
		"nothing":               {closing("acme", "2026-09"), 409, "--allow-empty closes it all the same"},
		"prices in another":     {closing("zeta", "2026-11"), 409, "the prices are in USD, the invoices of zeta in JPY\n`tollkeeper customer update zeta --currency …`"},
		"a name with a newline": {closing("acme\n", "2026-11"), 400, "invalid customer id"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := same(h, api.FinaliseInvoice, c.in)
			h.refused(err, c.status, c.says)
		})
	}
	if list, err := same(h, api.ListInvoices, api.InvoicesQuery{}); err != nil || len(list.Invoices) != 0 {
		t.Errorf("something was closed: %+v, %v", list, err)
	}
}

// TestAnInvoiceIsClosedOnce: what is closed reads the same for ever, by both ways,
// and its period cannot be closed again until it is void.
func TestAnInvoiceIsClosedOnce(t *testing.T) {
	t.Parallel()
	w := newTwins(t, newOffice)
	h := w.inside
	in := closing("acme", "2026-11")
	x, err := api.FinaliseInvoice.Call(t.Context(), w.outside.client, &in)
	h.must(err)
	if got := h.finalise(in); got.ID != x.ID || got.Total != x.Total || !slices.Equal(lines(got), lines(x)) {
		t.Errorf("in process %+v, over HTTP %+v", got, x)
	}
	h = w.outside
	if x.ID != "acme-0001" || x.Number != 1 || x.State != "final" || x.Total != "0.30" || x.Finalised != "2026-12-02T12:00:00.000Z" || x.Book != 1 || len(x.Hash) != 64 {
		t.Errorf("%+v", x.InvoiceHead)
	}
	var document struct{ Checkpoint string }
	if err := json.Unmarshal(x.Document.RawMessage, &document); err != nil || !strings.HasPrefix(document.Checkpoint, h.journal.Origin()+"\n7\n") {
		t.Errorf("no checkpoint of the journal's: %q, %v", document.Checkpoint, err)
	}

	h.use(span{id: "acme-late", at: "2026-11-15T00:00:00Z", input: 100_000, output: 0})
	shown, err := same(h, api.ShowInvoice, api.ByID{ID: "acme-0001"})
	h.must(err)
	if text(h, shown) != text(h, x) {
		t.Errorf("it changed:\n%s\n%s", text(h, shown), text(h, x))
	}
	for _, again := range []api.FinaliseIn{in, closing("acme", "2026-11", billing.AllowEmpty)} {
		_, err = same(h, api.FinaliseInvoice, again)
		h.refused(err, http.StatusConflict, "invoice acme-0001 covers 2026-11 already\n`tollkeeper invoice show acme-0001` shows it")
	}
	_, err = same(h, api.DraftInvoice, api.DraftQuery{Customer: "acme", Month: "2026-11"})
	h.refused(err, http.StatusConflict, "invoice acme-0001 covers 2026-11 already")

	// What came late is on the next one.
	next, err := same(h, api.DraftInvoice, api.DraftQuery{Customer: "acme"})
	h.must(err)
	want := []string{
		"1 " + opt + " input_tokens 1 × 0.1 / 1000000 = 0.0000001 ~ 0.00", "2 " + opt + " output_tokens 1 × 0.4 / 1000000 = 0.0000004 ~ 0.00",
		"3 late_usage " + opt + " input_tokens 100000 × 0.1 / 1000000 ~ 0.01",
	}
	if next.Total != "0.01" || !slices.Equal(lines(next), want) {
		t.Errorf("%s %q; want %q", next.Total, lines(next), want)
	}
}

func voiding(id, reason string) (in api.VoidInvoiceIn) {
	in.ID, in.Body.Reason = id, reason
	return in
}

func TestVoid(t *testing.T) {
	t.Parallel()
	w := newTwins(t, newOffice)
	h := w.inside
	w.inside.finalise(closing("acme", "2026-11"))
	w.outside.finalise(closing("acme", "2026-11"))
	_, err := change(w, api.VoidInvoice, voiding("acme-0001", ""))
	h.refused(err, http.StatusBadRequest, "needs a reason")
	in := voiding("acme-0001", "a wrong address")
	inside, err := api.VoidInvoice.Call(t.Context(), w.inside.local, &in)
	h.must(err)
	outside, err := api.VoidInvoice.Call(t.Context(), w.outside.client, &in)
	h.must(err)
	for _, x := range []*api.Invoice{inside, outside} {
		if x.State != "void" || x.VoidReason != "a wrong address" || !x.Voided.Equal(noon) || x.Total != "0.30" {
			t.Errorf("%+v", x.InvoiceHead)
		}
	}
	_, err = change(w, api.VoidInvoice, in)
	h.refused(err, http.StatusConflict, "invoice acme-0001 is void since 2026-12-02")
	again := h.finalise(closing("acme", "2026-11"))
	if again.ID != "acme-0002" || again.Total != "0.30" {
		t.Errorf("%+v", again.InvoiceHead)
	}
	list, err := same(h, api.ListInvoices, api.InvoicesQuery{Customer: "acme"})
	h.must(err)
	var got []string
	for _, x := range list.Invoices {
		got = append(got, x.ID+" "+x.State)
	}
	slices.Sort(got)
	if !slices.Equal(got, []string{"acme-0001 void", "acme-0002 final"}) {
		t.Errorf("%q", got)
	}
}

// TestMoneyIsExactInEveryCurrency: amounts are texts with the currency's own
// number of decimal places.
func TestMoneyIsExactInEveryCurrency(t *testing.T) {
	t.Parallel()
	for code, want := range map[string]string{"JPY": "12346", "USD": "12345.68", "KWD": "12345.679"} {
		h := newHouse(t)
		h.policy()
		h.customer(tenant.Customer{ID: "acme", Currency: code})
		h.prices(strings.NewReplacer("USD", code, `"0.10"`, `"0.000123456789"`, "1000000", "1").Replace(book))
		h.use(span{id: "acme-1", at: "2026-11-03T10:00:00Z", input: 100_000_000, output: 0})
		x, err := same(h, api.DraftInvoice, api.DraftQuery{Customer: "acme", Month: "2026-11"})
		h.must(err)
		if x.Total != want || x.Lines[0].Charge.String() != "12345.6789" || x.Currency != code {
			t.Errorf("%s: %q", x.Total, lines(x))
		}
	}
}

// TestMonthsOfAZone: the customer's zone decides, also over the change to summer time.
func TestMonthsOfAZone(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.customer(tenant.Customer{ID: "acme", TimeZone: "Europe/Berlin"})
	h.customer(tenant.Customer{ID: "zeta"})
	h.local.Defaults.TimeZone = "Asia/Kolkata"
	for customer, want := range map[string]string{
		"acme": "2026-02-28T23:00:00Z 2026-03-31T22:00:00Z Europe/Berlin", "zeta": "2026-02-28T18:30:00Z 2026-03-31T18:30:00Z Asia/Kolkata",
	} {
		x, err := same(h, api.DraftInvoice, api.DraftQuery{Customer: customer, Month: "2026-03"})
		h.must(err)
		if got := x.Start.String() + " " + x.End.String() + " " + x.TimeZone; got != want {
			t.Errorf("%s; want %s", got, want)
		}
	}
	h.local.Defaults.TimeZone = "Local"
	_, err := same(h, api.DraftInvoice, api.DraftQuery{Customer: "zeta", Month: "2026-03"})
	h.refused(err, http.StatusBadRequest, `time zone "Local"`)
}

// TestClosingWaitsForUsage: what stands in the journal is on the invoice, although
// it was not folded when it was asked for.
func TestClosingWaitsForUsage(t *testing.T) {
	t.Parallel()
	h := newOffice(t)
	h.append(h.batch(span{id: "acme-8", at: "2026-11-08T00:00:00Z", input: 1_000_000}))
	var folding sync.WaitGroup
	folding.Go(h.fold)
	x := h.finalise(closing("acme", "2026-11"))
	folding.Wait()
	if x.Total != "0.40" || x.AsOf.Journals[h.journal.Origin()] != 8 {
		t.Errorf("%s as of %v", x.Total, x.AsOf)
	}
}

// TestTwoWhoCloseTheSame: one gets the invoice, the other is told.
func TestTwoWhoCloseTheSame(t *testing.T) {
	t.Parallel()
	h := newOffice(t)
	var won, told sync.Map
	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() {
			in := closing("acme", "2026-11")
			x, err := api.FinaliseInvoice.Call(t.Context(), h.client, &in)
			if err == nil {
				won.Store(x.ID, i)
			} else if p := problem(err); p.Status == http.StatusConflict && strings.Contains(p.Error(), "acme-0001") {
				told.Store(i, p)
			} else {
				t.Errorf("%v", err)
			}
		})
	}
	all.Wait()
	count := func(m *sync.Map) (n int) {
		m.Range(func(any, any) bool { n++; return true })
		return n
	}
	if count(&won) != 1 || count(&told) != 3 {
		t.Errorf("%d won, %d were told", count(&won), count(&told))
	}
}

// TestCustomersSeeTheirOwnInvoices, and cannot learn whether another's is there.
func TestCustomersSeeTheirOwnInvoices(t *testing.T) {
	t.Parallel()
	h := newOffice(t)
	h.finalise(closing("acme", "2026-11"))
	h.finalise(closing("zeta", "2026-11"))
	zeta := h.key("zeta", tenant.RoleReader)
	list, err := api.ListInvoices.Call(t.Context(), zeta, &api.InvoicesQuery{})
	h.must(err)
	if len(list.Invoices) != 1 || list.Invoices[0].ID != "zeta-0001" {
		t.Errorf("%+v", list)
	}
	if x, err := api.ShowInvoice.Call(t.Context(), zeta, &api.ByID{ID: "zeta-0001"}); err != nil || x.Customer != "zeta" {
		t.Errorf("%+v, %v", x, err)
	}
	_, there := api.ShowInvoice.Call(t.Context(), zeta, &api.ByID{ID: "acme-0001"})
	_, absent := api.ShowInvoice.Call(t.Context(), zeta, &api.ByID{ID: "acme-0002"})
	if strings.ReplaceAll(there.Error(), "acme-0001", "acme-0002") != absent.Error() || problem(there).Status != http.StatusNotFound {
		t.Errorf("%v; %v", there, absent)
	}
	_, err = api.ExplainLine.Call(t.Context(), zeta, &api.ExplainQuery{ID: "acme-0001", Line: 1})
	h.refused(err, http.StatusNotFound, "acme-0001 not found")
	for name, call := range map[string]func(api.Caller) error{
		"void":  asking(h, api.VoidInvoice, voiding("zeta-0001", "too dear")),
		"draft": asking(h, api.DraftInvoice, api.DraftQuery{Customer: "zeta"}),
		"list":  asking(h, api.ListInvoices, api.InvoicesQuery{Customer: "acme"}),
		"close": asking(h, api.FinaliseInvoice, early(closing("zeta", "2026-12"))),
	} {
		if err := call(zeta); problem(err).Status != http.StatusForbidden {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestAmountsInAnotherCurrencyWait: what a closed period still owes in dollars is
// on no invoice in euros, and said.
func TestAmountsInAnotherCurrencyWait(t *testing.T) {
	t.Parallel()
	h := newOffice(t)
	h.finalise(closing("acme", "2026-11"))
	h.use(span{id: "acme-late", at: "2026-11-15T00:00:00Z", input: 100_000})
	h.prices(strings.Replace(book, "USD", "EUR", 1))
	euro := "EUR"
	_, err := api.UpdateCustomer.Call(t.Context(), h.local, &api.UpdateCustomerIn{ID: "acme", Body: api.CustomerSpec{Currency: &euro}})
	h.must(err)
	x, err := same(h, api.DraftInvoice, api.DraftQuery{Customer: "acme"})
	h.must(err)
	if len(x.Deferred) != 1 || x.Deferred[0].Invoice != "acme-0001" || x.Deferred[0].Currency != "USD" || x.Deferred[0].Amount != "0.01" || x.Currency != "EUR" || x.Total != "0.00" {
		t.Errorf("%s %s %+v", x.Total, x.Currency, x.Deferred)
	}
	_, err = same(h, api.FinaliseInvoice, early(closing("acme", "2026-12")))
	h.refused(err, http.StatusConflict, "--allow-other-currency closes it all the same")
}

// behind is a projection that never catches up; whoever asks twice has waited long
// enough.
type behind struct {
	api.Store
	gone func()
	asks int
}

func (s *behind) Positions(context.Context) (map[string]uint64, error) {
	if s.asks++; s.asks > 1 {
		s.gone()
	}
	return map[string]uint64{}, nil
}

// TestUsageThatIsBehindIsNotInvoiced: it would be short of what was acknowledged.
func TestUsageThatIsBehindIsNotInvoiced(t *testing.T) {
	t.Parallel()
	h := newOffice(t)
	ctx, cancel := context.WithCancel(t.Context())
	h.local.Usage = &behind{Store: h.local.Usage, gone: cancel}
	in := closing("acme", "2026-11")
	_, err := api.FinaliseInvoice.Call(ctx, h.local, &in)
	h.refused(err, http.StatusServiceUnavailable, "usage is folded up to entry 0 of 7 of the journal\ntry again while `tollkeeper serve` runs")
}

// TestTheReservedCustomer is metered and priced like anybody, and never invoiced.
func TestTheReservedCustomer(t *testing.T) {
	t.Parallel()
	w := newTwins(t, newOffice)
	h := w.inside
	_, err := change(w, api.AddCustomer, api.AddCustomerIn{Body: spec(tenant.TestCustomer, "")})
	h.refused(err, http.StatusConflict, "is reserved for tests of the installation")
	for range 2 { // it is added when it is first needed
		tag, err := api.MakeTag.Call(t.Context(), h.client, new(tagFor(tenant.TestCustomer, "", "")))
		h.must(err)
		if v := h.verdict(tag, noon); v.Customer != tenant.TestCustomer {
			t.Errorf("%+v", v)
		}
	}
	list, err := same(h, api.ListCustomers, api.None{})
	h.must(err)
	for _, c := range list.Customers {
		if c.Reserved != (c.ID == tenant.TestCustomer) {
			t.Errorf("%+v", c)
		}
	}
	_, err = same(h, api.FinaliseInvoice, closing(tenant.TestCustomer, "2026-11"))
	h.refused(err, http.StatusConflict, "never invoiced")
	_, err = same(h, api.DraftInvoice, api.DraftQuery{Customer: tenant.TestCustomer})
	h.refused(err, http.StatusConflict, "never invoiced")
}
