package journal

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"modernc.org/sqlite" // also the driver "sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

const (
	// schemaVersion is the file's user_version.
	schemaVersion = 1
	// applicationID marks the file as ours in its header: "tklj" in ASCII.
	applicationID = 0x746b6c6a
)

// Bodies stand in a table of their own, so that they can be archived one day
// and what proves them stays.
const schema = `
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE entries (seq INTEGER PRIMARY KEY, header BLOB NOT NULL, root BLOB NOT NULL);
CREATE TABLE bodies (seq INTEGER PRIMARY KEY, encoding INTEGER NOT NULL, body BLOB NOT NULL);
CREATE TABLE hashes (id INTEGER PRIMARY KEY, hash BLOB NOT NULL);
-- Where the newest entry of a kind is, for kinds that are asked for so: it saves a scan.
CREATE TABLE newest (kind TEXT PRIMARY KEY, seq INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE checkpoint (id INTEGER PRIMARY KEY CHECK (id = 1), note TEXT NOT NULL);
`

// Names in the table meta.
const (
	metaOrigin   = "origin"
	metaVerifier = "verifier"
)

// Errors of opening.
var (
	// ErrNoJournal says that there is no journal at the path.
	ErrNoJournal = errors.New("there is no journal here")
	// ErrNotOurs says that the file belongs to another program, or is no SQLite
	// file at all.
	ErrNotOurs = errors.New("the file is not a journal of tollkeeper: is the data directory right?")
)

const (
	// readTimeout is how long a reader waits for a lock, which only opening and
	// closing of files take for long.
	readTimeout = 10_000 // ms
	// DefaultLockWait is how long the writer waits for another program's transaction.
	// A client that waits longer than that has gone.
	DefaultLockWait = 5 * time.Second
	// walLimit is what the WAL's file is cut to after a reader that stayed too long
	// made it grow.
	walLimit = 64 << 20 // bytes
	// backfillPages is how many pages of WAL are written, nearly, before they are
	// copied into the file: 16 MiB.
	backfillPages = 4000
)

// dataSource is what the driver opens, with PRAGMAs for each connection. WAL is
// not asked for here: that would change a file before we know whose it is.
func dataSource(path string, mode string, pragmas ...string) string {
	q := url.Values{"mode": {mode}, "_pragma": pragmas}
	if mode == "rwc" {
		q.Set("_txlock", "immediate")
	}
	return "file:" + url.PathEscape(path) + "?" + q.Encode()
}

// openForReading opens a file that must be a journal.
func openForReading(ctx context.Context, path string) (*sql.DB, error) {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w", path, ErrNoJournal)
	}
	// Not mode=ro: a reader of a WAL needs the memory that it shares with the writer.
	db, err := sql.Open("sqlite", dataSource(path, "rw", "busy_timeout("+strconv.Itoa(readTimeout)+")", "query_only(1)"))
	if err != nil {
		return nil, err
	}
	version, err := identify(ctx, db)
	if err == nil && version == 0 {
		err = ErrNoJournal
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), db.Close())
	}
	return db, nil
}

// openForWriting opens the file, and makes the journal in it when it is empty. A
// file of a newer version or of another program is refused untouched.
func openForWriting(ctx context.Context, path string, wait time.Duration) (*sql.DB, error) {
	if err := foreign(ctx, path); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	db, err := sql.Open("sqlite", dataSource(path, "rwc",
		"busy_timeout("+strconv.FormatInt(wait.Milliseconds(), 10)+")",
		"synchronous(FULL)",
		"fullfsync(1)", "checkpoint_fullfsync(1)", // macOS: an fsync alone stops at the drive's cache
		"wal_autocheckpoint(0)", // it hides its errors: see backfill
		"journal_size_limit("+strconv.Itoa(walLimit)+")",
	))
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	if err := prepare(ctx, db); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), db.Close())
	}
	// The names of the file and of its WAL must be on disk before what is in them counts.
	if err := syncDir(filepath.Dir(path)); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// foreign refuses, without a lock or a byte changed, what is surely not ours. It
// does not see what only a WAL holds; identify does.
func foreign(ctx context.Context, path string) error {
	if info, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() == 0 {
		return nil
	}
	db, err := sql.Open("sqlite", dataSource(path, "ro")+"&immutable=1")
	if err != nil {
		return err
	}
	_, err = identify(ctx, db)
	err = errors.Join(err, db.Close())
	if errors.Is(err, ErrNotOurs) || errors.Is(err, ErrNewerFormat) {
		return err
	}
	return nil // a crash may have left the file and its WAL half copied: that is mended on opening
}

// identify returns the version of the file's schema, 0 for an empty file.
func identify(ctx context.Context, db *sql.DB) (version int, err error) {
	var app, tables int
	// One statement, so that it sees one moment of a file that another process makes.
	err = db.QueryRowContext(ctx, `SELECT v.user_version, a.application_id, (SELECT count(*) FROM sqlite_schema)
		FROM pragma_user_version v, pragma_application_id a`).Scan(&version, &app, &tables)
	switch {
	case code(err) == sqlite3.SQLITE_NOTADB:
		return 0, fmt.Errorf("%w (%w)", ErrNotOurs, err)
	case err != nil:
		return 0, err
	case app == 0 && version == 0 && tables == 0:
		return 0, nil
	case app != applicationID:
		return 0, fmt.Errorf("%w (another program's SQLite file, application id %#x)", ErrNotOurs, app)
	case version > schemaVersion:
		return 0, ErrNewerFormat
	}
	return version, nil
}

// prepare makes the file a journal if it is empty.
func prepare(ctx context.Context, db *sql.DB) error {
	version, err := identify(ctx, db)
	if err != nil {
		return err
	}
	var mode string
	if err := db.QueryRowContext(ctx, "PRAGMA journal_mode = WAL").Scan(&mode); err != nil {
		return err
	}
	if mode != "wal" {
		return fmt.Errorf("its file system cannot hold a write-ahead log (mode %s): put the data on a local disk", mode)
	}
	if version == 0 {
		return create(ctx, db)
	}
	return nil
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
	header := fmt.Sprintf("PRAGMA application_id = %d; PRAGMA user_version = %d", applicationID, schemaVersion)
	if _, err = tx.ExecContext(ctx, schema+header); err == nil {
		_, err = tx.ExecContext(ctx, "INSERT INTO meta VALUES (?, ?)", metaOrigin, "tollkeeper-journal-"+hex.EncodeToString(id[:]))
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

// code is the primary result code of an error of SQLite's, 0 of any other.
func code(err error) int { return extendedCode(err) & 0xff }

func extendedCode(err error) int {
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		return e.Code()
	}
	return 0
}
