package export_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tollkeeper/tollkeeper/internal/billing"
	"github.com/tollkeeper/tollkeeper/internal/export"
	"github.com/tollkeeper/tollkeeper/internal/money"
	"github.com/tollkeeper/tollkeeper/internal/usage"
)

var update = flag.Bool("update", false, "write the golden files")

// TestGoldenPages keeps whole pages, to be looked at with a browser.
func TestGoldenPages(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(p *export.Page){
		"final": func(p *export.Page) { p.Voided = time.Time{} },
		"void":  func(*export.Page) {},
		"draft": func(p *export.Page) {
			i := p.Invoice
			i.ID, i.Number, i.Finalised, i.Checkpoint, p.Hash, p.Voided = "", 0, "", "", "", time.Time{}
			p.Blocks = []string{"5 output tokens of model \"x\" have no price: add one, or leave them out"}
		},
	} {
		page := full(t, realistic)
		change(page)
		var got strings.Builder
		if err := page.WriteHTML(&got); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join("testdata", name+".html")
		if *update {
			if err := os.WriteFile(file, []byte(got.String()), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if want, err := os.ReadFile(file); err != nil || got.String() != string(want) {
			t.Errorf("%s is another page, %v: go test ./internal/export -update, and look at it", file, err)
		}
	}
}

// realistic gives the texts of a page as they are in life.
func realistic(name string) string {
	texts := map[string]string{
		"issuer": "Inference Ltd", "issuer's address": "1 Quay\n20457 Hamburg", "customer": "Acme & Sons", "address": "2 Road\nLondon", "email": "billing@acme.example",
		"note": "Pay within 14 days.\nThank you.", "reason": "wrong address", "model": "facebook/opt-125m", "adjusted": "facebook/opt-125m", "quantity": usage.OutputTokens,
		"left out": "unlisted/model", "project": "chat",
	}
	return texts[name]
}

// TestNoAmountIsLost makes invoices of any lines and adjustments: each stands on
// the page with what was used and what is owed, in order; the
// projects come to what the lines do before they are rounded.
func TestNoAmountIsLost(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		page := full(t, realistic)
		i := page.Invoice
		price := i.Lines[0].Price
		var all money.Decimal
		var wants []string
		i.Lines, i.Adjustments = nil, nil
		amounts := rapid.Int64Range(1, usage.MaxAmount)
		for n := range rapid.IntRange(1, 8).Draw(t, "lines") {
			l := billing.Line{Number: n + 1, Model: fmt.Sprint("model-", n/3), Quantity: []string{usage.InputTokens, usage.CachedInputTokens, usage.OutputTokens}[n%3], Price: price}
			for _, id := range rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"", "chat", "search"}), 1, 3, rapid.ID).Draw(t, "projects") {
				amount := amounts.Draw(t, "amount")
				charge := decimal(t, fmt.Sprintf("%d.%07d", amount/10_000_000, amount%10_000_000))
				l.Projects = append(l.Projects, billing.Part{Project: id, Amount: amount, Charge: charge})
				l.Amount, l.Charge, all = l.Amount+amount, l.Charge.Add(charge), all.Add(charge)
			}
			rounded, err := l.Charge.Round(i.Currency, money.HalfEven)
			if err != nil {
				t.Fatalf("%v", err)
			}
			l.Total = rounded.String()
			i.Lines = append(i.Lines, l)
			wants = append(wants, row(l.Amount, l.Total))
		}
		for n := range rapid.IntRange(0, 4).Draw(t, "adjustments") {
			amount := -amounts.Draw(t, "adjusted")
			a := billing.Adjustment{
				Number: len(i.Lines) + n + 1, Model: "model-0", Quantity: usage.OutputTokens, Invoice: "acme-0001", Period: i.Period, Reason: billing.ReasonLess, Price: price,
				Amount: amount, AmountBilled: -amount, Total: strconv.FormatInt(amount, 10) + ".00", TotalNow: "0.00", TotalBilled: "0.00",
			}
			i.Adjustments = append(i.Adjustments, a)
			wants = append(wants, row(amount, a.Total))
		}
		text := render(t, page).text
		rest := text
		for _, want := range wants {
			_, after, ok := strings.Cut(rest, want)
			if !ok {
				t.Fatalf("%s does not stand where it should:\n%s", want, text)
			}
			rest = after
		}
		projects := strings.Contains(text, "By project")
		if only := !slices.ContainsFunc(i.Lines, func(l billing.Line) bool {
			return slices.ContainsFunc(l.Projects, func(p billing.Part) bool { return p.Project != "" })
		}); projects == only {
			t.Fatalf("projects %v, only the customer itself %v", projects, only)
		}
		sum := "Together they are " + export.Grouped(all.Text(max(2, all.Places()))) + " EUR"
		if projects && !strings.Contains(text, sum) {
			t.Fatalf("does not say %q:\n%s", sum, text)
		}
	})
}

// row is how an amount, its price and what is owed stand side by side.
func row(amount int64, total string) string {
	return export.Grouped(strconv.FormatInt(amount, 10)) + "0.10 per 1,000,000\n" + export.Grouped(total)
}

// TestPartsAreNamed says of a quantity what of it another line charges, so that
// nobody adds cached tokens to the input twice.
func TestPartsAreNamed(t *testing.T) {
	t.Parallel()
	page := full(t, realistic)
	line := page.Invoice.Lines[0]
	page.Invoice.Lines = nil
	for n, quantity := range []string{usage.InputTokens, usage.CachedInputTokens, usage.OutputTokens, usage.ReasoningTokens} {
		line.Number, line.Quantity = n+1, quantity
		page.Invoice.Lines = append(page.Invoice.Lines, line)
	}
	line.Number, line.Model, line.Quantity = 5, "another", usage.InputTokens
	page.Invoice.Lines = append(page.Invoice.Lines, line)
	text := render(t, page).text
	for _, want := range []string{"Input tokens, not cached", "Cached input tokens", "Output tokens, without reasoning", "Reasoning tokens"} {
		if !strings.Contains(text, want) {
			t.Errorf("does not say %q:\n%s", want, text)
		}
	}
	if !strings.Contains(text, "5Input tokens1,234,567") {
		t.Errorf("of a model without cached tokens it does not just say what was used:\n%s", text)
	}
}
