package money

import (
	"fmt"
	"math"
	"strings"

	"github.com/cockroachdb/apd/v3"
)

// Currency is an ISO 4217 currency as invoices need it. Which codes there are,
// and their digits, is known outside: this package has no tables.
type Currency struct {
	Code string `json:"code"`
	// Digits is how many decimal places its amounts have: 0, 2 or 3.
	Digits int32 `json:"digits"`
}

// Check refuses what is no currency. Errors wrap ErrCurrency.
func (c Currency) Check() error {
	if len(c.Code) != 3 || strings.Trim(c.Code, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != "" {
		return fmt.Errorf("%w: %q is no code of three letters, as in ISO 4217", ErrCurrency, c.Code)
	}
	if c.Digits != 0 && c.Digits != 2 && c.Digits != 3 {
		return fmt.Errorf("%w: %s has %d decimal places, want 0, 2 or 3", ErrCurrency, c.Code, c.Digits)
	}
	return nil
}

// Amount is money as it is paid: a whole number of minor units (cents) of one
// currency. The zero value is no money of no currency.
type Amount struct {
	minor    int64
	currency Currency
}

// FromMinor is n minor units of c, such as cents.
func FromMinor(n int64, c Currency) Amount { return Amount{n, c} }

// ParseAmount reads what String wrote: exactly the currency's decimal places.
// Errors wrap ErrSyntax, ErrRange or ErrCurrency.
func ParseAmount(s string, c Currency) (Amount, error) {
	d, err := Parse(s)
	if err != nil {
		return Amount{}, err
	}
	a, err := d.Round(c, HalfEven)
	if err != nil {
		return Amount{}, err
	}
	if a.String() != s {
		return Amount{}, fmt.Errorf("%w: %q is no amount of %s, such as %s", ErrSyntax, shorten(s), c.Code, Amount{0, c})
	}
	return a, nil
}

// Minor is the amount in minor units.
func (a Amount) Minor() int64 { return a.minor }

// Currency is the amount's currency.
func (a Amount) Currency() Currency { return a.currency }

// Decimal is the amount as a number of whole currency units.
func (a Amount) Decimal() Decimal { return normal(apd.New(a.minor, -a.currency.Digits)) }

// Sign returns -1, 0 or 1.
func (a Amount) Sign() int { return FromInt(a.minor).Sign() }

// IsZero tells whether it is no money.
func (a Amount) IsZero() bool { return a.minor == 0 }

// Neg returns -a. Errors wrap ErrRange.
func (a Amount) Neg() (Amount, error) { return Amount{0, a.currency}.Sub(a) }

// Add returns a + b. Errors wrap ErrCurrency or ErrRange.
func (a Amount) Add(b Amount) (Amount, error) {
	if a.currency != b.currency {
		return Amount{}, fmt.Errorf("%w: %s and %s cannot be added", ErrCurrency, a.currency.Code, b.currency.Code)
	}
	if b.minor > 0 && a.minor > math.MaxInt64-b.minor || b.minor < 0 && a.minor < math.MinInt64-b.minor {
		return Amount{}, fmt.Errorf("%w: %s + %s", ErrRange, a, b)
	}
	return Amount{a.minor + b.minor, a.currency}, nil
}

// Sub returns a - b. Errors wrap ErrCurrency or ErrRange.
func (a Amount) Sub(b Amount) (Amount, error) {
	if b.minor == math.MinInt64 {
		return Amount{}, fmt.Errorf("%w: %s - %s", ErrRange, a, b)
	}
	return a.Add(Amount{-b.minor, b.currency})
}

// String is the amount with all its decimal places and without its currency:
// "12.30", "-0.05", in yen "1230".
func (a Amount) String() string { return a.Decimal().Text(int(a.currency.Digits)) }
