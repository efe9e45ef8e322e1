package journal

import (
	"context"
	"errors"
	"path/filepath"
)

// Copy writes a copy of the journal, as it is at the beginning, into the file at
// path, which is empty or not there. It is one read transaction: a server goes on
// writing, but cannot cut its log meanwhile. The copy is one file, without a log
// beside it.
func (r *Reader) Copy(ctx context.Context, path string) error {
	path, err := filepath.Abs(path) // "file:…" would be taken for a URI
	if err != nil {
		return err
	}
	conn, err := r.db.Conn(ctx)
	if err != nil {
		return err
	}
	// It writes another file, but SQLite asks only whether it writes.
	if _, err = conn.ExecContext(ctx, "PRAGMA query_only(0)"); err == nil {
		_, err = conn.ExecContext(ctx, "VACUUM INTO ?", path)
	}
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	_, back := conn.ExecContext(context.WithoutCancel(ctx), "PRAGMA query_only(1)")
	return errors.Join(err, back, conn.Close())
}
