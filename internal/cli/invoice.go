package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tollkeeper/tollkeeper/internal/api"
	"github.com/tollkeeper/tollkeeper/internal/billing"
	"github.com/tollkeeper/tollkeeper/internal/export"
	"github.com/tollkeeper/tollkeeper/internal/pricing"
)

func invoiceCommand(p *Program) *cobra.Command {
	return parent(&cobra.Command{
		Use: "invoice", GroupID: groupBusiness, Short: "Invoices: draft, close, show and void",
		Long: `An invoice covers a calendar month in its customer's time zone. A draft is computed anew each time. Closing gives it a number and pins the
usage, the prices and the signed checkpoint of the journal that it follows from; it never changes again. Usage that comes later, or turns out
to be less, is an adjustment on the customer's next invoice, at the prices of the closed one.`,
		Example: "  tollkeeper invoice draft --customer acme --month 2026-11\n  tollkeeper invoice finalise --customer acme --month 2026-11",
	}, invoiceList(p), invoiceDraft(p), invoiceFinalise(p), invoiceShow(p), invoiceVoid(p))
}

func invoiceList(p *Program) *cobra.Command {
	var customer string
	c := &cobra.Command{
		Use: "list", Args: cobra.NoArgs, Short: "Closed invoices, also void ones",
		Example: "  tollkeeper invoice list --data ./data\n  tollkeeper invoice list --customer acme -o csv",
	}
	c.Flags().StringVar(&customer, "customer", "", "only this customer's")
	return reading(p, c, api.ListInvoices, func([]string) (*api.InvoicesQuery, error) {
		return &api.InvoicesQuery{Customer: customer}, nil
	}, func(list *api.InvoiceHeads, _ string) *grid {
		g := &grid{columns: []string{"invoice", "customer", "month", "state", "total", "currency", "finalised", "voided", "reason"}, numbers: []string{"total"}}
		for i := range list.Invoices {
			x := &list.Invoices[i]
			g.rows = append(g.rows, []string{x.ID, x.Customer, monthOf(x.Start, x.End, x.TimeZone), x.State, x.Total, x.Currency, x.Finalised, day(x.Voided), x.VoidReason})
		}
		return g
	})
}

// monthOf names the month of a period: that of its middle, since bounds can lie
// hours off where a customer's time zone changed.
func monthOf(start, end pricing.Instant, zone string) string {
	where, err := time.LoadLocation(zone)
	if err != nil {
		where = time.UTC
	}
	return billing.MonthOf(time.Unix(int64(start+(end-start)/2), 0), where).String()
}

func invoiceDraft(p *Program) *cobra.Command {
	in := &api.DraftQuery{}
	c := &cobra.Command{
		Use: "draft", Args: cobra.NoArgs, Short: "What an invoice would say now; nothing is kept",
		Example: "  tollkeeper invoice draft --customer acme\n  tollkeeper invoice draft --customer acme --month 2026-11 -o html >draft.html",
	}
	c.Flags().StringVar(&in.Customer, "customer", "", "whose: the customer's id")
	c.Flags().StringVar(&in.Month, "month", "", "such as 2026-11 (default: the month that it is now)")
	_ = c.MarkFlagRequired("customer")
	return printing(p, c, api.DraftInvoice, func([]string) (*api.DraftQuery, error) { return in, nil }, nil)
}

func invoiceShow(p *Program) *cobra.Command {
	c := &cobra.Command{
		Use: "show ID", Args: cobra.ExactArgs(1), Short: "A closed invoice as it was closed",
		Long: `Shows an invoice as it was closed, whatever has changed since. -o html writes a page to print or to send: one file, without script, that
needs nothing from elsewhere. It says who sends it as invoice.issuer of the configuration did at the closing.`,
		Example: "  tollkeeper invoice show acme-0001\n  tollkeeper invoice show acme-0001 -o html >acme-0001.html",
	}
	return printing(p, c, api.ShowInvoice, byID, nil)
}

func invoiceFinalise(p *Program) *cobra.Command {
	in := &api.FinaliseIn{}
	allow := map[billing.Permission]string{
		billing.AllowUnpriced:      "leave usage without a price out",
		billing.AllowUnattributed:  "although there is usage that nobody is known to pay for",
		billing.AllowNewRules:      "bill what newer rules count differently in closed periods",
		billing.AllowOtherCurrency: "leave amounts in another currency to a later invoice",
		billing.AllowEmpty:         "also without any usage",
	}
	c := &cobra.Command{
		Use: "finalise", Aliases: []string{"finalize"}, Args: cobra.NoArgs, Short: "Close an invoice: it gets its number and never changes",
		Long: `Waits until usage has all that stands in the journal, and closes the invoice for a month. The month and its grace (invoice.grace of the
configuration) must be over, unless --early is given.`,
		Example: "  tollkeeper invoice finalise --customer acme --month 2026-11\n  tollkeeper invoice finalise --customer acme --month 2026-11 --early --allow-unattributed",
	}
	c.Flags().StringVar(&in.Body.Customer, "customer", "", "whose: the customer's id")
	c.Flags().StringVar(&in.Body.Month, "month", "", "such as 2026-11")
	c.Flags().BoolVar(&in.Body.Early, "early", false, "before the month and its grace are over; what comes later is an adjustment on the next invoice")
	for _, permission := range billing.Permissions() {
		c.Flags().Bool("allow-"+string(permission), false, allow[permission])
	}
	_ = c.MarkFlagRequired("customer")
	_ = c.MarkFlagRequired("month")
	return printing(p, c, api.FinaliseInvoice, func([]string) (*api.FinaliseIn, error) {
		for _, permission := range billing.Permissions() {
			if on, err := c.Flags().GetBool("allow-" + string(permission)); err == nil && on {
				in.Body.Allow = append(in.Body.Allow, permission)
			}
		}
		return in, nil
	}, func(_ *api.FinaliseIn, out *api.Invoice) string {
		return fmt.Sprintf("closed invoice %s of %s for %s: %s %s\n`tollkeeper invoice show %[1]s` shows it", out.ID, out.Customer, monthOf(out.Start, out.End, out.TimeZone), out.Total, out.Currency)
	})
}

func invoiceVoid(p *Program) *cobra.Command {
	var reason string
	c := &cobra.Command{
		Use: "void ID", Args: cobra.ExactArgs(1), Short: "Declare an invoice void: its number stays used, its month can be invoiced again",
		Example: `  tollkeeper invoice void acme-0001 --reason "wrong address"`,
	}
	c.Flags().StringVar(&reason, "reason", "", "why, for the audit log")
	_ = c.MarkFlagRequired("reason")
	return printing(p, c, api.VoidInvoice, func(args []string) (*api.VoidInvoiceIn, error) {
		in := &api.VoidInvoiceIn{ID: args[0]}
		in.Body.Reason = reason
		return in, nil
	}, func(in *api.VoidInvoiceIn, _ *api.Invoice) string { return "invoice " + in.ID + " is void" })
}

// printing makes c a command whose answer is an invoice: it prints it in all the
// ways that there are. say makes the text of a command that changes something,
// which is then what it prints unless told otherwise.
func printing[I any](p *Program, c *cobra.Command, op *api.Op[I, api.Invoice], in func(args []string) (*I, error), say func(in *I, out *api.Invoice) string) *cobra.Command {
	where := source{writes: say != nil, configured: op.Configured}
	where.add(c)
	where.addConfig(c)
	formats, help := []string{"table", "json", "csv", "html"}, "table (for people), json or csv (for programs) or html (a page to print or to send)"
	if say != nil {
		formats, help = append([]string{"text"}, formats...), "text, "+help
	}
	format := c.Flags().StringP("output", "o", formats[0], "how to print: "+help)
	_ = c.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(formats, cobra.ShellCompDirectiveNoFileComp))
	c.RunE = func(c *cobra.Command, args []string) error {
		if !slices.Contains(formats, *format) {
			return usageError{fmt.Errorf("--output %s: use one of %s", *format, strings.Join(formats, ", "))}
		}
		q, err := in(args)
		if err != nil {
			return err
		}
		return call(c.Context(), p, &where, op, q, func(out *api.Invoice) error {
			switch *format {
			case "text":
				_, err := fmt.Fprintln(p.Stdout, say(q, out))
				return err
			case "html":
				return writePage(p.Stdout, out)
			default:
				return printAnswer(p.Stdout, *format, out, invoiceGrid(out, *format))
			}
		})
	}
	return c
}

// writePage writes an invoice from its document, which alone has all of it.
func writePage(w io.Writer, x *api.Invoice) error {
	page := export.Page{Invoice: &billing.Invoice{}, Hash: x.Hash, Voided: x.Voided, VoidReason: x.VoidReason, Blocks: x.Blocks}
	if err := json.Unmarshal(x.Document.RawMessage, page.Invoice); err != nil {
		return fmt.Errorf("the document of invoice %s: %w", x.ID, err)
	}
	return page.WriteHTML(w)
}

// invoiceGrid shows lines, adjustments and what is left out, in this order.
func invoiceGrid(x *api.Invoice, format string) *grid {
	g := &grid{
		above: invoiceTitle(x), columns: []string{"line", "model", "quantity", "used", "price", "per", "charge", "amount", "note"},
		numbers: []string{"used", "price", "per", "charge", "amount"}, unnamed: true,
	}
	number, amount := thousands, export.Grouped
	if format == "csv" {
		number, amount = func(n int64) string { return strconv.FormatInt(n, 10) }, func(s string) string { return s }
	}
	for i := range x.Lines {
		n := &x.Lines[i]
		g.rows = append(g.rows, []string{strconv.Itoa(n.Line), n.Model, n.Quantity, number(n.Used), n.Price.String(), number(n.Per), amount(n.Charge.String()), amount(n.Amount), priceTime(x, n)})
	}
	for i := range x.Adjustments {
		a := &x.Adjustments[i]
		note := fmt.Sprintf("%s of %s", a.Reason, monthOf(a.Start, a.End, x.TimeZone))
		if a.Invoice != "" {
			note += ", " + a.Invoice
		}
		g.rows = append(g.rows, []string{strconv.Itoa(a.Line), a.Model, a.Quantity, number(a.Used), a.Price.String(), number(a.Per), "", amount(a.Amount), note})
	}
	for i := range x.LeftOut {
		u := &x.LeftOut[i]
		g.rows = append(g.rows, []string{"", u.Model, u.Quantity, number(u.Used), "", "", "", "", "not charged: " + u.Reason})
	}
	for _, d := range x.Deferred {
		// Its amount is in another currency, and no part of the total.
		note := fmt.Sprintf("%s %s of %s, %s: left to an invoice in %[2]s", amount(d.Amount), d.Currency, monthOf(d.Start, d.End, x.TimeZone), d.Invoice)
		g.rows = append(g.rows, []string{"", "(all models)", "", "", "", "", "", "", note})
	}
	g.total = []string{"total", "", "", "", "", "", "", amount(x.Total), x.Currency}
	return g
}

// priceTime says for which part of the period a price held, "" for all of it.
func priceTime(x *api.Invoice, n *api.InvoiceLine) string {
	var bounds []string
	if n.From > x.Start {
		bounds = append(bounds, "from "+n.From.String())
	}
	if n.To != 0 && n.To < x.End {
		bounds = append(bounds, "to "+n.To.String())
	}
	return strings.Join(bounds, " ")
}

func invoiceTitle(x *api.Invoice) string {
	var b strings.Builder
	name := "Invoice " + x.ID
	if x.State == "draft" {
		name = "Draft"
	}
	fmt.Fprintf(&b, "%s for %s, %s (%s to %s)", name, x.Customer, monthOf(x.Start, x.End, x.TimeZone), x.Start, x.End)
	if x.Book > 0 {
		fmt.Fprintf(&b, ", price book %d", x.Book)
	}
	if x.State == "void" {
		fmt.Fprintf(&b, "\nVOID since %s: %s", day(x.Voided), printable(x.VoidReason))
	}
	for _, block := range x.Blocks {
		fmt.Fprintf(&b, "\nKeeps it from being closed: %s", printable(block))
	}
	return b.String()
}
