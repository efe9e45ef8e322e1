package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"strconv"

	_ "modernc.org/sqlite" // the driver "sqlite"
)

// format is the version of the files' schema. A file of another version is not
// read: the projection is rebuilt.
const format = 1

// ErrStale says that the projection was made by another version, of the schema
// or of the fold, and must be rebuilt.
var ErrStale = errors.New("usage projection is of another version: run `tollkeeper rebuild`, or start `tollkeeper serve`, which does it")

const daySchema = `
CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE positions (origin TEXT PRIMARY KEY, seq INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE texts (id INTEGER PRIMARY KEY, text BLOB NOT NULL);
CREATE TABLE dims (
	id INTEGER PRIMARY KEY, customer TEXT NOT NULL, project TEXT NOT NULL, key TEXT NOT NULL,
	rule TEXT NOT NULL, model TEXT NOT NULL, service TEXT NOT NULL, grade TEXT NOT NULL
);
CREATE TABLE records (
	id INTEGER PRIMARY KEY,
	parent INTEGER,             -- the row of the group's first record, NULL in that one
	key BLOB NOT NULL,          -- "rec_" || lower(hex(key)) is the public id
	time INTEGER NOT NULL,      -- ns since 1970 UTC
	started INTEGER NOT NULL,
	ended INTEGER NOT NULL,
	dim INTEGER NOT NULL,
	request_id TEXT NOT NULL,
	trace BLOB NOT NULL,
	input_tokens INTEGER NOT NULL, cached_input_tokens INTEGER NOT NULL,
	output_tokens INTEGER NOT NULL, reasoning_tokens INTEGER NOT NULL, requests INTEGER NOT NULL,
	flags TEXT NOT NULL,
	facts BLOB NOT NULL
);
CREATE INDEX records_by_parent ON records(parent) WHERE parent IS NOT NULL;
CREATE INDEX records_by_dim ON records(dim, time);
CREATE TABLE by_trace (
	hour INTEGER, trace INTEGER, identity INTEGER, record INTEGER, PRIMARY KEY (hour, trace, identity, record)
) WITHOUT ROWID;
CREATE TABLE by_key (
	hour INTEGER, key INTEGER, record INTEGER, PRIMARY KEY (hour, key, record)
) WITHOUT ROWID;
CREATE TABLE by_request (
	hour INTEGER, request INTEGER, record INTEGER, PRIMARY KEY (hour, request, record)
) WITHOUT ROWID;
CREATE TABLE totals (
	bucket INTEGER, dim INTEGER,
	input_tokens INTEGER NOT NULL, cached_input_tokens INTEGER NOT NULL,
	output_tokens INTEGER NOT NULL, reasoning_tokens INTEGER NOT NULL, requests INTEGER NOT NULL,
	PRIMARY KEY (bucket, dim)
) WITHOUT ROWID;
CREATE TABLE other_totals (
	bucket INTEGER, dim INTEGER, quantity TEXT, amount INTEGER NOT NULL, PRIMARY KEY (bucket, dim, quantity)
) WITHOUT ROWID;
CREATE TABLE verdicts (
	origin TEXT, producer TEXT, verdict TEXT, amount INTEGER NOT NULL, PRIMARY KEY (origin, producer, verdict)
) WITHOUT ROWID;
CREATE TABLE conflicts (identity BLOB, fact BLOB, kept BLOB, record BLOB, received INTEGER);
`

const indexSchema = `
CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE positions (origin TEXT PRIMARY KEY, seq INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE policies (origin TEXT PRIMARY KEY, policy BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE pins (key BLOB PRIMARY KEY, day INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE counts (
	origin TEXT, producer TEXT, verdict TEXT, reason TEXT, amount INTEGER NOT NULL,
	PRIMARY KEY (origin, producer, verdict, reason)
) WITHOUT ROWID;
`

// open opens one file of the projection with one connection; write makes it
// when it is missing.
func open(ctx context.Context, path, schema string, write bool) (*sql.DB, error) {
	q := url.Values{}
	q.Add("_pragma", "busy_timeout(5000)")
	if write {
		q.Add("_pragma", "journal_mode(WAL)")
		q.Add("_pragma", "synchronous(NORMAL)")
		q.Add("_pragma", "cache_size(-65536)") // 64 MiB: the pages of the current hour
		q.Set("_txlock", "immediate")
	} else {
		q.Add("_pragma", "query_only(1)")
		q.Set("mode", "rw") // a reader of a WAL file needs its shared memory
	}
	db, err := sql.Open("sqlite", "file:"+url.PathEscape(path)+"?"+q.Encode())
	if err != nil {
		return nil, err
	}
	if write {
		db.SetMaxOpenConns(1)
	}
	if err := ensure(ctx, db, schema, write); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), db.Close())
	}
	return db, nil
}

// errUnmade says that the writer has not made the schema of a file yet.
var errUnmade = errors.New("a file of usage without a schema")

// ensure creates the schema in an empty file and refuses another version.
func ensure(ctx context.Context, db *sql.DB, schema string, write bool) error {
	var version int
	if err := db.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version); err != nil {
		return err
	}
	switch {
	case version == format:
		return nil
	case version != 0:
		return ErrStale
	case !write:
		return errUnmade
	}
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, schema+"PRAGMA user_version="+strconv.Itoa(format)); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	return tx.Commit()
}
