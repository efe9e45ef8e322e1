package api

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/bojanz/currency"
	"github.com/danielgtaylor/huma/v2"

	"github.com/tollkeeper/tollkeeper/internal/money"
	"github.com/tollkeeper/tollkeeper/internal/pricing"
	"github.com/tollkeeper/tollkeeper/internal/rating"
	"github.com/tollkeeper/tollkeeper/internal/store/business"
	"github.com/tollkeeper/tollkeeper/internal/tenant"
	"github.com/tollkeeper/tollkeeper/internal/usage"
)

// PriceVersion is one version of the price book, without its prices.
type PriceVersion struct {
	Version int64     `json:"version"`
	Applied time.Time `json:"applied"`
	Actor   string    `json:"actor,omitempty"`
	Source  string    `json:"source" doc:"config: the file that the configuration names; command: a command or a call"`
	Hash    string    `json:"hash" doc:"SHA-256 of the document"`
}

// Prices is one version of the price book.
type Prices struct {
	PriceVersion
	Currency string       `json:"currency"`
	Entries  []PriceEntry `json:"entries"`
}

// PriceEntry is what one model, or all that a glob matches, costs in a period.
type PriceEntry struct {
	Model    string                   `json:"model" doc:"a name, or a glob of * and ?"`
	Customer string                   `json:"customer,omitempty" doc:"whose prices these are; absent: everybody's"`
	From     pricing.Instant          `json:"from"`
	To       pricing.Instant          `json:"to,omitzero" doc:"absent: until the next entry of the model and customer"`
	Per      int64                    `json:"per" doc:"how many units a price is for"`
	Prices   map[string]money.Decimal `json:"prices" doc:"decimal numbers by quantity"`
}

// PricesQuery names a version.
type PricesQuery struct {
	Version int64 `query:"version" minimum:"0" doc:"0 or absent: the one in force"`
}

// AskPrices reads a version of the price book. A customer's key sees the prices
// of all and its own.
var AskPrices = &Op[PricesQuery, Prices]{
	Name: "prices", Method: http.MethodGet, Path: "/v1/prices", Summary: "The prices in force, or those of an earlier version", Role: tenant.RoleReader, Own: true,
	Do: func(ctx context.Context, l *Local, in *PricesQuery) (*Prices, error) {
		kept, book, err := l.book(ctx, in.Version)
		if err != nil {
			return nil, err
		}
		out := &Prices{PriceVersion: versionOf(kept), Currency: book.Currency, Entries: []PriceEntry{}}
		for i := range book.Entries {
			if e := &book.Entries[i]; l.Scope == "" || e.Customer == "" || e.Customer == l.Scope {
				out.Entries = append(out.Entries, priceEntry(e))
			}
		}
		if l.Scope != "" {
			out.Actor = "" // who works for the operator is not for customers
		}
		return out, nil
	},
}

func versionOf(b business.PriceBook) PriceVersion {
	return PriceVersion{Version: b.Version, Applied: b.Applied, Actor: b.Actor, Source: b.Source, Hash: b.Hash}
}

func priceEntry(e *pricing.Entry) PriceEntry {
	out := PriceEntry{Model: e.Model, Customer: e.Customer, From: e.From, To: e.To, Per: e.Per, Prices: map[string]money.Decimal{}}
	for _, p := range e.Prices {
		out.Prices[p.Quantity] = p.Value
	}
	return out
}

// book reads a version of the price book; 0 is the newest.
func (l *Local) book(ctx context.Context, version int64) (kept business.PriceBook, book *pricing.Book, err error) {
	if version < 0 {
		err = badRequest("version %d of the price book: they count from 1", version)
	} else if version > 0 {
		kept, err = l.Business.PriceBook(ctx, version)
	} else if kept, err = l.Business.NewestPriceBook(ctx); errors.Is(err, business.ErrNotFound) {
		err = &Error{Status: http.StatusNotFound, Message: "there are no prices yet", Hint: "`tollkeeper price apply FILE` brings some into force", Err: err}
	}
	if err != nil {
		return kept, nil, err
	}
	book, err = pricing.Parse(kept.Document)
	if err != nil {
		return kept, nil, fmt.Errorf("price book version %d: %w", kept.Version, err)
	}
	book.Version = kept.Version
	return kept, book, nil
}

// PriceVersions lists the versions.
type PriceVersions struct {
	Versions []PriceVersion `json:"versions"`
}

// ListPriceVersions lists the versions of the price book, oldest first.
var ListPriceVersions = &Op[None, PriceVersions]{
	Name: "price-versions", Method: http.MethodGet, Path: "/v1/prices/versions", Summary: "The versions of the price book", Role: tenant.RoleReader,
	Do: func(ctx context.Context, l *Local, _ *None) (*PriceVersions, error) {
		list, err := l.Business.PriceBooks(ctx)
		out := &PriceVersions{Versions: []PriceVersion{}}
		for _, b := range list {
			out.Versions = append(out.Versions, versionOf(b))
		}
		return out, err
	},
}

// PriceDocument is a price book as JSON. It is read by pricing.Parse alone, which
// refuses what it does not know, and a member that stands twice.
type PriceDocument struct{ json.RawMessage }

// priceDocument is its shape, for the description of the API.
type priceDocument struct {
	V        int          `json:"v" enum:"1"`
	Currency string       `json:"currency" doc:"ISO 4217"`
	Entries  []PriceEntry `json:"entries"`
}

// Schema implements huma.SchemaProvider.
func (PriceDocument) Schema(r huma.Registry) *huma.Schema {
	return huma.SchemaFromType(r, reflect.TypeFor[priceDocument]())
}

// PriceDocumentIn is the input of ApplyPrices and CheckPrices.
type PriceDocumentIn struct{ Body PriceDocument }

// AppliedPrices says what became of a price book.
type AppliedPrices struct {
	PriceVersion
	Changed  bool           `json:"changed" doc:"false: these prices were in force already"`
	Warnings []PriceProblem `json:"warnings" doc:"what loses no money, but is probably not meant"`
}

// PriceProblem is one thing that is wrong with a price book, or odd.
type PriceProblem struct {
	Kind    pricing.Kind `json:"kind"`
	Entry   int          `json:"entry" doc:"its place among the entries, from 0; -1: the whole book"`
	Field   string       `json:"field,omitempty"`
	Text    string       `json:"text"`
	Refuses bool         `json:"refuses" doc:"true: such a book cannot be applied"`
}

// ApplyPrices brings a price book into force, as a new version.
var ApplyPrices = &Op[PriceDocumentIn, AppliedPrices]{
	Name: "apply-prices", Method: http.MethodPost, Path: "/v1/prices", Summary: "Bring prices into force, as a new version", Role: tenant.RoleAdmin,
	Do: func(ctx context.Context, l *Local, in *PriceDocumentIn) (*AppliedPrices, error) {
		book, problems, err := usableBook(in.Body)
		if err != nil {
			return nil, err
		}
		document, err := book.Canonical()
		if err != nil {
			return nil, badRequest("%s", err)
		}
		kept, changed, err := l.Business.ApplyPriceBook(ctx, l.Actor, document)
		return &AppliedPrices{PriceVersion: versionOf(kept), Changed: changed, Warnings: problems}, err
	},
}

// String is the problem in one line.
func (p PriceProblem) String() string {
	if p.Entry < 0 {
		return p.Text
	}
	return fmt.Sprintf("entry %d: %s", p.Entry, p.Text)
}

// usableBook reads a document and refuses what cannot be applied; problems are
// those that are left.
func usableBook(d PriceDocument) (book *pricing.Book, problems []PriceProblem, err error) {
	if book, problems, err = readBook(d); err != nil {
		return nil, nil, err
	}
	var refused []string
	for _, p := range problems {
		if p.Refuses {
			refused = append(refused, p.String())
		}
	}
	if len(refused) > 0 {
		return nil, nil, badRequest("these prices cannot be applied:\n%s", strings.Join(refused, "\n"))
	}
	return book, problems, nil
}

// readBook reads a document and finds what is wrong with it, also what needs to
// know currencies and customers' ids.
func readBook(d PriceDocument) (*pricing.Book, []PriceProblem, error) {
	book, err := pricing.Parse(d.RawMessage)
	if err != nil {
		return nil, nil, badRequest("%s", err)
	}
	problems := []PriceProblem{}
	bad := func(entry int, field, text string) {
		problems = append(problems, PriceProblem{pricing.KindValue, entry, field, text, true})
	}
	if digits, ok := currency.GetDigits(book.Currency); !ok || digits > maxDigits {
		bad(-1, "currency", fmt.Sprintf("%q is no currency of ISO 4217 with at most %d decimal places", book.Currency, maxDigits))
	}
	for i, e := range book.Entries {
		if e.Customer == "" {
			continue
		}
		if err := tenant.CheckID("customer", e.Customer); err != nil {
			bad(i, "customer", err.Error())
		}
	}
	for _, p := range book.Check() {
		if p.Field != "currency" || len(problems) == 0 {
			problems = append(problems, PriceProblem{p.Kind, p.Entry, p.Field, p.Text, p.Kind.Refuses()})
		}
	}
	return book, problems, nil
}

// PriceCheck is what a price book would do.
type PriceCheck struct {
	Problems []PriceProblem `json:"problems"`
	// Unpriced is usage of all time that these prices do not cover.
	Unpriced []UnpricedUsage `json:"unpriced" doc:"usage that would have no price; empty if the book cannot be applied"`
	// UnknownCustomers have prices, but were never added.
	UnknownCustomers []string `json:"unknown_customers" doc:"customers with prices of their own who were never added"`
}

// UnpricedUsage is usage of one customer that has no price.
type UnpricedUsage struct {
	Customer string `json:"customer"`
	rating.Unpriced
}

// CheckPrices says what is wrong with a price book, and which usage it would
// leave without a price.
var CheckPrices = &Op[PriceDocumentIn, PriceCheck]{
	Name: "check-prices", Method: http.MethodPost, Path: "/v1/prices/check", Summary: "What is wrong with prices, and which usage they would leave unpriced",
	Role:   tenant.RoleReader,
	Folded: true,
	Do: func(ctx context.Context, l *Local, in *PriceDocumentIn) (*PriceCheck, error) {
		book, problems, err := readBook(in.Body)
		if err != nil {
			return nil, err
		}
		out := &PriceCheck{Problems: problems, Unpriced: []UnpricedUsage{}}
		if out.UnknownCustomers, err = l.unknownCustomers(ctx, book); err != nil {
			return nil, err
		}
		if slices.ContainsFunc(problems, func(p PriceProblem) bool { return p.Refuses }) {
			return out, nil
		}
		out.Unpriced, err = l.unpriced(ctx, book)
		return out, err
	},
}

func (l *Local) unknownCustomers(ctx context.Context, book *pricing.Book) ([]string, error) {
	known, err := l.Business.Customers(ctx)
	if err != nil {
		return nil, err
	}
	out := []string{}
	for _, e := range book.Entries {
		if e.Customer != "" && !slices.ContainsFunc(known, func(c tenant.Customer) bool { return c.ID == e.Customer }) {
			out = append(out, e.Customer)
		}
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

// unpriced finds the usage of all time that a book has no price for.
func (l *Local) unpriced(ctx context.Context, book *pricing.Book) ([]UnpricedUsage, error) {
	out := []UnpricedUsage{}
	err := l.rate(ctx, book, usage.Range{}, func(totals []usage.Total, r *rating.Rating) error {
		for _, u := range r.Unpriced {
			out = append(out, UnpricedUsage{totals[0].Customer, u})
		}
		return nil
	})
	return out, err
}

// rate charges the usage in a range, and calls fn for each customer's.
func (l *Local) rate(ctx context.Context, book *pricing.Book, in usage.Range, fn func([]usage.Total, *rating.Rating) error) error {
	totals, err := l.Usage.Totals(ctx, in, steadySeconds(book))
	if err != nil {
		return err
	}
	slices.SortStableFunc(totals, func(a, b usage.Total) int { return strings.Compare(a.Customer, b.Customer) })
	for len(totals) > 0 {
		n := slices.IndexFunc(totals, func(t usage.Total) bool { return t.Customer != totals[0].Customer })
		if n < 0 {
			n = len(totals)
		}
		r, err := rating.Rate(book, totals[:n])
		if err == nil {
			err = fn(totals[:n], r)
		}
		if err != nil {
			return err
		}
		totals = totals[n:]
	}
	return nil
}

// steadySeconds is the longest step of UTC in which no price of the book changes;
// 0 if none ever does, or only where time begins.
func steadySeconds(book *pricing.Book) int64 {
	step := int64(0)
	for i := range book.Entries {
		for _, bound := range []pricing.Instant{book.Entries[i].From, book.Entries[i].To} {
			step = gcd(step, int64(bound))
		}
	}
	return step
}

func gcd(a, b int64) int64 {
	for b != 0 {
		a, b = b, a%b
	}
	return max(a, -a)
}

// DiffPricesIn says what to compare.
type DiffPricesIn struct {
	Body struct {
		Before   int64          `json:"before,omitempty" minimum:"0" doc:"a version; 0: the one in force, or the one before After"`
		After    int64          `json:"after,omitempty" minimum:"0" doc:"a version; 0: the one in force"`
		Document *PriceDocument `json:"document,omitempty" doc:"prices that are not applied, in the place of After"`
	}
}

// PriceDiff is what changes from one price book to another.
type PriceDiff struct {
	Before  PriceSide     `json:"before"`
	After   PriceSide     `json:"after"`
	Changes []PriceChange `json:"changes"`
}

// PriceSide is one of two compared books.
type PriceSide struct {
	Version  int64  `json:"version" doc:"0: not applied, or none"`
	Currency string `json:"currency"`
}

// PriceChange is a stretch of time in which a price changes.
type PriceChange struct {
	Model    string          `json:"model"`
	Customer string          `json:"customer,omitempty"`
	Quantity string          `json:"quantity"`
	From     pricing.Instant `json:"from"`
	To       pricing.Instant `json:"to,omitzero"`
	Before   *UnitPrice      `json:"before,omitempty" doc:"absent: no price before; of a customer, none of its own"`
	After    *UnitPrice      `json:"after,omitempty" doc:"absent: no price any more; of a customer, none of its own"`
	Percent  string          `json:"percent,omitempty" doc:"such as +12.5%"`
}

// UnitPrice is a price per so many units.
type UnitPrice struct {
	Price money.Decimal `json:"price"`
	Per   int64         `json:"per"`
}

// DiffPrices compares two versions, or one with a document.
var DiffPrices = &Op[DiffPricesIn, PriceDiff]{
	Name: "diff-prices", Method: http.MethodPost, Path: "/v1/prices/diff", Summary: "What changes between two price books", Role: tenant.RoleReader,
	Do: func(ctx context.Context, l *Local, in *DiffPricesIn) (*PriceDiff, error) {
		before, after, err := l.sides(ctx, in)
		if err != nil {
			return nil, err
		}
		out := &PriceDiff{PriceSide{before.Version, before.Currency}, PriceSide{after.Version, after.Currency}, []PriceChange{}}
		for _, c := range pricing.Diff(before, after) {
			x := PriceChange{Model: c.Model, Customer: c.Customer, Quantity: c.Quantity, From: c.From, To: c.To, Before: unitPrice(c.Before), After: unitPrice(c.After)}
			if before.Currency == after.Currency {
				x.Percent = c.Percent()
			}
			out.Changes = append(out.Changes, x)
		}
		slices.SortStableFunc(out.Changes, func(a, b PriceChange) int {
			return cmp.Or(strings.Compare(a.Model, b.Model), strings.Compare(a.Customer, b.Customer), rating.CompareQuantities(a.Quantity, b.Quantity))
		})
		return out, nil
	},
}

func unitPrice(r *pricing.Ref) *UnitPrice {
	if r == nil {
		return nil
	}
	return &UnitPrice{r.Price, r.Per}
}

// sides are the two books to compare. Where there is no book yet, or none before
// the first, it is an empty one.
func (l *Local) sides(ctx context.Context, in *DiffPricesIn) (before, after *pricing.Book, err error) {
	if in.Body.Document != nil {
		if in.Body.After != 0 {
			return nil, nil, badRequest("name a document or a version to compare with, not both")
		}
		if after, _, err = usableBook(*in.Body.Document); err != nil {
			return nil, nil, err
		}
	} else if _, after, err = l.book(ctx, in.Body.After); err != nil {
		return nil, nil, err
	}
	version := in.Body.Before
	if version == 0 && in.Body.Document == nil {
		version = after.Version - 1
		if version == 0 {
			return &pricing.Book{Currency: after.Currency}, after, nil
		}
	}
	_, before, err = l.book(ctx, version)
	if errors.Is(err, business.ErrNotFound) && version == 0 {
		return &pricing.Book{Currency: after.Currency}, after, nil
	}
	return before, after, err
}
