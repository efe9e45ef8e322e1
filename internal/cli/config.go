package cli

import (
	"github.com/spf13/cobra"

	"github.com/tollkeeper/tollkeeper/internal/config"
)

func configCommand(p *Program) *cobra.Command {
	var where source
	var format string
	c := &cobra.Command{
		Use: "config", Args: cobra.NoArgs, Short: "The effective configuration, and where each value comes from",
		Long: `Reads the configuration as serve would: the defaults, over them the file, over that the environment (TOLLKEEPER_INVOICE_CURRENCY
overrides invoice.currency). What is wrong is told with file, line and column, and exit code 2. It holds no secret, so none is shown.`,
		Example: `  tollkeeper config
  tollkeeper config --config /etc/tollkeeper.yaml -o json`,
	}
	where.addConfig(c)
	outputFlag(c, &format)
	c.RunE = func(*cobra.Command, []string) error {
		if err := checkOutput(format); err != nil {
			return err
		}
		_, from, err := p.loadConfig(where.config)
		if err != nil {
			return err
		}
		return printAnswer(p.Stdout, format, from, configGrid(from))
	}
	return c
}

func configGrid(from *config.Provenance) *grid {
	g := &grid{columns: []string{"key", "value", "from"}}
	for _, s := range from.Settings {
		g.rows = append(g.rows, []string{s.Key, s.Text(), s.From})
	}
	return g
}
