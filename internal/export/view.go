package export

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tollkeeper/tollkeeper/internal/billing"
	"github.com/tollkeeper/tollkeeper/internal/money"
	"github.com/tollkeeper/tollkeeper/internal/pricing"
	"github.com/tollkeeper/tollkeeper/internal/usage"
)

// view is a page as its template shows it: every text is ready, nothing is
// decided there.
type view struct {
	Title, Heading   string
	Mark             string // written across the page, "" for nothing
	Void             string
	Blocks           []string
	Issuer, Customer party
	Facts            []fact
	Currency         string
	Lines            []group
	Adjustments      []group
	Projects         []project
	ProjectsNote     string
	Permissions      []string
	LeftOut          []group
	Deferred         []deferred
	Sums             []fact
	Total            fact
	Note             []string
	Rounding         string
	Proof            []fact
	Checkpoint       string
}

type fact struct{ Name, Value string }

type party struct {
	Name  string
	Lines []string
}

// group is what belongs to one model, and to one period where that is not the
// invoice's own.
type group struct {
	Model, Period string
	Rows          []row
}

// row is a line, an adjustment, or what is left out for a reason.
type row struct {
	Number                           int
	Quantity                         string
	When                             string   // for which part of the period a price held
	More                             []string // where from an adjustment comes
	Reason, Used, Price, Exact, Owed string
}

type project struct {
	ID, Name, Charge string
	Rows             []share
}

type share struct{ Model, Quantity, Used, Charge string }

type deferred struct{ Period, Invoice, Amount string }

func newView(p *Page) *view {
	x := p.Invoice
	z := zoneOf(x.Period.Zone)
	v := &view{
		Title: "Invoice " + x.ID, Heading: "Invoice", Blocks: p.Blocks,
		Issuer: newParty(x.Issuer), Customer: newParty(x.Customer), Currency: x.Currency.Code,
		Note: lines(x.Note), Permissions: permissions(x), Checkpoint: x.Checkpoint,
		Rounding: fmt.Sprintf("Each amount is quantity × price, computed exactly and then rounded (%s) to %s; the total is their sum.", x.Rounding, places(x.Currency)),
	}
	switch {
	case x.Draft():
		v.Title, v.Heading, v.Mark = "Draft of an invoice for "+cmp.Or(x.Customer.Name, x.Customer.ID), "Draft", "Draft"
	case !p.Voided.IsZero():
		v.Mark = "Void"
		v.Void = fmt.Sprintf("This invoice is void since %s: %s. Nothing is to be paid for it.", date(p.Voided.In(z)), strings.TrimSuffix(p.VoidReason, "."))
	}
	v.Facts = facts(x, z)
	for i := range x.Lines {
		l := &x.Lines[i]
		v.Lines = grown(v.Lines, l.Model, "", newLine(x, l, z))
	}
	for i := range x.Adjustments {
		a := &x.Adjustments[i]
		v.Adjustments = grown(v.Adjustments, a.Model, ofInvoice(a, z), newAdjustment(x, a))
	}
	for _, l := range x.LeftOut {
		period := ""
		if l.Period != x.Period {
			period = span(l.Period, z)
		}
		v.LeftOut = grown(v.LeftOut, l.Model, period, row{Quantity: quantity(l.Quantity), Reason: leftOutReason(l.Reason), Used: whole(l.Amount)})
	}
	for _, d := range x.Deferred {
		v.Deferred = append(v.Deferred, deferred{span(d.Period, z), d.Invoice, Grouped(d.Total) + " " + d.Currency})
	}
	v.addProjects(x)
	v.addSums(x)
	v.addProof(p)
	return v
}

func newParty(p billing.Party) party {
	out := party{Name: cmp.Or(p.Name, p.ID), Lines: lines(p.Address)}
	if p.Email != "" {
		out.Lines = append(out.Lines, p.Email)
	}
	return out
}

func lines(text string) []string {
	if text == "" {
		return nil
	}
	return strings.Split(strings.ReplaceAll(text, "\r\n", "\n"), "\n")
}

// facts stand at the head.
func facts(x *billing.Invoice, z *time.Location) []fact {
	var out []fact
	add := func(name, value string) { out = append(out, fact{name, value}) }
	if !x.Draft() {
		add("Invoice number", x.ID)
		if at, err := time.Parse(time.RFC3339, x.Finalised); err == nil {
			add("Date of issue", date(at.In(z)))
		}
	}
	add("Period", span(x.Period, z))
	add("Time zone", x.Period.Zone)
	add("Customer number", x.Customer.ID)
	return out
}

// grown adds a row to the last group, or to a new one. What belongs together
// stands together in an invoice.
func grown(list []group, name, period string, r row) []group {
	if name == "" {
		name = "Unknown model"
	}
	if n := len(list); n == 0 || list[n-1].Model != name || list[n-1].Period != period {
		list = append(list, group{Model: name, Period: period})
	}
	last := &list[len(list)-1]
	last.Rows = append(last.Rows, r)
	return list
}

func newLine(x *billing.Invoice, l *billing.Line, z *time.Location) row {
	r := row{Number: l.Number, Quantity: quantityBeside(x, l), Used: whole(l.Amount), Price: unitPrice(&l.Price, x.Currency), Owed: Grouped(l.Total)}
	if exact := exactly(l.Charge, x.Currency); exact != r.Owed {
		r.Exact = exact
	}
	r.When = priceTime(&l.Price, x.Period, z)
	return r
}

// quantityBeside names a line's quantity, and what of it another line of its
// model charges.
func quantityBeside(x *billing.Invoice, l *billing.Line) string {
	rest := map[string]string{usage.CachedInputTokens: ", not cached", usage.ReasoningTokens: ", without reasoning"}
	for i := range x.Lines {
		if part := &x.Lines[i]; part.Model == l.Model && part.Quantity != l.Quantity && pricing.Within(part.Quantity) == l.Quantity {
			return quantity(l.Quantity) + rest[part.Quantity]
		}
	}
	return quantity(l.Quantity)
}

// priceTime says for which part of the period a price held, "" for all of it.
func priceTime(p *billing.Price, period billing.Period, z *time.Location) string {
	from, to := p.From > period.Start, p.To != 0 && p.To < period.End
	switch {
	case from && to:
		return "Used from " + moment(p.From, z) + " to " + moment(p.To, z)
	case from:
		return "Used from " + moment(p.From, z) + " on"
	case to:
		return "Used before " + moment(p.To, z)
	}
	return ""
}

// ofInvoice names the closed period of an adjustment.
func ofInvoice(a *billing.Adjustment, z *time.Location) string {
	if a.Invoice == "" {
		return span(a.Period, z)
	}
	return span(a.Period, z) + ", invoice " + a.Invoice
}

func newAdjustment(x *billing.Invoice, a *billing.Adjustment) row {
	sums := fmt.Sprintf("Now %s for %s; billed before %s for %s", whole(a.AmountNow), Grouped(a.TotalNow), whole(a.AmountBilled), Grouped(a.TotalBilled))
	if a.Invoice == "" {
		sums = fmt.Sprintf("Billed by them for this period: %s for %s", whole(a.AmountBilled), Grouped(a.TotalBilled))
	}
	return row{
		Number: a.Number, Quantity: quantity(a.Quantity), Used: whole(a.Amount), Price: unitPrice(&a.Price, x.Currency), Owed: Grouped(a.Total),
		More: []string{adjustmentReason(a.Reason), sums},
	}
}

// addProjects breaks the lines down, unless there is nothing but the customer
// itself.
func (v *view) addProjects(x *billing.Invoice) {
	shares, charges := map[string][]share{}, map[string]money.Decimal{}
	var all money.Decimal
	var names []string
	for i := range x.Lines {
		l := &x.Lines[i]
		for _, p := range l.Projects {
			if _, seen := shares[p.Project]; !seen {
				names = append(names, p.Project)
			}
			shares[p.Project] = append(shares[p.Project], share{cmp.Or(l.Model, "Unknown model"), quantityBeside(x, l), whole(p.Amount), exactly(p.Charge, x.Currency)})
			charges[p.Project] = charges[p.Project].Add(p.Charge)
			all = all.Add(p.Charge)
		}
	}
	slices.Sort(names)
	if len(names) == 0 || len(names) == 1 && names[0] == "" {
		return
	}
	if names[0] == "" {
		names = append(names[1:], "")
	}
	for _, name := range names {
		v.Projects = append(v.Projects, project{name, cmp.Or(x.Projects[name], name, "No project"), exactly(charges[name], x.Currency), shares[name]})
	}
	v.ProjectsNote = fmt.Sprintf("Charges of projects are exact. Together they are %s %s; the lines of the invoice, each rounded, come to %s %[2]s.", exactly(all, x.Currency), x.Currency.Code, Grouped(x.Sums.Lines))
}

func (v *view) addSums(x *billing.Invoice) {
	if len(x.Adjustments) > 0 {
		v.Sums = []fact{{"Usage of the period", owed(x.Sums.Lines, x)}, {"Adjustments", owed(x.Sums.Adjustments, x)}}
	}
	v.Total = fact{"Total", owed(x.Sums.Total, x)}
	if strings.HasPrefix(x.Sums.Total, "-") {
		v.Total.Name = "Total: a credit in your favour"
	}
}

func owed(amount string, x *billing.Invoice) string { return Grouped(amount) + " " + x.Currency.Code }

func (v *view) addProof(p *Page) {
	x := p.Invoice
	add := func(name, value string) { v.Proof = append(v.Proof, fact{name, value}) }
	if p.Hash != "" {
		add("SHA-256 of the document", p.Hash)
	}
	if x.Book.Version > 0 {
		add(fmt.Sprintf("Price book %d, SHA-256", x.Book.Version), x.Book.Hash)
	}
	for _, j := range slices.Sorted(maps.Keys(x.Journals)) {
		add("Counted up to entry", fmt.Sprintf("%s of %s", Grouped(strconv.FormatUint(x.Journals[j], 10)), j))
	}
	add("Rules of counting", "version "+strconv.Itoa(x.Fold))
}

// permissions are what the invoice was closed with although it would have kept
// it open.
func permissions(x *billing.Invoice) []string {
	if x.Draft() {
		return nil
	}
	texts := map[billing.Permission]string{
		billing.AllowUnpriced:      "Usage without a price is left out.",
		billing.AllowUnattributed:  "There was usage that nobody is known to pay for; it is not charged here.",
		billing.AllowNewRules:      "Adjustments bill what newer rules of counting find in closed periods.",
		billing.AllowOtherCurrency: "Amounts in another currency are left to another invoice.",
		billing.AllowEmpty:         "There was no usage.",
	}
	var out []string
	for _, b := range x.Blocks() {
		if text := texts[b.Needs]; !slices.Contains(out, text) {
			out = append(out, text)
		}
	}
	return out
}
