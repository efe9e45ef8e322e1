package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/tollkeeper/tollkeeper/internal/billing"
	"github.com/tollkeeper/tollkeeper/internal/money"
	"github.com/tollkeeper/tollkeeper/internal/pricing"
	"github.com/tollkeeper/tollkeeper/internal/rating"
	"github.com/tollkeeper/tollkeeper/internal/store/business"
	"github.com/tollkeeper/tollkeeper/internal/tenant"
	"github.com/tollkeeper/tollkeeper/internal/usage"
)

// ExplainQuery names a line of an invoice.
type ExplainQuery struct {
	ID   string `path:"id"`
	Line int    `path:"line"`
}

// LineExplanation says what a line of an invoice follows from.
type LineExplanation struct {
	Invoice    string            `json:"invoice"`
	Line       int               `json:"line"`
	Model      string            `json:"model"`
	Quantity   string            `json:"quantity"`
	Used       int64             `json:"used"`
	Amount     string            `json:"amount"`
	Currency   string            `json:"currency"`
	Price      ExplainedPrice    `json:"price"`
	Arithmetic []string          `json:"arithmetic"`
	Records    []ExplainedRecord `json:"records" doc:"by time, the first hundred"`
	Count      int               `json:"records_counted"`
	Sum        int64             `json:"records_sum" doc:"their units; those of the line when complete"`
	Moved      int               `json:"records_moved" doc:"how many of them are another customer's now"`
	Walked     int               `json:"records_walked" doc:"how many records of the customer and the period were looked through"`
	Complete   bool              `json:"complete" doc:"false: there are too many records to walk through all"`
}

// ExplainedPrice is an entry of the price book.
type ExplainedPrice struct {
	Book     int64           `json:"book"`
	Entry    int             `json:"entry" doc:"its place in the book, from 0"`
	Model    string          `json:"model" doc:"as the entry names it, a glob maybe"`
	Customer string          `json:"customer,omitempty" doc:"absent: the price of all"`
	From     pricing.Instant `json:"from"`
	To       pricing.Instant `json:"to,omitzero" doc:"absent: open"`
	Price    money.Decimal   `json:"price"`
	Per      int64           `json:"per"`
}

func newExplained(p *billing.Price) ExplainedPrice {
	return ExplainedPrice{Book: p.Book, Entry: p.Entry, Model: p.Model, Customer: p.Customer, From: p.From, To: p.To, Price: p.Price, Per: p.Per}
}

func explainedRef(book int64, r *pricing.Ref) ExplainedPrice {
	return ExplainedPrice{Book: book, Entry: r.Entry, Model: r.Model, Customer: r.Customer, From: r.From, To: r.To, Price: r.Price, Per: r.Per}
}

// ExplainedRecord is what one record adds to a line.
type ExplainedRecord struct {
	Used  int64 `json:"used"`
	Moved bool  `json:"moved,omitempty" doc:"it is another customer's now; this is how it was"`
	Record
}

// Bounds of an explanation.
const (
	// explainedRecords are walked through for a line: about 20 MB.
	explainedRecords = 20_000
	// listedRecords of them are listed.
	listedRecords = 100
)

// ExplainLine goes from an amount back to the records and observations that it
// follows from.
var ExplainLine = &Op[ExplainQuery, LineExplanation]{
	Name: "explain-line", Method: http.MethodGet, Path: "/v1/invoices/{id}/lines/{line}", Summary: "What a line of an invoice follows from", Role: tenant.RoleReader, Own: true,
	Do: func(ctx context.Context, l *Local, in *ExplainQuery) (*LineExplanation, error) {
		kept, err := l.invoice(ctx, in.ID)
		if err != nil {
			return nil, err
		}
		x, err := billing.Parse(kept.Document)
		if err != nil {
			return nil, fmt.Errorf("invoice %s: %w", kept.ID, err)
		}
		switch n := in.Line - 1; {
		case n >= 0 && n < len(x.Lines):
			return l.explainLine(ctx, x, &x.Lines[n])
		case n >= len(x.Lines) && n < len(x.Lines)+len(x.Adjustments):
			return l.explainAdjustment(ctx, x, &x.Adjustments[n-len(x.Lines)])
		}
		if len(x.Lines)+len(x.Adjustments) == 0 {
			return nil, &Error{Status: http.StatusNotFound, Message: fmt.Sprintf("invoice %s has no lines", x.ID)}
		}
		return nil, &Error{Status: http.StatusNotFound, Message: fmt.Sprintf("invoice %s has no line %d: its lines are 1 to %d", x.ID, in.Line, len(x.Lines)+len(x.Adjustments))}
	},
}

func (l *Local) explainLine(ctx context.Context, x *billing.Invoice, n *billing.Line) (*LineExplanation, error) {
	out := &LineExplanation{
		Invoice: x.ID, Line: n.Number, Model: n.Model, Quantity: n.Quantity, Used: n.Amount, Amount: n.Total, Currency: x.Currency.Code, Price: newExplained(&n.Price),
		Arithmetic: []string{product(n.Amount, n.Price.Price, n.Price.Per, n.Charge), fmt.Sprintf("%s rounded %s = %s %s", n.Charge, x.Rounding, n.Total, x.Currency.Code)},
	}
	return out, l.trace(ctx, out, &tracing{customer: x.Customer.ID, period: x.Period, now: x.Journals})
}

func (l *Local) explainAdjustment(ctx context.Context, x *billing.Invoice, a *billing.Adjustment) (*LineExplanation, error) {
	of := "what other invoices billed"
	if a.Invoice != "" {
		of = "of invoice " + a.Invoice
	}
	out := &LineExplanation{
		Invoice: x.ID, Line: a.Number, Model: a.Model, Quantity: a.Quantity, Used: a.Amount, Amount: a.Total, Currency: x.Currency.Code, Price: newExplained(&a.Price),
		Records: []ExplainedRecord{},
		Arithmetic: []string{
			fmt.Sprintf("%s: %s, period %s to %s", a.Reason, of, a.Period.Start, a.Period.End),
			"now: " + product(a.AmountNow, a.Price.Price, a.Price.Per, a.ChargeNow) + ", rounded " + a.TotalNow,
			fmt.Sprintf("billed before: %d, %s", a.AmountBilled, a.TotalBilled),
			fmt.Sprintf("%s - %s = %s %s", a.TotalNow, a.TotalBilled, a.Total, x.Currency.Code),
		},
	}
	before, err := l.lastCounted(ctx, x)
	if err != nil || before == nil || a.Invoice == "" {
		return out, err
	}
	return out, l.trace(ctx, out, &tracing{customer: x.Customer.ID, period: a.Period, now: x.Journals, before: before.Journals})
}

// lastCounted is the newest of the invoices that an invoice subtracted.
func (l *Local) lastCounted(ctx context.Context, x *billing.Invoice) (last *billing.Invoice, err error) {
	for _, id := range x.Counted {
		kept, err := l.Business.Invoice(ctx, id)
		if err != nil {
			return nil, err
		}
		i, err := billing.Parse(kept.Document)
		if err != nil {
			return nil, fmt.Errorf("invoice %s: %w", id, err)
		}
		if last == nil || i.Number > last.Number {
			last = i
		}
	}
	return last, nil
}

func product(amount int64, price money.Decimal, per int64, charge money.Decimal) string {
	if per == 1 {
		return fmt.Sprintf("%d × %s = %s", amount, price, charge)
	}
	return fmt.Sprintf("%d × %s / %d = %s", amount, price, per, charge)
}

// tracing says which records are looked for: those of a period, as the journals
// stood at now, less what they were at before.
type tracing struct {
	customer    string
	period      billing.Period
	now, before map[string]uint64
	share       *share
}

// trace finds the records that add to a line.
func (l *Local) trace(ctx context.Context, out *LineExplanation, t *tracing) error {
	book, err := l.billingBook(ctx, out.Price.Book)
	if err != nil {
		return err
	}
	t.share = newShare(book.Prices, t.customer, out.Model, out.Quantity, out.Price.Entry)
	out.Records = []ExplainedRecord{}
	if out.Complete, err = l.walk(ctx, out, t, &t.customer); err != nil || !out.Complete || out.Sum == out.Used {
		return err
	}
	// Something was the customer's then, and is not now.
	if _, err = l.walk(ctx, out, t, nil); err != nil {
		return err
	}
	slices.SortStableFunc(out.Records, func(a, b ExplainedRecord) int { return strings.Compare(a.Time, b.Time) })
	out.Records = out.Records[:min(len(out.Records), listedRecords)]
	return nil
}

// walk goes through the records of a customer, or, nil, of all others, and adds
// those that add to the line. It does nothing when there are too many.
func (l *Local) walk(ctx context.Context, out *LineExplanation, t *tracing, customer *string) (complete bool, err error) {
	list, err := l.Usage.Records(ctx, usage.RecordFilter{
		Range:    usage.Range{From: int64(t.period.Start) * int64(time.Second), To: int64(t.period.End) * int64(time.Second)},
		Customer: customer, Limit: explainedRecords + 1,
	})
	if err != nil {
		return false, err
	}
	complete = len(list) <= explainedRecords
	if !complete && customer == nil {
		return false, nil
	}
	if customer != nil {
		out.Walked = min(len(list), explainedRecords)
	}
	listed := len(out.Records)
	for i := range list[:min(len(list), explainedRecords)] {
		if customer == nil && list[i].Customer == t.customer {
			continue
		}
		added, err := t.added(&list[i])
		if err != nil {
			return false, err
		}
		if added == nil {
			continue
		}
		out.Count++
		out.Sum += added.Used
		if added.Moved {
			out.Moved++
		}
		if len(out.Records)-listed < listedRecords {
			out.Records = append(out.Records, *added)
		}
	}
	return complete, nil
}

// added is what a record adds to the line, nil when that is nothing. A record that
// went to another customer is shown as it was.
func (t *tracing) added(r *usage.Record) (*ExplainedRecord, error) {
	then := asOf(r, t.now)
	used, err := t.share.of(then)
	if err != nil {
		return nil, err
	}
	var was *usage.Record
	if t.before != nil {
		was = asOf(r, t.before)
		before, err := t.share.of(was)
		if err != nil {
			return nil, err
		}
		used -= before
	}
	if used == 0 {
		return nil, nil
	}
	if then == nil || then.Customer != t.customer {
		then = was
	}
	return &ExplainedRecord{Used: used, Moved: r.Customer != t.customer, Record: NewRecord(then)}, nil
}

// asOf is a record as it was when the journals ended at some entries, nil when
// it was not there.
func asOf(r *usage.Record, at map[string]uint64) *usage.Record {
	var facts []usage.Fact
	for i := range r.Facts {
		if p := r.Facts[i].Position; p.Seq <= at[p.Origin] {
			facts = append(facts, r.Facts[i])
		}
	}
	if len(facts) == len(r.Facts) {
		return r
	}
	if made := usage.FoldKey(facts); len(made) > 0 {
		return &made[0]
	}
	return nil
}

// share says how much of a record's quantity falls to one price of a customer.
type share struct {
	customer, model, quantity string
	entry                     int
	price                     *pricing.Schedule
	within                    map[string]*pricing.Schedule // quantities that are a part of it, charged by themselves where priced
}

func newShare(b *pricing.Book, customer, model, quantity string, entry int) *share {
	s := &share{customer: customer, model: model, quantity: quantity, entry: entry, price: b.Schedule(customer, model, quantity), within: map[string]*pricing.Schedule{}}
	for _, part := range []string{usage.CachedInputTokens, usage.ReasoningTokens} {
		if pricing.Within(part) == quantity {
			s.within[part] = b.Schedule(customer, model, part)
		}
	}
	return s
}

func (s *share) of(r *usage.Record) (int64, error) {
	if r == nil || r.Customer != s.customer || r.Model != s.model {
		return 0, nil
	}
	at := pricing.Instant(r.Time / int64(time.Second))
	ref, found, err := s.price.At(at)
	if err != nil || !found || ref.Entry != s.entry {
		return 0, err
	}
	used := r.Quantities.Get(s.quantity)
	for part, schedule := range s.within {
		if _, priced, err := schedule.At(at); err != nil {
			return 0, err
		} else if priced {
			used -= r.Quantities.Get(part)
		}
	}
	return used, nil
}

// RequestExplanation says what one request costs, and where that is billed.
type RequestExplanation struct {
	Invoice  string          `json:"invoice" doc:"the final invoice of its period; empty: not invoiced yet"`
	Book     int64           `json:"book" doc:"version of the price book; 0: none"`
	Currency string          `json:"currency"`
	Charges  []RequestCharge `json:"charges"`
	Total    money.Decimal   `json:"total" doc:"exact: rounding is per line of an invoice"`
	Record   Record          `json:"record"`
}

// RequestCharge is what one quantity of a request costs.
type RequestCharge struct {
	Quantity   string         `json:"quantity"`
	Used       int64          `json:"used"`
	Price      ExplainedPrice `json:"price"`
	Arithmetic string         `json:"arithmetic"`
	Charge     money.Decimal  `json:"charge"`
}

// ExplainRequest goes from a request to its price.
var ExplainRequest = &Op[ByID, RequestExplanation]{
	Name: "explain-request", Method: http.MethodGet, Path: "/v1/requests/{id}/explanation", Summary: "What a request costs, and why", Role: tenant.RoleReader, Own: true,
	Folded: true,
	Do: func(ctx context.Context, l *Local, in *ByID) (*RequestExplanation, error) {
		r, err := l.record(ctx, in.ID)
		if err != nil {
			return nil, err
		}
		return l.explainRecord(ctx, r)
	},
}

// TraceQuery names a trace.
type TraceQuery struct {
	Trace string `path:"trace" doc:"trace id, 32 hex digits"`
}

// TraceExplanation explains the requests of a trace, by time.
type TraceExplanation struct {
	Requests []RequestExplanation `json:"requests" doc:"the first hundred"`
	More     bool                 `json:"more"`
}

// ExplainTrace goes from what a client or a tracing system calls a trace to what
// its requests cost.
var ExplainTrace = &Op[TraceQuery, TraceExplanation]{
	Name: "explain-trace", Method: http.MethodGet, Path: "/v1/traces/{trace}/explanation", Summary: "What the requests of a trace cost, and why", Role: tenant.RoleReader, Own: true,
	Folded: true,
	Do: func(ctx context.Context, l *Local, in *TraceQuery) (*TraceExplanation, error) {
		if err := checkTrace(in.Trace); err != nil {
			return nil, err
		}
		f := usage.RecordFilter{Trace: strings.ToLower(in.Trace), Limit: listedRecords + 1}
		if l.Scope != "" {
			f.Customer = &l.Scope
		}
		list, err := l.Usage.Records(ctx, f)
		if err != nil {
			return nil, err
		}
		if len(list) == 0 {
			return nil, &Error{Status: http.StatusNotFound, Message: "no request is of the trace " + in.Trace}
		}
		out := &TraceExplanation{More: len(list) > listedRecords}
		for i := range list[:min(len(list), listedRecords)] {
			x, err := l.explainRecord(ctx, &list[i])
			if err != nil {
				return nil, err
			}
			out.Requests = append(out.Requests, *x)
		}
		return out, nil
	},
}

func (l *Local) explainRecord(ctx context.Context, r *usage.Record) (out *RequestExplanation, err error) {
	out = &RequestExplanation{Charges: []RequestCharge{}, Record: NewRecord(r)}
	if out.Invoice, out.Book, err = l.invoiceOf(ctx, r); err != nil {
		return nil, err
	}
	if out.Invoice != "" && out.Book == 0 {
		return out, nil // closed while there were no prices
	}
	book, err := l.billingBook(ctx, out.Book)
	if errors.Is(err, business.ErrNotFound) {
		return out, nil
	}
	if err != nil {
		return nil, err
	}
	out.Book, out.Currency = book.Version, book.Prices.Currency
	return out, out.rate(book, r)
}

// invoiceOf finds the final invoice of a record's period and its book.
func (l *Local) invoiceOf(ctx context.Context, r *usage.Record) (id string, book int64, err error) {
	if r.Customer == "" {
		return "", 0, nil
	}
	at := time.Unix(0, r.Time)
	list, err := l.Business.Invoices(ctx, business.InvoiceFilter{Customer: r.Customer, State: business.InvoiceFinal, From: at, To: at.Add(time.Second)})
	i := slices.IndexFunc(list, func(x business.Invoice) bool { return !at.Before(x.Start) && at.Before(x.End) })
	if err != nil || i < 0 {
		return "", 0, err
	}
	return list[i].ID, list[i].Book, nil
}

func (e *RequestExplanation) rate(b billing.Book, r *usage.Record) error {
	rated, err := rating.Rate(b.Prices, []usage.Total{{
		Bucket: r.Time / int64(time.Second) / usage.BucketSeconds * usage.BucketSeconds, Customer: r.Customer, Project: r.Project, Model: r.Model, Quantities: r.Quantities,
	}})
	if err != nil {
		return err
	}
	for i := range rated.Lines {
		n := &rated.Lines[i]
		e.Charges = append(e.Charges, RequestCharge{
			Quantity: n.Quantity, Used: n.Amount, Charge: n.Charge, Price: explainedRef(b.Version, &n.Price),
			Arithmetic: product(n.Amount, n.Price.Price, n.Price.Per, n.Charge),
		})
		e.Total = e.Total.Add(n.Charge)
	}
	return nil
}
