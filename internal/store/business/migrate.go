package business

import (
	"context"
	"embed"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
)

// applicationID marks the file as ours in its header: "tkbi" in ASCII.
const applicationID = 0x746b6269

// migrationFiles holds NNNN_what.sql; N counts from 1, and a released one never
// changes. Why plain files and not goose: docs/adr/0001.
//
//go:embed migrations/*.sql
var migrationFiles embed.FS

// migrations lists the statements of each version; version N is at N-1.
func migrations() ([]string, error) {
	names, err := fs.Glob(migrationFiles, "migrations/*.sql")
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	var out []string
	for i, name := range names {
		number, _, _ := strings.Cut(strings.TrimPrefix(name, "migrations/"), "_")
		if n, err := strconv.Atoi(number); err != nil || n != i+1 {
			return nil, fmt.Errorf("migration %s: want number %d", name, i+1)
		}
		b, err := migrationFiles.ReadFile(name)
		if err != nil {
			return nil, err
		}
		out = append(out, string(b))
	}
	return out, nil
}

// migrate brings the schema up to date. All missing versions are one
// transaction, which takes the write lock first: of several processes that open
// a new file at once, one migrates and the others find it done.
func (s *Store) migrate(ctx context.Context) error {
	all, err := migrations()
	if err != nil {
		return err
	}
	version, err := schemaVersion(ctx, s.db, len(all))
	if err != nil || version == len(all) {
		return err // the usual case needs no lock
	}
	if err := s.useWAL(ctx); err != nil {
		return err
	}
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if version, err = schemaVersion(ctx, tx, len(all)); err != nil {
		return err
	}
	for i := version; i < len(all); i++ {
		if _, err := tx.ExecContext(ctx, all[i]); err != nil {
			return fmt.Errorf("migration %d: %w", i+1, err)
		}
	}
	header := fmt.Sprintf("PRAGMA application_id = %d; PRAGMA user_version = %d", applicationID, len(all))
	if _, err := tx.ExecContext(ctx, header); err != nil {
		return err
	}
	return tx.Commit()
}

// useWAL makes the file one with a write-ahead log, which it then stays.
func (s *Store) useWAL(ctx context.Context) error {
	var mode string
	if err := s.db.QueryRowContext(ctx, "PRAGMA journal_mode = WAL").Scan(&mode); err != nil {
		return err
	}
	if mode != "wal" {
		return fmt.Errorf("its file system cannot hold a write-ahead log (mode %s): put the data on a local disk", mode)
	}
	return nil
}

// schemaVersion reads the version of the file's schema, 0 for an empty file, and
// refuses a file that is not ours or newer than known.
func schemaVersion(ctx context.Context, q queryer, known int) (version int, err error) {
	var app, tables int
	// One statement, so that it sees one moment of a file that another process migrates.
	err = q.QueryRowContext(ctx, `SELECT v.user_version, a.application_id, (SELECT count(*) FROM sqlite_schema)
		FROM pragma_user_version v, pragma_application_id a`).Scan(&version, &app, &tables)
	switch {
	case err != nil:
		return 0, err
	case app == 0 && version == 0 && tables == 0:
		return 0, nil
	case app != applicationID:
		return 0, fmt.Errorf("%w: another program's SQLite file (application id %#x)", ErrNotOurs, app)
	case version > known:
		return 0, fmt.Errorf("%w: its schema is version %d, this one knows up to %d: start the newer program, or restore a backup from before the upgrade",
			ErrNewerSchema, version, known)
	}
	return version, nil
}
