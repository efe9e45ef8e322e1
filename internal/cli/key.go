package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tollkeeper/tollkeeper/internal/api"
	"github.com/tollkeeper/tollkeeper/internal/tenant"
)

func keyCommand(p *Program) *cobra.Command {
	return parent(&cobra.Command{
		Use: "key", GroupID: groupBusiness, Short: "Credentials: of producers, readers, admins and callers",
		Long: `A key has one role: a producer sends usage, a reader reads (all of it, or its own customer's), an admin does everything, and a caller only
says who calls the models: tags name it. A key's token is shown once and kept as a hash; its owner and role never change.`,
		Example: "  tollkeeper key add --role producer\n  tollkeeper key list",
	}, keyList(p), keyAdd(p), keyArchive(p))
}

func keyList(p *Program) *cobra.Command {
	var in api.KeysQuery
	c := &cobra.Command{Use: "list", Args: cobra.NoArgs, Short: "Keys, without their tokens", Example: "  tollkeeper key list --customer acme"}
	c.Flags().StringVar(&in.Customer, "customer", "", "only this customer's")
	return reading(p, c, api.ListKeys, func([]string) (*api.KeysQuery, error) { return &in, nil }, func(list *api.Keys, _ string) *grid {
		g := &grid{columns: []string{"key", "role", "customer", "project", "token", "note", "created", "archived"}}
		for _, k := range list.Keys {
			g.rows = append(g.rows, []string{k.ID, string(k.Role), k.Customer, k.Project, k.Hint + "…", k.Note, day(k.Created), day(k.Archived)})
		}
		return g
	})
}

func keyAdd(p *Program) *cobra.Command {
	var in api.AddKeyIn
	roles := make([]string, 0, len(tenant.Roles))
	for _, r := range tenant.Roles {
		roles = append(roles, string(r))
	}
	c := &cobra.Command{
		Use: "add --role ROLE", Args: cobra.NoArgs, Short: "Make a key; its token is shown once",
		Example: `  tollkeeper key add --role producer --note "collector of cluster a"
  tollkeeper key add --role reader --customer acme`,
	}
	c.Flags().StringVar(&in.Body.Role, "role", "", strings.Join(roles, ", "))
	c.Flags().StringVar(&in.Body.Customer, "customer", "", "the owner (default: the operator)")
	c.Flags().StringVar(&in.Body.Project, "project", "", "a project of the customer")
	c.Flags().StringVar(&in.Body.Note, "note", "", "what it is for")
	_ = c.RegisterFlagCompletionFunc("role", cobra.FixedCompletions(roles, cobra.ShellCompDirectiveNoFileComp))
	_ = c.MarkFlagRequired("role")
	return acting(p, c, api.AddKey, func([]string) (*api.AddKeyIn, error) { return &in, nil }, func(_ *api.AddKeyIn, out *api.NewKey) string {
		return fmt.Sprintf("%s (%s)\n%s\nThis token is shown once: keep it now.", out.Key.ID, out.Key.Role, out.Token)
	})
}

func keyArchive(p *Program) *cobra.Command {
	c := &cobra.Command{Use: "archive KEY", Args: cobra.ExactArgs(1), Short: "End a key, for ever", Example: "  tollkeeper key archive key_3k5d8z"}
	return acting(p, c, api.ArchiveKey, byID, func(in *api.ByID, _ *api.None) string {
		return "archived " + in.ID + "; running servers refuse it within a second"
	})
}
