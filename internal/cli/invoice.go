package cli

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tollkeeper/tollkeeper/internal/api"
	"github.com/tollkeeper/tollkeeper/internal/billing"
	"github.com/tollkeeper/tollkeeper/internal/pricing"
)

func invoiceCommand(p *Program) *cobra.Command {
	return parent(&cobra.Command{
		Use: "invoice", GroupID: groupBusiness, Short: "Invoices: draft, close, show and void",
		Long: `An invoice covers a calendar month in its customer's time zone. A draft is computed anew each time. Closing gives it a number and pins the
usage, the prices and the signed checkpoint of the journal that it follows from; it never changes again. Usage that comes later, or turns out
to be less, is an adjustment on the customer's next invoice, at the prices of the closed one.`,
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
		Example: "  tollkeeper invoice draft --customer acme\n  tollkeeper invoice draft --customer acme --month 2026-11 -o json",
	}
	c.Flags().StringVar(&in.Customer, "customer", "", "whose")
	c.Flags().StringVar(&in.Month, "month", "", "such as 2026-11 (default: the month that it is now)")
	_ = c.MarkFlagRequired("customer")
	return reading(p, c, api.DraftInvoice, func([]string) (*api.DraftQuery, error) { return in, nil }, invoiceGrid)
}

func invoiceShow(p *Program) *cobra.Command {
	c := &cobra.Command{
		Use: "show ID", Args: cobra.ExactArgs(1), Short: "A closed invoice as it was closed",
		Example: "  tollkeeper invoice show acme-0001\n  tollkeeper invoice show acme-0001 -o json",
	}
	return reading(p, c, api.ShowInvoice, byID, invoiceGrid)
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
	c.Flags().StringVar(&in.Body.Customer, "customer", "", "whose")
	c.Flags().StringVar(&in.Body.Month, "month", "", "such as 2026-11")
	c.Flags().BoolVar(&in.Body.Early, "early", false, "before the month and its grace are over; what comes later is an adjustment on the next invoice")
	for _, permission := range billing.Permissions() {
		c.Flags().Bool("allow-"+string(permission), false, allow[permission])
	}
	_ = c.MarkFlagRequired("customer")
	_ = c.MarkFlagRequired("month")
	return acting(p, c, api.FinaliseInvoice, func([]string) (*api.FinaliseIn, error) {
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
	return acting(p, c, api.VoidInvoice, func(args []string) (*api.VoidInvoiceIn, error) {
		in := &api.VoidInvoiceIn{ID: args[0]}
		in.Body.Reason = reason
		return in, nil
	}, func(in *api.VoidInvoiceIn, _ *api.Invoice) string { return "invoice " + in.ID + " is void" })
}

// invoiceGrid shows lines, adjustments and what is left out, in this order.
func invoiceGrid(x *api.Invoice, format string) *grid {
	g := &grid{
		above: invoiceTitle(x), columns: []string{"line", "model", "quantity", "used", "price", "per", "charge", "amount", "note"},
		numbers: []string{"used", "price", "per", "charge", "amount"}, unnamed: true,
	}
	number := thousands
	if format == "csv" {
		number = func(n int64) string { return strconv.FormatInt(n, 10) }
	}
	for i := range x.Lines {
		n := &x.Lines[i]
		g.rows = append(g.rows, []string{strconv.Itoa(n.Line), n.Model, n.Quantity, number(n.Used), n.Price.String(), number(n.Per), n.Charge.String(), n.Amount, ""})
	}
	for i := range x.Adjustments {
		a := &x.Adjustments[i]
		note := fmt.Sprintf("%s of %s", a.Reason, monthOf(a.Start, a.End, x.TimeZone))
		if a.Invoice != "" {
			note += ", " + a.Invoice
		}
		g.rows = append(g.rows, []string{strconv.Itoa(a.Line), a.Model, a.Quantity, number(a.Used), a.Price.String(), number(a.Per), "", a.Amount, note})
	}
	for i := range x.LeftOut {
		u := &x.LeftOut[i]
		g.rows = append(g.rows, []string{"", u.Model, u.Quantity, number(u.Used), "", "", "", "", "not charged: " + u.Reason})
	}
	g.total = []string{"total", "", "", "", "", "", "", x.Total, x.Currency}
	return g
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
