package cli

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"charm.land/lipgloss/v2"

	"github.com/tollkeeper/tollkeeper/internal/api"
	"github.com/tollkeeper/tollkeeper/internal/money"
	"github.com/tollkeeper/tollkeeper/internal/pricing"
	"github.com/tollkeeper/tollkeeper/internal/store/business"
	"github.com/tollkeeper/tollkeeper/internal/usage"
)

// opening is what plain output begins with.
func (d *demo) opening() []string {
	lines := []string{
		fmt.Sprintf("tollkeeper demo: %d simulated vLLMs, %d customers; everything is kept in %s", len(d.engines), len(demoCustomers), d.dir),
		"API http://" + d.address.api,
	}
	for _, c := range demoCustomers {
		lines = append(lines, fmt.Sprintf("%s is known by %s", c.id, c.proof))
	}
	return lines
}

// finish lets everything arrive, closes the month, and tells what it comes to.
func (d *demo) finish(ctx context.Context) error {
	for _, s := range d.engines {
		if err := s.Flush(ctx); err != nil {
			return err
		}
	}
	f, err := d.last(ctx)
	if err != nil {
		return err
	}
	d.screen.show(f)
	for _, step := range []func(context.Context) error{d.closeMonth, d.deliver, d.verify} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	place := homely(d.dir, d.env("HOME"))
	fmt.Fprintf(d.Stdout, "\nAll of it is kept, and the next demo goes on with it. Look around:\n  cd %s\n  tollkeeper invoice list\n  tollkeeper explain acme-0001 1\n", place)
	return nil
}

// last is the frame once everything that was sent is folded.
func (d *demo) last(ctx context.Context) (*frame, error) {
	if _, err := d.settled(ctx); err != nil {
		return nil, err
	}
	f, err := d.frame(ctx)
	if err != nil {
		return nil, err
	}
	f.ended, f.speed = true, d.speed
	f.elapsed = d.ended.Sub(d.began)
	return f, nil
}

// closeMonth closes it for each customer, prints the first one's invoice, and
// explains a line of that. What an earlier run has closed stays closed: its invoice
// never changes, and what came since is owed by the next one.
func (d *demo) closeMonth(ctx context.Context) error {
	from, to := d.month()
	name := from.Format("January 2006")
	var first *api.Invoice
	var others []string
	for i, c := range demoCustomers {
		x, err := d.invoice(ctx, c.id)
		if err != nil {
			return err
		}
		if x == nil {
			continue
		}
		if i > 0 {
			others = append(others, fmt.Sprintf("%s %s %s", cmp.Or(x.ID, "draft for "+c.id), x.Total, x.Currency))
			continue
		}
		first = x
		if x.State == string(business.InvoiceFinal) {
			fmt.Fprintf(d.Stdout, "\nClosed early: %s ends on %s; a real invoice waits for it.\nWhat comes later is an adjustment of the next one.\n\n", name, to.AddDate(0, 0, -1).Format(time.DateOnly))
		} else {
			fmt.Fprintf(d.Stdout, "\n%s was closed by an earlier run, and a closed invoice never changes.\nWhat came since is owed by the next one, of which this is the draft:\n\n", name)
		}
		if err := demoGrid(x, c, name).table(d.Stdout); err != nil {
			return err
		}
	}
	if first == nil {
		fmt.Fprintln(d.Stdout, "\nNothing was used yet, so nothing is closed.")
		return nil
	}
	if len(others) > 0 {
		fmt.Fprintf(d.Stdout, "The others: %s.\n", strings.Join(others, ", "))
	}
	return d.explain(ctx, first)
}

// demoGrid is an invoice in 80 letters: `tollkeeper invoice show` has all of it.
func demoGrid(x *api.Invoice, c demoCustomer, month string) *grid {
	title := fmt.Sprintf("Invoice %s to %s, %s", x.ID, c.name, month)
	if x.State == "draft" {
		title = fmt.Sprintf("Draft of the next invoice to %s: adjustments of %s", c.name, month)
	}
	g := &grid{
		above: title, columns: []string{"line", "model", "quantity", "used", "price", "per", "amount"},
		numbers: []string{"used", "price", "per", "amount"}, total: []string{"total", "", "", "", "", x.Currency, x.Total},
	}
	row := func(line int, model, quantity string, used int64, price money.Decimal, per int64, amount string) {
		g.rows = append(g.rows, []string{fmt.Sprint(line), model, quantity, thousands(used), priced(price), thousands(per), amount})
	}
	for i := range x.Lines {
		l := &x.Lines[i]
		row(l.Line, l.Model, l.Quantity, l.Used, l.Price, l.Per, l.Amount)
	}
	for i := range x.Adjustments {
		a := &x.Adjustments[i]
		row(a.Line, a.Model, a.Quantity, a.Used, a.Price, a.Per, a.Amount)
	}
	return g
}

// invoice closes the month's invoice of a customer, or drafts the next one when it
// is closed already; nil when there is nothing to bill.
func (d *demo) invoice(ctx context.Context, customer string) (*api.Invoice, error) {
	closed, err := d.closed(ctx, customer)
	if err != nil {
		return nil, err
	}
	month, next := d.month()
	if len(closed) > 0 {
		month = next
	}
	draft, err := d.draft(ctx, customer, month)
	if err != nil || len(draft.Lines)+len(draft.Adjustments) == 0 {
		return nil, err
	}
	if len(closed) > 0 {
		return draft, nil
	}
	in := &api.FinaliseIn{}
	in.Body.Customer, in.Body.Month, in.Body.Early = customer, month.Format("2006-01"), true
	return api.FinaliseInvoice.Call(ctx, d.local, in)
}

// closed are the customer's final invoices of the month.
func (d *demo) closed(ctx context.Context, customer string) ([]api.InvoiceHead, error) {
	from, to := d.month()
	list, err := api.ListInvoices.Call(ctx, d.local, &api.InvoicesQuery{Customer: customer})
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(list.Invoices, func(x api.InvoiceHead) bool {
		return x.State != string(business.InvoiceFinal) || x.Start >= pricing.Instant(to.Unix()) || x.End <= pricing.Instant(from.Unix())
	}), nil
}

// draft is what the invoice of a month would say now.
func (d *demo) draft(ctx context.Context, customer string, month time.Time) (*api.Invoice, error) {
	return api.DraftInvoice.Call(ctx, d.local, &api.DraftQuery{Customer: customer, Month: month.Format("2006-01")})
}

// demoExplained is how many requests are looked through for one that a line counts.
const demoExplained = 200

// explain follows the first line of an invoice down to the spans of one request.
func (d *demo) explain(ctx context.Context, x *api.Invoice) error {
	r, err := d.explainLine(ctx, x)
	if err != nil || r == nil {
		return err
	}
	fmt.Fprintf(d.Stdout, "One of them, %s's by the rule %q:\n  record  %s\n  request %s\n  trace   %s\n", r.Customer, r.Rule, r.ID, r.RequestID, r.Trace)
	var input int64
	for k := range r.Observations {
		o := &r.Observations[k]
		input += o.Quantities[usage.InputTokens]
		fmt.Fprintf(d.Stdout, "  span    %s, journal entry %d: %s input, %s output tokens\n", o.Span, o.Position.Entry,
			thousands(o.Quantities[usage.InputTokens]), thousands(o.Quantities[usage.OutputTokens]))
	}
	shared := ""
	if r.Quantities[usage.InputTokens] != input {
		shared = ": choices share their prompt"
	}
	fmt.Fprintf(d.Stdout, "  counts  %s input, %s output tokens%s\n", thousands(r.Quantities[usage.InputTokens]), thousands(r.Quantities[usage.OutputTokens]), shared)
	return nil
}

// explainLine says what the first line follows from, and names a record that it
// counts; nil where there is none at hand.
func (d *demo) explainLine(ctx context.Context, x *api.Invoice) (*api.Record, error) {
	if len(x.Lines) == 0 {
		return d.explainAdjustment(ctx, x)
	}
	l := &x.Lines[0]
	n, err := api.ExplainLine.Call(ctx, d.local, &api.ExplainQuery{ID: x.ID, Line: l.Line})
	if err != nil {
		return nil, err
	}
	if n.Complete && n.Sum != l.Used {
		return nil, fmt.Errorf("line %d of %s counts %s, but its records have %s", l.Line, x.ID, thousands(l.Used), thousands(n.Sum))
	}
	fmt.Fprintf(d.Stdout, "\nLine %d explained:\n  %s %s × %s %s / %s = %s exactly,\n  rounded once, to %s. The price is entry %d of price book %d.\n",
		l.Line, thousands(l.Used), l.Quantity, priced(l.Price), x.Currency, thousands(l.Per), l.Charge, l.Amount, n.Price.Entry+1, n.Price.Book)
	if len(n.Records) == 0 {
		return nil, nil
	}
	if n.Complete {
		fmt.Fprintf(d.Stdout, "  %s used them. ", count(int64(n.Count), "request", "requests"))
	}
	return &n.Records[0].Record, nil
}

// explainAdjustment is explainLine where a closed month is owed more.
func (d *demo) explainAdjustment(ctx context.Context, x *api.Invoice) (*api.Record, error) {
	a := &x.Adjustments[0]
	fmt.Fprintf(d.Stdout, "\nLine %d explained:\n  %s %s came after %s was closed.\n  They cost what they would have cost in time, %s %s / %s:\n"+
		"  what the month comes to now, rounded, less what was billed for it: %s.\n",
		a.Line, thousands(a.Used), a.Quantity, a.Invoice, priced(a.Price), x.Currency, thousands(a.Per), a.Amount)
	_, to := d.month()
	list, err := api.AskRequests.Call(ctx, d.local, &api.RequestsQuery{Customer: x.Customer, From: d.began, To: to, Limit: demoExplained})
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(list.Records, func(r api.Record) bool { return r.Model == a.Model && len(r.Observations) > 0 })
	if i < 0 {
		return nil, nil
	}
	fmt.Fprint(d.Stdout, "  ")
	return &list.Records[i], nil
}

// priced writes a price as people read it.
func priced(price money.Decimal) string { return price.Text(max(price.Places(), int(dollar.Digits))) }

// deliver lets the late spans come, and looks whether the books have exactly what
// the clients saw, and the invoices exactly what the books come to.
func (d *demo) deliver(ctx context.Context) error {
	before, err := d.billed(ctx)
	if err != nil {
		return err
	}
	var late int64
	for _, s := range d.engines {
		n, err := s.Release(ctx)
		if err != nil {
			return err
		}
		late += n
	}
	f, err := d.last(ctx)
	if err != nil {
		return err
	}
	b, err := d.billed(ctx)
	if err != nil {
		return err
	}
	if late > 0 {
		fmt.Fprintf(d.Stdout, "\nLate: %s came now, after closing. The invoices stay as they are.\n%s%s.\n", count(late, "span", "spans"), b.since(before), b.largest())
	}
	if m := f.missing(); m != (bookRow{}) {
		return fmt.Errorf("the books differ from what the clients saw by %d requests, %d input and %d output tokens; %d spans were lost on their way (the server's log is %s)",
			m.requests, m.input, m.output, f.lost, filepath.Join(d.dir, demoLog))
	}
	sum, err := b.final.Add(b.owed)
	if err != nil {
		return err
	}
	if sum != f.books.total.cost {
		return fmt.Errorf("the invoices bill %s and the next ones owe %s, but the month's usage comes to %s at the demo's prices; where an older version's demo had others, --fresh begins anew",
			b.final, b.owed, f.books.total.cost)
	}
	fmt.Fprintf(d.Stdout, "\nClients of this run saw %s requests, %s input and %s output\ntokens, and tollkeeper has exactly these.\n",
		thousands(f.seen.Requests), thousands(f.seen.Input), thousands(f.seen.Output))
	fmt.Fprintf(d.Stdout, "Billed %s, owed by the next invoices %s: the %s %s that the\nmonth comes to, late or timely.\n", b.final, b.owed, f.books.total.cost, dollar.Code)
	return nil
}

// billed is what the month is billed by final invoices, and what the next ones owe
// for it.
type billed struct {
	final, owed money.Amount
	next        []*api.Invoice // drafts
}

func (d *demo) billed(ctx context.Context) (*billed, error) {
	b := &billed{final: money.FromMinor(0, dollar), owed: money.FromMinor(0, dollar)}
	for _, c := range demoCustomers {
		list, err := d.closed(ctx, c.id)
		if err != nil {
			return nil, err
		}
		for i := range list {
			x, err := api.ShowInvoice.Call(ctx, d.local, &api.ByID{ID: list[i].ID})
			if err == nil {
				b.final, err = d.forMonth(b.final, x)
			}
			if err != nil {
				return nil, err
			}
		}
		month, next := d.month()
		if len(list) > 0 { // else it had used nothing when the others were closed
			month = next
		}
		x, err := d.draft(ctx, c.id, month)
		if err == nil {
			b.owed, err = d.forMonth(b.owed, x)
		}
		if err != nil {
			return nil, err
		}
		b.next = append(b.next, x)
	}
	return b, nil
}

// since says what the next invoices owe more than before.
func (b *billed) since(before *billed) string {
	if b.owed == before.owed {
		return fmt.Sprintf("Rounded, the next ones owe what they owed before, %s %s", b.owed, dollar.Code)
	}
	return fmt.Sprintf("What the next ones owe grew from %s to %s %s", before.owed, b.owed, dollar.Code)
}

// largest names the adjustment that owes most, as the end of a sentence.
func (b *billed) largest() (text string) {
	most := money.FromMinor(0, dollar)
	for _, x := range b.next {
		for i := range x.Adjustments {
			a := &x.Adjustments[i]
			if amount, err := money.ParseAmount(a.Amount, dollar); err == nil && amount.Minor() > most.Minor() {
				most, text = amount, fmt.Sprintf(";\nmost in line %d of %s's: %s %s, %s", a.Line, x.Customer, thousands(a.Used), a.Quantity, a.Amount)
			}
		}
	}
	return text
}

// forMonth adds what an invoice bills for the month: its lines, or adjustments.
func (d *demo) forMonth(sum money.Amount, x *api.Invoice) (money.Amount, error) {
	start, _ := d.month()
	from := pricing.Instant(start.Unix())
	var amounts []string
	if x.Start == from {
		for i := range x.Lines {
			amounts = append(amounts, x.Lines[i].Amount)
		}
	}
	for i := range x.Adjustments {
		if x.Adjustments[i].Start == from {
			amounts = append(amounts, x.Adjustments[i].Amount)
		}
	}
	for _, text := range amounts {
		a, err := money.ParseAmount(text, dollar)
		if err == nil {
			sum, err = sum.Add(a)
		}
		if err != nil {
			return sum, err
		}
	}
	return sum, nil
}

// verify says whether all of it can be believed.
func (d *demo) verify(ctx context.Context) error {
	key, err := readKey(d.config.SigningKey + ".pub")
	if err != nil {
		return err
	}
	var said bytes.Buffer
	p := *d.Program
	p.Stdout = &said
	err = p.verifyData(ctx, &verifyOptions{source: source{data: d.config.Data}, keys: []string{key}, format: "text"})
	fmt.Fprintf(d.Stdout, "\nVerified, with nothing but the journal, the invoices and the operator's key:\n%s", lipgloss.Wrap(said.String(), narrowest, ""))
	return err
}
