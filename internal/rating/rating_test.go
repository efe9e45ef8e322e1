package rating_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/tollkeeper/tollkeeper/internal/money"
	"github.com/tollkeeper/tollkeeper/internal/pricing"
	"github.com/tollkeeper/tollkeeper/internal/rating"
	"github.com/tollkeeper/tollkeeper/internal/usage"
)

func decimal(s string) money.Decimal {
	d, err := money.Parse(s)
	if err != nil {
		panic(err)
	}
	return d
}

// entry prices "quantity=value" per million, from and to in quarter hours.
func entry(customer, model string, from, to int64, prices ...string) pricing.Entry {
	e := pricing.Entry{
		Customer: customer, Model: model, Per: 1_000_000,
		From: pricing.Instant(from * pricing.QuarterHour), To: pricing.Instant(to * pricing.QuarterHour),
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

// total is a total of customer acme; amounts are "quantity=amount".
func total(project, model string, quarter int64, amounts ...string) usage.Total {
	t := usage.Total{Customer: "acme", Project: project, Model: model, Bucket: quarter * pricing.QuarterHour, Grade: usage.GradeFinal}
	for _, a := range amounts {
		var n int64
		quantity, value, _ := strings.Cut(a, "=")
		if _, err := fmt.Sscan(value, &n); err != nil {
			panic(err)
		}
		t.Quantities.Add(quantity, n)
	}
	return t
}

// text is a rating in lines: "model quantity amount × price = charge" with its
// projects, and "unpriced: …".
func text(r *rating.Rating) []string {
	var out []string
	for _, l := range r.Lines {
		s := fmt.Sprintf("%s %s %d × %s [%d] = %s:", l.Model, l.Quantity, l.Amount, l.Price.Price, l.Price.Entry, l.Charge)
		for _, p := range l.Projects {
			s += fmt.Sprintf(" %s %d = %s", p.Project, p.Amount, p.Charge)
		}
		out = append(out, s)
	}
	for _, u := range r.Unpriced {
		out = append(out, fmt.Sprintf("unpriced: %s %s %d %s", u.Model, u.Quantity, u.Amount, u.Reason))
	}
	return out
}

func TestRate(t *testing.T) {
	full := book(
		entry("", "m", 0, 4, "input_tokens=0.10", "cached_input_tokens=0.05", "output_tokens=0.40", "requests=1000"),
		entry("", "m", 4, 0, "input_tokens=0.20", "cached_input_tokens=0.05", "output_tokens=0.40"),
		entry("acme", "m", 8, 0, "output_tokens=0.30"),
		entry("", "plain*", 0, 0, "input_tokens=1", "output_tokens=2", "reasoning_tokens=3"),
	)
	for name, c := range map[string]struct {
		totals []usage.Total
		want   []string
	}{
		"nothing": {nil, nil},
		"cached and uncached input, requests with a price": {
			[]usage.Total{total("p", "m", 0, "input_tokens=1000", "cached_input_tokens=400", "output_tokens=50", "requests=2")},
			[]string{
				"m input_tokens 600 × 0.1 [0] = 0.00006: p 600 = 0.00006",
				"m cached_input_tokens 400 × 0.05 [0] = 0.00002: p 400 = 0.00002",
				"m output_tokens 50 × 0.4 [0] = 0.00002: p 50 = 0.00002",
				"m requests 2 × 1000 [0] = 0.002: p 2 = 0.002",
			},
		},
		"all input cached": {
			[]usage.Total{total("p", "m", 0, "input_tokens=400", "cached_input_tokens=400")},
			[]string{"m cached_input_tokens 400 × 0.05 [0] = 0.00002: p 400 = 0.00002"},
		},
		"requests without a price are not unpriced": {[]usage.Total{total("p", "plain", 0, "requests=7")}, nil},
		"no cached price: part of the input; reasoning has one": {
			[]usage.Total{total("p", "plain/x", 0, "input_tokens=1000", "cached_input_tokens=400", "output_tokens=50", "reasoning_tokens=20")},
			[]string{
				"plain/x input_tokens 1000 × 1 [3] = 0.001: p 1000 = 0.001",
				"plain/x output_tokens 30 × 2 [3] = 0.00006: p 30 = 0.00006",
				"plain/x reasoning_tokens 20 × 3 [3] = 0.00006: p 20 = 0.00006",
			},
		},
		"a price change, a customer's price, two projects": {
			[]usage.Total{
				total("p", "m", 3, "output_tokens=10"), total("q", "m", 4, "output_tokens=20"), total("p", "m", 7, "output_tokens=30"),
				total("q", "m", 8, "output_tokens=40"),
			},
			[]string{
				"m output_tokens 10 × 0.4 [0] = 0.000004: p 10 = 0.000004",
				"m output_tokens 50 × 0.4 [1] = 0.00002: p 30 = 0.000012 q 20 = 0.000008",
				"m output_tokens 40 × 0.3 [2] = 0.000012: q 40 = 0.000012",
			},
		},
		"unknown models, missing prices": {
			[]usage.Total{
				total("p", "", 0, "input_tokens=5", "requests=1"), total("p", "other", 0, "input_tokens=6", "cached_input_tokens=2"),
				total("q", "other", 9, "input_tokens=7"), total("p", "m", 0, "gpu_ms=8"), total("p", "m", -1, "output_tokens=9", "requests=1"),
			},
			[]string{
				"unpriced:  input_tokens 5 unknown_model", "unpriced: m output_tokens 9 no_price", "unpriced: m gpu_ms 8 no_price",
				"unpriced: other input_tokens 13 unknown_model",
			},
		},
		"prefill is cost, and open records have nothing": {
			[]usage.Total{total("p", "m", 0, "prefill_tokens=1000"), {Customer: "acme", Model: "m", Grade: usage.GradeOpen}}, nil,
		},
		"more cached than input: no discount, and seen": {
			[]usage.Total{total("p", "m", 0, "input_tokens=10", "cached_input_tokens=50"), total("q", "m", 0, "input_tokens=100", "cached_input_tokens=50")},
			[]string{
				"m input_tokens 60 × 0.1 [0] = 0.000006: p 10 = 0.000001 q 50 = 0.000005",
				"m cached_input_tokens 50 × 0.05 [0] = 0.0000025: q 50 = 0.0000025",
				"unpriced: m cached_input_tokens 50 exceeds_input_tokens",
			},
		},
		"cached tokens without input": {
			[]usage.Total{total("p", "plain", 0, "cached_input_tokens=50", "reasoning_tokens=5")},
			[]string{"unpriced: plain cached_input_tokens 50 exceeds_input_tokens", "unpriced: plain reasoning_tokens 5 exceeds_output_tokens"},
		},
		"a correction": {
			[]usage.Total{total("p", "m", 0, "input_tokens=-10", "cached_input_tokens=-4"), total("q", "m", 0, "output_tokens=5"), total("q", "m", 0, "output_tokens=-5")},
			[]string{
				"m input_tokens -6 × 0.1 [0] = -0.0000006: p -6 = -0.0000006",
				"m cached_input_tokens -4 × 0.05 [0] = -0.0000002: p -4 = -0.0000002",
			},
		},
		"no project": {[]usage.Total{total("", "m", 0, "output_tokens=1")}, []string{"m output_tokens 1 × 0.4 [0] = 0.0000004:  1 = 0.0000004"}},
	} {
		r, err := rating.Rate(full, c.totals)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := text(r); !slices.Equal(got, c.want) {
			t.Errorf("%s:\n got %s\nwant %s", name, strings.Join(got, "\n     "), strings.Join(c.want, "\n     "))
		}
	}
}

func TestInputWithoutPriceBesideACachedPrice(t *testing.T) {
	r, err := rating.Rate(book(entry("", "m", 0, 0, "cached_input_tokens=1")), []usage.Total{total("p", "m", 0, "input_tokens=10", "cached_input_tokens=4")})
	want := []string{"m cached_input_tokens 4 × 1 [0] = 0.000004: p 4 = 0.000004", "unpriced: m input_tokens 6 no_price"}
	if err != nil || !slices.Equal(text(r), want) {
		t.Errorf("%v, %v", text(r), err)
	}
}

func TestRateRefuses(t *testing.T) {
	one := entry("", "m", 0, 0, "output_tokens=1", "input_tokens=1")
	third := one
	third.Per = 3
	other := total("p", "m", 0, "output_tokens=1")
	other.Customer = "other"
	most := fmt.Sprint("output_tokens=", int64(math.MaxInt64))
	for name, c := range map[string]struct {
		book   *pricing.Book
		totals []usage.Total
		want   error
	}{
		"two customers":      {book(one), []usage.Total{total("p", "m", 0, "output_tokens=1"), other}, rating.ErrCustomers},
		"ambiguous":          {book(one, one), []usage.Total{total("p", "m", 0, "output_tokens=1")}, pricing.ErrAmbiguous},
		"inexact":            {book(third), []usage.Total{total("p", "m", 0, "output_tokens=1")}, money.ErrInexact},
		"sum of a project":   {book(one), []usage.Total{total("p", "m", 0, most), total("p", "m", 0, most)}, rating.ErrRange},
		"sum of a line":      {book(one), []usage.Total{total("p", "m", 0, most), total("q", "m", 0, most)}, rating.ErrRange},
		"sum without price":  {book(one), []usage.Total{total("p", "x", 0, most), total("q", "x", 0, most)}, rating.ErrRange},
		"sum of other units": {book(one), []usage.Total{total("p", "x", 0, "gpu_ms=9223372036854775807"), total("p", "x", 0, "gpu_ms=1")}, rating.ErrRange},
	} {
		if r, err := rating.Rate(c.book, c.totals); !errors.Is(err, c.want) {
			t.Errorf("%s: %+v, %v; want %v", name, r, err, c.want)
		}
	}
}

func TestRatingInJSON(t *testing.T) {
	r, err := rating.Rate(book(entry("acme", "m*", 0, 4, "output_tokens=0.10")),
		[]usage.Total{total("p", "m1", 0, "output_tokens=3"), total("p", "x", 0, "output_tokens=4")})
	if err != nil {
		t.Fatal(err)
	}
	got, err := json.Marshal(r)
	const want = `{"lines":[{"model":"m1","quantity":"output_tokens","price":{"entry":0,"model":"m*","customer":"acme","from":"1970-01-01T00:00:00Z",` +
		`"to":"1970-01-01T01:00:00Z","per":1000000,"quantity":"output_tokens","price":"0.1"},"amount":3,"charge":"0.0000003",` +
		`"projects":[{"project":"p","amount":3,"charge":"0.0000003"}]}],"unpriced":[{"model":"x","quantity":"output_tokens","amount":4,"reason":"unknown_model"}]}`
	if err != nil || string(got) != want {
		t.Errorf("%v\n got %s\nwant %s", err, got, want)
	}
	var read rating.Rating
	if err := json.Unmarshal(got, &read); err != nil {
		t.Fatal(err)
	}
	if again, err := json.Marshal(read); err != nil || string(again) != want {
		t.Errorf("%v: read and written: %s", err, again)
	}
}
