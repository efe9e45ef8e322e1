// Package rating multiplies usage by prices, purely and exactly: the same totals
// with the same book give the same bytes, in whatever order and however finely
// the totals come.
//
// A charge is (input - cached) × the input price + cached × the cached price,
// and likewise for output and reasoning; where the part has no price of its own
// it is charged with the whole. Every other quantity is charged by its own price,
// requests only where they have one. What prefill engines compute is the
// operator's cost and never charged. Usage without a price is listed as Unpriced,
// with its amount: it is never charged as 0.
package rating
