package business

import (
	"context"
	"database/sql"

	"github.com/tollkeeper/tollkeeper/internal/tenant"
)

// Store is where tenant.Live gets its directory from.
var _ tenant.Source = (*Store)(nil)

// Revision counts the changes made so far, by all processes.
func (s *Store) Revision(ctx context.Context) (n int64, err error) {
	err = s.db.QueryRowContext(ctx, "SELECT coalesce(max(seq), 0) FROM audit").Scan(&n)
	return n, explain(err)
}

// Directory reads customers, keys and tag secrets as of one moment.
func (s *Store) Directory(ctx context.Context) (*tenant.Directory, error) {
	tx, err := s.db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return nil, explain(err)
	}
	defer tx.Rollback()
	who, err := customers(ctx, tx)
	if err != nil {
		return nil, err
	}
	with, err := keys(ctx, tx, "")
	if err != nil {
		return nil, err
	}
	secrets, err := tagSecrets(ctx, tx, s.now())
	if err != nil {
		return nil, err
	}
	return tenant.NewDirectory(who, with, secrets), nil
}
