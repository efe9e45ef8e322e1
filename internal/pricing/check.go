package pricing

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/tollkeeper/tollkeeper/internal/money"
)

// Kind says what sort of problem it is.
type Kind string

// The kinds of problems. A book with one that Refuses must not come into force.
const (
	KindValue       Kind = "value"        // a member of an entry is none, or out of bounds
	KindInexact     Kind = "inexact"      // per is not a product of 2s and 5s: a charge would have no end
	KindQuarterHour Kind = "quarter_hour" // a bound within a quarter hour, in which usage is one sum
	KindOverlap     Kind = "overlap"      // two prices of one model at one time
	KindAmbiguous   Kind = "ambiguous"    // two globs match one model at one time
	KindGap         Kind = "gap"          // between two periods there is no price: usage would be unpriced
	KindEmpty       Kind = "empty"        // no entry: all usage would be unpriced
)

// Refuses tells whether a book with such a problem cannot be used. The others
// lose no money, since usage without a price is kept and seen, but are probably
// not meant.
func (k Kind) Refuses() bool { return k != KindGap && k != KindEmpty }

// Problem is one thing that is wrong with a book, or odd.
type Problem struct {
	Kind Kind `json:"kind"`
	// Entry is its place in Book.Entries, -1 for the whole book. Line is the entry's.
	Entry int `json:"entry"`
	Line  int `json:"line,omitempty"`
	// Field is the member of the entry, or of the book: "model", "from", "to",
	// "per", "currency" or a quantity; "" for all of it.
	Field string `json:"field,omitempty"`
	Text  string `json:"text"`
}

// Bounds of what an entry may hold, so that a slip of the keyboard is an error
// and not a bill.
const (
	// MaxPlaces is how many decimal places a price may have.
	MaxPlaces = 12
	// MaxPer is the largest Per: a price for more than 10^12 units was not meant.
	MaxPer = 1_000_000_000_000
	// MaxModelBytes is the longest name of a model; usage has none that is longer.
	MaxModelBytes = 512
	// MaxEntries bounds a book, of which each version is kept for ever.
	MaxEntries = 100_000
	// MaxGlobs bounds the different globs of one customer, or of all: each is
	// compared with each.
	MaxGlobs = 1000
)

// maxPrice is 10^18, more than all money there is.
var maxPrice = money.FromInt(1_000_000_000_000_000_000)

// Check finds what is wrong with the book, or odd, in the order of its entries.
// Of what is wrong between entries, an entry has at most one problem of a kind.
func (b *Book) Check() []Problem {
	c := &checker{
		book: b, said: map[saying]bool{},
		spans: map[series][]span{}, globs: map[string][]string{}, quantities: map[series][]string{},
	}
	if err := (money.Currency{Code: b.Currency, Digits: 2}).Check(); err != nil {
		c.addf(-1, "currency", KindValue, "the currency %q is no code of three letters, as in ISO 4217", b.Currency)
	}
	switch n := len(b.Entries); {
	case n == 0:
		c.addf(-1, "", KindEmpty, "there is no entry, so all usage would be unpriced")
	case n > MaxEntries:
		c.addf(-1, "", KindValue, "there are %d entries, at most %d are possible", n, MaxEntries)
		return c.problems
	}
	for i := range b.Entries {
		c.entry(i)
	}
	c.collect()
	c.ambiguous()
	c.periods()
	slices.SortStableFunc(c.problems, func(a, b Problem) int { return cmp.Compare(a.Entry, b.Entry) })
	return c.problems
}

type checker struct {
	book     *Book
	problems []Problem
	said     map[saying]bool

	all        []series            // sorted
	spans      map[series][]span   // by time
	globs      map[string][]string // of each customer
	quantities map[series][]string // of a customer's model
}

// saying is what is said once: an overlap of two entries shows in each of their
// quantities.
type saying struct {
	entry int
	kind  Kind
}

func (c *checker) oncef(entry int, field string, kind Kind, format string, args ...any) {
	if k := (saying{entry, kind}); !c.said[k] {
		c.said[k] = true
		c.addf(entry, field, kind, format, args...)
	}
}

func (c *checker) addf(entry int, field string, kind Kind, format string, args ...any) {
	p := Problem{Kind: kind, Entry: entry, Field: field, Text: fmt.Sprintf(format, args...)}
	if entry >= 0 {
		p.Line = c.book.Entries[entry].Line
	}
	c.problems = append(c.problems, p)
}

// place names an entry in the text about another one.
func (c *checker) place(entry int) string {
	if line := c.book.Entries[entry].Line; line > 0 {
		return fmt.Sprintf("line %d", line)
	}
	return fmt.Sprintf("entry %d", entry)
}

// entry checks what an entry says by itself.
func (c *checker) entry(i int) {
	e := &c.book.Entries[i]
	switch {
	case e.Model == "":
		c.addf(i, "model", KindValue, "model is empty: name one, or \"*\" for all")
	case len(e.Model) > MaxModelBytes:
		c.addf(i, "model", KindValue, "model is longer than %d bytes", MaxModelBytes)
	case !utf8.ValidString(e.Model), !utf8.ValidString(e.Customer):
		c.addf(i, "model", KindValue, "model or customer is no UTF-8")
	case e.From < firstInstant, e.From > lastInstant, e.To < firstInstant, e.To > lastInstant:
		c.addf(i, "from", KindValue, "a bound lies outside of the years 0 to 9999")
	case e.To != 0 && e.To <= e.From:
		c.addf(i, "to", KindValue, "to, %s, is not after from, %s", e.To, e.From)
	case e.Per < 1 || e.Per > MaxPer:
		c.addf(i, "per", KindValue, "per is %d, want 1 to %d", e.Per, int64(MaxPer))
	}
	if e.Per >= 1 && e.Per <= MaxPer && !money.Terminates(e.Per) {
		c.addf(i, "per", KindInexact, "per is %d: prices are exact only per a product of 2s and 5s, such as 1, 1000 or 1000000", e.Per)
	}
	for _, bound := range []struct {
		name string
		at   Instant
	}{{"from", e.From}, {"to", e.To}} {
		if bound.at%QuarterHour != 0 {
			c.addf(i, bound.name, KindQuarterHour, "%s is %s: prices change on quarter hours only, at :00, :15, :30 and :45", bound.name, bound.at)
		}
	}
	c.prices(i)
}

func (c *checker) prices(i int) {
	list := c.book.Entries[i].Prices
	if len(list) == 0 {
		c.addf(i, "", KindValue, "there is no price: name a quantity, such as input_tokens")
	}
	for j, p := range list {
		switch {
		case !isQuantity(p.Quantity):
			c.addf(i, p.Quantity, KindValue, "%q is no name of a quantity: a-z, 0-9 and _, a letter first, at most %d", p.Quantity, maxQuantityBytes)
		case j > 0 && list[j-1].Quantity >= p.Quantity:
			c.addf(i, p.Quantity, KindValue, "%s stands twice, or out of order", p.Quantity)
		case p.Value.Sign() < 0:
			c.addf(i, p.Quantity, KindValue, "the price of %s is negative: %s", p.Quantity, p.Value)
		case p.Value.Places() > MaxPlaces:
			c.addf(i, p.Quantity, KindValue, "the price of %s has %d decimal places, at most %d are possible", p.Quantity, p.Value.Places(), MaxPlaces)
		case p.Value.Cmp(maxPrice) >= 0:
			c.addf(i, p.Quantity, KindValue, "the price of %s has more than 18 digits before the point", p.Quantity)
		}
	}
}

const maxQuantityBytes = 63

func isQuantity(name string) bool {
	return name != "" && len(name) <= maxQuantityBytes && name[0] >= 'a' && name[0] <= 'z' &&
		strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789_") == ""
}

// collect sorts the entries into series.
func (c *checker) collect() {
	entries := map[series][]int{}
	for i := range c.book.Entries {
		e := &c.book.Entries[i]
		for j, p := range e.Prices {
			if j > 0 && e.Prices[j-1].Quantity == p.Quantity {
				continue // it stands twice, which is said already
			}
			k := series{e.Customer, e.Model, p.Quantity}
			entries[k] = append(entries[k], i)
		}
	}
	for _, k := range slices.SortedFunc(maps.Keys(entries), compareSeries) {
		c.all = append(c.all, k)
		c.spans[k] = c.book.spans(entries[k])
		if list := c.globs[k.customer]; isGlob(k.model) && (len(list) == 0 || list[len(list)-1] != k.model) {
			c.globs[k.customer] = append(list, k.model)
		}
		text := series{customer: k.customer, model: k.model}
		c.quantities[text] = append(c.quantities[text], k.quantity)
	}
}

func compareSeries(a, b series) int {
	return cmp.Or(cmp.Compare(a.customer, b.customer), cmp.Compare(a.model, b.model), cmp.Compare(a.quantity, b.quantity))
}

// ambiguous compares the globs of each customer, and of all, with one another.
func (c *checker) ambiguous() {
	for _, customer := range slices.Sorted(maps.Keys(c.globs)) {
		globs := c.globs[customer]
		if len(globs) > MaxGlobs {
			whose := "for all"
			if customer != "" {
				whose = fmt.Sprintf("for customer %q", customer)
			}
			c.addf(-1, "", KindValue, "there are %d different globs %s, at most %d are possible", len(globs), whose, MaxGlobs)
			continue
		}
		for i, a := range globs {
			for _, b := range globs[i+1:] {
				c.compare(customer, a, b)
			}
		}
	}
}

// compare reports the first time at which two globs both have a price.
func (c *checker) compare(customer, a, b string) {
	name, ok := common(a, b)
	if !ok {
		return
	}
	for _, quantity := range c.quantities[series{customer: customer, model: a}] {
		x, y, at, ok := meet(c.spans[series{customer, a, quantity}], c.spans[series{customer, b, quantity}])
		if !ok {
			continue
		}
		first, second := min(x.entry, y.entry), max(x.entry, y.entry)
		c.oncef(second, quantity, KindAmbiguous, "%q and %q (%s) both match a model such as %q, and both have a price of %s at %s: none of them is better; write narrower globs, or name the models",
			c.book.Entries[second].Model, c.book.Entries[first].Model, c.place(first), name, quantity, at)
		return
	}
}
