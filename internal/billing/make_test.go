package billing_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/tollkeeper/tollkeeper/internal/billing"
	"github.com/tollkeeper/tollkeeper/internal/money"
	"github.com/tollkeeper/tollkeeper/internal/usage"
)

const (
	in  = usage.InputTokens
	out = usage.OutputTokens
)

// texts are the invoice's lines and adjustments in short.
func texts(i *billing.Invoice) []string {
	list := []string{}
	for _, l := range i.Lines {
		list = append(list, strings.Join([]string{l.Model, l.Quantity, l.Charge.String(), l.Total}, " "))
	}
	for _, a := range i.Adjustments {
		list = append(list, strings.Join([]string{a.Period.Start.String()[:7], a.Model, a.Quantity, a.TotalBilled, a.TotalNow, a.Total, string(a.Reason)}, " "))
	}
	return list
}

func wantTexts(t *testing.T, i *billing.Invoice, want ...string) {
	t.Helper()
	if got := texts(i); !slices.Equal(got, want) {
		t.Errorf("lines:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestLines(t *testing.T) {
	t.Parallel()
	november := month(t, "2026-11").Start
	cheaper := at(t, "2026-11-16T00:00:00Z")
	first, second := entry(t, "opt", in, "0.10", out, "0.40"), entry(t, "opt", in, "0.05", out, "0.40")
	first.To, second.From = cheaper, cheaper
	b := book(3, "EUR", first, second, entry(t, "big/*", in, "2.5"))
	i := make1(t, input(t, "2026-11", b,
		used(november, "opt", "search", in, 1_234_567, out, 100_000),
		used(november, "opt", "", in, 50_000),
		used(cheaper, "opt", "search", in, 500_000, out, 25_000),
		used(november, "big/llm", "chat", in, 3),
		usage.Total{Bucket: int64(november), Customer: "other", Model: "opt", Quantities: usage.NewQuantities(usage.Quantity{Name: in, Amount: 5})},
	))
	wantTexts(t, i,
		"big/llm input_tokens 0.0000075 0.00",
		"opt input_tokens 0.1284567 0.13",
		"opt input_tokens 0.025 0.02", // half to even
		"opt output_tokens 0.04 0.04",
		"opt output_tokens 0.01 0.01")
	wantTotal(t, i, "0.20", "0.00", "0.20")
	if parts := i.Lines[1].Projects; len(parts) != 2 || parts[0].Project != "" || parts[0].Amount != 50_000 || parts[1].Charge.String() != "0.1234567" {
		t.Errorf("projects %+v", parts)
	}
	if p := i.Lines[2].Price; p.Book != 3 || p.From != cheaper || p.Per != 1_000_000 || p.Price.String() != "0.05" {
		t.Errorf("price %+v", p)
	}
	if !i.Draft() || i.ID != "" || sealed(i, 1).Draft() {
		t.Error("a draft is one until it is sealed")
	}
}

func TestCurrenciesAndRoundings(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		currency money.Currency
		rounding money.Rounding
		want     string
	}{
		{euro, money.HalfEven, "0.12"}, {euro, money.HalfUp, "0.13"}, {euro, money.HalfDown, "0.12"}, {euro, money.Up, "0.13"}, {euro, money.Down, "0.12"},
		{yen, money.HalfEven, "0"}, {yen, money.Up, "1"}, {dinar, money.HalfEven, "0.125"},
	} {
		x := input(t, "2026-11", book(1, c.currency.Code, entry(t, "opt", in, "0.125")), used(month(t, "2026-11").Start, "opt", "", in, 1_000_000))
		x.Currency, x.Rounding = c.currency, c.rounding
		i := make1(t, x)
		wantClean(t, i)
		if i.Sums.Total != c.want {
			t.Errorf("0.125 %s %s: %s, want %s", c.currency.Code, c.rounding, i.Sums.Total, c.want)
		}
	}
}

// What comes late for a closed period is on the next invoice, at the prices that
// were pinned, and rounded so that the sum is what it would have been in time.
func TestLateUsage(t *testing.T) {
	t.Parallel()
	november := month(t, "2026-11").Start
	old, dear := book(1, "EUR", entry(t, "opt", in, "1")), book(2, "EUR", entry(t, "opt", in, "9"))
	first := sealed(make1(t, input(t, "2026-11", old, used(november, "opt", "", in, 4_000))), 1) // 0.004: 0.00
	next := input(t, "2026-12", dear)
	next.Closed = []billing.Closed{closed(first, old, used(november, "opt", "", in, 5_001))} // 0.005001: 0.01
	second := make1(t, next)
	wantTexts(t, second, "2026-11 opt input_tokens 0.00 0.01 0.01 late_usage")
	wantTotal(t, second, "0.00", "0.01", "0.01")
	if a := second.Adjustments[0]; a.Invoice != "acme-0001" || a.Amount != 1001 || a.AmountBilled != 4000 || a.Price.Price.String() != "1" || a.Number != 1 {
		t.Errorf("adjustment %+v", a)
	}
	// Later still it turns out to be less: what was billed is taken off.
	last := input(t, "2027-01", dear, used(month(t, "2027-01").Start, "opt", "", in, 1_000_000))
	last.Closed = []billing.Closed{closed(sealed(second, 2), dear), closed(first, old, used(november, "opt", "", in, 1))}
	third := make1(t, last)
	wantTexts(t, third, "opt input_tokens 9 9.00", "2026-11 opt input_tokens 0.01 0.00 -0.01 less_usage")
	wantTotal(t, third, "9.00", "-0.01", "8.99")
	if got := third.Counted; !slices.Equal(got, []string{"acme-0001", "acme-0002"}) {
		t.Errorf("counted %v", got)
	}
	// What makes no cent is told all the same.
	last.Closed[1].Usage = []usage.Total{used(november, "opt", "", in, 5_002)}
	wantTexts(t, make1(t, last), "opt input_tokens 9 9.00", "2026-11 opt input_tokens 0.01 0.01 0.00 late_usage")
	last.Closed[1].Usage = []usage.Total{used(november, "opt", "", in, 1)}
	// Nothing new: no adjustment.
	calm := input(t, "2027-02", dear)
	calm.Closed = slices.Concat(last.Closed, []billing.Closed{closed(sealed(third, 3), dear, last.Usage...)})
	wantTexts(t, make1(t, calm))
}

// The first invoice of a period was voided when a later one had adjusted it: the
// new one takes that off. When the later one is voided in its turn, that comes back.
func TestVoidAndInvoiceAgain(t *testing.T) {
	t.Parallel()
	november := month(t, "2026-11").Start
	old, dear := book(1, "EUR", entry(t, "opt", in, "1")), book(2, "EUR", entry(t, "opt", in, "3"))
	usedNow := used(november, "opt", "", in, 3_000_000)
	first := sealed(make1(t, input(t, "2026-11", old, used(november, "opt", "", in, 2_000_000))), 1)
	next := input(t, "2026-12", old)
	next.Closed = []billing.Closed{closed(first, old, usedNow)}
	second := sealed(make1(t, next), 2) // 1.00 late
	again := input(t, "2026-11", dear, usedNow)
	again.Closed = []billing.Closed{closed(second, old)} // first is void
	third := make1(t, again)
	wantTexts(t, third, "opt input_tokens 9 9.00", "2026-11 opt input_tokens 1.00 0.00 -1.00 after_void")
	wantTotal(t, third, "9.00", "-1.00", "8.00")
	calm := input(t, "2027-01", dear)
	calm.Closed = []billing.Closed{closed(second, old), closed(sealed(third, 3), dear, usedNow)}
	wantTexts(t, make1(t, calm))
	calm.Closed = calm.Closed[1:] // second is void too
	wantTexts(t, make1(t, calm), "2026-11 opt input_tokens -1.00 0.00 1.00 after_void")
	// The period was billed in another currency by an invoice that still counts.
	again.Currency, again.Book = yen, book(3, "JPY")
	if _, err := billing.Make(again); err == nil || !strings.Contains(err.Error(), "EUR") {
		t.Errorf("billed again in yen: %v", err)
	}
}

func TestWhatBlocks(t *testing.T) {
	t.Parallel()
	november := month(t, "2026-11").Start
	b := book(1, "EUR", entry(t, "opt", in, "1"))
	nobodys := usage.Total{Bucket: int64(november), Model: "opt", Quantities: usage.NewQuantities(usage.Quantity{Name: in, Amount: 8}, usage.Quantity{Name: usage.PrefillTokens, Amount: 9})}
	blocked := make1(t, input(t, "2026-11", b, used(november, "opt", "", in, 1_000_000, out, 7), used(november, "", "", in, 5), nobodys))
	wantClean(t, blocked)
	wantBlocks(t, blocked,
		"unpriced: 5 input_tokens of an unknown model: no price (unknown_model)",
		"unattributed: 8 input_tokens of model opt: nobody known to pay",
		"unpriced: 7 output_tokens of model opt: no price (no_price)")

	// What was left out once by permission does not block again, only what is more.
	next := input(t, "2026-12", b, used(month(t, "2026-12").Start, "opt", "", in, 1))
	next.Closed = []billing.Closed{closed(sealed(blocked, 1), b, used(november, "opt", "", in, 1_000_000, out, 7), used(november, "", "", in, 5), nobodys)}
	wantBlocks(t, make1(t, next))
	next.Closed[0].Usage[0] = used(november, "opt", "", in, 1_000_000, out, 10)
	wantBlocks(t, make1(t, next), "unpriced: 3 output_tokens of model opt: no price (no_price)")

	// Newer rules count a closed period differently.
	next.Closed[0].Usage = []usage.Total{used(november, "opt", "", in, 1_500_000, out, 7), used(november, "", "", in, 5)}
	next.Fold = 2
	newer := make1(t, next)
	wantBlocks(t, newer, "new-rules: 0.50 EUR of invoice acme-0001 (input_tokens of model opt): version 2 of the rules counts them differently")
	// Once accepted, what comes after is late again.
	last := input(t, "2027-01", b, used(month(t, "2027-01").Start, "opt", "", in, 1))
	last.Fold = 2
	last.Closed = []billing.Closed{
		closed(sealed(newer, 2), b, next.Usage...), closed(sealed(blocked, 1), b, used(november, "opt", "", in, 1_600_000, out, 7), used(november, "", "", in, 5)),
	}
	wantTexts(t, make1(t, last), "opt input_tokens 0.000001 0.00", "2026-11 opt input_tokens 1.50 1.60 0.10 late_usage")

	// The customer is invoiced in another currency now.
	last.Currency, last.Book = yen, book(3, "JPY", entry(t, "opt", in, "100"))
	last.Closed[0].Book = b
	wantBlocks(t, make1(t, last), "other-currency: 0.10 EUR of invoice acme-0001: this invoice is in JPY")
	wantTotal(t, make1(t, last), "0", "0", "0")

	wantBlocks(t, make1(t, input(t, "2026-11", b)), "empty: no usage")
	// Without any book nothing has a price.
	wantBlocks(t, make1(t, input(t, "2026-11", billing.Book{}, used(november, "opt", "", in, 5))), "unpriced: 5 input_tokens of model opt: no price (unknown_model)")
}

func wantBlocks(t *testing.T, i *billing.Invoice, want ...string) {
	t.Helper()
	got := []string{}
	for _, b := range i.Blocks() {
		got = append(got, string(b.Needs)+": "+b.Text)
		if !slices.Contains(billing.Permissions(), b.Needs) {
			t.Errorf("permission %q is not listed", b.Needs)
		}
	}
	if !slices.Equal(got, append([]string{}, want...)) {
		t.Errorf("blocks:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestWhatIsNoInvoice(t *testing.T) {
	t.Parallel()
	b := book(1, "EUR", entry(t, "opt", in, "1"))
	november := month(t, "2026-11").Start
	first := sealed(make1(t, input(t, "2026-11", b)), 1)
	for name, change := range map[string]func(*billing.Input){
		"a book in another currency": func(x *billing.Input) { x.Currency = yen },
		"no currency":                func(x *billing.Input) { x.Currency, x.Book = money.Currency{}, billing.Book{} },
		"a period that is closed":    func(x *billing.Input) { x.Period, x.Closed = month(t, "2026-11"), []billing.Closed{closed(first, b)} },
		"a period off quarter hours": func(x *billing.Input) { x.Period.Start++ },
		"an unknown rounding":        func(x *billing.Input) { x.Rounding = "sideways" },
		"two prices of one rank":     func(x *billing.Input) { x.Book = book(2, "EUR", entry(t, "op*", in, "1"), entry(t, "*pt", in, "1")) },
		"a closed invoice is a mess": func(x *billing.Input) {
			c := *first
			c.Lines = []billing.Line{{Total: "1.5"}}
			x.Closed = []billing.Closed{closed(&c, b)}
		},
		"more than an invoice can hold": func(x *billing.Input) { x.Book = book(2, "EUR", entry(t, "opt", in, "999999999999999999999999999999")) },
	} {
		x := input(t, "2026-12", b, used(november, "opt", "", in, 3_000_000))
		change(&x)
		if i, err := billing.Make(x); err == nil {
			t.Errorf("%s: %s", name, canonical(t, i))
		}
	}
}
