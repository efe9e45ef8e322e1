package config

import (
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/tollkeeper/tollkeeper/internal/money"
	"github.com/tollkeeper/tollkeeper/internal/pricing"
	"github.com/tollkeeper/tollkeeper/internal/usage"
)

// maxPricesBytes bounds what is read of a file that was named by mistake: room
// for some hundred thousand entries.
const maxPricesBytes = 32 << 20

// pricesSchema is the file of prices.
var pricesSchema = &group{fields: []field{
	{name: "currency", shape: text{check: checkCurrency}, required: true},
	{name: "prices", shape: list{of: priceSchema}, required: true},
}}

var priceSchema = &group{
	fields: []field{
		{name: "model", shape: text{check: checkModel, literal: true}, required: true},
		{name: "customer", shape: text{check: checkID("customer")}},
		{name: "from", shape: text{check: checkInstant, literal: true}, required: true},
		{name: "to", shape: text{check: checkEnd, literal: true}},
		{name: "per", shape: text{check: checkPer, literal: true}, required: true},
	},
	rest: &rest{shape: text{check: checkPrice, literal: true}, check: checkQuantity, near: quantities},
}

// quantities are those that we count ourselves. Others come with events, so a
// price may name any, but not one that is nearly one of these.
var quantities = []string{
	usage.InputTokens, usage.CachedInputTokens, usage.OutputTokens, usage.ReasoningTokens, usage.Requests,
	"model", "customer", "from", "to", "per", // the other keys of an entry
}

// LoadPrices reads a file of prices and checks the book that it is. When the book
// cannot be used the error is Problems, with all of it; odd are those that lose no
// money but are probably not meant, such as a gap.
func LoadPrices(path string) (book *pricing.Book, odd Problems, err error) {
	r := &reader{file: path, places: map[string]place{}}
	top, _ := r.readFile(pricesSchema, maxPricesBytes).(map[string]any)
	if top == nil && len(r.problems) == 0 {
		r.bad(nil, "", "is empty: want currency and prices")
	}
	if err := r.problems.err(); err != nil {
		return nil, nil, err
	}
	// The schema let nothing else pass, so the zero values of other types cannot be.
	currency, _ := top["currency"].(string)
	entries, _ := top["prices"].([]any)
	book = &pricing.Book{Currency: currency}
	for i, x := range entries {
		values, _ := x.(map[string]any)
		book.Entries = append(book.Entries, r.priceEntry(fmt.Sprintf("prices[%d]", i), values))
	}
	for _, p := range book.Check() {
		if p.Kind.Refuses() {
			r.problems = append(r.problems, r.priceProblem(p))
		} else {
			odd = append(odd, r.priceProblem(p))
		}
	}
	return book, odd, r.problems.err()
}

// priceEntry makes an entry of what its shape let pass.
func (r *reader) priceEntry(key string, values map[string]any) pricing.Entry {
	e := pricing.Entry{Line: r.places[key].line}
	for name, value := range values {
		text, _ := value.(string)
		switch name {
		case "model":
			e.Model = text
		case "customer":
			e.Customer = text
		case "from":
			e.From, _ = parseInstant(text)
		case "to":
			e.To, _ = parseInstant(text)
		case "per":
			e.Per, _ = whole(text)
		default:
			price, _ := money.Parse(text)
			e.Prices = append(e.Prices, pricing.Price{Quantity: name, Value: price})
		}
	}
	pricing.SortPrices(e.Prices)
	return e
}

// priceProblem says where in the file a problem of the book is: at the member, or
// else at the entry.
func (r *reader) priceProblem(p pricing.Problem) Problem {
	key := "prices"
	if p.Entry >= 0 {
		key = fmt.Sprintf("prices[%d]", p.Entry)
		if at := join(key, p.Field); p.Field != "" && r.places[at] != (place{}) {
			key = at
		}
	}
	at := r.places[key]
	return Problem{File: r.file, Line: at.line, Column: at.column, Key: key, Text: p.Text}
}

func checkModel(s string) error {
	if s == "" {
		return errors.New("is empty: name a model, or \"*\" for all")
	}
	return nil
}

// parseInstant reads a point in time; a day is its midnight in UTC.
func parseInstant(s string) (pricing.Instant, error) {
	var i pricing.Instant
	if t, err := time.Parse(time.DateOnly, s); err == nil {
		return pricing.Instant(t.Unix()), nil
	}
	err := i.UnmarshalText([]byte(s))
	return i, err
}

func checkInstant(s string) error {
	if _, err := parseInstant(s); err != nil {
		return fmt.Errorf("%q is neither a day, such as 2026-01-31, nor a time, such as 2026-01-31T12:00:00Z", s)
	}
	return nil
}

// checkEnd also refuses the instant that stands for an open end.
func checkEnd(s string) error {
	if end, err := parseInstant(s); err == nil && end == 0 {
		return fmt.Errorf("%q is the beginning of 1970: leave \"to\" out for an open end", s)
	}
	return checkInstant(s)
}

func checkPer(s string) error {
	if n, ok := whole(s); !ok || n == 0 {
		return fmt.Errorf("%q is not a number of units, such as 1000000", s)
	}
	return nil
}

// pricePattern is a price with at most 12 decimal places. The text counts, never
// what a float would make of it.
var pricePattern = regexp.MustCompile(`^[0-9]{1,18}(\.[0-9]{1,12})?$`)

func checkPrice(s string) error {
	if !pricePattern.MatchString(s) {
		return fmt.Errorf("%q is not a price, such as \"0.10\": digits, and after a point at most 12", s)
	}
	return nil
}

var quantityPattern = regexp.MustCompile(`^[a-z][a-z0-9_]{0,62}$`)

// checkQuantity refuses names that are none, and misspelt ones: a price for
// "output_token" would leave the output unpriced.
func checkQuantity(name string) error {
	if !quantityPattern.MatchString(name) {
		return errors.New("is no name of a quantity: a-z, 0-9 and _")
	}
	if near := nearest(name, quantities); near != "" && near != name {
		return errors.New("unknown quantity")
	}
	return nil
}
