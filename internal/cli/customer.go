package cli

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tollkeeper/tollkeeper/internal/api"
	"github.com/tollkeeper/tollkeeper/internal/tenant"
)

func customerCommand(p *Program) *cobra.Command {
	return parent(&cobra.Command{
		Use: "customer", GroupID: groupBusiness, Short: "Who pays: customers and their projects",
		Long: `Customers pay. A rule of the attribution may name a customer that was never added: its usage is kept under that id and the list shows it
as unknown, but only a known customer gets a final invoice. Customers are archived, never deleted.`,
		Example: "  tollkeeper customer add acme --name 'Acme Ltd' --time-zone Europe/Berlin\n  tollkeeper customer list",
	}, customerList(p), customerAdd(p), customerUpdate(p), customerArchive(p), customerRestore(p), customerProjects(p), customerProjectAdd(p), customerProjectArchive(p))
}

func customerList(p *Program) *cobra.Command {
	c := &cobra.Command{
		Use: "list", Args: cobra.NoArgs, Short: "Customers, and those that usage names but nobody added",
		Example: "  tollkeeper customer list --data ./data",
	}
	return reading(p, c, api.ListCustomers, noInput, func(list *api.Customers, _ string) *grid {
		g := &grid{columns: []string{"customer", "name", "state", "currency", "time_zone", "email", "created"}}
		for i := range list.Customers {
			x := &list.Customers[i]
			g.rows = append(g.rows, []string{x.ID, x.Name, customerState(x), x.Currency, x.TimeZone, x.Email, day(x.Created)})
		}
		return g
	})
}

func noInput([]string) (*api.None, error) { return &api.None{}, nil }

func customerState(c *api.Customer) string {
	switch {
	case c.Reserved:
		return "reserved"
	case !c.Known:
		return "unknown"
	case !c.Active():
		return "archived"
	}
	return "active"
}

// day shows a time as its date, and no time as nothing.
func day(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Format(time.DateOnly)
}

// customerFlags add what a customer can have; spec reads those that were given.
func customerFlags(c *cobra.Command) {
	c.Flags().String("name", "", "name on the invoice")
	c.Flags().String("address", "", "address on the invoice; lines are parted by \\n")
	c.Flags().String("email", "", "where invoices go")
	c.Flags().String("time-zone", "", "whose calendar months are invoiced, such as Europe/Berlin (default: the configuration's)")
	c.Flags().String("currency", "", "of the invoices, ISO 4217 (default: the configuration's)")
}

func customerSpec(c *cobra.Command) api.CustomerSpec {
	address := changed(c, "address")
	if address != nil {
		*address = strings.ReplaceAll(*address, `\n`, "\n")
	}
	return api.CustomerSpec{
		Name: changed(c, "name"), Address: address, Email: changed(c, "email"),
		TimeZone: changed(c, "time-zone"), Currency: changed(c, "currency"),
	}
}

func customerAdd(p *Program) *cobra.Command {
	c := &cobra.Command{
		Use: "add ID", Args: cobra.ExactArgs(1), Short: "Add a customer",
		Example: `  tollkeeper customer add acme --name "Acme Ltd" --currency EUR --time-zone Europe/Berlin`,
	}
	customerFlags(c)
	return acting(p, c, api.AddCustomer, func(args []string) (*api.AddCustomerIn, error) {
		in := &api.AddCustomerIn{Body: customerSpec(c)}
		in.Body.ID = args[0]
		return in, nil
	}, func(_ *api.AddCustomerIn, out *api.Customer) string { return "added customer " + out.ID })
}

func customerUpdate(p *Program) *cobra.Command {
	c := &cobra.Command{
		Use: "update ID", Args: cobra.ExactArgs(1), Short: "Change a customer; what is not given stays",
		Example: `  tollkeeper customer update acme --email billing@acme.example`,
	}
	customerFlags(c)
	return acting(p, c, api.UpdateCustomer, func(args []string) (*api.UpdateCustomerIn, error) {
		return &api.UpdateCustomerIn{ID: args[0], Body: customerSpec(c)}, nil
	}, func(in *api.UpdateCustomerIn, _ *api.Customer) string { return "changed customer " + in.ID })
}

// byID is the input of a command whose argument is an id.
func byID(args []string) (*api.ByID, error) { return &api.ByID{ID: args[0]}, nil }

func customerArchive(p *Program) *cobra.Command {
	c := &cobra.Command{
		Use: "archive ID", Args: cobra.ExactArgs(1), Short: "Put a customer away: its keys and tags no longer count, its usage and invoices stay",
		Example: "  tollkeeper customer archive acme",
	}
	return acting(p, c, api.ArchiveCustomer, byID, func(in *api.ByID, _ *api.None) string { return "archived customer " + in.ID })
}

func customerRestore(p *Program) *cobra.Command {
	c := &cobra.Command{Use: "restore ID", Args: cobra.ExactArgs(1), Short: "Take an archived customer back", Example: "  tollkeeper customer restore acme"}
	return acting(p, c, api.RestoreCustomer, byID, func(in *api.ByID, _ *api.None) string { return "restored customer " + in.ID })
}

func customerProjects(p *Program) *cobra.Command {
	c := &cobra.Command{Use: "projects ID", Args: cobra.ExactArgs(1), Short: "A customer's projects", Example: "  tollkeeper customer projects acme"}
	return reading(p, c, api.ListProjects, byID, func(list *api.Projects, _ string) *grid {
		g := &grid{columns: []string{"customer", "project", "name", "created", "archived"}}
		for _, x := range list.Projects {
			g.rows = append(g.rows, []string{x.Customer, x.ID, x.Name, day(x.Created), day(x.Archived)})
		}
		return g
	})
}

func customerProjectAdd(p *Program) *cobra.Command {
	var name string
	c := &cobra.Command{
		Use: "add-project CUSTOMER PROJECT", Args: cobra.ExactArgs(2), Short: "Add a project to a customer",
		Example: "  tollkeeper customer add-project acme search --name 'Search team'",
	}
	c.Flags().StringVar(&name, "name", "", "name on the invoice")
	return acting(p, c, api.AddProject, func(args []string) (*api.AddProjectIn, error) {
		in := &api.AddProjectIn{ID: args[0]}
		in.Body.Project, in.Body.Name = args[1], name
		return in, nil
	}, func(in *api.AddProjectIn, _ *tenant.Project) string {
		return fmt.Sprintf("added project %s of %s", in.Body.Project, in.ID)
	})
}

func customerProjectArchive(p *Program) *cobra.Command {
	c := &cobra.Command{
		Use: "archive-project CUSTOMER PROJECT", Args: cobra.ExactArgs(2), Short: "Put a project away",
		Example: "  tollkeeper customer archive-project acme search",
	}
	return acting(p, c, api.ArchiveProject, func(args []string) (*api.ArchiveProjectIn, error) {
		return &api.ArchiveProjectIn{ID: args[0], Project: args[1]}, nil
	}, func(in *api.ArchiveProjectIn, _ *api.None) string {
		return fmt.Sprintf("archived project %s of %s", in.Project, in.ID)
	})
}
