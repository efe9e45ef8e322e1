package pricing

import (
	"cmp"
	"slices"
)

// series is one quantity of one model's text for one customer, through time.
type series struct{ customer, model, quantity string }

// span is the time in which an entry has the price of a series.
type span struct {
	from, to Instant // to is forever for an open end
	entry    int
}

// forever is behind all instants that can be written.
var forever = lastInstant + 1

// spans gives the entries of one series by time. One without an end lasts until
// the next begins.
func (b *Book) spans(entries []int) []span {
	out := make([]span, 0, len(entries))
	for _, i := range entries {
		out = append(out, span{b.Entries[i].From, b.Entries[i].To, i})
	}
	slices.SortStableFunc(out, func(a, b span) int { return cmp.Compare(a.from, b.from) })
	next := forever // where the first begins that is later than those at next's left
	for i := len(out) - 1; i >= 0; i-- {
		if i+1 < len(out) && out[i+1].from > out[i].from {
			next = out[i+1].from
		}
		if out[i].to == 0 {
			out[i].to = next
		}
	}
	return out
}

// meet finds the first time that two series share, and whose spans these are.
func meet(a, b []span) (x, y span, at Instant, ok bool) {
	for i, j := 0, 0; i < len(a) && j < len(b); {
		if at := max(a[i].from, b[j].from); at < min(a[i].to, b[j].to) {
			return a[i], b[j], at, true
		}
		if a[i].to < b[j].to {
			i++
		} else {
			j++
		}
	}
	return span{}, span{}, 0, false
}
