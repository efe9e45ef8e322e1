package business

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
)

// Copy writes a copy of the file at path, as it is at the beginning, into a file
// that is empty or not there. Others go on using the one at path; the copy is one
// file, without a log beside it, and of the version that the file has. Errors:
// ErrNewerSchema, ErrNotOurs, ErrNoAccess, ErrFull, or fs.ErrNotExist.
func Copy(ctx context.Context, path, into string) (err error) {
	if err := prepareFile(path, true); err != nil {
		return err
	}
	dsn, err := dataSource(path)
	if err != nil {
		return err
	}
	into, err = filepath.Abs(into) // "file:…" would be taken for a URI
	if err != nil {
		return err
	}
	db, err := sql.Open("sqlite", dsn)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	all, err := migrations()
	if err == nil {
		_, err = schemaVersion(ctx, db, len(all))
	}
	if err == nil {
		_, err = db.ExecContext(ctx, "VACUUM INTO ?", into)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("%s: %w", path, explain(err))
	}
	return nil
}
