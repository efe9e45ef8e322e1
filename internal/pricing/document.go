package pricing

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/tollkeeper/tollkeeper/internal/money"
)

// Format is the version of the document.
const Format = 1

// document is a book in JSON, its members in the order of their names.
type document struct {
	Currency string          `json:"currency"`
	Entries  []documentEntry `json:"entries"`
	V        int             `json:"v"`
}

// documentEntry has pointers where a missing or null member must not read as 0.
type documentEntry struct {
	Customer string                    `json:"customer,omitempty"`
	From     *Instant                  `json:"from"`
	Model    string                    `json:"model"`
	Per      int64                     `json:"per"`
	Prices   map[string]*money.Decimal `json:"prices"`
	To       *Instant                  `json:"to,omitempty"`
}

// Canonical returns the book's document: JSON without white space, members and
// entries sorted, prices as the shortest decimal text. Equal books have equal
// documents, whatever order and spelling they were written in, so the hash of a
// document tells whether prices changed.
func (b *Book) Canonical() ([]byte, error) {
	d := document{Currency: b.Currency, Entries: make([]documentEntry, 0, len(b.Entries)), V: Format}
	for i := range b.Entries {
		e := &b.Entries[i]
		if !utf8.ValidString(e.Model) || !utf8.ValidString(e.Customer) {
			return nil, fmt.Errorf("%w: the model %q of customer %q is no UTF-8", ErrMalformed, e.Model, e.Customer)
		}
		x := documentEntry{Customer: e.Customer, From: &e.From, Model: e.Model, Per: e.Per, Prices: map[string]*money.Decimal{}}
		if e.To != 0 {
			x.To = &e.To
		}
		for j := range e.Prices {
			p := &e.Prices[j]
			if x.Prices[p.Quantity] != nil || !utf8.ValidString(p.Quantity) {
				return nil, fmt.Errorf("%w: the quantity %q of model %q stands twice, or is no UTF-8", ErrMalformed, p.Quantity, e.Model)
			}
			x.Prices[p.Quantity] = &p.Value
		}
		d.Entries = append(d.Entries, x)
	}
	slices.SortStableFunc(d.Entries, func(a, b documentEntry) int {
		return cmp.Or(strings.Compare(a.Model, b.Model), strings.Compare(a.Customer, b.Customer), cmp.Compare(*a.From, *b.From),
			cmp.Compare(a.to(), b.to()), cmp.Compare(a.Per, b.Per), strings.Compare(a.order(), b.order()))
	})
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	if err := e.Encode(d); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("\n")), nil
}

// to is the end, 0 for an open one.
func (e *documentEntry) to() Instant {
	if e.To == nil {
		return 0
	}
	return *e.To
}

// order is a text that differs where prices do.
func (e *documentEntry) order() string {
	var out strings.Builder
	for _, quantity := range slices.Sorted(maps.Keys(e.Prices)) {
		fmt.Fprintf(&out, "%s %s ", quantity, e.Prices[quantity])
	}
	return out.String()
}

// Parse reads a document. It takes any white space and order, and refuses what
// it does not know. What the prices mean is for Check. Errors wrap ErrMalformed
// or ErrNewerFormat.
func Parse(text []byte) (*Book, error) {
	if !utf8.Valid(text) {
		return nil, fmt.Errorf("%w: no UTF-8", ErrMalformed)
	}
	var version struct {
		V int `json:"v"`
	}
	if err := json.Unmarshal(text, &version); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if version.V > Format {
		return nil, fmt.Errorf("%w (%d)", ErrNewerFormat, version.V)
	}
	if version.V != Format {
		return nil, fmt.Errorf("%w: \"v\" has to be %d", ErrMalformed, Format)
	}
	if err := onceEach(text); err != nil {
		return nil, err
	}
	var d document
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&d); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return d.book()
}

func (d *document) book() (*Book, error) {
	b := &Book{Currency: d.Currency}
	for i, x := range d.Entries {
		if x.From == nil {
			return nil, fmt.Errorf("%w: entry %d, of model %q, has no \"from\"", ErrMalformed, i, x.Model)
		}
		if x.To != nil && *x.To == 0 {
			return nil, fmt.Errorf("%w: entry %d, of model %q, ends at %s: leave \"to\" out for an open end", ErrMalformed, i, x.Model, *x.To)
		}
		e := Entry{Model: x.Model, Customer: x.Customer, From: *x.From, To: x.to(), Per: x.Per}
		for quantity, value := range x.Prices {
			if value == nil {
				return nil, fmt.Errorf("%w: entry %d, of model %q, has no price of %q", ErrMalformed, i, x.Model, quantity)
			}
			e.Prices = append(e.Prices, Price{quantity, *value})
		}
		SortPrices(e.Prices)
		b.Entries = append(b.Entries, e)
	}
	return b, nil
}

// SortPrices brings prices into the order of Entry.Prices.
func SortPrices(list []Price) {
	slices.SortFunc(list, func(a, b Price) int { return strings.Compare(a.Quantity, b.Quantity) })
}

// onceEach refuses an object with a member that stands twice: encoding/json
// would take the last, and a person may mean the first. It does not tell apart
// what encoding/json does not, such as "from" and "FROM".
func onceEach(text []byte) error {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	type level struct {
		seen  map[string]bool // nil in a list
		value bool            // the next token is the value of a member
	}
	var levels []level
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%w: %w", ErrMalformed, err)
		}
		if token == json.Delim('}') || token == json.Delim(']') {
			levels = levels[:len(levels)-1]
			continue
		}
		if n := len(levels); n > 0 && levels[n-1].seen != nil {
			top := &levels[n-1]
			if name, ok := token.(string); ok && !top.value {
				name = strings.ToLower(name)
				if top.seen[name] {
					return fmt.Errorf("%w: %q stands twice in one object", ErrMalformed, name)
				}
				top.seen[name], top.value = true, true
				continue
			}
			top.value = false
		}
		switch token {
		case json.Delim('{'):
			levels = append(levels, level{seen: map[string]bool{}})
		case json.Delim('['):
			levels = append(levels, level{})
		}
	}
}
