package cli

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tollkeeper/tollkeeper/internal/api"
	"github.com/tollkeeper/tollkeeper/internal/tenant"
)

func tagCommand(p *Program) *cobra.Command {
	var in api.MakeTagIn
	c := &cobra.Command{
		Use: "tag --customer ID", GroupID: groupBusiness, Args: cobra.NoArgs,
		Short: "The signed tag that says who pays, and what an edge must set",
		Long: `vLLM copies the tracestate of a request onto its span, so a signed member of it says who pays and nobody can forge it. tag makes a caller
key for the customer (the first time) and prints the member; --for prints the whole configuration of an edge, which replaces the client's tracestate
and ensures a valid traceparent ending in -01. A tag is as secret as a password: whoever has it can bill the customer.`,
		Example: `  tollkeeper tag --customer acme
  tollkeeper tag --customer acme --for nginx > acme.conf
  tollkeeper tag rotate --overlap 48h`,
	}
	c.Flags().StringVar(&in.Body.Customer, "customer", "", "who pays")
	c.Flags().StringVar(&in.Body.Project, "project", "", "a project of the customer")
	c.Flags().StringVar(&in.Body.For, "for", "", "print the configuration of this edge: "+strings.Join(tenant.Edges, ", "))
	_ = c.RegisterFlagCompletionFunc("for", cobra.FixedCompletions(tenant.Edges, cobra.ShellCompDirectiveNoFileComp))
	_ = c.MarkFlagRequired("customer")
	acting(p, c, api.MakeTag, func([]string) (*api.MakeTagIn, error) { return &in, nil }, func(_ *api.MakeTagIn, out *api.Tag) string {
		return strings.TrimRight(cmp.Or(out.Edge, out.Member), "\n")
	})
	c.AddCommand(tagRotate(p))
	return c
}

func tagRotate(p *Program) *cobra.Command {
	var overlap time.Duration
	c := &cobra.Command{
		Use: "rotate", Args: cobra.NoArgs, Short: "Make a new signing secret; tags of the old one count until the overlap ends",
		Long: `Makes a new secret that signs tags. Tags signed before count until the overlap ends: print them anew with "tollkeeper tag" and deploy the
edges' configurations before. --overlap 0s ends them at once, for a secret that leaked. What was received with an old tag stays as it is.`,
		Example: "  tollkeeper tag rotate --overlap 48h",
	}
	c.Flags().DurationVar(&overlap, "overlap", tenant.DefaultOverlap, "how long tags of the old secret still count")
	return acting(p, c, api.RotateTags, func([]string) (*api.RotateTagsIn, error) {
		in := &api.RotateTagsIn{}
		in.Body.OverlapSeconds = int64(overlap / time.Second)
		return in, nil
	}, func(_ *api.RotateTagsIn, out *api.RotatedTags) string {
		return fmt.Sprintf("%s signs from now on; tags signed before count until %s: print them anew with `tollkeeper tag`", out.Secret, out.Until.Format(time.RFC3339))
	})
}
