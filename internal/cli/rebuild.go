package cli

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/tollkeeper/tollkeeper/internal/journal"
	"github.com/tollkeeper/tollkeeper/internal/project"
	"github.com/tollkeeper/tollkeeper/internal/store/sqlite"
)

func rebuildCommand(p *Program) *cobra.Command {
	var where source
	c := &cobra.Command{
		Use: "rebuild", GroupID: groupProve, Args: cobra.NoArgs,
		Short: "Delete the usage projection and make it anew from the journal",
		Long: `Deletes DIR/usage and replays the journal. It needs no configuration and no secret: what decides is in the journal. Customers, prices and
invoices are not touched. It is refused while a server runs on the directory.`,
		Example: "  tollkeeper rebuild --data ./data",
	}
	where.addData(c)
	c.RunE = func(c *cobra.Command, _ []string) error { return p.rebuild(c.Context(), &where) }
	return c
}

func (p *Program) rebuild(ctx context.Context, where *source) (err error) {
	dir, err := where.directory(p)
	if err != nil {
		return err
	}
	defer func() { err = advised(dir, err) }()
	if err := where.check(dir); err != nil {
		return err
	}
	unlock, err := journal.Lock(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	r, err := journal.OpenReader(ctx, filepath.Join(dir, journalFile))
	if err != nil {
		return err
	}
	defer r.Close()
	began := time.Now()
	if err := sqlite.Remove(filepath.Join(dir, usageDir)); err != nil {
		return err
	}
	n, err := p.replay(ctx, r, filepath.Join(dir, usageDir))
	if err != nil && ctx.Err() != nil {
		return errors.New("interrupted: usage lacks what was not replayed, until `tollkeeper rebuild` or `tollkeeper serve` has done it")
	}
	if err == nil {
		_, err = fmt.Fprintf(p.Stdout, "rebuilt usage from %s of the journal in %s\n", count(int64(n), "entry", "entries"), time.Since(began).Round(time.Millisecond))
	}
	return err
}

// replay projects all of a journal into dir and returns its number of entries.
func (p *Program) replay(ctx context.Context, r *journal.Reader, dir string) (n uint64, err error) {
	if n, err = r.Size(ctx); err != nil {
		return 0, err
	}
	store, err := sqlite.Open(ctx, dir)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	projector, err := project.New(ctx, r, store)
	if err != nil {
		return 0, err
	}
	bar := p.progress("replay")
	defer bar.done()
	return n, projector.CatchUp(ctx, n, func(done uint64) { bar.to(done, n) })
}
