// Package lint keeps the house rules of tollkeeper as tests, so that a rule is
// a failing test rather than a sentence in a guide. It has no code of its own:
// each file holds one rule, a check over source text that returns findings, the
// test that runs the check on this repository, and a test that the check finds
// what it is meant to find.
//
// The rules are those of the design: what may import what, what the pure
// packages may touch, how packages are named, how many direct dependencies
// there are, what is documented, and that nothing of one machine is tracked.
package lint
