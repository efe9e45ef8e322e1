package business

import (
	"context"
	"fmt"

	"github.com/tollkeeper/tollkeeper/internal/tenant"
)

const projectColumns = "customer, id, name, created, archived"

func scanProject(rows scanner) (p tenant.Project, err error) {
	var created, archived int64
	err = rows.Scan(&p.Customer, &p.ID, &p.Name, &created, &archived)
	p.Created, p.Archived = fromMillis(created), fromMillis(archived)
	return p, err
}

// AddProject adds a project to a customer as of now. Errors: tenant.ErrInvalid,
// ErrNotFound (the customer), ErrArchived (the customer), ErrExists.
func (s *Store) AddProject(ctx context.Context, actor string, p tenant.Project) (tenant.Project, error) {
	if err := p.Check(); err != nil {
		return tenant.Project{}, err
	}
	err := s.change(ctx, actor, func(tx *change) error {
		if err := activeCustomer(ctx, tx, p.Customer); err != nil {
			return err
		}
		taken, err := exists(ctx, tx, "SELECT 1 FROM projects WHERE customer = ? AND id = ?", p.Customer, p.ID)
		if err != nil {
			return err
		}
		if taken {
			return fmt.Errorf("project %s of customer %s %w", p.ID, p.Customer, ErrExists)
		}
		p.Created, p.Archived = tx.now, fromMillis(0)
		if _, err := tx.ExecContext(ctx, "INSERT INTO projects ("+projectColumns+") VALUES (?, ?, ?, ?, 0)",
			p.Customer, p.ID, p.Name, p.Created.UnixMilli()); err != nil {
			return err
		}
		return tx.audit(ctx, "project.add", "project/"+p.Customer+"/"+p.ID, p)
	})
	if err != nil {
		return tenant.Project{}, err
	}
	return p, nil
}

// ArchiveProject puts a project away: no new keys for it. Errors: ErrNotFound, ErrArchived.
func (s *Store) ArchiveProject(ctx context.Context, actor, customer, id string) error {
	return s.change(ctx, actor, func(tx *change) error {
		p, err := project(ctx, tx, customer, id)
		if err != nil {
			return err
		}
		if !p.Active() {
			return fmt.Errorf("project %s of customer %s is %w", id, customer, ErrArchived)
		}
		if _, err := tx.ExecContext(ctx, "UPDATE projects SET archived = ? WHERE customer = ? AND id = ?", tx.now.UnixMilli(), customer, id); err != nil {
			return err
		}
		return tx.audit(ctx, "project.archive", "project/"+customer+"/"+id, nil)
	})
}

// Projects lists the projects of a customer, or all with "", archived ones too.
func (s *Store) Projects(ctx context.Context, customer string) ([]tenant.Project, error) {
	return list(ctx, s.db, scanProject,
		"SELECT "+projectColumns+" FROM projects WHERE ?1 = '' OR customer = ?1 ORDER BY customer, id", customer)
}

func project(ctx context.Context, q queryer, customer, id string) (tenant.Project, error) {
	return one(ctx, q, "project", customer+"/"+id, scanProject,
		"SELECT "+projectColumns+" FROM projects WHERE customer = ? AND id = ?", customer, id)
}

// activeCustomer refuses a customer that is unknown or archived.
func activeCustomer(ctx context.Context, q queryer, id string) error {
	c, err := customer(ctx, q, id)
	if err == nil && !c.Active() {
		err = fmt.Errorf("customer %s is %w: restore it first", id, ErrArchived)
	}
	return err
}
