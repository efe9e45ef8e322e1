package pricing

import "slices"

// periods finds where the spans of one series overlap, and where they leave a gap
// that no other price fills.
func (c *checker) periods() {
	for _, k := range c.all {
		spans := c.spans[k]
		last := spans[0] // of those so far, the one that lasts longest
		for _, x := range spans[1:] {
			switch {
			case x.from < last.to:
				first, second := min(last.entry, x.entry), max(last.entry, x.entry)
				c.oncef(second, k.quantity, KindOverlap, "%s of %q has another price at %s, in %s: end one where the other begins",
					k.quantity, k.model, x.from, c.place(first))
			case x.from > last.to && Within(k.quantity) == "":
				c.gap(k, x.entry, span{from: last.to, to: x.from})
			}
			if x.to > last.to {
				last = x
			}
		}
	}
}

// gap reports what is left of a hole where no other price stands in: for a
// customer those for all, for a name those of a glob.
func (c *checker) gap(k series, entry int, hole span) {
	holes := fill([]span{hole}, c.spans[series{"", k.model, k.quantity}])
	for _, customer := range slices.Compact([]string{k.customer, ""}) {
		for _, glob := range c.globs[customer] {
			if covers(glob, k.model) {
				holes = fill(holes, c.spans[series{customer, glob, k.quantity}])
			}
		}
	}
	if len(holes) > 0 {
		c.oncef(entry, k.quantity, KindGap, "%s of %q has no price from %s to %s", k.quantity, k.model, holes[0].from, holes[0].to)
	}
}

// fill takes from holes what the spans cover.
func fill(holes, spans []span) []span {
	for _, x := range spans {
		var left []span
		for _, h := range holes {
			if x.from > h.from {
				left = append(left, span{from: h.from, to: min(h.to, x.from)})
			}
			if x.to < h.to {
				left = append(left, span{from: max(h.from, x.to), to: h.to})
			}
		}
		holes = left
	}
	return holes
}
