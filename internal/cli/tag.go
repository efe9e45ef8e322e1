package cli

import (
	"context"
	"crypto/rand"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/tollkeeper/tollkeeper/internal/api"
	"github.com/tollkeeper/tollkeeper/internal/tenant"
)

func tagCommand(p *Program) *cobra.Command {
	where := source{writes: true}
	var customer, project, edge string
	c := &cobra.Command{
		Use: "tag --customer ID [--for nginx|envoy|litellm]", GroupID: groupBusiness, Args: cobra.NoArgs,
		Short: "The signed tag that says who pays, and what an edge must set",
		Long: `vLLM copies the tracestate of a request onto its span, so a signed member of it says who pays and nobody can forge it. tag makes a caller
key for the customer (the first time) and prints the member; --for prints the whole configuration of an edge, which replaces the client's tracestate
and ensures a valid traceparent ending in -01.`,
		Example: `  tollkeeper tag --customer acme
  tollkeeper tag --customer acme --for nginx > acme.conf
  tollkeeper tag rotate --overlap 48h`,
	}
	where.addData(c)
	c.Flags().StringVar(&customer, "customer", "", "who pays")
	c.Flags().StringVar(&project, "project", "", "a project of the customer")
	c.Flags().StringVar(&edge, "for", "", "print the configuration of this edge: nginx, envoy or litellm")
	_ = c.RegisterFlagCompletionFunc("for", cobra.FixedCompletions(tenant.Edges, cobra.ShellCompDirectiveNoFileComp))
	_ = c.MarkFlagRequired("customer")
	c.RunE = func(c *cobra.Command, _ []string) error {
		return where.local(c.Context(), p, func(ctx context.Context, l *api.Local) error {
			text, err := l.Tag(ctx, customer, project, edge)
			if err == nil {
				_, err = fmt.Fprintln(p.Stdout, text)
			}
			return err
		})
	}
	c.AddCommand(tagRotate(p))
	return c
}

func tagRotate(p *Program) *cobra.Command {
	where := source{writes: true}
	var overlap time.Duration
	c := &cobra.Command{
		Use: "rotate", Args: cobra.NoArgs, Short: "Make a new signing secret; the old one verifies until the overlap ends",
		Example: "  tollkeeper tag rotate --overlap 48h",
	}
	where.addData(c)
	c.Flags().DurationVar(&overlap, "overlap", tenant.DefaultOverlap, "how long tags of the old secret still count")
	c.RunE = func(c *cobra.Command, _ []string) error {
		return where.local(c.Context(), p, func(ctx context.Context, l *api.Local) error {
			s, err := tenant.NewSecret(rand.Reader, p.Now())
			if err == nil {
				err = l.Business.RotateTagSecret(ctx, l.Actor, s, overlap)
			}
			if err == nil {
				_, err = fmt.Fprintf(p.Stdout, "%s signs from now on; tags signed before count until %s: print them anew with `tollkeeper tag`\n",
					s.ID, p.Now().Add(overlap).UTC().Format(time.RFC3339))
			}
			return err
		})
	}
	return c
}
