// Package usage holds the facts of metering and their fold: what one source
// said (Observation), what was decided when it arrived (Stamp), the rules that
// govern it (Policy), and the billable outcome (Record).
//
// The package is pure: no context, clock, I/O, goroutine, log or float. Every
// function gives the same answer for the same input, on any machine and in any
// order of arrival; a projection can therefore be deleted and replayed.
//
// The folding rules are those of the design's section "Record: folding vLLM
// truth"; testdata/recordings holds what a real vLLM 0.32 sent, and each rule
// is tested on it.
package usage
