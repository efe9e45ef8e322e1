package money

import (
	"fmt"
	"slices"
	"strings"

	"github.com/cockroachdb/apd/v3"
)

// Rounding says what becomes of parts of a minor unit. All of them treat a
// negative amount as the positive one, so that a credit is as large as the
// charge that it takes back. "" is HalfEven.
type Rounding string

// The roundings.
const (
	HalfEven Rounding = "half-even" // to the nearest; a half to the even neighbour
	HalfUp   Rounding = "half-up"   // to the nearest; a half away from zero
	HalfDown Rounding = "half-down" // to the nearest; a half towards zero
	Up       Rounding = "up"        // away from zero
	Down     Rounding = "down"      // towards zero
)

// Roundings lists all, the default first.
func Roundings() []Rounding { return []Rounding{HalfEven, HalfUp, HalfDown, Up, Down} }

// ParseRounding reads a rounding by its name; "" is HalfEven. Errors wrap ErrRounding.
func ParseRounding(s string) (Rounding, error) {
	if s == "" {
		return HalfEven, nil
	}
	if !slices.Contains(Roundings(), Rounding(s)) {
		return "", fmt.Errorf("%w %q, known are %v", ErrRounding, shorten(s), Roundings())
	}
	return Rounding(s), nil
}

// rounder is apd's name of it.
func (r Rounding) rounder() apd.Rounder {
	if r == "" {
		r = HalfEven
	}
	return apd.Rounder(strings.ReplaceAll(string(r), "-", "_"))
}

// Round makes an amount of d, by the currency's decimal places. It is the one
// rounding of the product. Errors wrap ErrCurrency, ErrRounding or
// ErrRange.
//
// It does not use apd's Quantize, which makes 0 of 0.0001 also when it is to
// round up.
func (d Decimal) Round(c Currency, r Rounding) (Amount, error) {
	if err := c.Check(); err != nil {
		return Amount{}, err
	}
	if _, err := ParseRounding(string(r)); err != nil {
		return Amount{}, err
	}
	var minor apd.BigInt
	if shift := d.d.Exponent + c.Digits; shift >= 0 {
		minor.Mul(&d.d.Coeff, powerOfTen(shift))
	} else {
		unit, rest := powerOfTen(-shift), new(apd.BigInt)
		minor.QuoRem(&d.d.Coeff, unit, rest)
		twice := new(apd.BigInt).Mul(rest, apd.NewBigInt(2))
		if rest.Sign() != 0 && r.rounder().ShouldAddOne(&minor, d.d.Negative, twice.Cmp(unit)) {
			minor.Add(&minor, apd.NewBigInt(1))
		}
	}
	if d.d.Negative {
		minor.Neg(&minor)
	}
	if !minor.IsInt64() {
		return Amount{}, fmt.Errorf("%w: %s %s is more than an invoice can hold", ErrRange, shorten(d.String()), c.Code)
	}
	return Amount{minor.Int64(), c}, nil
}

func powerOfTen(n int32) *apd.BigInt {
	return new(apd.BigInt).Exp(apd.NewBigInt(10), apd.NewBigInt(int64(n)), nil)
}
