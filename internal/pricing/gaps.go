package pricing

import (
	"cmp"
	"maps"
	"slices"
)

// series is one quantity of one model's text for one customer, through time.
type series struct{ customer, model, quantity string }

// span is the time from one instant to another.
type span struct{ from, to Instant }

// end is where an entry ends, with an open end after all others.
func (e *Entry) end() Instant {
	if e.To == 0 {
		return lastInstant
	}
	return e.To
}

// periods finds where the periods of one series overlap, and where they leave a
// gap that no other price fills.
func (c *checker) periods() {
	all := map[series][]int{}
	named := map[[2]string][]int{} // entries by customer and text
	globs := map[string][]int{}    // entries with a glob, by customer
	for i := range c.book.Entries {
		e := &c.book.Entries[i]
		for _, p := range e.Prices {
			k := series{e.Customer, e.Model, p.Quantity}
			all[k] = append(all[k], i)
		}
		key := [2]string{e.Customer, e.Model}
		named[key] = append(named[key], i)
		if isGlob(e.Model) {
			globs[e.Customer] = append(globs[e.Customer], i)
		}
	}
	for _, k := range slices.SortedFunc(maps.Keys(all), compareSeries) {
		// What may stand in: the customer's other prices, and those for all.
		others := slices.Concat(named[[2]string{"", k.model}], globs[k.customer], globs[""])
		c.series(k, all[k], others)
	}
}

func compareSeries(a, b series) int {
	return cmp.Or(cmp.Compare(a.customer, b.customer), cmp.Compare(a.model, b.model), cmp.Compare(a.quantity, b.quantity))
}

// series walks the entries of one series by time.
func (c *checker) series(k series, entries, others []int) {
	slices.SortStableFunc(entries, func(i, j int) int { return cmp.Compare(c.book.Entries[i].From, c.book.Entries[j].From) })
	last := entries[0] // of those so far, the one that holds longest
	for _, i := range entries[1:] {
		before, e := &c.book.Entries[last], &c.book.Entries[i]
		switch {
		case i == last: // it names the quantity twice, which is said elsewhere
		case e.From < before.end():
			first, second := min(last, i), max(last, i)
			c.oncef(second, k.quantity, KindOverlap, "%s of %q has another price at %s, in %s: end one with \"to\" where the other begins",
				k.quantity, k.model, e.From, c.place(first))
		case e.From > before.end() && Within(k.quantity) == "":
			c.gap(k, i, span{before.end(), e.From}, others)
		}
		if e.end() > before.end() {
			last = i
		}
	}
}

// gap reports what is left of a hole when the other prices stand in.
func (c *checker) gap(k series, entry int, hole span, others []int) {
	holes := []span{hole}
	for _, i := range others {
		e := &c.book.Entries[i]
		if _, ok := e.price(k.quantity); !ok || !covers(e.Model, k.model) {
			continue
		}
		var left []span
		for _, h := range holes {
			if e.From > h.from {
				left = append(left, span{h.from, min(h.to, e.From)})
			}
			if e.end() < h.to {
				left = append(left, span{max(h.from, e.end()), h.to})
			}
		}
		holes = left
	}
	if len(holes) > 0 {
		c.oncef(entry, k.quantity, KindGap, "%s of %q has no price from %s to %s", k.quantity, k.model, holes[0].from, holes[0].to)
	}
}
