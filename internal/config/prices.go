package config

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"time"

	"github.com/tollkeeper/tollkeeper/internal/usage"
)

// PriceFile is a file of prices as it was written; what the prices mean together
// (gaps, overlaps, globs) is for package pricing.
type PriceFile struct {
	Currency string
	Entries  []PriceEntry
}

// PriceEntry is one entry of a price file.
type PriceEntry struct {
	// Line is where it begins.
	Line int
	// Model is a name or a glob; Customer is "" for all.
	Model, Customer string
	// From and To bound when it holds; To is zero for an open end.
	From, To time.Time
	// Per is how many units the prices are for.
	Per int64
	// Prices are decimal numbers, as they were written, by quantity.
	Prices map[string]string
}

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
		{name: "to", shape: text{check: checkInstant, literal: true}},
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

// LoadPrices reads a file of prices. When something is wrong the error is
// Problems, with all of it.
func LoadPrices(path string) (PriceFile, error) {
	r := &reader{file: path, places: map[string]place{}}
	top, _ := r.readFile(pricesSchema, maxPricesBytes).(map[string]any)
	if top == nil && len(r.problems) == 0 {
		r.bad(nil, "", "is empty: want currency and prices")
	}
	if err := r.problems.err(); err != nil {
		return PriceFile{}, err
	}
	f := PriceFile{Currency: top["currency"].(string)}
	for i, x := range top["prices"].([]any) {
		f.Entries = append(f.Entries, r.priceEntry(fmt.Sprintf("prices[%d]", i), x.(map[string]any)))
	}
	if err := r.problems.err(); err != nil {
		return PriceFile{}, err
	}
	return f, nil
}

// priceEntry makes an entry of what its shape let pass.
func (r *reader) priceEntry(key string, values map[string]any) PriceEntry {
	e := PriceEntry{Line: r.places[key].line, Prices: map[string]string{}}
	for name, value := range values {
		text := value.(string)
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
			e.Per, _ = strconv.ParseInt(text, 10, 64)
		default:
			e.Prices[name] = text
		}
	}
	if !e.To.IsZero() && !e.From.Before(e.To) {
		r.badAt(key+".to", "%s is not after from, %s", e.To.Format(time.RFC3339), e.From.Format(time.RFC3339))
	}
	if len(e.Prices) == 0 {
		r.badAt(key, "has no price: name a quantity, such as input_tokens: \"0.10\"")
	}
	return e
}

// badAt is bad for a key whose node is read already.
func (r *reader) badAt(key, format string, args ...any) {
	at := r.places[key]
	r.problems = append(r.problems, Problem{File: r.file, Line: at.line, Column: at.column, Key: key, Text: fmt.Sprintf(format, args...)})
}

func checkModel(s string) error {
	if s == "" {
		return errors.New("is empty: name a model, or \"*\" for all")
	}
	return nil
}

// parseInstant reads a point in time; a day is its midnight in UTC.
func parseInstant(s string) (time.Time, error) {
	t, err := time.Parse(time.DateOnly, s)
	if err != nil {
		t, err = time.Parse(time.RFC3339, s)
	}
	return t.UTC(), err
}

func checkInstant(s string) error {
	if _, err := parseInstant(s); err != nil {
		return fmt.Errorf("%q is neither a day, such as 2026-01-31, nor a time, such as 2026-01-31T12:00:00Z", s)
	}
	return nil
}

func checkPer(s string) error {
	if n, err := strconv.ParseInt(s, 10, 64); err != nil || n <= 0 {
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
// "ouput_tokens" would leave the output unpriced.
func checkQuantity(name string) error {
	if !quantityPattern.MatchString(name) {
		return errors.New("is no name of a quantity: a-z, 0-9 and _")
	}
	if near := nearest(name, quantities); near != "" && near != name {
		return errors.New("unknown quantity")
	}
	return nil
}
