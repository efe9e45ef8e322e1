package pricing_test

import (
	"bytes"
	"errors"
	"flag"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/tollkeeper/tollkeeper/internal/pricing"
)

// checks makes the properties of a test try n random cases.
func checks(t *testing.T, n string) {
	t.Helper()
	before := flag.Lookup("rapid.checks").Value.String()
	if err := flag.Set("rapid.checks", n); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = flag.Set("rapid.checks", before) })
}

// books draws small books in which everything meets: few models and customers,
// and a day of quarter hours.
func books(quantities ...string) *rapid.Generator[*pricing.Book] {
	entries := rapid.Custom(func(t *rapid.T) pricing.Entry {
		e := pricing.Entry{
			Model:    rapid.SampledFrom([]string{"a", "b", "ab", "a*", "*b", "?", "??", "*"}).Draw(t, "model"),
			Customer: rapid.SampledFrom([]string{"", "", "acme"}).Draw(t, "customer"),
			From:     pricing.Instant(pricing.QuarterHour * rapid.Int64Range(0, 8).Draw(t, "from")),
			Per:      rapid.SampledFrom([]int64{1, 1000}).Draw(t, "per"),
		}
		if n := rapid.Int64Range(0, 4).Draw(t, "length"); n > 0 {
			e.To = e.From + pricing.Instant(n*pricing.QuarterHour)
		}
		for _, q := range quantities {
			if len(quantities) == 1 || rapid.Bool().Draw(t, q) {
				e.Prices = append(e.Prices, pricing.Price{Quantity: q, Value: decimal(rapid.StringMatching(`[0-9]\.[0-9]{1,2}`).Draw(t, "price"))})
			}
		}
		return e
	})
	return rapid.Custom(func(t *rapid.T) *pricing.Book {
		return book(rapid.SliceOfN(entries, 0, 6).Draw(t, "entries")...)
	})
}

var (
	names     = []string{"a", "b", "ab", "aa", "bb", "x", "xx", "axb", "/"}
	customers = []string{"", "acme", "other"}
)

// times are all quarter hours that the books of books name, and some beyond.
func times() (out []pricing.Instant) {
	for i := pricing.Instant(-1); i < 16; i++ {
		out = append(out, i*pricing.QuarterHour)
	}
	return out
}

// TestCheckedBooksAreNeverAmbiguous holds Check to its promise, both ways: a book
// that it lets pass has one price or none for everything, and what it refuses as
// an overlap or as ambiguous is.
func TestCheckedBooksAreNeverAmbiguous(t *testing.T) {
	checks(t, "1000")
	rapid.Check(t, func(t *rapid.T) {
		b := books("input_tokens", "output_tokens").Draw(t, "book")
		refused := slices.ContainsFunc(b.Check(), func(p pricing.Problem) bool {
			return p.Kind == pricing.KindOverlap || p.Kind == pricing.KindAmbiguous
		})
		found := ""
		for _, customer := range customers {
			for _, name := range names {
				for _, quantity := range []string{"input_tokens", "output_tokens"} {
					s := b.Schedule(customer, name, quantity)
					for _, at := range times() {
						if _, _, err := s.At(at); errors.Is(err, pricing.ErrAmbiguous) {
							found = err.Error()
						}
					}
				}
			}
		}
		// The other way needs prices that nothing hides: those of each rank by itself.
		if found != "" && !refused {
			t.Fatalf("let pass, and: %s", found)
		}
		if refused && found == "" && !hiddenClash(b) {
			t.Fatalf("refused, but nothing is ambiguous: %+v", b.Check())
		}
	})
}

// hiddenClash tells whether two entries of one rank clash where a better one
// hides it.
func hiddenClash(b *pricing.Book) bool {
	for i := range b.Entries {
		for j := range b.Entries[:i] {
			two := book(b.Entries[i], b.Entries[j])
			for _, name := range names {
				for _, quantity := range []string{"input_tokens", "output_tokens"} {
					for _, at := range times() {
						if _, _, err := two.Find("acme", name, quantity, at); err != nil {
							return true
						}
					}
				}
			}
		}
	}
	return false
}

// TestGapsAreWhereNothingIsFound compares the gaps of named models with a search
// of every quarter hour.
func TestGapsAreWhereNothingIsFound(t *testing.T) {
	checks(t, "1000")
	type owned struct{ customer, model string }
	rapid.Check(t, func(t *rapid.T) {
		b := books("output_tokens").Draw(t, "book")
		got, want := map[owned]bool{}, map[owned]bool{}
		for _, p := range b.Check() {
			if p.Kind == pricing.KindGap {
				got[owned{b.Entries[p.Entry].Customer, b.Entries[p.Entry].Model}] = true
			}
		}
		for i, first := range b.Entries {
			for j, last := range b.Entries {
				if i == j || first.Model != last.Model || first.Customer != last.Customer || first.From >= last.From {
					continue
				}
				for _, at := range times() {
					_, ok, err := b.Find(first.Customer, first.Model, "output_tokens", at)
					if at > first.From && at < last.From && !ok && err == nil {
						want[owned{first.Customer, first.Model}] = true
					}
				}
			}
		}
		// A glob's text is no model, so the search says nothing about it.
		noGlob := func(k owned, _ bool) bool { return strings.ContainsAny(k.model, "*?") }
		maps.DeleteFunc(got, noGlob)
		maps.DeleteFunc(want, noGlob)
		if !maps.Equal(got, want) {
			t.Fatalf("gaps of %v, want of %v", got, want)
		}
	})
}

// TestDocumentsAreReadBack holds that a book and its document say the same, and
// that equal books have equal documents.
func TestDocumentsAreReadBack(t *testing.T) {
	checks(t, "1000")
	rapid.Check(t, func(t *rapid.T) {
		b := books("input_tokens", "output_tokens", "gpu_ms").Draw(t, "book")
		text, err := b.Canonical()
		if err != nil {
			t.Fatal(err)
		}
		shuffled := book(rapid.Permutation(b.Entries).Draw(t, "order")...)
		if other, err := shuffled.Canonical(); err != nil || !bytes.Equal(other, text) {
			t.Fatalf("in another order: %v\n%s\n%s", err, text, other)
		}
		read, err := pricing.Parse(text)
		if err != nil || len(read.Entries) != len(b.Entries) {
			t.Fatalf("%v: %s", err, text)
		}
		if again, err := read.Canonical(); err != nil || !bytes.Equal(again, text) {
			t.Fatalf("read and written: %v\n%s\n%s", err, text, again)
		}
		for _, name := range names {
			for _, at := range times() {
				x, ok, err := b.Find("acme", name, "input_tokens", at)
				y, same, err2 := read.Find("acme", name, "input_tokens", at)
				if ok != same || (err == nil) != (err2 == nil) || !x.Price.Equal(y.Price) || x.Per != y.Per || x.From != y.From {
					t.Fatalf("%s at %s: %+v %v, read back %+v %v", name, at, x, err, y, err2)
				}
			}
		}
	})
}

// FuzzParse holds that a document is refused or means the same when it is written
// and read again, and that Check and Find take whatever was read.
func FuzzParse(f *testing.F) {
	golden, err := os.ReadFile("testdata/canonical.json")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(golden)
	f.Add([]byte(`{"currency":"USD","entries":[{"from":"2026-01-01T00:00:00Z","model":"a*","per":3,"prices":{"x":"-1","y":"0.0000000000001"},"to":"1970-01-01T00:00:00Z"}],"v":1}`))
	f.Add([]byte(`{"v":1,"entries":[{"from":"0000-01-01T00:00:00Z","prices":null}]}`))
	f.Add([]byte(`{"v":1,"entries":null} `))
	f.Add([]byte(`[[[[`))
	f.Fuzz(func(t *testing.T, text []byte) {
		b, err := pricing.Parse(text)
		if err != nil {
			if !errors.Is(err, pricing.ErrMalformed) && !errors.Is(err, pricing.ErrNewerFormat) {
				t.Fatal(err)
			}
			return
		}
		first, err := b.Canonical()
		if err != nil {
			t.Fatalf("read but not written: %v", err)
		}
		again, err := pricing.Parse(first)
		if err != nil {
			t.Fatalf("written but not read: %v\n%s", err, first)
		}
		if second, err := again.Canonical(); err != nil || !bytes.Equal(first, second) {
			t.Fatalf("%v\n%s\n%s", err, first, second)
		}
		b.Check()
		for _, e := range b.Entries {
			_, _, _ = b.Find(e.Customer, e.Model, "input_tokens", e.From)
		}
	})
}
