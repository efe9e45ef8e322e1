package cli

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tollkeeper/tollkeeper/internal/api"
)

// rangeFlags are --from, --to and --time-zone.
type rangeFlags struct{ from, to, zone string }

func (r *rangeFlags) add(c *cobra.Command) {
	c.Flags().StringVar(&r.from, "from", "", "from this time on: 2026-11-01, 2026-11-01T12:15 or RFC 3339 (default: everything)")
	c.Flags().StringVar(&r.to, "to", "", "before this time (default: everything)")
	c.Flags().StringVar(&r.zone, "time-zone", "UTC", "time zone of the dates given and shown, e.g. Europe/Berlin")
}

func (r *rangeFlags) parse() (from, to time.Time, err error) {
	zone, err := time.LoadLocation(r.zone)
	if err != nil {
		return from, to, usageError{fmt.Errorf("--time-zone: %w", err)}
	}
	if from, err = parseTime("--from", r.from, zone); err != nil {
		return from, to, err
	}
	to, err = parseTime("--to", r.to, zone)
	return from, to, err
}

func parseTime(flag, s string, zone *time.Location) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04Z07:00"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, nil
		}
	}
	for _, layout := range []string{"2006-01", "2006-01-02", "2006-01-02T15:04", "2006-01-02 15:04", "2006-01-02T15:04:05"} {
		if t, err := time.ParseInLocation(layout, s, zone); err == nil {
			return t, nil
		}
	}
	return time.Time{}, usageError{fmt.Errorf("%s %q: write a date (2026-11-01), a date and time (2026-11-01T12:15) or RFC 3339", flag, s)}
}

func usageCommand(p *Program) *cobra.Command {
	var within rangeFlags
	var by []string
	var customer string
	c := &cobra.Command{
		Use: "usage", GroupID: groupRead, Args: cobra.NoArgs,
		Short: "Sums of usage, by customer, model, day and more",
		Long: `Sums of usage over the records that the journal holds. Amounts are whole numbers of tokens and requests; cached input is part of input,
reasoning is part of output. An empty customer is usage that nobody is known to pay for; an empty model is unknown, and unpriced.`,
		Example: `  tollkeeper usage --data ./data
  tollkeeper usage --by customer,model --from 2026-11-01 --to 2026-12-01
  tollkeeper usage --by day --time-zone Europe/Berlin -o csv`,
	}
	within.add(c)
	c.Flags().StringVar(&customer, "customer", "", "only this customer's")
	c.Flags().StringSliceVar(&by, "by", []string{"customer", "model"}, "group by: "+strings.Join(api.Dimensions, ", "))
	_ = c.RegisterFlagCompletionFunc("by", cobra.FixedCompletions(api.Dimensions, cobra.ShellCompDirectiveNoFileComp))
	return reading(p, c, api.AskUsage, func([]string) (*api.UsageQuery, error) {
		from, to, err := within.parse()
		return &api.UsageQuery{By: by, From: from, To: to, TimeZone: within.zone, Customer: customer}, err
	}, func(u *api.Usage, format string) *grid { return usageGrid(u, by, format) })
}

func usageGrid(u *api.Usage, by []string, format string) *grid {
	amounts := []string{"requests", "input_tokens", "cached_input_tokens", "output_tokens", "reasoning_tokens"}
	g := &grid{columns: append(append([]string{}, by...), amounts...), numbers: amounts, unnamed: true}
	number := thousands
	if format == "csv" {
		number = func(n int64) string { return fmt.Sprint(n) }
	}
	cells := func(a *api.Amounts) []string {
		return []string{number(a.Requests), number(a.InputTokens), number(a.CachedInputTokens), number(a.OutputTokens), number(a.ReasoningTokens)}
	}
	for i := range u.Rows {
		var row []string
		for _, d := range by {
			row = append(row, u.Rows[i].Dimension(d))
		}
		g.rows = append(g.rows, append(row, cells(&u.Rows[i].Amounts)...))
	}
	g.total = append(make([]string, len(by)), cells(&u.Total)...)
	if len(by) > 0 {
		g.total[0] = "total"
	} else if format == "csv" {
		g.rows = [][]string{g.total}
	}
	return g
}
