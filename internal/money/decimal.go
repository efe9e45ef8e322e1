package money

import (
	"errors"
	"fmt"
	"strings"

	"github.com/cockroachdb/apd/v3"
)

// Errors of the package.
var (
	// ErrSyntax says that a text is no plain decimal number.
	ErrSyntax = errors.New("money: not a decimal number")
	// ErrRange says that a number is larger, or has more places, than any money.
	ErrRange = errors.New("money: number out of range")
	// ErrInexact says that a division does not end.
	ErrInexact = errors.New("money: no exact result")
	// ErrRounding says that there is no rounding of that name.
	ErrRounding = errors.New("money: unknown rounding")
	// ErrCurrency says that two amounts are of different currencies, or that a
	// currency is none.
	ErrCurrency = errors.New("money: currency")
)

// maxDigits bounds the digits before and after the point each. A price has 18
// and 12, times an amount and over a "per" 37 and 51.
const maxDigits = 100

// exact computes without rounding: what does not fit is an error. 1000 digits
// are ten times what its operands may have, so that sums fit as well.
var exact = apd.Context{
	Precision: 10 * maxDigits, MaxExponent: apd.MaxExponent, MinExponent: apd.MinExponent,
	Traps: apd.DefaultTraps | apd.Inexact | apd.Rounded,
}

// Decimal is an exact decimal number. The zero value is 0. It is a value: no
// method changes it.
type Decimal struct {
	// d has no trailing zeros in its coefficient and no negative zero, so that equal
	// numbers are represented alike. It may share its big integer with copies and is
	// never written to.
	d apd.Decimal
}

// Parse reads a number in plain notation: an optional minus, digits, and after a
// point more digits. There is no exponent, no plus, no infinity. Errors wrap
// ErrSyntax or ErrRange.
func Parse(s string) (Decimal, error) {
	whole, places, point := strings.Cut(strings.TrimPrefix(s, "-"), ".")
	if !isDigits(whole) || point && !isDigits(places) {
		return Decimal{}, fmt.Errorf("%w: %q", ErrSyntax, shorten(s))
	}
	if len(whole) > maxDigits || len(places) > maxDigits {
		return Decimal{}, fmt.Errorf("%w: %q has more than %d digits on a side of the point", ErrRange, shorten(s), maxDigits)
	}
	var out apd.Decimal
	if _, _, err := exact.SetString(&out, s); err != nil {
		return Decimal{}, fmt.Errorf("%w: %q: %w", ErrSyntax, s, err)
	}
	return normal(&out), nil
}

func isDigits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

// shorten keeps a message readable when the text is not.
func shorten(s string) string {
	const most = 40
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}

// FromInt is the whole number n.
func FromInt(n int64) Decimal {
	return normal(apd.New(n, 0))
}

// normal makes a Decimal of d and keeps d.
func normal(d *apd.Decimal) Decimal {
	var out Decimal
	out.d.Reduce(d)
	return out
}

// Add returns d + x.
func (d Decimal) Add(x Decimal) Decimal {
	var sum apd.Decimal
	_, err := exact.Add(&sum, &d.d, &x.d)
	return sure(&sum, err)
}

// Sub returns d - x.
func (d Decimal) Sub(x Decimal) Decimal {
	var difference apd.Decimal
	_, err := exact.Sub(&difference, &d.d, &x.d)
	return sure(&difference, err)
}

// sure makes a Decimal of a sum. What is not made by sums is bounded by
// maxDigits, so a sum outgrows the precision after 10^800 steps, and an error is
// a mistake in this package.
func sure(d *apd.Decimal, err error) Decimal {
	if err != nil {
		panic(fmt.Sprintf("money: a sum of bounded numbers is not exact: %s", err))
	}
	return normal(d)
}

// Neg returns -d.
func (d Decimal) Neg() Decimal {
	return Decimal{}.Sub(d)
}

// MulInt returns d × n. Errors wrap ErrRange.
func (d Decimal) MulInt(n int64) (Decimal, error) {
	return d.mul(apd.New(n, 0))
}

// Per returns d / n, for an n that Terminates. Errors wrap ErrInexact or
// ErrRange.
func (d Decimal) Per(n int64) (Decimal, error) {
	twos, fives, ok := factors(n)
	if !ok {
		return Decimal{}, fmt.Errorf("%w of a division by %d: it has to be a product of 2s and 5s", ErrInexact, n)
	}
	// d / (2^a 5^b) = d × 2^(k-a) 5^(k-b) / 10^k with k the larger of a and b.
	k := max(twos, fives)
	factor := apd.Decimal{Exponent: -k}
	factor.Coeff.SetInt64(1)
	for ; twos < k; twos++ {
		factor.Coeff.Mul(&factor.Coeff, apd.NewBigInt(2))
	}
	for ; fives < k; fives++ {
		factor.Coeff.Mul(&factor.Coeff, apd.NewBigInt(5))
	}
	return d.mul(&factor)
}

func (d Decimal) mul(x *apd.Decimal) (Decimal, error) {
	var product apd.Decimal
	if _, err := exact.Mul(&product, &d.d, x); err != nil {
		return Decimal{}, fmt.Errorf("%w: %w", ErrRange, err)
	}
	out := normal(&product)
	if whole := out.d.NumDigits() + int64(out.d.Exponent); whole > maxDigits || out.d.Exponent < -maxDigits {
		return Decimal{}, fmt.Errorf("%w: a product of more than %d digits on a side of the point", ErrRange, maxDigits)
	}
	return out, nil
}

// Terminates tells whether every number divided by n has an end: n is a product
// of 2s and 5s, and positive.
func Terminates(n int64) bool {
	_, _, ok := factors(n)
	return ok
}

// factors counts the 2s and 5s of n; ok is false if there is anything else.
func factors(n int64) (twos, fives int32, ok bool) {
	if n <= 0 {
		return 0, 0, false
	}
	for ; n%2 == 0; n /= 2 {
		twos++
	}
	for ; n%5 == 0; n /= 5 {
		fives++
	}
	return twos, fives, n == 1
}

// Cmp returns -1, 0 or 1 as d is less than, equal to or greater than x.
func (d Decimal) Cmp(x Decimal) int { return d.d.Cmp(&x.d) }

// Equal tells whether d and x are the same number.
func (d Decimal) Equal(x Decimal) bool { return d.Cmp(x) == 0 }

// Sign returns -1, 0 or 1.
func (d Decimal) Sign() int { return d.d.Sign() }

// IsZero tells whether d is 0.
func (d Decimal) IsZero() bool { return d.Sign() == 0 }

// Places is how many digits d has after the point.
func (d Decimal) Places() int { return int(max(0, -d.d.Exponent)) }

// String is d in plain notation without trailing zeros: "0.1", "-12", "1000000".
// Parse reads it back.
func (d Decimal) String() string { return d.d.Text('f') }

// Text is String with zeros at the end until there are as many places: prices
// are read as "0.10".
func (d Decimal) Text(places int) string {
	s := d.String()
	missing := places - d.Places()
	if missing <= 0 {
		return s
	}
	if d.Places() == 0 {
		s += "."
	}
	return s + strings.Repeat("0", missing)
}

// percents computes what people read: see PercentTo.
var percents = apd.Context{Precision: 10 * maxDigits, MaxExponent: apd.MaxExponent, MinExponent: apd.MinExponent, Traps: apd.DefaultTraps, Rounding: apd.RoundHalfEven}

// PercentTo is how much larger x is than d, as a text such as "+12.5%", "-3%" or
// "0%"; "" when d is 0. It is rounded to one decimal place: for people to read, not
// to compute with.
func (d Decimal) PercentTo(x Decimal) string {
	if d.IsZero() {
		return ""
	}
	var ratio, percent apd.Decimal
	more := x.Sub(d)
	if _, err := percents.Quo(&ratio, &more.d, &d.d); err != nil {
		return ""
	}
	ratio.Exponent += 2
	if _, err := percents.Quantize(&percent, &ratio, -1); err != nil {
		return ""
	}
	p := normal(&percent)
	if p.Sign() > 0 {
		return "+" + p.String() + "%"
	}
	return p.String() + "%"
}

// MarshalText implements encoding.TextMarshaler: JSON has a string.
func (d Decimal) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler. Errors are those of Parse.
func (d *Decimal) UnmarshalText(b []byte) error {
	x, err := Parse(string(b))
	if err != nil {
		return err
	}
	*d = x
	return nil
}
