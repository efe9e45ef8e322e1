package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/tollkeeper/tollkeeper/internal/api"
)

// reading makes c a command that asks op and prints the answer: it adds --data,
// --server and --output. show makes the rows of a table or of CSV.
func reading[I, O any](p *Program, c *cobra.Command, op *api.Op[I, O], in func(args []string) (*I, error), show func(out *O, format string) *grid) *cobra.Command {
	var where source
	var format string
	where.add(c)
	where.addConfig(c)
	where.configured = op.Configured
	outputFlag(c, &format)
	c.RunE = func(c *cobra.Command, args []string) error {
		if err := checkOutput(format); err != nil {
			return err
		}
		q, err := in(args)
		if err != nil {
			return err
		}
		return call(c.Context(), p, &where, op, q, func(out *O) error {
			return printAnswer(p.Stdout, format, out, show(out, format))
		})
	}
	return c
}

// acting makes c a command that changes something by op, and says what it did.
// It makes the data directory when there is none.
func acting[I, O any](p *Program, c *cobra.Command, op *api.Op[I, O], in func(args []string) (*I, error), say func(in *I, out *O) string) *cobra.Command {
	where := source{writes: true, configured: op.Configured}
	var format string
	where.add(c)
	where.addConfig(c)
	textFlag(c, &format)
	c.RunE = func(c *cobra.Command, args []string) error {
		q, err := in(args)
		if err != nil {
			return err
		}
		return call(c.Context(), p, &where, op, q, func(out *O) error {
			if format == "json" {
				return printJSON(p.Stdout, out)
			}
			_, err := fmt.Fprintln(p.Stdout, say(q, out))
			return err
		})
	}
	return c
}

// call asks one op and hands its answer on.
func call[I, O any](ctx context.Context, p *Program, s *source, op *api.Op[I, O], in *I, show func(*O) error) error {
	s.folded = op.Folded
	return s.with(ctx, p, func(ctx context.Context, c api.Caller) error {
		out, err := op.Call(ctx, c, in)
		if err != nil {
			return err
		}
		return show(out)
	})
}

// parent is a command that only holds others.
func parent(c *cobra.Command, children ...*cobra.Command) *cobra.Command {
	c.Args = cobra.NoArgs
	c.RunE = func(c *cobra.Command, _ []string) error { return c.Help() }
	c.AddCommand(children...)
	return c
}

// changed returns a flag's value if it was given.
func changed(c *cobra.Command, name string) *string {
	f := c.Flags().Lookup(name)
	if f == nil || !f.Changed {
		return nil
	}
	v := f.Value.String()
	return &v
}
