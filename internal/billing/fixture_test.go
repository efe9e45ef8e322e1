package billing_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/tollkeeper/tollkeeper/internal/billing"
	"github.com/tollkeeper/tollkeeper/internal/money"
	"github.com/tollkeeper/tollkeeper/internal/pricing"
	"github.com/tollkeeper/tollkeeper/internal/usage"
)

// fataler is a *testing.T or a *rapid.T.
type fataler interface {
	Fatalf(format string, args ...any)
}

var (
	euro  = money.Currency{Code: "EUR", Digits: 2}
	yen   = money.Currency{Code: "JPY"}
	dinar = money.Currency{Code: "KWD", Digits: 3}
)

const acme = "acme"

// month is a month's period in UTC.
func month(t fataler, s string) billing.Period {
	m, err := billing.ParseMonth(s)
	if err != nil {
		t.Fatalf("%v", err)
	}
	return m.In(time.UTC)
}

// at is an instant such as "2026-11-15T12:00:00Z".
func at(t fataler, s string) billing.Instant {
	var i billing.Instant
	if err := i.UnmarshalText([]byte(s)); err != nil {
		t.Fatalf("%v", err)
	}
	return i
}

// entry is prices from the beginning of time on, per million; pairs are a
// quantity and its price.
func entry(t fataler, model string, pairs ...string) pricing.Entry {
	e := pricing.Entry{Model: model, From: 0, Per: 1_000_000}
	for i := 0; i < len(pairs); i += 2 {
		price, err := money.Parse(pairs[i+1])
		if err != nil {
			t.Fatalf("%v", err)
		}
		e.Prices = append(e.Prices, pricing.Price{Quantity: pairs[i], Value: price})
	}
	pricing.SortPrices(e.Prices)
	return e
}

func book(version int64, currency string, entries ...pricing.Entry) billing.Book {
	return billing.Book{
		BookRef: billing.BookRef{Version: version, Hash: fmt.Sprintf("%064d", version)},
		Prices:  &pricing.Book{Version: version, Currency: currency, Entries: entries},
	}
}

// used is a sum of acme's usage; pairs are a quantity and its amount.
func used(bucket billing.Instant, model, project string, pairs ...any) usage.Total {
	t := usage.Total{Bucket: int64(bucket), Customer: acme, Model: model, Project: project, Grade: usage.GradeFinal}
	for i := 0; i < len(pairs); i += 2 {
		t.Quantities.Add(pairs[i].(string), int64(pairs[i+1].(int)))
	}
	return t
}

// input is an invoice of acme for a month, by a book, in euros.
func input(t fataler, m string, b billing.Book, totals ...usage.Total) billing.Input {
	return billing.Input{
		Issuer:   billing.Party{Name: "Rechenwerk GmbH", Address: "Hafenstraße 7\n20457 Hamburg", Email: "billing@rechenwerk.example"},
		Customer: billing.Party{ID: acme, Name: "Acme Ltd"}, Period: month(t, m), Currency: euro, Rounding: money.HalfEven,
		Book: b, Usage: totals, Fold: 1, Journals: map[string]uint64{"journal-a": 7},
	}
}

func make1(t fataler, in billing.Input) *billing.Invoice {
	i, err := billing.Make(in)
	if err != nil {
		t.Fatalf("Make: %v", err)
	}
	return i
}

// sealed closes a draft as acme's next number.
func sealed(i *billing.Invoice, number int64) *billing.Invoice {
	return i.Sealed(billing.Seal{
		ID: fmt.Sprintf("%s-%04d", acme, number), Number: number, Finalised: time.Date(2026, 12, 2, 3, 4, 5, 678_000_000, time.UTC), Checkpoint: "journal-a\n7\n",
	})
}

func canonical(t fataler, i *billing.Invoice) string {
	b, err := i.Canonical()
	if err != nil {
		t.Fatalf("Canonical: %v", err)
	}
	return string(b)
}

// closed is a final invoice with what its period holds now.
func closed(i *billing.Invoice, b billing.Book, totals ...usage.Total) billing.Closed {
	return billing.Closed{Invoice: i, Book: b, Usage: totals}
}

// wantClean checks the arithmetic of an invoice, and that its document reads
// back.
func wantClean(t fataler, i *billing.Invoice) {
	if found := i.Check(); len(found) > 0 {
		t.Fatalf("Check: %q\n%s", found, canonical(t, i))
	}
	again, err := billing.Parse([]byte(canonical(t, i)))
	if err != nil {
		t.Fatalf("Parse: %v\n%s", err, canonical(t, i))
	}
	if canonical(t, again) != canonical(t, i) {
		t.Fatalf("reads back as\n%s\nwas\n%s", canonical(t, again), canonical(t, i))
	}
}

func wantTotal(t *testing.T, i *billing.Invoice, lines, adjustments, total string) {
	t.Helper()
	wantClean(t, i)
	if want := (billing.Sums{Lines: lines, Adjustments: adjustments, Total: total}); i.Sums != want {
		t.Errorf("sums %+v, want %+v", i.Sums, want)
	}
}
