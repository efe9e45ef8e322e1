package business

import (
	"context"

	"github.com/tollkeeper/tollkeeper/internal/tenant"
)

// DefaultChanges is how many lines Changes gives when Limit is 0: a screen or two.
const DefaultChanges = 100

// ChangeFilter chooses lines of the audit log; a zero field chooses all.
type ChangeFilter struct {
	// Subject is one thing, such as "customer/acme".
	Subject string
	// After leaves out lines up to this Seq, to page on.
	After int64
	// Limit is the most lines given; 0 is DefaultChanges.
	Limit int
}

// Changes reads the audit log, oldest first.
func (s *Store) Changes(ctx context.Context, f ChangeFilter) ([]tenant.Change, error) {
	if f.Limit <= 0 {
		f.Limit = DefaultChanges
	}
	scan := func(rows scanner) (c tenant.Change, err error) {
		var at int64
		err = rows.Scan(&c.Seq, &at, &c.Actor, &c.Action, &c.Subject, &c.Detail)
		c.At = fromMillis(at)
		return c, err
	}
	return list(ctx, s.db, scan, `SELECT seq, at, actor, action, subject, detail FROM audit
		WHERE seq > ?1 AND (?2 = '' OR subject = ?2) ORDER BY seq LIMIT ?3`, f.After, f.Subject, f.Limit)
}
