// Package usage holds the facts of metering and their fold: observations,
// identities, quantities, records, attribution. It is pure: no context, clock,
// I/O, goroutine, log or float.
package usage
