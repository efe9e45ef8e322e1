package pricing

import (
	"maps"
	"slices"
)

// Change is a stretch of time in which a price of one book is another in the next.
type Change struct {
	Model, Customer, Quantity string
	// From is where the stretch begins, To where it ends; 0 is never.
	From, To Instant
	// Before and After are the prices, nil where a book has none.
	Before, After *Ref
}

// Diff lists what changes when b takes the place of a, by customer, model,
// quantity and time. It compares what stands in the books under the same model
// text: what a glob means for a model that neither book names is not spelled out.
// Prices of the same money per unit are the same, whatever they are per.
func Diff(a, b *Book) []Change {
	before, after := a.timeline(), b.timeline()
	both := maps.Clone(before)
	maps.Copy(both, after)
	var out []Change
	for _, k := range slices.SortedFunc(maps.Keys(both), compareSeries) {
		out = append(out, diffSeries(k, before[k], after[k], a.Currency == b.Currency)...)
	}
	return out
}

// timeline is every price of the book, each with the time in which it holds.
func (b *Book) timeline() map[series][]Ref {
	entries := map[series][]int{}
	for i := range b.Entries {
		for _, p := range b.Entries[i].Prices {
			k := series{b.Entries[i].Customer, b.Entries[i].Model, p.Quantity}
			entries[k] = append(entries[k], i)
		}
	}
	out := map[series][]Ref{}
	for k, list := range entries {
		out[k] = b.refs(k.quantity, list)
	}
	return out
}

func diffSeries(k series, before, after []Ref, sameMoney bool) []Change {
	var bounds []Instant
	for _, r := range slices.Concat(before, after) {
		bounds = append(bounds, r.From, r.end())
	}
	slices.Sort(bounds)
	bounds = slices.Compact(bounds)
	var out []Change
	for i := range max(0, len(bounds)-1) {
		c := Change{k.model, k.customer, k.quantity, bounds[i], bounds[i+1], holding(before, bounds[i]), holding(after, bounds[i])}
		if c.To == forever {
			c.To = 0
		}
		if same(c.Before, c.After, sameMoney) {
			continue
		}
		if n := len(out) - 1; n >= 0 && out[n].To == c.From && same(out[n].Before, c.Before, true) && same(out[n].After, c.After, true) {
			out[n].To = c.To
			continue
		}
		out = append(out, c)
	}
	return out
}

// end is To, with an open end behind all others.
func (r *Ref) end() Instant {
	if r.To == 0 {
		return forever
	}
	return r.To
}

func holding(refs []Ref, at Instant) *Ref {
	for i := range refs {
		if refs[i].From <= at && at < refs[i].end() {
			return &refs[i]
		}
	}
	return nil
}

// same tells whether two prices come to the same money for every amount. Prices
// per what does not divide exactly are the same if they are written so.
func same(a, b *Ref, sameMoney bool) bool {
	if a == nil || b == nil {
		return a == b
	}
	if !sameMoney {
		return false
	}
	x, err := a.Price.Per(a.Per)
	y, err2 := b.Price.Per(b.Per)
	if err != nil || err2 != nil {
		return a.Per == b.Per && a.Price.Equal(b.Price)
	}
	return x.Equal(y)
}

// Percent is how much a change makes a unit dearer, as a text such as "+12.5%";
// "" where one of the prices is missing, or was 0.
func (c *Change) Percent() string {
	if c.Before == nil || c.After == nil {
		return ""
	}
	x, err := c.Before.Price.Per(c.Before.Per)
	y, err2 := c.After.Price.Per(c.After.Per)
	if err != nil || err2 != nil {
		return ""
	}
	return x.PercentTo(y)
}
