package business

import (
	"context"
	"fmt"
	"time"

	"github.com/tollkeeper/tollkeeper/internal/tenant"
)

// maxVerifyingSecrets bounds the secrets that verify at one time: each costs a
// hash for every tag that arrives.
const maxVerifyingSecrets = 8

// minSecretBytes keeps out a secret that could be guessed, the empty one above
// all; tenant.NewSecret makes twice that.
const minSecretBytes = 16

const secretColumns = "id, value, created, retires" //nolint:gosec // names of columns, because of "secret" taken for one

func scanSecret(rows scanner) (s tenant.Secret, err error) {
	var created, retires int64
	err = rows.Scan(&s.ID, &s.Value, &created, &retires)
	s.Created, s.Retires = fromMillis(created), fromMillis(retires)
	return s, err
}

// TagSecrets lists the secrets that sign or verify tags, newest first.
func (s *Store) TagSecrets(ctx context.Context) ([]tenant.Secret, error) {
	return tagSecrets(ctx, s.db, s.now())
}

// tagSecrets leaves out what has retired. The order has the signing one first.
func tagSecrets(ctx context.Context, q queryer, now time.Time) ([]tenant.Secret, error) {
	return list(ctx, q, scanSecret,
		"SELECT "+secretColumns+" FROM tag_secrets WHERE retires = 0 OR retires > ? ORDER BY retires <> 0, created DESC, id", now.UnixMilli())
}

// EnsureTagSecret gives the secret that signs; when there is none yet, it keeps
// fresh (of tenant.NewSecret) as that. Of processes that do so at once, all get the same.
// Errors: tenant.ErrInvalid when fresh is no secret.
func (s *Store) EnsureTagSecret(ctx context.Context, actor string, fresh tenant.Secret) (signs tenant.Secret, err error) {
	err = s.change(ctx, actor, func(tx *change) error {
		found, err := tagSecrets(ctx, tx, tx.now)
		if err != nil {
			return err
		}
		if len(found) > 0 && found[0].Retires.IsZero() {
			signs = found[0]
			return nil
		}
		signs, err = tx.addSecret(ctx, "tag_secret.add", fresh, nil)
		return err
	})
	if err != nil {
		return tenant.Secret{}, err
	}
	return signs, nil
}

// RotateTagSecret makes fresh (of tenant.NewSecret) the secret that signs. The
// others verify for overlap from now on, or less if they were to retire sooner;
// 0 ends them at once, for a secret that leaked. Errors: tenant.ErrInvalid,
// ErrState when too many overlap.
func (s *Store) RotateTagSecret(ctx context.Context, actor string, fresh tenant.Secret, overlap time.Duration) error {
	if overlap < 0 {
		return fmt.Errorf("%w: overlap %s: not negative", tenant.ErrInvalid, overlap)
	}
	return s.change(ctx, actor, func(tx *change) error {
		end := tx.now.Add(overlap)
		if _, err := tx.ExecContext(ctx, "UPDATE tag_secrets SET retires = ?1 WHERE retires = 0 OR retires > ?1", end.UnixMilli()); err != nil {
			return err
		}
		left, err := tagSecrets(ctx, tx, tx.now)
		if err != nil {
			return err
		}
		if len(left) >= maxVerifyingSecrets {
			return fmt.Errorf("%w: %d secrets still verify, at most %d: rotate with a shorter overlap", ErrState, len(left), maxVerifyingSecrets)
		}
		_, err = tx.addSecret(ctx, "tag_secret.rotate", fresh, map[string]any{"others_retire": end})
		return err
	})
}

// addSecret keeps s as the secret that signs, from now on.
func (c *change) addSecret(ctx context.Context, action string, s tenant.Secret, detail any) (tenant.Secret, error) {
	if s.ID == "" || len(s.Value) < minSecretBytes {
		return s, fmt.Errorf("%w tag secret %q of %d bytes: at least %d", tenant.ErrInvalid, s.ID, len(s.Value), minSecretBytes)
	}
	s.Created, s.Retires = c.now, fromMillis(0)
	if _, err := c.ExecContext(ctx, "INSERT INTO tag_secrets ("+secretColumns+") VALUES (?, ?, ?, 0)", s.ID, s.Value, s.Created.UnixMilli()); err != nil {
		return s, err
	}
	return s, c.audit(ctx, action, "tag_secret/"+s.ID, detail)
}
