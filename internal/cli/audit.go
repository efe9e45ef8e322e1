package cli

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/tollkeeper/tollkeeper/internal/api"
)

func auditCommand(p *Program) *cobra.Command {
	var in api.AuditQuery
	c := &cobra.Command{
		Use: "audit", GroupID: groupBusiness, Args: cobra.NoArgs, Short: "Who changed customers, keys, prices and invoices, and when",
		Example: `  tollkeeper audit
  tollkeeper audit --subject customer/acme -o json`,
	}
	c.Flags().StringVar(&in.Subject, "subject", "", "only what was done to this, such as customer/acme")
	c.Flags().Int64Var(&in.After, "after", 0, "only lines after this number")
	c.Flags().IntVar(&in.Limit, "limit", 0, "at most so many (default 100)")
	return reading(p, c, api.AskAudit, func([]string) (*api.AuditQuery, error) { return &in, nil }, func(list *api.Audit, format string) *grid {
		g := &grid{columns: []string{"seq", "at", "actor", "action", "subject", "detail"}, numbers: []string{"seq"}}
		for _, x := range list.Changes {
			detail := x.Detail
			if format == "table" {
				detail = elided(detail)
			}
			g.rows = append(g.rows, []string{fmt.Sprint(x.Seq), x.At.Format(time.RFC3339), x.Actor, x.Action, x.Subject, detail})
		}
		return g
	})
}

// maxDetail is how much of a detail a table shows, in letters; -o json has all.
const maxDetail = 80

func elided(s string) string {
	if letters := []rune(s); len(letters) > maxDetail {
		return string(letters[:maxDetail-1]) + "…"
	}
	return s
}

func tallyCommand(p *Program) *cobra.Command {
	c := &cobra.Command{
		Use: "tally", GroupID: groupRead, Args: cobra.NoArgs, Short: "What became of what each producer sent",
		Long: `For each producer: sent = accepted + duplicate + conflict + rejected, counted in items that carry usage. Ignored ones are spans that carry
none; they stand beside that sum. Nothing is dropped without being counted here.`,
		Example: "  tollkeeper tally --data ./data",
	}
	return reading(p, c, api.AskTallies, noInput, func(list *api.Tallies, _ string) *grid {
		g := &grid{columns: []string{"producer", "verdict", "reason", "amount", "journal"}, numbers: []string{"amount"}}
		for _, x := range list.Tallies {
			g.rows = append(g.rows, []string{x.Producer, x.Verdict, x.Reason, fmt.Sprint(x.Amount), x.Journal})
		}
		return g
	})
}
