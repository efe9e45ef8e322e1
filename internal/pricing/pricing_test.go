package pricing_test

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tollkeeper/tollkeeper/internal/money"
	"github.com/tollkeeper/tollkeeper/internal/pricing"
	"github.com/tollkeeper/tollkeeper/internal/usage"
)

var update = flag.Bool("update", false, "write the golden files")

func decimal(s string) money.Decimal {
	d, err := money.Parse(s)
	if err != nil {
		panic(err)
	}
	return d
}

// at reads a day, or a whole instant.
func at(s string) pricing.Instant {
	if !strings.Contains(s, "T") {
		s += "T00:00:00Z"
	}
	var i pricing.Instant
	if err := i.UnmarshalText([]byte(s)); err != nil {
		panic(err)
	}
	return i
}

// entry is an entry per million from FROM or FROM/TO, its prices as "quantity=value".
func entry(customer, model, period string, prices ...string) pricing.Entry {
	from, to, bounded := strings.Cut(period, "/")
	e := pricing.Entry{Model: model, Customer: customer, From: at(from), Per: 1_000_000}
	if bounded {
		e.To = at(to)
	}
	for _, p := range prices {
		quantity, value, _ := strings.Cut(p, "=")
		e.Prices = append(e.Prices, pricing.Price{Quantity: quantity, Value: decimal(value)})
	}
	pricing.SortPrices(e.Prices)
	return e
}

func book(entries ...pricing.Entry) *pricing.Book {
	return &pricing.Book{Currency: "USD", Entries: entries}
}

func TestFindTakesTheBestRank(t *testing.T) {
	b := book(
		entry("", "*", "2026-01-01", "output_tokens=4", "input_tokens=4", "gpu_ms=4"),
		entry("", "facebook/opt", "2026-01-01", "output_tokens=3", "input_tokens=3"),
		entry("acme", "facebook/*", "2026-01-01", "output_tokens=2"),
		entry("acme", "facebook/opt", "2026-02-01/2026-03-01", "output_tokens=1"),
		entry("acme", "mine", "2026-01-01", "requests=0", "gpu_ms=5"),
		entry("acme", "mine", "2026-02-01", "requests=1"), // ends the price of requests alone
	)
	for _, c := range []struct{ customer, model, quantity, at, want string }{
		{"acme", "facebook/opt", usage.OutputTokens, "2026-02-01", "1"},
		{"acme", "facebook/opt", usage.OutputTokens, "2026-02-28T23:45:00Z", "1"},
		{"acme", "facebook/opt", usage.OutputTokens, "2026-03-01", "2"},
		{"acme", "facebook/opt", usage.OutputTokens, "2026-01-31T23:45:00Z", "2"},
		{"acme", "facebook/opt", usage.InputTokens, "2026-02-01", "3"}, // each quantity by itself
		{"acme", "facebook/opt", "gpu_ms", "2026-02-01", "4"},
		{"other", "facebook/opt", usage.OutputTokens, "2026-02-01", "3"},
		{"other", "facebook/x", usage.OutputTokens, "2026-02-01", "4"},
		{"", "facebook/x", usage.OutputTokens, "2026-02-01", "4"},
		{"acme", "mine", usage.Requests, "2026-01-01", "0"},
		{"acme", "mine", usage.Requests, "2026-01-31T23:45:00Z", "0"},
		{"acme", "mine", usage.Requests, "2026-02-01", "1"},
		{"acme", "mine", "gpu_ms", "2026-02-01", "5"},
		{"other", "mine", usage.Requests, "2026-01-01", ""},
		{"acme", "facebook/opt", usage.OutputTokens, "2025-12-31T23:45:00Z", ""},
		{"acme", "facebook/opt", usage.CachedInputTokens, "2026-02-01", ""},
		{"acme", "", usage.OutputTokens, "2026-02-01", ""}, // an unknown model, not even by "*"
	} {
		ref, ok, err := b.Find(c.customer, c.model, c.quantity, at(c.at))
		got := ""
		if ok {
			got = ref.Price.String()
		}
		if err != nil || got != c.want {
			t.Errorf("%+v: %q, %v", c, got, err)
		}
		if e := b.Entries[ref.Entry]; ok && (ref.Model != e.Model || ref.Customer != e.Customer || ref.From != e.From || e.To != 0 && ref.To != e.To ||
			ref.Per != e.Per || ref.Quantity != c.quantity) {
			t.Errorf("%+v: names %+v, which is not of %+v", c, ref, e)
		}
	}
}

func TestTheNextPriceEndsAnOpenEnd(t *testing.T) {
	b := book(
		entry("", "m", "2026-03-01", "requests=3"),
		entry("", "m", "2026-01-01", "requests=1", "gpu_ms=1"),
		entry("", "m", "2026-02-01", "requests=2"),
	)
	for _, c := range []struct{ quantity, at, to string }{
		{usage.Requests, "2026-01-31", "2026-02-01T00:00:00Z"},
		{usage.Requests, "2026-02-28", "2026-03-01T00:00:00Z"},
		{usage.Requests, "2030-01-01", ""},
		{"gpu_ms", "2026-02-01", ""},
	} {
		ref, ok, err := b.Find("", "m", c.quantity, at(c.at))
		to := ""
		if ref.To != 0 {
			to = ref.To.String()
		}
		if !ok || err != nil || to != c.to {
			t.Errorf("%s at %s ends at %q, %v, %v; want %q", c.quantity, c.at, to, ok, err, c.to)
		}
	}
}

func TestFindRefusesTwoPricesOfOneRank(t *testing.T) {
	b := book(
		entry("", "a*", "2026-01-01", "output_tokens=1"),
		entry("", "*b", "2026-02-01", "output_tokens=2", "input_tokens=2"),
		entry("", "ab", "2026-03-01", "output_tokens=3"),
	)
	if ref, ok, err := b.Find("", "ab", usage.OutputTokens, at("2026-01-31")); !ok || err != nil || ref.Price.String() != "1" {
		t.Errorf("before both hold: %+v, %v, %v", ref, ok, err)
	}
	if _, _, err := b.Find("", "ab", usage.OutputTokens, at("2026-02-01")); !errors.Is(err, pricing.ErrAmbiguous) {
		t.Errorf("while both hold: %v", err)
	}
	if _, ok, err := b.Find("", "ab", usage.InputTokens, at("2026-02-01")); !ok || err != nil {
		t.Errorf("a quantity of one alone: %v, %v", ok, err)
	}
	if _, ok, err := b.Find("", "ab", usage.OutputTokens, at("2026-03-01")); !ok || err != nil {
		t.Errorf("a name is better than both: %v, %v", ok, err)
	}
}

func TestScheduleKnowsTheModel(t *testing.T) {
	b := book(entry("acme", "m*", "2026-01-01", "output_tokens=1"))
	for _, c := range []struct {
		customer, model string
		want            bool
	}{{"acme", "m1", true}, {"acme", "n", false}, {"other", "m1", false}, {"acme", "", false}} {
		if got := b.Schedule(c.customer, c.model, usage.InputTokens).Known; got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}

func TestCanonicalGolden(t *testing.T) {
	a := entry("", "b", "2026-02-01", "output_tokens=0.40", "cached_input_tokens=00.05", "input_tokens=0.10")
	b := entry("acme", "b", "2026-02-01T12:15:00Z/2026-03-01", "requests=0")
	c := entry("", "<a>&\"é\u2028/*", "1970-01-01", "gpu_ms=0.000000000001")
	c.Per, c.Line = 1, 7
	one, err := book(a, b, c).Canonical()
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join("testdata", "canonical.json")
	if *update {
		if err := os.WriteFile(name, one, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil || string(one) != string(want) {
		t.Errorf("%v; got\n%s", err, one)
	}
	other, err := book(c, b, a).Canonical()
	if err != nil || string(other) != string(one) {
		t.Errorf("in another order: %v\n%s", err, other)
	}
}

func TestCanonicalRefuses(t *testing.T) {
	for name, e := range map[string]pricing.Entry{
		"no UTF-8":         entry("", "a\xff", "2026-01-01", "output_tokens=1"),
		"quantity twice":   entry("", "a", "2026-01-01", "output_tokens=1", "output_tokens=1"),
		"year 10000":       {Model: "a", From: 253402300800, Per: 1},
		"customer no text": {Model: "a", Customer: "\xff", Per: 1},
	} {
		if b, err := book(e).Canonical(); !errors.Is(err, pricing.ErrMalformed) {
			t.Errorf("%s: %s, %v", name, b, err)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	const good = `{"currency":"USD","entries":[{"from":"2026-01-01T00:00:00Z","model":"m","per":1,"prices":{"requests":"1"}}],"v":1}`
	if b, err := pricing.Parse([]byte(good)); err != nil || len(b.Entries) != 1 {
		t.Fatalf("%+v, %v", b, err)
	}
	for _, c := range []struct{ old, new string }{
		{good, ``},
		{good, `null`},
		{good, `[]`},
		{good, good + good},
		{good, good + "x"},
		{`"v":1`, `"v":0`},
		{`,"v":1`, ``},
		{`"v":1`, `"v":1,"w":1`},
		{`"model":"m"`, `"model":"m","customr":"x"`},
		{`"model":"m"`, `"model":"m","model":"n"`},
		{`"model":"m"`, `"model":"m","Model":"n"`},
		{`"model":"m"`, `"model":7`},
		{`"model":"m"`, "\"model\":\"\xff\""},
		{`"from":"2026-01-01T00:00:00Z",`, ``},
		{`"2026-01-01T00:00:00Z"`, `null`},
		{`"2026-01-01T00:00:00Z"`, `1767225600`},
		{`"2026-01-01T00:00:00Z"`, `"2026-01-01"`},
		{`"2026-01-01T00:00:00Z"`, `"2026-01-01T00:00:00.5Z"`},
		{`"2026-01-01T00:00:00Z"`, `"9999-12-31T23:59:59-01:00"`},
		{`"per":1`, `"per":1,"to":"1970-01-01T00:00:00Z"`},
		{`"per":1`, `"per":1.5`},
		{`"per":1`, `"per":1e3`},
		{`"per":1`, `"per":9223372036854775808`},
		{`"requests":"1"`, `"requests":1`},
		{`"requests":"1"`, `"requests":null`},
		{`"requests":"1"`, `"requests":"1e400"`},
		{`"requests":"1"`, `"requests":"NaN"`},
		{`"requests":"1"`, `"requests":"1","requests":"2"`},
	} {
		text := strings.Replace(good, c.old, c.new, 1)
		if b, err := pricing.Parse([]byte(text)); !errors.Is(err, pricing.ErrMalformed) {
			t.Errorf("%s: %+v, %v", text, b, err)
		}
	}
	if _, err := pricing.Parse([]byte(strings.Replace(good, `"v":1`, `"v":2,"new":[]`, 1))); !errors.Is(err, pricing.ErrNewerFormat) {
		t.Errorf("a newer format: %v", err)
	}
}
