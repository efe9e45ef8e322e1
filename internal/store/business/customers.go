package business

import (
	"context"
	"fmt"

	"github.com/tollkeeper/tollkeeper/internal/tenant"
)

const customerColumns = "id, name, address, email, time_zone, currency, created, archived"

func scanCustomer(rows scanner) (c tenant.Customer, err error) {
	var created, archived int64
	err = rows.Scan(&c.ID, &c.Name, &c.Address, &c.Email, &c.TimeZone, &c.Currency, &created, &archived)
	c.Created, c.Archived = fromMillis(created), fromMillis(archived)
	return c, err
}

// AddCustomer adds a customer as of now; Created and Archived of c are not
// read. Errors: tenant.ErrInvalid, ErrExists.
func (s *Store) AddCustomer(ctx context.Context, actor string, c tenant.Customer) (tenant.Customer, error) {
	if err := c.Check(); err != nil {
		return tenant.Customer{}, err
	}
	err := s.change(ctx, actor, func(tx *change) error {
		taken, err := exists(ctx, tx, "SELECT 1 FROM customers WHERE id = ?", c.ID)
		if err != nil {
			return err
		}
		if taken {
			return fmt.Errorf("customer %s %w", c.ID, ErrExists)
		}
		c.Created, c.Archived = tx.now, fromMillis(0)
		if _, err := tx.ExecContext(ctx, "INSERT INTO customers ("+customerColumns+") VALUES (?, ?, ?, ?, ?, ?, ?, 0)",
			c.ID, c.Name, c.Address, c.Email, c.TimeZone, c.Currency, c.Created.UnixMilli()); err != nil {
			return err
		}
		return tx.audit(ctx, "customer.add", "customer/"+c.ID, c)
	})
	if err != nil {
		return tenant.Customer{}, err
	}
	return c, nil
}

// UpdateCustomer changes name, address, email, time zone and currency to those
// of c. Invoices that are closed keep what they say. Errors: tenant.ErrInvalid, ErrNotFound.
func (s *Store) UpdateCustomer(ctx context.Context, actor string, c tenant.Customer) (tenant.Customer, error) {
	if err := c.Check(); err != nil {
		return tenant.Customer{}, err
	}
	err := s.change(ctx, actor, func(tx *change) error {
		before, err := customer(ctx, tx, c.ID)
		if err != nil {
			return err
		}
		c.Created, c.Archived = before.Created, before.Archived
		if c == before {
			return nil
		}
		if _, err := tx.ExecContext(ctx, "UPDATE customers SET name = ?, address = ?, email = ?, time_zone = ?, currency = ? WHERE id = ?",
			c.Name, c.Address, c.Email, c.TimeZone, c.Currency, c.ID); err != nil {
			return err
		}
		return tx.audit(ctx, "customer.update", "customer/"+c.ID, map[string]tenant.Customer{"before": before, "after": c})
	})
	if err != nil {
		return tenant.Customer{}, err
	}
	return c, nil
}

// ArchiveCustomer puts a customer away: its keys and tags no longer count, its
// usage and invoices stay. Errors: ErrNotFound, ErrArchived.
func (s *Store) ArchiveCustomer(ctx context.Context, actor, id string) error {
	return s.change(ctx, actor, func(tx *change) error {
		c, err := customer(ctx, tx, id)
		if err != nil {
			return err
		}
		if !c.Active() {
			return fmt.Errorf("customer %s is %w since %s", id, ErrArchived, c.Archived.Format("2006-01-02"))
		}
		if _, err := tx.ExecContext(ctx, "UPDATE customers SET archived = ? WHERE id = ?", tx.now.UnixMilli(), id); err != nil {
			return err
		}
		return tx.audit(ctx, "customer.archive", "customer/"+id, nil)
	})
}

// RestoreCustomer takes an archived customer back, with the keys that were not
// archived themselves. Errors: ErrNotFound, ErrState when it is not archived.
func (s *Store) RestoreCustomer(ctx context.Context, actor, id string) error {
	return s.change(ctx, actor, func(tx *change) error {
		c, err := customer(ctx, tx, id)
		if err != nil {
			return err
		}
		if c.Active() {
			return fmt.Errorf("%w: customer %s is not archived", ErrState, id)
		}
		if _, err := tx.ExecContext(ctx, "UPDATE customers SET archived = 0 WHERE id = ?", id); err != nil {
			return err
		}
		return tx.audit(ctx, "customer.restore", "customer/"+id, nil)
	})
}

// Customer finds a customer, archived or not. Errors: ErrNotFound.
func (s *Store) Customer(ctx context.Context, id string) (tenant.Customer, error) {
	return customer(ctx, s.db, id)
}

func customer(ctx context.Context, q queryer, id string) (tenant.Customer, error) {
	return one(ctx, q, "customer", id, scanCustomer, "SELECT "+customerColumns+" FROM customers WHERE id = ?", id)
}

// Customers lists all customers by id, archived ones too.
func (s *Store) Customers(ctx context.Context) ([]tenant.Customer, error) {
	return customers(ctx, s.db)
}

func customers(ctx context.Context, q queryer) ([]tenant.Customer, error) {
	return list(ctx, q, scanCustomer, "SELECT "+customerColumns+" FROM customers ORDER BY id")
}
