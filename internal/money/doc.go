// Package money counts money: exact decimals (Decimal), amounts in the minor
// units of a currency (Amount), and the one rounding between them.
//
// A Decimal is exact or it is an error. Everything that is computed before an
// invoice line is a Decimal; Decimal.Round makes an Amount of it, and no other
// money in tollkeeper is rounded. There is no division but Per, by numbers whose
// division always ends.
package money
