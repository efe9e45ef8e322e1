package cli

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tollkeeper/tollkeeper/internal/api"
)

func requestsCommand(p *Program) *cobra.Command {
	var within rangeFlags
	var q api.RequestsQuery
	c := &cobra.Command{
		Use: "requests", GroupID: groupRead, Args: cobra.NoArgs,
		Short: "The billable requests, each with what it rests on",
		Long: `The records: one for each API request, with its quantities, how good they are (grade), which rule said who pays, and the observations it
rests on. A request is found by its trace id, by the id that the API answered, or by the X-Request-Id that the client sent.`,
		Example: `  tollkeeper requests --trace d5fe1dc9035165ce36952daf29686b6c
  tollkeeper requests --request-id some-user-request-id -o json
  tollkeeper requests --customer acme --from 2026-11-24 --limit 20`,
	}
	within.add(c)
	c.Flags().StringVar(&q.Customer, "customer", "", `only this customer's; --customer "" is what nobody is known to pay for`)
	c.Flags().StringVar(&q.ID, "id", "", "the record's id, rec_…")
	c.Flags().StringVar(&q.Trace, "trace", "", "a trace id, 32 hex digits")
	c.Flags().StringVar(&q.RequestID, "request-id", "", "the request's id, as the API answered it or as the client sent it")
	c.Flags().IntVar(&q.Limit, "limit", 0, "at most so many (default 1000)")
	return reading(p, c, api.AskRequests, func([]string) (_ *api.RequestsQuery, err error) {
		q.Unattributed = changed(c, "customer") != nil && q.Customer == ""
		q.From, q.To, err = within.parse()
		return &q, err
	}, func(r *api.Requests, format string) *grid {
		if r.More {
			fmt.Fprintf(p.Stderr, "More records match: the first %d are shown. Use --limit, or --from and --to.\n", len(r.Records))
		}
		return requestsGrid(r, format)
	})
}

// requestsGrid leaves out of a table what makes it wider than a screen.
func requestsGrid(r *api.Requests, format string) *grid {
	g := &grid{
		columns: []string{"time", "record", "customer", "rule", "model", "input", "output", "grade", "flags", "request_id"},
		numbers: []string{"input", "output"}, unnamed: true,
	}
	if format == "csv" {
		g.columns = append(g.columns, "trace_id")
	}
	for i := range r.Records {
		x := &r.Records[i]
		row := []string{
			x.Time, x.ID, x.Customer, x.Rule, x.Model, fmt.Sprint(x.Quantities["input_tokens"]), fmt.Sprint(x.Quantities["output_tokens"]),
			x.Grade, strings.Join(x.Flags, " "), x.RequestID,
		}
		if format == "csv" {
			row = append(row, x.Trace)
		} else if t, err := time.Parse(time.RFC3339Nano, x.Time); err == nil {
			row[0] = t.Format("2006-01-02T15:04:05Z07:00")
		}
		g.rows = append(g.rows, row)
	}
	return g
}

func conflictsCommand(p *Program) *cobra.Command {
	var within rangeFlags
	c := &cobra.Command{
		Use: "conflicts", GroupID: groupRead, Args: cobra.NoArgs,
		Short: "Observations that were kept out because another says otherwise",
		Long: `An observation with the identity of an earlier one (the same trace and span) and other content is a conflict: the first stays, the other is
kept out of every bill, counted, and listed here.`,
		Example: `  tollkeeper conflicts --data ./data
  tollkeeper conflicts --from 2026-11-01 -o json`,
	}
	within.add(c)
	return reading(p, c, api.AskConflicts, func([]string) (*api.ConflictsQuery, error) {
		from, to, err := within.parse()
		return &api.ConflictsQuery{From: from, To: to}, err
	}, func(list *api.Conflicts, _ string) *grid { return conflictsGrid(list) })
}

func conflictsGrid(list *api.Conflicts) *grid {
	g := &grid{
		columns: []string{"trace_id", "span_id", "request_id", "producer", "input", "output", "journal_entry", "record", "kept_entry"},
		numbers: []string{"input", "output", "journal_entry", "kept_entry"},
	}
	for i := range list.Conflicts {
		x := &list.Conflicts[i]
		o := &x.Observation
		g.rows = append(g.rows, []string{
			o.Trace, o.Span, o.RequestID, o.Producer, fmt.Sprint(o.Quantities["input_tokens"]), fmt.Sprint(o.Quantities["output_tokens"]),
			fmt.Sprint(o.Position.Entry), x.Record, fmt.Sprint(x.Kept.Entry),
		})
	}
	return g
}
