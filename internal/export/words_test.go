package export_test

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tollkeeper/tollkeeper/internal/billing"
	"github.com/tollkeeper/tollkeeper/internal/export"
	"github.com/tollkeeper/tollkeeper/internal/money"
)

// TestGroupedIsTheSameNumber puts separators into any number: without them it is
// what it was, and all groups but the first have three digits.
func TestGroupedIsTheSameNumber(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		number := rapid.StringMatching(`-?(0|[1-9][0-9]{0,24})(\.[0-9]{1,14})?`).Draw(t, "number")
		got := export.Grouped(number)
		if strings.ReplaceAll(got, ",", "") != number {
			t.Fatalf("%s is shown as %s", number, got)
		}
		whole, _, _ := strings.Cut(strings.TrimPrefix(got, "-"), ".")
		for i, group := range strings.Split(whole, ",") {
			if len(group) != 3 && i > 0 || len(group) > 3 || group == "" {
				t.Fatalf("%s is shown as %s", number, got)
			}
		}
	})
	for number, want := range map[string]string{"0": "0", "-1": "-1", "999": "999", "-999": "-999", "1000": "1,000", "-100000.5000": "-100,000.5000", "0.1234567": "0.1234567", "": ""} {
		if got := export.Grouped(number); got != want {
			t.Errorf("%q is shown as %q, want %q", number, got, want)
		}
	}
}

// TestMonths shows the month of each zone as its days, whether clocks change in
// it or not.
func TestMonths(t *testing.T) {
	t.Parallel()
	for _, zone := range []string{"UTC", "Europe/Berlin", "America/New_York", "America/Havana", "Asia/Kathmandu", "Australia/Lord_Howe", "Pacific/Apia", "Africa/Cairo"} {
		z, err := time.LoadLocation(zone)
		if err != nil {
			t.Fatal(err)
		}
		for month := time.January; month <= time.December; month++ {
			start, end := time.Date(2026, month, 1, 0, 0, 0, 0, z), time.Date(2026, month+1, 1, 0, 0, 0, 0, z)
			page := full(t, func(name string) string { return name })
			page.Invoice.Period = billing.Period{Start: billing.Instant(start.Unix()), End: billing.Instant(end.Unix()), Zone: zone}
			want := "1 – " + end.AddDate(0, 0, -1).Format("2 January 2006")
			if text := render(t, page).text; !strings.Contains(text, want) || !strings.Contains(text, zone) {
				t.Errorf("%s %s is not shown as %q", zone, month, want)
			}
		}
	}
}

// TestMinorUnits shows amounts with the decimal places of their currency, and
// what is exact with as many as it has.
func TestMinorUnits(t *testing.T) {
	t.Parallel()
	for _, x := range []struct {
		currency money.Currency
		price    string
		charge   string
		total    string
		want     []string
	}{
		{money.Currency{Code: "JPY"}, "15", "1234.5", "1234", []string{"1,234.5", "15 per 1,000,000", "to whole JPY"}},
		{money.Currency{Code: "USD", Digits: 2}, "15", "1234.5", "1234.50", []string{"1,234.50", "15.00 per 1,000,000", "to 2 decimal places"}},
		{money.Currency{Code: "KWD", Digits: 3}, "0.000000000001", "0.0000001", "0.000", []string{"0.0000001", "0.000000000001 per 1,000,000", "to 3 decimal places"}},
	} {
		page := full(t, func(name string) string { return name })
		i := page.Invoice
		i.Currency, i.Lines[0].Price.Price, i.Lines[0].Charge, i.Lines[0].Total = x.currency, decimal(t, x.price), decimal(t, x.charge), x.total
		text := render(t, page).text
		for _, want := range append(x.want, export.Grouped(x.total)) {
			if !strings.Contains(text, want) {
				t.Errorf("%s: does not say %q:\n%s", x.currency.Code, want, text)
			}
		}
	}
}
