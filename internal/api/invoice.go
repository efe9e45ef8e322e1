package api

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/bojanz/currency"
	"github.com/danielgtaylor/huma/v2"

	"github.com/tollkeeper/tollkeeper/internal/billing"
	"github.com/tollkeeper/tollkeeper/internal/money"
	"github.com/tollkeeper/tollkeeper/internal/pricing"
	"github.com/tollkeeper/tollkeeper/internal/store/business"
	"github.com/tollkeeper/tollkeeper/internal/tenant"
	"github.com/tollkeeper/tollkeeper/internal/usage"
)

// MomentStore sums usage as of one moment.
type MomentStore interface {
	// TotalsAt sums the records of some customers in each range, and says up to
	// which entry of each journal: all of up to there, and nothing of what is above.
	TotalsAt(ctx context.Context, ranges []usage.Range, customers []string) (map[string]uint64, [][]usage.Total, error)
}

// InvoiceHead is an invoice without its lines.
type InvoiceHead struct {
	ID         string          `json:"id" doc:"empty: a draft"`
	Number     int64           `json:"number"`
	State      string          `json:"state" enum:"draft,final,void"`
	Customer   string          `json:"customer"`
	Start      pricing.Instant `json:"start" doc:"of the period, inclusive"`
	End        pricing.Instant `json:"end" doc:"of the period, exclusive"`
	TimeZone   string          `json:"time_zone" doc:"whose calendar month it is"`
	Currency   string          `json:"currency"`
	Total      string          `json:"total" doc:"to be paid; negative: a credit"`
	Finalised  string          `json:"finalised,omitempty"`
	Voided     time.Time       `json:"voided,omitzero"`
	VoidReason string          `json:"void_reason,omitempty"`
	Hash       string          `json:"hash,omitempty" doc:"SHA-256 of the canonical document"`
}

// Invoice is an invoice, or the draft of one.
type Invoice struct {
	InvoiceHead
	Book        int64               `json:"book" doc:"version of the price book; 0: none"`
	Lines       []InvoiceLine       `json:"lines"`
	Adjustments []InvoiceAdjustment `json:"adjustments" doc:"what closed periods still owe, or are owed"`
	LeftOut     []InvoiceLeftOut    `json:"left_out" doc:"usage that is not charged"`
	Deferred    []InvoiceDeferred   `json:"deferred" doc:"amounts in another currency, left to an invoice in that"`
	Blocks      []string            `json:"blocks" doc:"of a draft: why it is not closed without a permission"`
	AsOf        AsOf                `json:"as_of"`
	Document    Document            `json:"document" doc:"all that the amounts follow from; without white space it is the text that hash is of"`
}

// InvoiceLine is a charge for one quantity of one model at one price.
type InvoiceLine struct {
	Line     int             `json:"line"`
	Model    string          `json:"model"`
	Quantity string          `json:"quantity"`
	Used     int64           `json:"used" doc:"how many units"`
	Price    money.Decimal   `json:"price"`
	Per      int64           `json:"per" doc:"how many units the price is for"`
	From     pricing.Instant `json:"price_from" doc:"since when the price holds"`
	To       pricing.Instant `json:"price_to,omitzero" doc:"until when; absent: open"`
	Charge   money.Decimal   `json:"charge" doc:"used × price / per, exactly"`
	Amount   string          `json:"amount" doc:"the charge, rounded to the currency's decimal places"`
}

// InvoiceAdjustment is what a closed period comes to now, less what was billed for it.
type InvoiceAdjustment struct {
	Line     int             `json:"line"`
	Invoice  string          `json:"invoice" doc:"the period's final invoice"`
	Start    pricing.Instant `json:"start"`
	End      pricing.Instant `json:"end"`
	Model    string          `json:"model"`
	Quantity string          `json:"quantity"`
	Used     int64           `json:"used" doc:"units beyond what was billed"`
	Price    money.Decimal   `json:"price"`
	Per      int64           `json:"per"`
	Reason   string          `json:"reason"`
	Amount   string          `json:"amount"`
}

// InvoiceLeftOut is usage without a charge.
type InvoiceLeftOut struct {
	Start    pricing.Instant `json:"start" doc:"of the period that it was used in"`
	Model    string          `json:"model"`
	Quantity string          `json:"quantity"`
	Used     int64           `json:"used"`
	Reason   string          `json:"reason"`
}

// InvoiceDeferred is an amount of a closed period in another currency.
type InvoiceDeferred struct {
	Invoice  string          `json:"invoice" doc:"the period's final invoice"`
	Start    pricing.Instant `json:"start"`
	End      pricing.Instant `json:"end"`
	Currency string          `json:"currency"`
	Amount   string          `json:"amount"`
}

// Document is an invoice's document: canonical JSON.
type Document struct{ json.RawMessage }

// Schema implements huma.SchemaProvider.
func (Document) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeObject, AdditionalProperties: true}
}

// InvoicesQuery narrows a list of invoices.
type InvoicesQuery struct {
	Customer string `query:"customer" doc:"only this customer's"`
}

// InvoiceHeads is a list of invoices.
type InvoiceHeads struct {
	Invoices []InvoiceHead `json:"invoices"`
}

// ListInvoices lists closed invoices, also those that are void now.
var ListInvoices = &Op[InvoicesQuery, InvoiceHeads]{
	Name: "list-invoices", Method: http.MethodGet, Path: "/v1/invoices", Summary: "Invoices by period, also void ones", Role: tenant.RoleReader, Own: true,
	Do: func(ctx context.Context, l *Local, in *InvoicesQuery) (*InvoiceHeads, error) {
		customer, err := l.own(in.Customer)
		if err != nil {
			return nil, err
		}
		list, err := l.Business.Invoices(ctx, business.InvoiceFilter{Customer: customer})
		if err != nil {
			return nil, err
		}
		out := &InvoiceHeads{Invoices: []InvoiceHead{}}
		for i := range list {
			x, err := closedInvoice(&list[i])
			if err != nil {
				return nil, err
			}
			out.Invoices = append(out.Invoices, x.InvoiceHead)
		}
		return out, nil
	},
}

// ShowInvoice reads a closed invoice as it was closed.
var ShowInvoice = &Op[ByID, Invoice]{
	Name: "invoice", Method: http.MethodGet, Path: "/v1/invoices/{id}", Summary: "A closed invoice", Role: tenant.RoleReader, Own: true,
	Do: func(ctx context.Context, l *Local, in *ByID) (*Invoice, error) {
		kept, err := l.invoice(ctx, in.ID)
		if err != nil {
			return nil, err
		}
		return closedInvoice(&kept)
	},
}

// invoice finds a closed invoice. To a customer's own key another's is not there:
// not even that it exists is told.
func (l *Local) invoice(ctx context.Context, id string) (business.Invoice, error) {
	kept, err := l.Business.Invoice(ctx, id)
	if err == nil && l.Scope != "" && kept.Customer != l.Scope {
		err = fmt.Errorf("invoice %s %w", id, business.ErrNotFound)
	}
	return kept, hinted(err, "`tollkeeper invoice list` names all")
}

// VoidInvoiceIn is the input of VoidInvoice.
type VoidInvoiceIn struct {
	ID   string `path:"id"`
	Body struct {
		Reason string `json:"reason" minLength:"1"`
	}
}

// VoidInvoice declares an invoice void. Its period can be invoiced again.
var VoidInvoice = &Op[VoidInvoiceIn, Invoice]{
	Name: "void-invoice", Method: http.MethodPost, Path: "/v1/invoices/{id}/void", Summary: "Declare an invoice void: its number stays used, its period can be invoiced again",
	Role: tenant.RoleAdmin,
	Do: func(ctx context.Context, l *Local, in *VoidInvoiceIn) (*Invoice, error) {
		if err := l.Business.VoidInvoice(ctx, l.Actor, in.ID, in.Body.Reason); err != nil {
			return nil, err
		}
		kept, err := l.Business.Invoice(ctx, in.ID)
		if err != nil {
			return nil, err
		}
		return closedInvoice(&kept)
	},
}

// DraftQuery says whose invoice is drafted, and for when.
type DraftQuery struct {
	Customer string `query:"customer" required:"true"`
	Month    string `query:"month" doc:"such as 2026-11; absent: the month that it is now"`
}

// DraftInvoice computes what an invoice would say now. Nothing is kept.
var DraftInvoice = &Op[DraftQuery, Invoice]{
	Name: "draft-invoice", Method: http.MethodGet, Path: "/v1/drafts", Summary: "What an invoice would say now", Role: tenant.RoleReader, Configured: true,
	Folded: true,
	Do: func(ctx context.Context, l *Local, in *DraftQuery) (*Invoice, error) {
		c, err := l.payer(ctx, in.Customer)
		if err != nil {
			return nil, err
		}
		draft, err := l.draft(ctx, c, in.Month)
		if err != nil {
			return nil, err
		}
		document, err := draft.Canonical()
		if err != nil {
			return nil, err
		}
		out := newInvoice(draft, document)
		for _, b := range draft.Blocks() {
			out.Blocks = append(out.Blocks, b.Text)
		}
		if !c.Known {
			out.Blocks = append(out.Blocks, "customer "+c.ID+" was never added")
		}
		return out, nil
	},
}

// FinaliseIn is the input of FinaliseInvoice.
type FinaliseIn struct {
	Body struct {
		Customer string               `json:"customer"`
		Month    string               `json:"month" doc:"such as 2026-11"`
		Early    bool                 `json:"early,omitempty" doc:"also before the period and its grace have ended"`
		Allow    []billing.Permission `json:"allow,omitempty" doc:"unpriced, unattributed, new-rules, other-currency, empty: what does not keep it from being closed"`
	}
}

// FinaliseInvoice closes an invoice for ever.
var FinaliseInvoice = &Op[FinaliseIn, Invoice]{
	Name: "finalise-invoice", Method: http.MethodPost, Path: "/v1/invoices", Summary: "Close an invoice: it gets its number and never changes", Role: tenant.RoleAdmin, Configured: true,
	Do: func(ctx context.Context, l *Local, in *FinaliseIn) (_ *Invoice, err error) {
		for _, p := range in.Body.Allow {
			if !slices.Contains(billing.Permissions(), p) {
				return nil, badRequest("allow %q: one of %v", p, billing.Permissions())
			}
		}
		if in.Body.Month == "" {
			return nil, badRequest("name the month, such as 2026-11")
		}
		// Another invoice of the customer may be closed or voided meanwhile.
		for range staleTries {
			var out *Invoice
			if out, err = l.finalise(ctx, in); !errors.Is(err, business.ErrStale) {
				return out, err
			}
		}
		return nil, err
	},
}

// staleTries is how often an invoice is computed again: each other closing of
// the same customer can spoil one.
const staleTries = 3

func (l *Local) finalise(ctx context.Context, in *FinaliseIn) (*Invoice, error) {
	c, err := l.payer(ctx, in.Body.Customer)
	if err != nil {
		return nil, err
	}
	if !c.Known {
		return nil, &Error{
			Status: http.StatusNotFound, Message: "customer " + c.ID + " was never added: only a known customer gets a final invoice",
			Hint: "`tollkeeper customer add " + c.ID + "` adds it",
		}
	}
	revision, err := l.Business.InvoiceRevision(ctx, c.ID)
	if err != nil {
		return nil, err
	}
	if err := l.awaitHead(ctx); err != nil {
		return nil, err
	}
	draft, err := l.draft(ctx, c, in.Body.Month)
	if err != nil {
		return nil, err
	}
	if err := l.mayFinalise(draft, in); err != nil {
		return nil, err
	}
	// Signed at each commit, so it covers all that was counted.
	checkpoint, err := l.Journal.Checkpoint(ctx)
	if err != nil {
		return nil, err
	}
	kept, err := l.Business.FinaliseInvoice(ctx, l.Actor, business.Closing{
		Customer: c.ID, Start: instantTime(draft.Period.Start), End: instantTime(draft.Period.End), Book: draft.Book.Version, Revision: revision,
	}, func(n business.Numbered) ([]byte, error) {
		return draft.Sealed(billing.Seal{ID: n.ID, Number: n.Number, Finalised: n.Finalised, Checkpoint: checkpoint}).Canonical()
	})
	if err != nil {
		return nil, err
	}
	return closedInvoice(&kept)
}

// mayFinalise refuses a period that is not over, and what was not allowed.
func (l *Local) mayFinalise(draft *billing.Invoice, in *FinaliseIn) error {
	over := instantTime(draft.Period.End).Add(l.Defaults.Grace)
	switch now := l.Now(); {
	case now.Before(instantTime(draft.Period.Start)):
		return badRequest("the period begins at %s: there is nothing to invoice yet", draft.Period.Start)
	case now.Before(over) && !in.Body.Early:
		return &Error{
			Status:  http.StatusConflict,
			Message: fmt.Sprintf("the period ends at %s and may be closed from %s on, when late usage had time to arrive", draft.Period.End, over.Format(time.RFC3339)),
			Hint:    "--early closes it now; what comes later is an adjustment on the next invoice",
		}
	}
	var texts, flags []string
	for _, b := range draft.Blocks() {
		if slices.Contains(in.Body.Allow, b.Needs) {
			continue
		}
		texts = append(texts, b.Text)
		if flag := "--allow-" + string(b.Needs); !slices.Contains(flags, flag) {
			flags = append(flags, flag)
		}
	}
	if len(texts) > 0 {
		return &Error{Status: http.StatusConflict, Message: "this keeps the invoice from being closed:\n  " + strings.Join(texts, "\n  "), Hint: strings.Join(flags, " ") + " closes it all the same"}
	}
	return nil
}

// payer finds a customer, or makes up one that only usage names.
func (l *Local) payer(ctx context.Context, id string) (*Customer, error) {
	if err := tenant.CheckID("customer", id); err != nil {
		return nil, err
	}
	if err := refuseReserved(id); err != nil {
		return nil, err
	}
	c, err := l.Business.Customer(ctx, id)
	if errors.Is(err, business.ErrNotFound) {
		return &Customer{Customer: tenant.Customer{ID: id}}, nil
	}
	return &Customer{Customer: c, Known: true}, err
}

// Bounds of awaitHead.
const (
	// headTime is how long usage may take to reach the journal's head. A server
	// folds more than ten thousand spans a second.
	headTime  = 30 * time.Second
	headPause = 20 * time.Millisecond
)

// awaitHead waits until usage has everything that stands in the journal now.
func (l *Local) awaitHead(ctx context.Context) error {
	if err := l.hasJournal(); err != nil {
		return err
	}
	head, err := l.Journal.Size(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, headTime)
	defer cancel()
	for {
		at, err := l.Usage.Positions(ctx)
		if err != nil {
			return err
		}
		if at[l.Journal.Origin()] >= head {
			return nil
		}
		select {
		case <-time.After(headPause):
		case <-ctx.Done():
			return &Error{
				Status: http.StatusServiceUnavailable, Message: fmt.Sprintf("usage is folded up to entry %d of %d of the journal", at[l.Journal.Origin()], head),
				Hint: "try again while `tollkeeper serve` runs on the data directory: it folds the rest",
			}
		}
	}
}

// draft computes an invoice from one moment of usage.
func (l *Local) draft(ctx context.Context, c *Customer, month string) (*billing.Invoice, error) {
	in := billing.Input{
		Issuer: l.Defaults.Issuer, Customer: billing.Party{ID: c.ID, Name: c.Name, Address: c.Address, Email: c.Email}, Note: l.Defaults.Note,
		Projects: map[string]string{}, Rounding: cmp.Or(l.Defaults.Rounding, money.HalfEven), Fold: usage.FoldVersion,
	}
	var err error
	if in.Currency, err = currencyOf(cmp.Or(c.Currency, l.Defaults.Currency)); err != nil {
		return nil, err
	}
	projects, err := l.Business.Projects(ctx, c.ID)
	if err != nil {
		return nil, err
	}
	for _, p := range projects {
		in.Projects[p.ID] = p.Name
	}
	if in.Closed, err = l.closed(ctx, c.ID); err != nil {
		return nil, err
	}
	if in.Period, err = l.period(month, cmp.Or(c.TimeZone, l.Defaults.TimeZone), in.Closed); err != nil {
		return nil, err
	}
	if in.Book, err = l.billingBook(ctx, 0); err != nil && !errors.Is(err, business.ErrNotFound) {
		return nil, err
	}
	if b := in.Book.Prices; b != nil && b.Currency != in.Currency.Code {
		return nil, &Error{
			Status: http.StatusConflict, Message: fmt.Sprintf("the prices are in %s, the invoices of %s in %s", b.Currency, c.ID, in.Currency.Code),
			Hint: "`tollkeeper customer update " + c.ID + " --currency …` changes the customer's, `invoice.currency` of the configuration that of all others",
		}
	}
	if err := l.count(ctx, &in); err != nil {
		return nil, err
	}
	return billing.Make(in)
}

// The years that usage is of: what says it happened before had no clock, and far
// beyond, nanoseconds end.
const (
	firstYear = 2020
	lastYear  = 2099
)

// period is the month, joined to the periods beside it, if none of it is
// invoiced already.
func (l *Local) period(month, zone string, closed []billing.Closed) (billing.Period, error) {
	where, err := location(zone)
	if err != nil {
		return billing.Period{}, err
	}
	m := billing.MonthOf(l.Now(), where)
	if month != "" {
		if m, err = billing.ParseMonth(month); err != nil {
			return billing.Period{}, badRequest("%s", err)
		}
	}
	if m.Year < firstYear || m.Year > lastYear {
		return billing.Period{}, badRequest("month %s: usage is of the years %d to %d", m, firstYear, lastYear)
	}
	taken := make([]billing.Period, 0, len(closed))
	for i := range closed {
		taken = append(taken, closed[i].Invoice.Period)
	}
	p := m.In(where).Join(taken)
	for i := range closed {
		if x := closed[i].Invoice; x.Period.Overlaps(p) {
			return p, &Error{
				Status: http.StatusConflict, Message: fmt.Sprintf("invoice %s covers %s already", x.ID, m),
				Hint: fmt.Sprintf("`tollkeeper invoice show %[1]s` shows it, `tollkeeper invoice void %[1]s --reason …` lets the period be invoiced again", x.ID),
			}
		}
	}
	return p, nil
}

// closed are a customer's final invoices, with the books that they pinned.
func (l *Local) closed(ctx context.Context, customer string) ([]billing.Closed, error) {
	list, err := l.Business.Invoices(ctx, business.InvoiceFilter{Customer: customer, State: business.InvoiceFinal})
	if err != nil {
		return nil, err
	}
	return l.closedOf(ctx, list)
}

func (l *Local) closedOf(ctx context.Context, list []business.Invoice) ([]billing.Closed, error) {
	var out []billing.Closed
	for i := range list {
		x, err := billing.Parse(list[i].Document)
		if err != nil {
			return nil, fmt.Errorf("invoice %s: %w", list[i].ID, err)
		}
		c := billing.Closed{Invoice: x}
		if x.Book.Version != 0 {
			if c.Book, err = l.billingBook(ctx, x.Book.Version); err != nil {
				return nil, fmt.Errorf("invoice %s: %w", x.ID, err)
			}
		}
		out = append(out, c)
	}
	return out, nil
}

// billingBook reads a version of the price book; 0 is the newest.
func (l *Local) billingBook(ctx context.Context, version int64) (billing.Book, error) {
	kept, prices, err := l.book(ctx, version)
	if err != nil {
		return billing.Book{}, err
	}
	return billing.Book{BookRef: billing.BookRef{Hash: kept.Hash, Version: kept.Version}, Prices: prices}, nil
}

// count reads usage of the invoice's period and of all closed ones, as of one
// moment, by stretches of equal prices.
func (l *Local) count(ctx context.Context, in *billing.Input) error {
	stretches := in.Book.Stretches(in.Period)
	var owner []*[]usage.Total
	for range stretches {
		owner = append(owner, &in.Usage)
	}
	for i := range in.Closed {
		c := &in.Closed[i]
		for _, s := range c.Book.Stretches(c.Invoice.Period) {
			stretches, owner = append(stretches, s), append(owner, &c.Usage)
		}
	}
	ranges := make([]usage.Range, 0, len(stretches))
	for _, s := range stretches {
		ranges = append(ranges, usage.Range{From: int64(s.Start) * int64(time.Second), To: int64(s.End) * int64(time.Second)})
	}
	at, totals, err := l.Usage.TotalsAt(ctx, ranges, []string{in.Customer.ID, ""})
	if err != nil {
		return err
	}
	in.Journals = at
	for i, list := range totals {
		for _, t := range list {
			t.Bucket = int64(stretches[i].Start)
			*owner[i] = append(*owner[i], t)
		}
	}
	return nil
}

// maxDigits are the decimal places that money has at most.
const maxDigits = 3

// currencyOf adds a currency's decimal places to its code.
func currencyOf(code string) (money.Currency, error) {
	digits, ok := currency.GetDigits(code)
	if !ok || digits > maxDigits {
		return money.Currency{}, badRequest("currency %q: an ISO 4217 code such as EUR, of at most %d decimal places", code, maxDigits)
	}
	return money.Currency{Code: code, Digits: int32(digits)}, nil
}

func instantTime(i pricing.Instant) time.Time { return time.Unix(int64(i), 0).UTC() }

// closedInvoice reads an invoice from its document and the columns beside it.
func closedInvoice(kept *business.Invoice) (*Invoice, error) {
	x, err := billing.Parse(kept.Document)
	if err != nil {
		return nil, fmt.Errorf("invoice %s: %w", kept.ID, err)
	}
	out := newInvoice(x, kept.Document)
	out.State, out.Hash, out.Voided, out.VoidReason = string(kept.State), kept.Hash, kept.Voided, kept.VoidReason
	return out, nil
}

func newInvoice(x *billing.Invoice, document []byte) *Invoice {
	out := &Invoice{
		InvoiceHead: InvoiceHead{
			ID: x.ID, Number: x.Number, State: "draft", Customer: x.Customer.ID, Start: x.Period.Start, End: x.Period.End, TimeZone: x.Period.Zone,
			Currency: x.Currency.Code, Total: x.Sums.Total, Finalised: x.Finalised,
		},
		Book: x.Book.Version, Lines: []InvoiceLine{}, Adjustments: []InvoiceAdjustment{}, LeftOut: []InvoiceLeftOut{}, Deferred: []InvoiceDeferred{}, Blocks: []string{},
		AsOf: AsOf{Journals: maps.Clone(x.Journals)}, Document: Document{document},
	}
	for i := range x.Lines {
		n := &x.Lines[i]
		out.Lines = append(out.Lines, InvoiceLine{
			Line: n.Number, Model: n.Model, Quantity: n.Quantity, Used: n.Amount, Price: n.Price.Price, Per: n.Price.Per, From: n.Price.From, To: n.Price.To,
			Charge: n.Charge, Amount: n.Total,
		})
	}
	for i := range x.Adjustments {
		a := &x.Adjustments[i]
		out.Adjustments = append(out.Adjustments, InvoiceAdjustment{
			Line: a.Number, Invoice: a.Invoice, Start: a.Period.Start, End: a.Period.End, Model: a.Model, Quantity: a.Quantity, Used: a.Amount,
			Price: a.Price.Price, Per: a.Price.Per, Reason: string(a.Reason), Amount: a.Total,
		})
	}
	for i := range x.LeftOut {
		u := &x.LeftOut[i]
		out.LeftOut = append(out.LeftOut, InvoiceLeftOut{Start: u.Period.Start, Model: u.Model, Quantity: u.Quantity, Used: u.Amount, Reason: string(u.Reason)})
	}
	for _, d := range x.Deferred {
		out.Deferred = append(out.Deferred, InvoiceDeferred{Invoice: d.Invoice, Start: d.Period.Start, End: d.Period.End, Currency: d.Currency, Amount: d.Total})
	}
	return out
}
