package cli_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tollkeeper/tollkeeper/internal/billing"
	"github.com/tollkeeper/tollkeeper/internal/money"
	"github.com/tollkeeper/tollkeeper/internal/pricing"
	"github.com/tollkeeper/tollkeeper/internal/store/business"
	"github.com/tollkeeper/tollkeeper/internal/tenant"
	"github.com/tollkeeper/tollkeeper/internal/usage"
)

// TestGoldenInvoices closes invoices and reads them back by the command, in all
// the ways that it prints: testdata/invoices has what a customer gets.
func TestGoldenInvoices(t *testing.T) {
	for name, build := range map[string]func(*office) string{
		"usd": plainInvoice, "eur_berlin": berlinInvoice, "jpy": yenInvoice, "kwd": dinarInvoice, "credit": creditInvoice,
		"void": voidInvoice, "projects": projectsInvoice, "long": longInvoice, "hostile": hostileInvoice, "left_out": leftOutInvoice, "empty": emptyInvoice,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newOffice(t)
			id := build(h)
			if err := h.store.Close(); err != nil {
				t.Fatal(err)
			}
			for format, suffix := range map[string]string{"table": "txt", "json": "json", "csv": "csv", "html": "html"} {
				code, out, errors := runProgram(t, "", "invoice", "show", id, "--data", h.dir, "-o", format)
				if code != 0 || errors != "" {
					t.Fatalf("%s: exit code %d: %s", format, code, errors)
				}
				goldenInvoice(t, name+"."+suffix, out)
			}
		})
	}
}

func goldenInvoice(t *testing.T, name, got string) {
	t.Helper()
	name = filepath.Join("testdata", "invoices", name)
	if *update {
		if err := os.WriteFile(name, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil || got != string(want) {
		t.Errorf("%s: %v; got\n%s", name, err, got)
	}
}

// office is a data directory without usage: what an invoice follows from is
// given to it.
type office struct {
	*testing.T
	dir    string
	store  *business.Store
	issuer billing.Party
	note   string
	digits int32
	books  []billing.Book
}

// closing is when the golden invoices are closed.
var closing = time.Date(2026, 12, 2, 10, 0, 0, 0, time.UTC)

func newOffice(t *testing.T) *office {
	h := &office{T: t, dir: t.TempDir(), digits: 2, note: "Payable within 14 days to DE02 1203 0000 0000 2020 51.\nQuestions: billing@rechenwerk.example"}
	h.issuer = billing.Party{Name: "Rechenwerk GmbH", Address: "Hafenstraße 7\n20457 Hamburg\nGermany\nVAT DE 123 456 789"}
	var err error
	h.store, err = business.Open(t.Context(), filepath.Join(h.dir, "business.db"), business.Options{Now: func() time.Time { return closing }})
	h.check(err)
	return h
}

func (h *office) check(err error) {
	h.Helper()
	if err != nil {
		h.Fatal(err)
	}
}

// prices puts a price book into force. Each entry is "MODEL FROM PER QUANTITY=PRICE…".
func (h *office) prices(currency string, entries ...string) {
	h.Helper()
	b := &pricing.Book{Currency: currency}
	for _, text := range entries {
		words := strings.Fields(text)
		e := pricing.Entry{Model: words[0], From: h.instant(words[1])}
		per, err := money.Parse(words[2])
		h.check(err)
		amount, err := per.Round(money.Currency{Code: "XXX"}, money.HalfEven)
		h.check(err)
		e.Per = amount.Minor()
		for _, pair := range words[3:] {
			quantity, value, _ := strings.Cut(pair, "=")
			price, err := money.Parse(value)
			h.check(err)
			e.Prices = append(e.Prices, pricing.Price{Quantity: quantity, Value: price})
		}
		pricing.SortPrices(e.Prices)
		b.Entries = append(b.Entries, e)
	}
	document, err := b.Canonical()
	h.check(err)
	kept, _, err := h.store.ApplyPriceBook(h.Context(), "test", document)
	h.check(err)
	read, err := pricing.Parse(kept.Document)
	h.check(err)
	h.books = append(h.books, billing.Book{BookRef: billing.BookRef{Version: kept.Version, Hash: kept.Hash}, Prices: read})
}

func (h *office) instant(s string) billing.Instant {
	h.Helper()
	at, err := time.Parse(time.RFC3339, s)
	h.check(err)
	return billing.Instant(at.Unix())
}

// customer adds one, and is who pays.
func (h *office) customer(c tenant.Customer) billing.Party {
	h.Helper()
	_, err := h.store.AddCustomer(h.Context(), "test", c)
	h.check(err)
	return billing.Party{ID: c.ID, Name: c.Name, Address: c.Address, Email: c.Email}
}

func (h *office) acme() billing.Party {
	return h.customer(tenant.Customer{ID: "acme", Name: "Acme Ltd", Address: "12 Foundry Lane\nSheffield S1 2AB\nUnited Kingdom", Email: "accounts@acme.example"})
}

// input is an invoice of a month by the newest price book.
func (h *office) input(payer billing.Party, month, zone string, totals ...usage.Total) billing.Input {
	h.Helper()
	m, err := billing.ParseMonth(month)
	h.check(err)
	where, err := time.LoadLocation(zone)
	h.check(err)
	in := billing.Input{
		Issuer: h.issuer, Customer: payer, Note: h.note, Period: m.In(where), Rounding: money.HalfEven, Usage: totals, Fold: 1,
		Journals: map[string]uint64{"tollkeeper-journal-0123456789abcdef": 48213},
	}
	in.Currency = money.Currency{Code: "USD", Digits: 2}
	if len(h.books) > 0 {
		in.Book = h.books[len(h.books)-1]
		in.Currency = money.Currency{Code: in.Book.Prices.Currency, Digits: h.digits}
	}
	for i := range totals {
		if totals[i].Bucket == 0 {
			totals[i].Bucket = int64(in.Period.Start)
		}
		if totals[i].Customer == "" && totals[i].Rule != usage.RuleUnattributed {
			totals[i].Customer = payer.ID
		}
	}
	return in
}

// used is a sum of usage: MODEL, PROJECT, "QUANTITY=AMOUNT…".
func (h *office) used(model, project string, amounts map[string]int64) usage.Total {
	t := usage.Total{Model: model, Project: project, Grade: usage.GradeFinal}
	for name, amount := range amounts {
		t.Quantities.Add(name, amount)
	}
	return t
}

// checkpoint is one as the journal signs it, with a key of nobody.
const checkpoint = `tollkeeper-journal-0123456789abcdef
48213
YWxsIG9mIHRoaXMgaXMgd3JpdHRlbiBkb3duIG9uY2U=

— tollkeeper 0badc0deZXhhbXBsZSBvZiBhIHNpZ25hdHVyZSwgbm90IG9uZSB0aGF0IGFueSBrZXkgbWFkZSwgZm9yIGdvbGRlbiBpbnZvaWNlcw==
`

// close closes an invoice for ever.
func (h *office) close(in billing.Input) *billing.Invoice {
	h.Helper()
	draft, err := billing.Make(in)
	h.check(err)
	revision, err := h.store.InvoiceRevision(h.Context(), in.Customer.ID)
	h.check(err)
	var out *billing.Invoice
	_, err = h.store.FinaliseInvoice(h.Context(), "test", business.Closing{
		Customer: in.Customer.ID, Start: time.Unix(int64(in.Period.Start), 0), End: time.Unix(int64(in.Period.End), 0), Book: in.Book.Version, Revision: revision,
	}, func(n business.Numbered) ([]byte, error) {
		out = draft.Sealed(billing.Seal{ID: n.ID, Number: n.Number, Finalised: n.Finalised, Checkpoint: checkpoint})
		return out.Canonical()
	})
	h.check(err)
	if found := out.Check(); len(found) > 0 {
		h.Fatalf("the arithmetic of %s: %q", out.ID, found)
	}
	return out
}

const (
	opt   = "facebook/opt-125m"
	llama = "meta-llama/Llama-3.3-70B-Instruct"
)

func usdPrices(h *office) {
	h.prices("USD",
		opt+" 2026-01-01T00:00:00Z 1000000 input_tokens=0.1 cached_input_tokens=0.05 output_tokens=0.4",
		"meta-llama/* 2026-01-01T00:00:00Z 1000000 input_tokens=0.6 output_tokens=0.8 reasoning_tokens=1.25")
}

func plainInvoice(h *office) string {
	usdPrices(h)
	return h.close(h.input(h.acme(), "2026-11", "UTC",
		h.used(opt, "", map[string]int64{usage.InputTokens: 1_834_220_113, usage.CachedInputTokens: 604_113_920, usage.OutputTokens: 98_004_771}),
		h.used(llama, "", map[string]int64{usage.InputTokens: 412_907_005, usage.OutputTokens: 51_220_018, usage.ReasoningTokens: 7_350_002}),
	)).ID
}

// berlinInvoice is of the month in which the clocks go back, with a price that
// changes at that moment.
func berlinInvoice(h *office) string {
	h.prices("EUR", opt+" 2026-01-01T00:00:00Z 1000000 input_tokens=0.09 output_tokens=0.35", opt+" 2026-10-25T01:00:00Z 1000000 input_tokens=0.085 output_tokens=0.35")
	payer := h.customer(tenant.Customer{ID: "nordlicht", Name: "Nordlicht Software AG", Address: "Am Sandtorkai 30\n20457 Hamburg", TimeZone: "Europe/Berlin", Currency: "EUR"})
	late := h.used(opt, "", map[string]int64{usage.InputTokens: 61_000_500, usage.OutputTokens: 20_000_014})
	late.Bucket = int64(h.instant("2026-10-25T01:00:00Z"))
	return h.close(h.input(payer, "2026-10", "Europe/Berlin", h.used(opt, "", map[string]int64{usage.InputTokens: 204_117_331, usage.OutputTokens: 44_018_200}), late)).ID
}

func yenInvoice(h *office) string {
	h.digits = 0
	h.prices("JPY", opt+" 2026-01-01T00:00:00Z 1000 input_tokens=0.015 output_tokens=0.06 requests=0.25")
	payer := h.customer(tenant.Customer{ID: "hoshi", Name: "株式会社ほし", Address: "〒100-0001 東京都千代田区千代田1-1", TimeZone: "Asia/Tokyo", Currency: "JPY"})
	in := h.input(payer, "2026-11", "Asia/Tokyo", h.used(opt, "", map[string]int64{usage.InputTokens: 88_123_456, usage.OutputTokens: 9_104_500, usage.Requests: 120_402}))
	in.Rounding = money.HalfUp
	return h.close(in).ID
}

func dinarInvoice(h *office) string {
	h.digits = 3
	h.prices("KWD", opt+" 2026-01-01T00:00:00Z 1000000 input_tokens=0.031 output_tokens=0.1225", "audio/* 2026-01-01T00:00:00Z 1000 audio_ms=0.00004")
	payer := h.customer(tenant.Customer{ID: "burj", Name: "Burj Data W.L.L.", Address: "Sharq, Kuwait City", TimeZone: "Asia/Kuwait", Currency: "KWD"})
	return h.close(h.input(payer, "2026-11", "Asia/Kuwait",
		h.used(opt, "", map[string]int64{usage.InputTokens: 7_003_500, usage.OutputTokens: 1_000_001}), h.used("audio/whisper", "", map[string]int64{"audio_ms": 5_400_123}))).ID
}

// creditInvoice gives back more than it charges: of October some usage turned
// out to be another customer's, some came late.
func creditInvoice(h *office) string {
	usdPrices(h)
	acme := h.acme()
	october := h.close(h.input(acme, "2026-10", "UTC", h.used(opt, "", map[string]int64{usage.InputTokens: 90_000_000, usage.OutputTokens: 2_000_000})))
	now := h.input(acme, "2026-10", "UTC", h.used(opt, "", map[string]int64{usage.InputTokens: 20_000_000, usage.OutputTokens: 2_000_000}),
		h.used(llama, "", map[string]int64{usage.InputTokens: 1_500_000}))
	in := h.input(acme, "2026-11", "UTC", h.used(opt, "", map[string]int64{usage.InputTokens: 3_000_000}))
	in.Closed = []billing.Closed{{Invoice: october, Book: now.Book, Usage: now.Usage}}
	return h.close(in).ID
}

func voidInvoice(h *office) string {
	usdPrices(h)
	id := h.close(h.input(h.acme(), "2026-11", "UTC", h.used(opt, "", map[string]int64{usage.InputTokens: 12_000_000}))).ID
	h.check(h.store.VoidInvoice(h.Context(), "test", id, "wrong address; acme-0002 replaces it"))
	return id
}

func projectsInvoice(h *office) string {
	usdPrices(h)
	in := h.input(h.acme(), "2026-11", "UTC",
		h.used(opt, "search", map[string]int64{usage.InputTokens: 300_000_001, usage.OutputTokens: 1}),
		h.used(opt, "chat", map[string]int64{usage.InputTokens: 200_000_002, usage.CachedInputTokens: 50_000_000, usage.OutputTokens: 70_000_000}),
		h.used(llama, "chat", map[string]int64{usage.InputTokens: 1_234_567, usage.OutputTokens: 89_012}),
		h.used(opt, "", map[string]int64{usage.InputTokens: 5, usage.OutputTokens: 3}),
	)
	in.Projects = map[string]string{"search": "Search & Discovery", "archive": "not used"}
	return h.close(in).ID
}

// longInvoice has names that do not fit, and more lines than a page.
func longInvoice(h *office) string {
	h.prices("USD", "* 2026-01-01T00:00:00Z 1000000 input_tokens=0.123456789012 output_tokens=123456.789")
	long := h.customer(tenant.Customer{ID: "long", Name: strings.Repeat("Very Long Names and Sons ", 6), Address: strings.Repeat("Unbroken", 20)})
	var totals []usage.Total
	for i := range 24 {
		name := "organisation-with-a-long-name/" + strings.Repeat("mixture-of-experts-", i%6) + string(rune('a'+i)) + "-120b-instruct-awq"
		totals = append(totals, h.used(name, strings.Repeat("department-", i%4)+"x", map[string]int64{usage.InputTokens: 9_007_199_254_740, usage.OutputTokens: int64(i)}))
	}
	return h.close(h.input(long, "2026-11", "UTC", totals...)).ID
}

// hostileInvoice has text of clients and customers that tries to be more.
func hostileInvoice(h *office) string {
	h.prices("USD", "* 2026-01-01T00:00:00Z 1000000 input_tokens=1")
	h.note = "</p><script>alert('note')</script>"
	payer := h.customer(tenant.Customer{
		ID: "eve", Name: `<script>alert("name")</script>`, Address: "</style><img src=x onerror=alert(1)>\n{{.Issuer}} &amp; 'quotes' \"double\"\n\u202egnihton si sihT", Email: "=HYPERLINK(\"http://evil.example\")",
	})
	id := h.close(h.input(payer, "2026-11", "UTC",
		h.used(`<iframe src="javascript:alert(1)">`, "<b>bold</b>", map[string]int64{usage.InputTokens: 1_000_000}),
		h.used("=cmd|' /C calc'!A0", "x\x1b[31mred", map[string]int64{usage.InputTokens: 2_000_000}),
	)).ID
	h.check(h.store.VoidInvoice(h.Context(), "test", id, "<!-- \x1b[2J"))
	return id
}

// leftOutInvoice was closed by all permissions but the one for nothing.
func leftOutInvoice(h *office) string {
	h.digits = 0
	h.prices("JPY", opt+" 2026-01-01T00:00:00Z 1000 input_tokens=0.015")
	acme := h.acme()
	september := h.close(h.input(acme, "2026-09", "UTC"))
	was := h.input(acme, "2026-09", "UTC", h.used(opt, "", map[string]int64{usage.InputTokens: 50_000_000}))
	h.digits = 2
	usdPrices(h)
	october := h.input(acme, "2026-10", "UTC", h.used(opt, "", map[string]int64{usage.InputTokens: 10_000_000}))
	october.Fold = 0
	closedOctober := h.close(october)
	counted := h.input(acme, "2026-10", "UTC", h.used(opt, "", map[string]int64{usage.InputTokens: 10_500_000}))
	nobody := h.used(opt, "", map[string]int64{usage.InputTokens: 4_001, usage.OutputTokens: 12})
	nobody.Rule = usage.RuleUnattributed
	in := h.input(acme, "2026-11", "UTC", h.used(opt, "", map[string]int64{usage.InputTokens: 1_000_000, usage.CachedInputTokens: 2_000_000}), nobody,
		h.used("", "", map[string]int64{usage.InputTokens: 77}), h.used(llama, "", map[string]int64{"audio_ms": 60_000}))
	in.Closed = []billing.Closed{{Invoice: september, Book: was.Book, Usage: was.Usage}, {Invoice: closedOctober, Book: counted.Book, Usage: counted.Usage}}
	return h.close(in).ID
}

// emptyInvoice is one that nobody said much about, without usage or prices.
func emptyInvoice(h *office) string {
	h.issuer, h.note = billing.Party{}, ""
	return h.close(h.input(h.customer(tenant.Customer{ID: "idle"}), "2026-11", "UTC")).ID
}
