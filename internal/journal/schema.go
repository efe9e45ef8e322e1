package journal

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"

	_ "modernc.org/sqlite" // the driver "sqlite"
)

// schemaVersion is the file's user_version.
const schemaVersion = 1

// Bodies stand in a table of their own, so that they can be archived one day
// and what proves them stays.
const schema = `
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE entries (seq INTEGER PRIMARY KEY, header BLOB NOT NULL, root BLOB NOT NULL);
CREATE TABLE bodies (seq INTEGER PRIMARY KEY, encoding INTEGER NOT NULL, body BLOB NOT NULL);
CREATE TABLE hashes (id INTEGER PRIMARY KEY, hash BLOB NOT NULL);
-- Where the newest entry of a kind is, for kinds that are asked for so. Nothing rests on it: it only saves a scan.
CREATE TABLE newest (kind TEXT PRIMARY KEY, seq INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE checkpoint (id INTEGER PRIMARY KEY CHECK (id = 1), size INTEGER NOT NULL, note TEXT NOT NULL);
PRAGMA user_version = 1;
`

func openFile(ctx context.Context, path string, write bool) (*sql.DB, error) {
	q := url.Values{}
	q.Add("_pragma", "busy_timeout(10000)")
	if write {
		q.Add("_pragma", "journal_mode(WAL)")
		q.Add("_pragma", "synchronous(FULL)")
		q.Add("_pragma", "wal_autocheckpoint(4000)") // pages: 16 MiB between checkpoints
		q.Set("_txlock", "immediate")
	} else {
		q.Add("_pragma", "query_only(1)")
		q.Set("mode", "rw") // a reader of a WAL file needs its shared memory
	}
	db, err := sql.Open("sqlite", "file:"+url.PathEscape(path)+"?"+q.Encode())
	if err != nil {
		return nil, err
	}
	if err := checkVersion(ctx, db, write); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), db.Close())
	}
	return db, nil
}

// ErrNoJournal says that there is no journal at the path.
var ErrNoJournal = errors.New("there is no journal here")

func checkVersion(ctx context.Context, db *sql.DB, write bool) error {
	var version int
	if err := db.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version); err != nil {
		return err
	}
	switch {
	case version > schemaVersion:
		return ErrNewerFormat
	case version == schemaVersion:
		return nil
	case !write:
		return ErrNoJournal
	}
	return create(ctx, db)
}

// create makes the schema and gives the journal its origin, in one transaction.
func create(ctx context.Context, db *sql.DB) error {
	var id [8]byte
	if _, err := rand.Read(id[:]); err != nil {
		return err
	}
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, schema)
	if err == nil {
		_, err = tx.ExecContext(ctx, "INSERT INTO meta VALUES ('origin', ?)", "tollkeeper-journal-"+hex.EncodeToString(id[:]))
	}
	if err != nil {
		return errors.Join(err, tx.Rollback())
	}
	return tx.Commit()
}

func readMeta(ctx context.Context, db *sql.DB, name string) (value string, err error) {
	err = db.QueryRowContext(ctx, "SELECT value FROM meta WHERE name = ?", name).Scan(&value)
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil
	}
	return value, err
}
