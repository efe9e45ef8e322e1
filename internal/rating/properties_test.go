package rating_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"math/big"
	"os"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/tollkeeper/tollkeeper/internal/money"
	"github.com/tollkeeper/tollkeeper/internal/pricing"
	"github.com/tollkeeper/tollkeeper/internal/rating"
	"github.com/tollkeeper/tollkeeper/internal/usage"
)

// checks makes the properties of a test try n random cases, or as many as `make
// properties` asks for.
func checks(t *testing.T, n string) {
	t.Helper()
	if all := os.Getenv("TOLLKEEPER_PROPERTIES"); all != "" {
		n = all
	}
	before := flag.Lookup("rapid.checks").Value.String()
	if err := flag.Set("rapid.checks", n); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = flag.Set("rapid.checks", before) })
}

var (
	quantities = []string{"input_tokens", "cached_input_tokens", "output_tokens", "reasoning_tokens", "requests", "gpu_ms", "prefill_tokens"}
	pers       = []int64{1, 1000, 1_000_000, 1_000_000_000_000, 1 << 20, 1 << 39}
)

// changes is when prices change in the drawn books, in quarter hours.
const changes = 4

// books draws books without ambiguity: for some texts a price until a change and
// one from it on, each with some of the quantities. Draws are few, for they are
// what takes the time.
var books = rapid.Custom(func(t *rapid.T) *pricing.Book {
	b := book()
	there := rapid.Uint8().Draw(t, "there")
	for i, who := range []struct{ customer, model string }{{"acme", "a/one"}, {"acme", "a/*"}, {"", "a/one"}, {"", "b"}, {"", "*"}, {"other", "*"}} {
		if there>>i&1 == 0 {
			continue
		}
		for _, period := range [][2]int64{{0, changes * (int64(i) & 1)}, {changes, 0}} { // every other end is said
			b.Entries = append(b.Entries, drawEntry(t, entry(who.customer, who.model, period[0], period[1])))
		}
	}
	return b
})

// drawEntry fills in prices: multiples of one number of up to 12 places.
func drawEntry(t *rapid.T, e pricing.Entry) pricing.Entry {
	e.Per = rapid.SampledFrom(pers).Draw(t, "per")
	priced := rapid.Uint8().Draw(t, "priced")
	least, err := money.FromInt(rapid.Int64Range(0, 1_000_000_000_000_000).Draw(t, "price")).Per(1_000_000_000_000)
	if err != nil {
		t.Fatal(err)
	}
	for i, q := range quantities {
		value, err := least.MulInt(int64(1 + i*i%5))
		if err != nil {
			t.Fatal(err)
		}
		if priced>>i&1 == 1 {
			e.Prices = append(e.Prices, pricing.Price{Quantity: q, Value: value})
		}
	}
	pricing.SortPrices(e.Prices)
	return e
}

// oneTotal draws a total in which the parts lie within the wholes; with absurd
// also one where they do not.
func oneTotal(absurd bool) *rapid.Generator[usage.Total] {
	return rapid.Custom(func(t *rapid.T) usage.Total {
		x := total(rapid.SampledFrom([]string{"", "p", "q"}).Draw(t, "project"), rapid.SampledFrom([]string{"a/one", "a/two", "b", "c", ""}).Draw(t, "model"),
			rapid.Int64Range(-1, 2*changes).Draw(t, "bucket"))
		for _, q := range quantities {
			n := rapid.Int64Range(0, usage.MaxAmount).Draw(t, q)
			if whole := pricing.Within(q); whole != "" && !absurd {
				n %= x.Quantities.Get(whole) + 1
			}
			x.Quantities.Add(q, n)
		}
		return x
	})
}

func rate(t *rapid.T, b *pricing.Book, list []usage.Total) (*rating.Rating, []byte) {
	r, err := rating.Rate(b, list)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	return r, text
}

// split breaks a total into two that add up to it, as of other services, keys
// and rules, and maybe of another quarter hour in which prices are the same.
func split(t *rapid.T, x usage.Total) []usage.Total {
	a, b := x, x
	a.Quantities, b.Quantities = nil, nil
	b.Service, b.Key, b.Rule, b.Grade = "other", "key_1", "tag", usage.GradePartial
	for _, part := range []string{"cached_input_tokens", "reasoning_tokens"} {
		// The part stays within the whole on both sides.
		whole := pricing.Within(part)
		inside := rapid.Int64Range(0, max(0, x.Quantities.Get(part))).Draw(t, "part")
		outside := rapid.Int64Range(0, max(0, x.Quantities.Get(whole)-x.Quantities.Get(part))).Draw(t, "rest")
		a.Quantities.Add(part, inside)
		a.Quantities.Add(whole, inside+outside)
	}
	for _, q := range x.Quantities {
		if a.Quantities.Get(q.Name) == 0 {
			a.Quantities.Add(q.Name, q.Amount/2)
		}
		b.Quantities.Add(q.Name, q.Amount-a.Quantities.Get(q.Name))
	}
	if q := x.Bucket / pricing.QuarterHour; q >= 0 && q < changes {
		b.Bucket = rapid.Int64Range(0, changes-1).Draw(t, "quarter") * pricing.QuarterHour
	}
	return []usage.Total{a, b}
}

// TestRatingIsExactWhateverTheOrder is what an invoice stands on: the parts of a
// line add up to it, every unit is charged or listed once, the money is what
// another library's arithmetic says, and neither order nor splitting changes a
// byte.
func TestRatingIsExactWhateverTheOrder(t *testing.T) {
	checks(t, "20000")
	rapid.Check(t, func(t *rapid.T) {
		b, list := books.Draw(t, "book"), rapid.SliceOfN(oneTotal(false), 0, 4).Draw(t, "totals")
		r, want := rate(t, b, list)
		checkBill(t, b, list, r)
		if _, again := rate(t, b, list); !bytes.Equal(again, want) {
			t.Fatalf("rated again:\n%s\n%s", want, again)
		}
		var pieces []usage.Total
		for _, x := range list {
			pieces = append(pieces, split(t, x)...)
		}
		if _, got := rate(t, b, rapid.Permutation(pieces).Draw(t, "order")); !bytes.Equal(got, want) {
			t.Fatalf("split and shuffled:\n%s\n%s", want, got)
		}
	})
}

// checkBill compares a rating with the amounts and with the definition.
func checkBill(t *rapid.T, b *pricing.Book, list []usage.Total, r *rating.Rating) {
	used, charged := sums{}, sums{}
	for _, x := range list {
		for _, q := range x.Quantities {
			used[q.Name] += q.Amount
		}
	}
	for _, l := range r.Lines {
		checkParts(t, l)
		charged[l.Quantity] += l.Amount
	}
	for _, u := range r.Unpriced {
		charged[u.Quantity] += u.Amount
	}
	checkAmounts(t, used, charged)
	if got, want := bill(t, r), expected(t, b, list); got.Cmp(want) != 0 {
		t.Fatalf("charged %s, want %s", got.RatString(), want.RatString())
	}
}

// sums are amounts by quantity.
type sums map[string]int64

func bill(t *rapid.T, r *rating.Rating) *big.Rat {
	sum := new(big.Rat)
	for _, l := range r.Lines {
		sum.Add(sum, fraction(t, l.Charge))
	}
	return sum
}

// TestAbsurdCountsMakeNoBillSmaller holds that a count of cached tokens that
// cannot be true saves nothing against one that can, and is listed.
func TestAbsurdCountsMakeNoBillSmaller(t *testing.T) {
	checks(t, "2000")
	rapid.Check(t, func(t *rapid.T) {
		b, x := books.Draw(t, "book"), oneTotal(true).Draw(t, "total")
		r, _ := rate(t, b, []usage.Total{x})
		honest := x
		honest.Quantities = slices.Clone(x.Quantities)
		for _, part := range []string{"cached_input_tokens", "reasoning_tokens"} {
			over := x.Quantities.Get(part) - x.Quantities.Get(pricing.Within(part))
			listed := slices.ContainsFunc(r.Unpriced, func(u rating.Unpriced) bool {
				return u.Quantity == part && u.Amount == x.Quantities.Get(part) && strings.HasPrefix(u.Reason, "exceeds_")
			})
			if listed != (over > 0) {
				t.Fatalf("%s is over by %d, and listed %v", part, over, listed)
			}
			honest.Quantities.Add(part, -max(0, over))
			// An operator may make the part dearer than the whole; no discount then.
			if p, w := unit(t, b, x, part), unit(t, b, x, pricing.Within(part)); p != nil && (w == nil || p.Cmp(w) > 0) {
				t.Skip()
			}
		}
		if got, least := bill(t, r), expected(t, b, []usage.Total{honest}); got.Cmp(least) < 0 {
			t.Fatalf("the bill is %s, an honest one would be %s", got.RatString(), least.RatString())
		}
	})
}

func checkParts(t *rapid.T, l rating.Line) {
	amount, charge := int64(0), money.Decimal{}
	for _, p := range l.Projects {
		amount, charge = amount+p.Amount, charge.Add(p.Charge)
	}
	if amount != l.Amount || !charge.Equal(l.Charge) {
		t.Fatalf("the projects of %+v have %d, %s", l, amount, charge)
	}
}

// checkAmounts compares what was used with what was charged or listed. Where a
// part has a line of its own, its units are not in the whole's.
func checkAmounts(t *rapid.T, used, charged sums) {
	for _, q := range []string{"input_tokens", "output_tokens"} {
		part := "cached_input_tokens"
		if q == "output_tokens" {
			part = "reasoning_tokens"
		}
		if charged[q]+charged[part] != used[q] || charged[part] > used[part] {
			t.Fatalf("of %d %s, %d + %d are charged or listed", used[q], q, charged[q], charged[part])
		}
	}
	if charged["gpu_ms"] != used["gpu_ms"] {
		t.Fatalf("of %d gpu_ms, %d are charged or listed", used["gpu_ms"], charged["gpu_ms"])
	}
	if charged["requests"] > used["requests"] || charged["prefill_tokens"] != 0 {
		t.Fatalf("charged %d of %d requests, and %d prefill", charged["requests"], used["requests"], charged["prefill_tokens"])
	}
}

func fraction(t *rapid.T, d money.Decimal) *big.Rat {
	r, ok := new(big.Rat).SetString(d.String())
	if !ok {
		t.Fatalf("%s is no number", d)
	}
	return r
}

// unit is what one unit costs, by fractions; nil when there is no price.
func unit(t *rapid.T, b *pricing.Book, x usage.Total, quantity string) *big.Rat {
	ref, ok, err := b.Find(x.Customer, x.Model, quantity, pricing.Instant(x.Bucket))
	if err != nil {
		t.Fatal(err)
	}
	if !ok {
		return nil
	}
	return new(big.Rat).Quo(fraction(t, ref.Price), new(big.Rat).SetInt64(ref.Per))
}

// expected is the bill by the definition, total by total.
func expected(t *rapid.T, b *pricing.Book, list []usage.Total) *big.Rat {
	sum := new(big.Rat)
	add := func(n int64, price *big.Rat) {
		if price != nil {
			sum.Add(sum, new(big.Rat).Mul(new(big.Rat).SetInt64(n), price))
		}
	}
	for _, x := range list {
		for _, q := range []string{"requests", "gpu_ms"} {
			add(x.Quantities.Get(q), unit(t, b, x, q))
		}
		for _, part := range []string{"cached_input_tokens", "reasoning_tokens"} {
			whole := pricing.Within(part)
			n := x.Quantities.Get(part)
			if unit(t, b, x, part) == nil {
				n = 0
			}
			add(x.Quantities.Get(whole)-n, unit(t, b, x, whole))
			add(n, unit(t, b, x, part))
		}
	}
	return sum
}
