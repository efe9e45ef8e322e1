package pricing

import (
	"errors"
	"fmt"
	"time"

	"github.com/tollkeeper/tollkeeper/internal/money"
	"github.com/tollkeeper/tollkeeper/internal/usage"
)

// Errors of the package.
var (
	// ErrMalformed says that a document is no price book.
	ErrMalformed = errors.New("pricing: malformed price book")
	// ErrNewerFormat says that a newer tollkeeper wrote it.
	ErrNewerFormat = errors.New("pricing: price book of a newer format: use the tollkeeper that wrote it, or a later one")
	// ErrAmbiguous says that two prices have the same rank.
	ErrAmbiguous = errors.New("pricing: ambiguous price")
)

// Book is one version of the prices.
type Book struct {
	// Version is given by the store and is no part of the document; 0 before.
	Version int64
	// Currency is the ISO 4217 code of all prices.
	Currency string
	Entries  []Entry
}

// Entry is what one model, or all that a glob matches, costs in a period.
type Entry struct {
	// Model is a name, or a glob.
	Model string
	// Customer is whose prices these are; "" are those of all.
	Customer string
	// From is the first instant at which it holds, To the first at which it does
	// not. With a To of 0 it holds until another entry of the same model and customer
	// begins that has a price of the same quantity. Both lie on quarter hours.
	From, To Instant
	// Per is how many units a price is for.
	Per int64
	// Prices are sorted by quantity.
	Prices []Price
	// Line is where the entry begins in the file that it was read from; 0 is none. It
	// is no part of the document.
	Line int
}

// Price is what Per units of a quantity cost.
type Price struct {
	Quantity string
	Value    money.Decimal
}

// QuarterHour is the step in which usage is summed, in seconds: a price cannot
// change within one.
const QuarterHour = 900

// Instant is a point in time in seconds since 1970 UTC. In JSON it is a text such
// as "2026-01-31T12:00:00Z".
type Instant int64

// Of RFC 3339, whose years have four digits.
var (
	firstInstant = Instant(time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC).Unix())
	lastInstant  = Instant(time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC).Unix())
)

// String is the instant in UTC as RFC 3339 has it.
func (i Instant) String() string { return time.Unix(int64(i), 0).UTC().Format(time.RFC3339) }

// MarshalText implements encoding.TextMarshaler.
func (i Instant) MarshalText() ([]byte, error) {
	if i < firstInstant || i > lastInstant {
		return nil, fmt.Errorf("%w: an instant outside of the years 0 to 9999", ErrMalformed)
	}
	return []byte(i.String()), nil
}

// UnmarshalText implements encoding.TextUnmarshaler. It takes whole seconds in
// any zone.
func (i *Instant) UnmarshalText(b []byte) error {
	t, err := time.Parse(time.RFC3339, string(b))
	if err != nil || t.Nanosecond() != 0 {
		return fmt.Errorf("%w: %q is no instant such as 2026-01-31T12:00:00Z", ErrMalformed, b)
	}
	out := Instant(t.Unix())
	if out < firstInstant || out > lastInstant {
		return fmt.Errorf("%w: %q is, in UTC, outside of the years 0 to 9999", ErrMalformed, b)
	}
	*i = out
	return nil
}

// price returns the entry's price of a quantity.
func (e *Entry) price(quantity string) (money.Decimal, bool) {
	for _, p := range e.Prices {
		if p.Quantity == quantity {
			return p.Value, true
		}
	}
	return money.Decimal{}, false
}

// Within names the quantity that contains the given one, "" if none does: cached
// input tokens are input tokens. Where the part has no price of its own it is
// charged with the whole.
func Within(quantity string) string {
	switch quantity {
	case usage.CachedInputTokens:
		return usage.InputTokens
	case usage.ReasoningTokens:
		return usage.OutputTokens
	}
	return ""
}
