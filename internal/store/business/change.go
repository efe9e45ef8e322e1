package business

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// queryer is what *sql.DB and *sql.Tx have in common.
type queryer interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// change is one transaction that changes something, on behalf of an actor.
type change struct {
	*sql.Tx
	actor string
	now   time.Time
	lines int // of the audit log
}

// change runs do in a transaction that holds the write lock, and commits if it
// returns nil. do writes an audit line for what it changed; with none, nothing
// changed and nothing is written.
func (s *Store) change(ctx context.Context, actor string, do func(c *change) error) error {
	if actor == "" {
		return errors.New("business: a change without an actor")
	}
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return explain(err)
	}
	defer tx.Rollback()
	c := &change{Tx: tx, actor: actor, now: s.now().UTC().Truncate(time.Millisecond)}
	if err := do(c); err != nil {
		return explain(err)
	}
	if c.lines == 0 {
		return nil
	}
	return explain(tx.Commit())
}

// audit appends a line to the log. detail becomes a JSON object; nil is {}.
func (c *change) audit(ctx context.Context, action, subject string, detail any) error {
	text := []byte("{}")
	if detail != nil {
		var err error
		if text, err = json.Marshal(detail); err != nil {
			return err
		}
	}
	_, err := c.ExecContext(ctx, `INSERT INTO audit (seq, at, actor, action, subject, detail)
		SELECT coalesce(max(seq), 0) + 1, ?, ?, ?, ?, ? FROM audit`,
		c.now.UnixMilli(), c.actor, action, subject, string(text))
	c.lines++
	return err
}

// exists tells whether a query finds a row.
func exists(ctx context.Context, q queryer, query string, args ...any) (bool, error) {
	var n int
	err := q.QueryRowContext(ctx, "SELECT EXISTS ("+query+")", args...).Scan(&n)
	return n == 1, err
}

// scanner is what a row is to who reads its columns.
type scanner interface {
	Scan(dest ...any) error
}

// list reads all rows of a query.
func list[T any](ctx context.Context, q queryer, scan func(scanner) (T, error), query string, args ...any) ([]T, error) {
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, explain(err)
	}
	defer rows.Close()
	var out []T
	for rows.Next() {
		x, err := scan(rows)
		if err != nil {
			return nil, explain(err)
		}
		out = append(out, x)
	}
	return out, explain(rows.Err())
}

// one is list for a query of at most one row; what and id are for ErrNotFound.
func one[T any](ctx context.Context, q queryer, what, id string, scan func(scanner) (T, error), query string, args ...any) (T, error) {
	found, err := list(ctx, q, scan, query, args...)
	if err == nil && len(found) == 0 {
		err = fmt.Errorf("%s %s %w", what, id, ErrNotFound)
	}
	if err != nil {
		var none T
		return none, err
	}
	return found[0], nil
}

// fromMillis is the instant that was kept; 0 is the zero time.
func fromMillis(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}
