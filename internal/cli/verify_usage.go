package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/tollkeeper/tollkeeper/internal/journal"
	"github.com/tollkeeper/tollkeeper/internal/project"
	"github.com/tollkeeper/tollkeeper/internal/store/business"
	"github.com/tollkeeper/tollkeeper/internal/store/sqlite"
)

// defect is one thing that does not follow from the journal.
type defect struct {
	Kind   string `json:"kind"`
	Place  string `json:"place"`
	Detail string `json:"detail"`
}

// usageReport is what verify found about the usage projection.
type usageReport struct {
	Records int64    `json:"records"`
	Defects []defect `json:"defects"`
}

// verifyDerived replays the journal beside the data directory, and compares
// what is derived from it with what is kept: invoices on the way, usage at the
// end.
func (p *Program) verifyDerived(ctx context.Context, dir string, r *journal.Reader, keys []string, v *verdict) (err error) {
	anew, err := p.newReplay(ctx, r)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, anew.close()) }()
	if exists(filepath.Join(dir, businessFile)) {
		b, err := business.Open(ctx, filepath.Join(dir, businessFile), business.Options{Now: p.Now, MustExist: true})
		if err != nil {
			return err
		}
		v.Invoices, err = p.verifyInvoices(ctx, b, r, anew, keys)
		if err = errors.Join(err, b.Close()); err != nil {
			return err
		}
	}
	kept, err := sqlite.OpenReader(ctx, filepath.Join(dir, usageDir))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, kept.Close()) }()
	if at, err := kept.Positions(ctx); err == nil && at[r.Origin()] < anew.projector.Position() {
		// Usage is being made anew, and is not where an invoice was closed yet.
		if err := anew.again(ctx, r); err != nil {
			return err
		}
	}
	v.Usage, err = p.verifyUsage(ctx, kept, anew)
	return err
}

// replay is a projection made anew, in a folder that is deleted afterwards.
type replay struct {
	dir       string
	store     *sqlite.Store
	projector *project.Projector
}

func (p *Program) newReplay(ctx context.Context, r *journal.Reader) (*replay, error) {
	dir, err := os.MkdirTemp("", "tollkeeper-verify-")
	if err != nil {
		return nil, fmt.Errorf("no place to replay into: %w\nname a folder with TMPDIR", err)
	}
	a := &replay{dir: dir}
	if err := a.open(ctx, r); err != nil {
		return nil, errors.Join(err, a.close())
	}
	return a, nil
}

func (a *replay) open(ctx context.Context, r *journal.Reader) (err error) {
	if a.store, err = sqlite.Open(ctx, a.dir); err != nil {
		a.store = nil
		return err
	}
	a.projector, err = project.New(ctx, r, a.store)
	return err
}

// again goes back to the journal's beginning.
func (a *replay) again(ctx context.Context, r *journal.Reader) error {
	store := a.store
	a.store = nil
	if err := errors.Join(store.Close(), sqlite.Remove(a.dir)); err != nil {
		return err
	}
	return a.open(ctx, r)
}

func (a *replay) close() (err error) {
	if a.store != nil {
		err = a.store.Close()
	}
	return errors.Join(err, os.RemoveAll(a.dir))
}

func (p *Program) verifyUsage(ctx context.Context, kept *sqlite.Reader, anew *replay) (*usageReport, error) {
	out := &usageReport{Defects: []defect{}}
	problems, err := kept.Check(ctx)
	if err != nil {
		return nil, fmt.Errorf("checking usage: %w", err)
	}
	for _, x := range problems {
		out.Defects = append(out.Defects, defect(x))
	}
	if slices.ContainsFunc(problems, func(x sqlite.Problem) bool { return x.Kind == sqlite.ProblemDamaged }) {
		return out, nil // what cannot be read cannot be compared
	}
	replayed, compared := p.progress("replay"), p.progress("usage")
	defer replayed.done()
	defer compared.done()
	c := project.Comparison{Journal: anew.projector, Want: anew.store, Got: kept, Replayed: replayed.to, Progress: compared.to}
	if err := c.Run(ctx); err != nil {
		return nil, fmt.Errorf("comparing usage: %w", err)
	}
	out.Records = c.Records
	for _, d := range c.Differences {
		out.Defects = append(out.Defects, defect(d))
	}
	return out, nil
}

// verifyBusiness looks for what no command of ours can make of business.db.
func (p *Program) verifyBusiness(ctx context.Context, dir string) (_ []defect, err error) {
	s, err := business.Open(ctx, filepath.Join(dir, businessFile), business.Options{Now: p.Now, MustExist: true})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	found, err := s.Check(ctx)
	var out []defect
	for _, f := range found {
		out = append(out, defect{Kind: f.Kind, Place: f.Place, Detail: f.Found})
	}
	return out, err
}
