package usage

import (
	"slices"
	"strings"
)

// Base units of the quantities that a record can hold. Amounts are whole
// numbers; CachedInputTokens is contained in InputTokens, ReasoningTokens in
// OutputTokens.
const (
	InputTokens       = "input_tokens"
	CachedInputTokens = "cached_input_tokens" //nolint:gosec // the name of a quantity
	OutputTokens      = "output_tokens"
	ReasoningTokens   = "reasoning_tokens"
	Requests          = "requests"
	// PrefillTokens is what the prefill half of a P/D pair computed: a cost of
	// the operator, never a charge.
	PrefillTokens = "prefill_tokens"
)

// MaxAmount is the largest amount of one observation. No request comes near it,
// nine thousand of them still sum below 2^53, which every JSON reader keeps
// exact (RFC 8259, section 6), and nine million below 2^63.
const MaxAmount = 1_000_000_000_000

// Quantity is an amount of one base unit.
type Quantity struct {
	Name   string
	Amount int64
}

// Quantities is a set of amounts, sorted by name, each name once. The zero
// value is the empty set.
type Quantities []Quantity //nolint:recvcheck // a slice: adding needs a pointer, reading must work on a value

// Get returns the amount under name, and 0 when there is none.
func (q Quantities) Get(name string) int64 {
	i, found := q.search(name)
	if !found {
		return 0
	}
	return q[i].Amount
}

// Add adds amount to the amount under name. Adding 0 keeps the set as it is.
func (q *Quantities) Add(name string, amount int64) {
	if amount == 0 {
		return
	}
	q.put(name, amount)
}

// Put adds amount under name and keeps the name even when the amount is 0, so
// that "said 0" and "said nothing" stay apart.
func (q *Quantities) put(name string, amount int64) {
	i, found := q.search(name)
	if found {
		(*q)[i].Amount += amount
		return
	}
	*q = slices.Insert(*q, i, Quantity{Name: name, Amount: amount})
}

// AddAll adds every amount of other.
func (q *Quantities) AddAll(other Quantities) {
	for _, x := range other {
		q.Add(x.Name, x.Amount)
	}
}

// NewQuantities returns the set of the given amounts, zeros included.
func NewQuantities(list ...Quantity) Quantities {
	q := make(Quantities, 0, len(list))
	for _, x := range list {
		q.put(x.Name, x.Amount)
	}
	return q
}

func (q Quantities) search(name string) (int, bool) {
	return slices.BinarySearchFunc(q, name, func(x Quantity, n string) int { return strings.Compare(x.Name, n) })
}

// Equal reports whether both sets hold the same amounts under the same names.
func (q Quantities) Equal(other Quantities) bool { return slices.Equal(q, other) }
