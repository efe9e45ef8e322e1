package export_test

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/tollkeeper/tollkeeper/internal/billing"
	"github.com/tollkeeper/tollkeeper/internal/export"
	"github.com/tollkeeper/tollkeeper/internal/money"
	"github.com/tollkeeper/tollkeeper/internal/usage"
)

// fataler is a *testing.T or a *rapid.T.
type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
}

func decimal(t fataler, s string) money.Decimal {
	t.Helper()
	d, err := money.Parse(s)
	if err != nil {
		t.Fatalf("%v", err)
	}
	return d
}

func instant(t fataler, s string) billing.Instant {
	t.Helper()
	at, err := time.Parse(time.RFC3339, s)
	if err != nil {
		t.Fatalf("%v", err)
	}
	return billing.Instant(at.Unix())
}

// full is a page with all that a page can have. text makes what customers,
// clients and the issuer chose; it is asked by what it is for.
func full(t fataler, text func(name string) string) *export.Page {
	t.Helper()
	november := billing.Period{Start: instant(t, "2026-11-01T00:00:00Z"), End: instant(t, "2026-12-01T00:00:00Z"), Zone: "UTC"}
	october := billing.Period{Start: instant(t, "2026-10-01T00:00:00Z"), End: november.Start, Zone: "UTC"}
	price := billing.Price{Book: 1, Model: "m", Per: 1_000_000, Price: decimal(t, "0.1")}
	return &export.Page{
		Hash: strings.Repeat("ab", 32), Voided: time.Date(2026, 12, 3, 0, 0, 0, 0, time.UTC), VoidReason: text("reason"),
		Invoice: &billing.Invoice{
			ID: "acme-0002", Number: 2, Finalised: "2026-12-02T10:00:00.000Z", Period: november, Currency: money.Currency{Code: "EUR", Digits: 2}, Rounding: money.HalfEven,
			Issuer:   billing.Party{Name: text("issuer"), Address: text("issuer's address")},
			Customer: billing.Party{ID: "acme", Name: text("customer"), Address: text("address"), Email: text("email")},
			Note:     text("note"), Book: billing.BookRef{Version: 1, Hash: strings.Repeat("cd", 32)}, Checkpoint: "journal-a\n7\nroot=\n\n— key sig=\n", Journals: map[string]uint64{"journal-a": 7},
			Lines: []billing.Line{{
				Number: 1, Model: text("model"), Quantity: usage.InputTokens, Amount: 1_234_567, Price: price, Charge: decimal(t, "0.1234567"), Total: "0.12",
				Projects: []billing.Part{{Project: text("project"), Amount: 1_234_567, Charge: decimal(t, "0.1234567")}},
			}},
			Adjustments: []billing.Adjustment{{
				Number: 2, Model: text("adjusted"), Quantity: text("quantity"), Invoice: "acme-0001", Period: october, Reason: billing.ReasonLess, Price: price,
				Amount: -10_000_000, AmountNow: 0, AmountBilled: 10_000_000, Total: "-1.00", TotalNow: "0.00", TotalBilled: "1.00",
			}},
			LeftOut:  []billing.LeftOut{{Amount: 5, Model: text("left out"), Period: october, Quantity: usage.OutputTokens, Reason: billing.Unattributed}},
			Deferred: []billing.Deferred{{Currency: "JPY", Invoice: "acme-0001", Period: october, Total: "1234567"}},
			Sums:     billing.Sums{Lines: "0.12", Adjustments: "-1.00", Total: "-0.88"},
		},
	}
}

// parsed is what a browser makes of a page.
type parsed struct {
	tags        []string // opening tags with their attributes, in order
	text, style string
}

// render writes a page and reads it again; everything it has must be known.
func render(t fataler, p *export.Page) parsed {
	t.Helper()
	var b strings.Builder
	if err := p.WriteHTML(&b); err != nil {
		t.Fatalf("%v", err)
	}
	d := xml.NewDecoder(strings.NewReader(b.String()))
	d.Strict, d.AutoClose, d.Entity = false, xml.HTMLAutoClose, xml.HTMLEntity
	var out parsed
	var text, style strings.Builder
	into := &text
	for {
		token, err := d.Token()
		switch x := token.(type) {
		case nil:
			if !errors.Is(err, io.EOF) {
				t.Fatalf("no HTML: %v\n%s", err, b.String())
			}
			out.text, out.style = text.String(), style.String()
			return out
		case xml.StartElement:
			out.tags = append(out.tags, fmt.Sprint(x.Name.Local, x.Attr))
			wantHarmless(t, x)
			if x.Name.Local == "style" {
				into = &style
			}
		case xml.EndElement:
			into = &text
		case xml.CharData:
			into.Write(x)
		case xml.Comment, xml.ProcInst:
			t.Fatalf("%T in a page:\n%s", x, b.String())
		}
	}
}

var (
	elements   = strings.Fields("html head meta title style body div header h1 h2 p ul li br bdi span strong dl dt dd table thead tbody tr th td section pre")
	attributes = strings.Fields("lang charset http-equiv content name class id colspan aria-hidden")
)

func wantHarmless(t fataler, x xml.StartElement) {
	t.Helper()
	if !slices.Contains(elements, x.Name.Local) {
		t.Fatalf("element %s", x.Name.Local)
	}
	for _, a := range x.Attr {
		if !slices.Contains(attributes, a.Name.Local) || strings.Contains(a.Value, "//") {
			t.Fatalf("attribute %s=%q of %s", a.Name.Local, a.Value, x.Name.Local)
		}
	}
}

// TestTextStaysText gives all that others chose to hostile hands: the page has
// the same elements and attributes as with plain words, and shows the texts.
func TestTextStaysText(t *testing.T) {
	hostile := rapid.OneOf(
		rapid.SampledFrom([]string{
			"", `<script>alert(1)</script>`, `</style><style>*{display:none}`, `"><img src=x onerror=alert(1)>`, "<!--", "-->", "]]>", "{{.Total}}", `&lt;b&gt;`, "\u202eright",
			"</title>", "`${1}`", "javascript:alert(1)", "a\nb\n\nc", "\x00\x1b[2J\u0085", "\xff\xfe", "url(https://evil.example)",
		}),
		rapid.StringOf(rapid.RuneFrom([]rune(`<>&"'/=-!{}();:ab `+"\n\r\t\x00\u2028\u202e")))).AsAny()
	rapid.Check(t, func(t *rapid.T) {
		texts := map[string]string{}
		page := full(t, func(name string) string {
			texts[name] = hostile.Draw(t, name).(string)
			return texts[name]
		})
		got := render(t, page)
		plain := render(t, full(t, func(name string) string { return harmless(texts[name]) }))
		if !slices.Equal(got.tags, plain.tags) {
			t.Fatalf("the elements are\n%s\nwith plain words\n%s", got.tags, plain.tags)
		}
		for _, name := range slices.Sorted(maps.Keys(texts)) {
			for line := range strings.SplitSeq(shown(texts[name]), "\n") {
				if name != "quantity" && name != "reason" && !strings.Contains(got.text, line) {
					t.Fatalf("the %s %q is not shown:\n%s", name, line, got.text)
				}
			}
		}
	})
}

// harmless has as many lines, and is empty where the other is.
func harmless(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\r' {
			return r
		}
		return 'x'
	}, s)
}

// shown is a text as a page shows it.
func shown(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\n' || r == utf8.RuneError {
			return unicode.ReplacementChar
		}
		return r
	}, strings.ReplaceAll(s, "\r\n", "\n"))
}

// TestStyleStaysHere looks for addresses in what the template says itself.
func TestStyleStaysHere(t *testing.T) {
	page := render(t, full(t, func(name string) string { return name }))
	for _, bad := range []string{"url(", "@import", "//", "expression(", "{{"} {
		if strings.Contains(page.style+page.text, bad) {
			t.Errorf("the page has %q", bad)
		}
	}
	if !strings.Contains(page.style, "@page") || !strings.Contains(page.style, "@media print") {
		t.Errorf("nothing is said about printing:\n%s", page.style)
	}
}

func TestPageSays(t *testing.T) {
	for name, x := range map[string]struct {
		change func(*export.Page)
		want   []string
		not    []string
	}{
		"all of it": {func(*export.Page) {}, []string{
			"This invoice is void since 3 December 2026: reason. Nothing is to be paid for it.", "1 – 30 November 2026", "2 December 2026", "1,234,567", "0.10 per 1,000,000", "0.1234567",
			"1 – 31 October 2026, invoice acme-0001", "Usage that turned out to be less, or another customer's", "Now 0 for 0.00; billed before 10,000,000 for 1.00", "-10,000,000",
			"Total: a credit in your favour", "-0.88 EUR", "Together they are 0.1234567 EUR; the lines of the invoice, each rounded, come to 0.12 EUR.",
			"There was usage that nobody is known to pay for", "1,234,567 JPY", "rounded (half-even) to 2 decimal places", "journal-a\n7\nroot=\n\n— key sig=\n",
		}, []string{"Not an invoice yet"}},
		"a draft": {func(p *export.Page) {
			p.Invoice.ID, p.Invoice.Number, p.Invoice.Finalised, p.Invoice.Checkpoint, p.Hash, p.Voided, p.Blocks = "", 0, "", "", "", time.Time{}, []string{"9 tokens: no price"}
		}, []string{"Draft of an invoice for customer", "Not an invoice yet", "This keeps it from being closed:", "9 tokens: no price"},
			[]string{"Invoice number", "Date of issue", "SHA-256 of the document", "Permissions", "checkpoint", "is void"}},
		"a price of a part of the month": {func(p *export.Page) {
			p.Invoice.Lines[0].Price.From, p.Invoice.Lines[0].Price.To = instant(t, "2026-11-08T00:00:00Z"), instant(t, "2026-11-15T12:15:00Z")
		}, []string{"Used from 8 November 2026 to 15 November 2026, 12:15 UTC"}, nil},
		"a period that is not of whole days": {func(p *export.Page) {
			p.Invoice.Period.Start, p.Invoice.Period.Zone = instant(t, "2026-10-31T18:30:00Z"), "Europe/Berlin"
		}, []string{"31 October 2026, 19:30 CET to 1 December 2026, 01:00 CET"}, nil},
		"a period over the turn of the year": {func(p *export.Page) { p.Invoice.Period.End = instant(t, "2027-01-11T00:00:00Z") },
			[]string{"1 November 2026 – 10 January 2027"}, nil},
		"a zone that nobody knows": {func(p *export.Page) { p.Invoice.Period.Zone = "Mars/Olympus" }, []string{"1 – 30 November 2026", "Mars/Olympus"}, nil},
		"a price of one":           {func(p *export.Page) { p.Invoice.Lines[0].Price.Per = 1 }, []string{"0.10 each"}, nil},
		"yen": {func(p *export.Page) { p.Invoice.Currency = money.Currency{Code: "JPY"} }, []string{"rounded (half-even) to whole JPY", "0.1 per"},
			nil},
		"no project":     {func(p *export.Page) { p.Invoice.Lines[0].Projects[0].Project = "" }, nil, []string{"By project", "No project"}},
		"no model":       {func(p *export.Page) { p.Invoice.LeftOut[0].Model = "" }, []string{"Unknown model"}, nil},
		"no adjustments": {func(p *export.Page) { p.Invoice.Adjustments, p.Invoice.Sums.Total = nil, "0.12" }, []string{"0.12 EUR"}, []string{"Usage of the period", "credit in your favour"}},
		"nothing used":   {func(p *export.Page) { p.Invoice.Lines = nil }, []string{"Nothing is charged for the period."}, []string{"By project"}},
		"unheard of words": {func(p *export.Page) {
			p.Invoice.LeftOut[0].Reason, p.Invoice.Adjustments[0].Reason = "solar_flare", "leap_day"
		}, []string{"solar_flare", "leap_day"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			page := full(t, func(name string) string { return name })
			x.change(page)
			text := render(t, page).text
			for _, want := range x.want {
				if !strings.Contains(text, want) {
					t.Errorf("does not say %q:\n%s", want, text)
				}
			}
			for _, not := range x.not {
				if strings.Contains(text, not) {
					t.Errorf("says %q:\n%s", not, text)
				}
			}
		})
	}
}

// TestReasonsAreWords finds a reason that a page would show as its code.
func TestReasonsAreWords(t *testing.T) {
	page := full(t, func(name string) string { return name })
	for _, r := range []billing.Reason{billing.ReasonLate, billing.ReasonLess, billing.ReasonVoid, billing.ReasonFold} {
		page.Invoice.Adjustments[0].Reason = r
		if text := render(t, page).text; strings.Contains(text, string(r)) {
			t.Errorf("says %q", r)
		}
	}
	for _, r := range []billing.LeaveOutRule{billing.Unattributed, "unknown_model", "no_price", "exceeds_input_tokens", "exceeds_output_tokens"} {
		page.Invoice.LeftOut[0].Reason = r
		if text := render(t, page).text; strings.Contains(text, string(r)) {
			t.Errorf("says %q", r)
		}
	}
}

// broken takes nothing.
type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

func TestWriterFails(t *testing.T) {
	if err := full(t, strings.ToLower).WriteHTML(broken{}); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("got %v", err)
	}
}
