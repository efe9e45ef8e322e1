package cli

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tollkeeper/tollkeeper/internal/api"
)

func explainCommand(p *Program) *cobra.Command {
	var where source
	var format, request, trace string
	c := &cobra.Command{
		Use: "explain INVOICE [LINE]", GroupID: groupProve, Args: cobra.MaximumNArgs(2),
		Short: "Why a line of an invoice, or a request, costs what it costs",
		Long: `Goes from an amount back to what it follows from: quantity times price, the entry of the price book, the records, and for each of them the
observations with trace, span and place in the journal. --request and --trace go from a request to its price and its invoice. Without a LINE it lists the invoice's lines. Spans of vLLM tell no cached input, so it
counts as none there.`,
		Example: "  tollkeeper explain acme-0001\n  tollkeeper explain acme-0001 2\n  tollkeeper explain --request rec_abf931d7bad441fee614be668b797ef1",
	}
	where.add(c)
	where.addConfig(c)
	outputFlag(c, &format)
	c.Flags().StringVar(&request, "request", "", "explain this record, rec_…, instead of an invoice")
	c.Flags().StringVar(&trace, "trace", "", "explain the requests of this trace, 32 hex digits, instead of an invoice")
	c.MarkFlagsMutuallyExclusive("request", "trace")
	c.RunE = func(c *cobra.Command, args []string) error {
		if err := checkOutput(format); err != nil {
			return err
		}
		ctx := c.Context()
		switch {
		case (request+trace == "") == (len(args) == 0):
			return usageError{errors.New("name an invoice (and a line), or a request by --request or --trace")}
		case trace != "":
			return call(ctx, p, &where, api.ExplainTrace, &api.TraceQuery{Trace: trace}, func(out *api.TraceExplanation) error {
				return printAnswer(p.Stdout, format, out, traceExplanation(out))
			})
		case request != "":
			return call(ctx, p, &where, api.ExplainRequest, &api.ByID{ID: request}, func(out *api.RequestExplanation) error {
				return printAnswer(p.Stdout, format, out, requestExplanation(out))
			})
		case len(args) == 1:
			return call(ctx, p, &where, api.ShowInvoice, &api.ByID{ID: args[0]}, func(out *api.Invoice) error {
				return printAnswer(p.Stdout, format, out, invoiceGrid(out, format))
			})
		}
		line, err := strconv.Atoi(args[1])
		if err != nil {
			return usageError{fmt.Errorf("line %q: a number", args[1])}
		}
		return call(ctx, p, &where, api.ExplainLine, &api.ExplainQuery{ID: args[0], Line: line}, func(out *api.LineExplanation) error {
			return printAnswer(p.Stdout, format, out, lineExplanation(out))
		})
	}
	return c
}

// lineExplanation shows the arithmetic, and a row for each observation.
func lineExplanation(x *api.LineExplanation) *grid {
	above := []string{
		fmt.Sprintf("Line %d of invoice %s: %s of %s, %s %s", x.Line, x.Invoice, x.Quantity, printable(x.Model), x.Amount, x.Currency),
		priceText(&x.Price),
	}
	above = append(above, x.Arithmetic...)
	switch {
	case !x.Complete && x.Walked > 0:
		above = append(above, fmt.Sprintf("Only the first %s of the period were looked through, and there are more: %s of the line's %s are in %s of these:",
			count(int64(x.Walked), "record", "records"), thousands(x.Sum), thousands(x.Used), thousands(int64(x.Count))))
	case x.Sum == x.Used && x.Count > 0:
		above = append(above, fmt.Sprintf("From %s, %s in all:", count(int64(x.Count), "record", "records"), thousands(x.Sum)))
	case x.Count > 0:
		above = append(above, fmt.Sprintf("%s now come to %s, the line counts %s: something of them has changed or moved since:", count(int64(x.Count), "record", "records"), thousands(x.Sum), thousands(x.Used)))
	}
	if x.Moved > 0 {
		above = append(above, count(int64(x.Moved), "record is", "records are")+" another customer's now, and shown as then.")
	}
	g := &grid{
		above: strings.Join(above, "\n"), columns: []string{"time", "record", "project", "request_id", "used", "trace", "span", "entry", "index", "journal"},
		numbers: []string{"used", "entry", "index"},
	}
	for i := range x.Records {
		r := &x.Records[i]
		g.observed([]string{r.Time, r.ID, r.Project, r.RequestID, strconv.FormatInt(r.Used, 10)}, r.Observations)
	}
	if more := x.Count - len(x.Records); more > 0 {
		g.rows = append(g.rows, []string{"and " + count(int64(more), "more record", "more records"), "", "", "", "", "", "", "", "", ""})
	}
	return g
}

// observed adds a row for each observation of a record; what the record says is
// in the first.
func (g *grid) observed(record []string, list []api.Observation) {
	for i := range list {
		o := &list[i]
		if i > 0 {
			record = make([]string, len(record))
		}
		g.rows = append(g.rows, append(append([]string{}, record...),
			o.Trace, o.Span, strconv.FormatUint(o.Position.Entry, 10), strconv.Itoa(o.Position.Index), o.Position.Journal))
	}
}

func priceText(e *api.ExplainedPrice) string {
	s := fmt.Sprintf("Price %s per %s: entry %d of price book %d, model %s", e.Price, thousands(e.Per), e.Entry+1, e.Book, printable(e.Model))
	if e.Customer != "" {
		s += ", customer " + e.Customer
	}
	s += ", from " + e.From.String()
	if e.To != 0 {
		s += " to " + e.To.String()
	}
	return s
}

// traceExplanation shows what the requests of a trace cost, one after another.
func traceExplanation(x *api.TraceExplanation) *grid {
	var all *grid
	for i := range x.Requests {
		g := requestExplanation(&x.Requests[i])
		if all != nil {
			g.above, g.rows = all.above+"\n\n"+g.above, append(all.rows, g.rows...)
		}
		all = g
	}
	if x.More {
		all.above += fmt.Sprintf("\n\nThe trace has more requests: the first %d are shown.", len(x.Requests))
	}
	return all
}

// requestExplanation shows what each quantity costs, and a row for each observation.
func requestExplanation(x *api.RequestExplanation) *grid {
	r := &x.Record
	above := []string{fmt.Sprintf("Request %s at %s: customer %q by rule %s, model %q, %s", r.ID, r.Time, r.Customer, r.Rule, r.Model, r.Grade)}
	for i := range x.Charges {
		n := &x.Charges[i]
		above = append(above, n.Quantity+": "+n.Arithmetic, "  "+priceText(&n.Price))
	}
	if len(x.Charges) == 0 {
		above = append(above, "nothing of it has a price")
	} else {
		above = append(above, fmt.Sprintf("together %s %s; rounding comes on the invoice, per line", x.Total, x.Currency))
	}
	if x.Invoice == "" {
		above = append(above, "no final invoice covers its time")
	} else {
		above = append(above, "final invoice of its time: "+x.Invoice+" (what came after that was closed is an adjustment on a later one)")
	}
	g := &grid{
		above: strings.Join(above, "\n"), columns: []string{"time", "record", "request_id", "trace", "span", "entry", "index", "journal"}, numbers: []string{"entry", "index"},
	}
	g.observed([]string{r.Time, r.ID, r.RequestID}, r.Observations)
	return g
}
