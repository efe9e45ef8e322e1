package pricing

import (
	"fmt"
	"maps"
	"slices"

	"github.com/tollkeeper/tollkeeper/internal/money"
)

// Ref is the price that was found: what a line of an invoice names as its reason.
type Ref struct {
	// Entry is the place in Book.Entries, from 0. To is where its price ends, also
	// when it is another entry that ends it; 0 if nothing does.
	Entry    int           `json:"entry"`
	Model    string        `json:"model"`
	Customer string        `json:"customer,omitempty"`
	From     Instant       `json:"from"`
	To       Instant       `json:"to,omitzero"`
	Per      int64         `json:"per"`
	Quantity string        `json:"quantity"`
	Price    money.Decimal `json:"price"`
}

// The ranks of a price, best first.
const (
	customerExact = iota
	customerGlob
	allExact
	allGlob
	ranks
)

// Schedule is every price that a quantity of a model has for a customer, at any
// time.
type Schedule struct {
	// Known tells whether any entry, of whatever quantity, is about the model.
	Known bool

	byRank [ranks][]Ref
}

// Schedule collects the prices of one quantity of a model for a customer.
func (b *Book) Schedule(customer, model, quantity string) *Schedule {
	s := &Schedule{}
	if model == "" {
		return s
	}
	found := map[series][]int{}
	for i := range b.Entries {
		e := &b.Entries[i]
		if e.Customer != "" && e.Customer != customer || !matches(e.Model, model) {
			continue
		}
		s.Known = true
		if _, ok := e.price(quantity); ok {
			k := series{e.Customer, e.Model, quantity}
			found[k] = append(found[k], i)
		}
	}
	for _, k := range slices.SortedFunc(maps.Keys(found), compareSeries) {
		s.byRank[k.rank()] = append(s.byRank[k.rank()], b.refs(quantity, found[k])...)
	}
	return s
}

// refs gives the prices of the entries of one series, by time.
func (b *Book) refs(quantity string, entries []int) []Ref {
	out := make([]Ref, 0, len(entries))
	for _, x := range b.spans(entries) {
		e := &b.Entries[x.entry]
		value, _ := e.price(quantity)
		ref := Ref{x.entry, e.Model, e.Customer, x.from, x.to, e.Per, quantity, value}
		if ref.To == forever {
			ref.To = 0
		}
		out = append(out, ref)
	}
	return out
}

// rank is how good the prices of a series are for those whom it is about.
func (k series) rank() int {
	switch {
	case k.customer != "" && !isGlob(k.model):
		return customerExact
	case k.customer != "":
		return customerGlob
	case !isGlob(k.model):
		return allExact
	}
	return allGlob
}

// At returns the price at an instant, and false when there is none. Errors wrap
// ErrAmbiguous.
func (s *Schedule) At(at Instant) (Ref, bool, error) {
	for _, refs := range s.byRank {
		found := -1
		for i := range refs {
			if at < refs[i].From || refs[i].To != 0 && at >= refs[i].To {
				continue
			}
			if found >= 0 {
				return Ref{}, false, fmt.Errorf("%w: %s has two prices of the same rank at %s, by %q and by %q (entries %d and %d)",
					ErrAmbiguous, refs[i].Quantity, at, refs[found].Model, refs[i].Model, refs[found].Entry, refs[i].Entry)
			}
			found = i
		}
		if found >= 0 {
			return refs[found], true, nil
		}
	}
	return Ref{}, false, nil
}

// Find returns the price of a quantity of a model for a customer at an instant,
// and false when there is none. The customer's own price comes before that for
// all, and within each a model's name before a glob. Errors wrap ErrAmbiguous.
func (b *Book) Find(customer, model, quantity string, at Instant) (Ref, bool, error) {
	return b.Schedule(customer, model, quantity).At(at)
}
