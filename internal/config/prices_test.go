package config_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tollkeeper/tollkeeper/internal/config"
	"github.com/tollkeeper/tollkeeper/internal/money"
	"github.com/tollkeeper/tollkeeper/internal/pricing"
)

// TestPricesAreExact writes any prices down and reads them: the book has the
// same, to the last place, whether quoted or not.
func TestPricesAreExact(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "prices.yaml")
	quantities := []string{"input_tokens", "cached_input_tokens", "output_tokens", "requests", "audio_ms"}
	rapid.Check(t, func(t *rapid.T) {
		want := &pricing.Book{Currency: rapid.SampledFrom([]string{"USD", "JPY", "KWD"}).Draw(t, "currency")}
		var text strings.Builder
		fmt.Fprintf(&text, "# prices\ncurrency: %s\nprices:\n", want.Currency)
		for i := range rapid.IntRange(1, 5).Draw(t, "entries") {
			e := pricing.Entry{
				Model: fmt.Sprintf("m%d", i), Line: strings.Count(text.String(), "\n") + 1,
				From: pricing.Instant(rapid.Int64Range(-4_000_000, 4_000_000).Draw(t, "from") * pricing.QuarterHour),
				Per:  rapid.SampledFrom([]int64{1, 8, 1000, 1_000_000, pricing.MaxPer}).Draw(t, "per"),
			}
			fmt.Fprintf(&text, "  - model: %s\n    from: %s\n    per: %d\n", e.Model, e.From, e.Per)
			if end := rapid.Int64Range(0, 1000).Draw(t, "to"); end > 0 && e.From+pricing.Instant(end*pricing.QuarterHour) != 0 {
				e.To = e.From + pricing.Instant(end*pricing.QuarterHour)
				fmt.Fprintf(&text, "    to: %q\n", e.To)
			}
			if rapid.Bool().Draw(t, "override") {
				e.Customer = "acme"
				text.WriteString("    customer: acme\n")
			}
			for _, q := range rapid.SliceOfNDistinct(rapid.SampledFrom(quantities), 1, 4, rapid.ID).Draw(t, "quantities") {
				value := rapid.StringMatching(`(0|[1-9][0-9]{0,16})(\.[0-9]{1,12})?`).Draw(t, q)
				d, err := money.Parse(value)
				if err != nil {
					t.Fatalf("%v", err)
				}
				e.Prices = append(e.Prices, pricing.Price{Quantity: q, Value: d})
				if rapid.Bool().Draw(t, "quoted") {
					value = `"` + value + `"`
				}
				fmt.Fprintf(&text, "    %s: %s\n", q, value)
			}
			pricing.SortPrices(e.Prices)
			want.Entries = append(want.Entries, e)
		}
		if err := os.WriteFile(path, []byte(text.String()), 0o600); err != nil {
			t.Fatalf("%v", err)
		}
		got, _, err := config.LoadPrices(path)
		if err != nil {
			t.Fatalf("%v in\n%s", err, text.String())
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("%+v\nwant %+v\nof %s", got, want, text.String())
		}
	})
}

// TestInstants reads days, times and their zones.
func TestInstants(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Time{
		"2026-01-31":                  time.Date(2026, 1, 31, 0, 0, 0, 0, time.UTC),
		`"2026-01-31"`:                time.Date(2026, 1, 31, 0, 0, 0, 0, time.UTC),
		"2026-01-31T12:15:00Z":        time.Date(2026, 1, 31, 12, 15, 0, 0, time.UTC),
		"2026-01-31T00:00:00+02:00":   time.Date(2026, 1, 30, 22, 0, 0, 0, time.UTC),
		`"2026-01-31T00:00:00+05:45"`: time.Date(2026, 1, 30, 18, 15, 0, 0, time.UTC),
	} {
		book, _, err := config.LoadPrices(file(t, "prices.yaml", "currency: USD\nprices: [ { model: m, from: "+text+", per: 1, requests: 1 } ]\n"))
		if err != nil || book.Entries[0].From != pricing.Instant(want.Unix()) {
			t.Errorf("%s: %+v, %v; want %s", text, book, err, want)
		}
	}
	for _, text := range []string{"2026-1-31", "2026-02-29", "2026-01-31T12:15", "2026-01-31 12:15:00", "1769860800", "tomorrow", "''", "10000-01-01"} {
		_, _, err := config.LoadPrices(file(t, "prices.yaml", "currency: USD\nprices: [ { model: m, from: "+text+", per: 1, requests: 1 } ]\n"))
		if err == nil || !strings.Contains(err.Error(), "prices.yaml:2:") || !strings.Contains(err.Error(), "neither a day") {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// TestOddPer refuses a number of units that may be read as another.
func TestOddPer(t *testing.T) {
	t.Parallel()
	for _, per := range []string{"0100", "+100", "1_000", "0x10", "1e3", "-1000", "1000.0", "1,000", "9223372036854775808"} {
		_, _, err := config.LoadPrices(file(t, "prices.yaml", "currency: USD\nprices:\n  - { model: m, from: 2026-01-01, per: '"+per+"', requests: 1 }\n"))
		if err == nil || !strings.Contains(err.Error(), "prices.yaml:3:") || !strings.Contains(err.Error(), "prices[0].per") {
			t.Errorf("%s: %v", per, err)
		}
	}
}

// TestOddIsNoError gives the book and says what is odd about it.
func TestOddIsNoError(t *testing.T) {
	t.Parallel()
	book, odd, err := config.LoadPrices(filepath.Join("testdata", "prices", "gaps.yaml"))
	if err != nil || book == nil || len(odd) != 1 || odd[0].Line != 4 {
		t.Errorf("%+v, %v, %v", book, odd, err)
	}
	book, odd, err = config.LoadPrices(filepath.Join("testdata", "prices", "values.yaml"))
	var problems config.Problems
	if book != nil && !errors.As(err, &problems) || len(odd) > 0 {
		t.Errorf("%+v, %v, %v", book, odd, err)
	}
	for _, p := range problems {
		if p.File == "" || p.Line == 0 || p.Column == 0 || p.Key == "" || p.Text == "" {
			t.Errorf("%+v does not say where, or what", p)
		}
	}
}
