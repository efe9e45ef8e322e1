package business

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"fmt"

	"github.com/tollkeeper/tollkeeper/internal/tenant"
)

const keyColumns = "id, customer, project, role, note, hint, hash, created, archived"

func scanKey(rows scanner) (k tenant.Key, err error) {
	var customer, project sql.NullString
	var hash []byte
	var created, archived int64
	if err = rows.Scan(&k.ID, &customer, &project, &k.Role, &k.Note, &k.Hint, &hash, &created, &archived); err != nil {
		return k, err
	}
	if len(hash) != sha256.Size {
		return k, fmt.Errorf("%w: key %s has a hash of %d bytes", ErrNotOurs, k.ID, len(hash))
	}
	k.Customer, k.Project, k.Hash = customer.String, project.String, [sha256.Size]byte(hash)
	k.Created, k.Archived = fromMillis(created), fromMillis(archived)
	return k, nil
}

// AddKey keeps a key that tenant.NewKey made, as of now. Its customer and project must be
// known and active. Errors: tenant.ErrInvalid, ErrNotFound, ErrArchived, ErrExists.
func (s *Store) AddKey(ctx context.Context, actor string, k tenant.Key) error {
	if err := k.Check(); err != nil {
		return err
	}
	return s.change(ctx, actor, func(tx *change) error {
		if k.Customer != "" {
			if err := activeCustomer(ctx, tx, k.Customer); err != nil {
				return err
			}
		}
		if k.Project != "" {
			p, err := project(ctx, tx, k.Customer, k.Project)
			if err != nil {
				return err
			}
			if !p.Active() {
				return fmt.Errorf("project %s of customer %s is %w", k.Project, k.Customer, ErrArchived)
			}
		}
		taken, err := exists(ctx, tx, "SELECT 1 FROM keys WHERE id = ? OR hash = ?", k.ID, k.Hash[:])
		if err != nil {
			return err
		}
		if taken {
			return fmt.Errorf("key %s %w", k.ID, ErrExists)
		}
		k.Created, k.Archived = tx.now, fromMillis(0)
		if _, err := tx.ExecContext(ctx, "INSERT INTO keys ("+keyColumns+") VALUES (?, nullif(?, ''), nullif(?, ''), ?, ?, ?, ?, ?, 0)",
			k.ID, k.Customer, k.Project, k.Role, k.Note, k.Hint, k.Hash[:], k.Created.UnixMilli()); err != nil {
			return err
		}
		return tx.audit(ctx, "key.add", "key/"+k.ID, k)
	})
}

// ArchiveKey ends a key for good. A running server learns of it within a
// second. Errors: ErrNotFound, ErrArchived.
func (s *Store) ArchiveKey(ctx context.Context, actor, id string) error {
	return s.change(ctx, actor, func(tx *change) error {
		k, err := key(ctx, tx, id)
		if err != nil {
			return err
		}
		if !k.Active() {
			return fmt.Errorf("key %s is %w", id, ErrArchived)
		}
		if _, err := tx.ExecContext(ctx, "UPDATE keys SET archived = ? WHERE id = ?", tx.now.UnixMilli(), id); err != nil {
			return err
		}
		return tx.audit(ctx, "key.archive", "key/"+id, nil)
	})
}

// Key finds a key, archived or not. Errors: ErrNotFound.
func (s *Store) Key(ctx context.Context, id string) (tenant.Key, error) { return key(ctx, s.db, id) }

func key(ctx context.Context, q queryer, id string) (tenant.Key, error) {
	return one(ctx, q, "key", id, scanKey, "SELECT "+keyColumns+" FROM keys WHERE id = ?", id)
}

// Keys lists the keys of a customer, or all with "", oldest first, archived ones too.
func (s *Store) Keys(ctx context.Context, customer string) ([]tenant.Key, error) {
	return keys(ctx, s.db, customer)
}

func keys(ctx context.Context, q queryer, customer string) ([]tenant.Key, error) {
	return list(ctx, q, scanKey, "SELECT "+keyColumns+" FROM keys WHERE ?1 = '' OR customer = ?1 ORDER BY created, id", customer)
}
