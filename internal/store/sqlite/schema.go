package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"time"

	_ "modernc.org/sqlite" // the driver "sqlite"
)

// format is the version of the files' schema. A file of another version is not
// read: the projection is rebuilt.
const format = 2

// ErrStale says that the projection was made by another version, of the schema
// or of the fold, or is not whole, and must be rebuilt.
var ErrStale = errors.New("usage projection is of another version or not whole: run `tollkeeper rebuild`, or start `tollkeeper serve`, which does it")

// errUnmade says that the writer is just making the file: it holds nothing yet.
var errUnmade = errors.New("file is being made")

// daySchema is the file of one UTC day. Times are ns since 1970 UTC, buckets
// and days their first second.
const daySchema = `
CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO meta VALUES ('hardened', 0);
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
	time INTEGER NOT NULL,
	started INTEGER NOT NULL,
	ended INTEGER NOT NULL,
	dim INTEGER NOT NULL,
	request_id TEXT NOT NULL,
	trace BLOB NOT NULL,
	input_tokens INTEGER NOT NULL, cached_input_tokens INTEGER NOT NULL,
	output_tokens INTEGER NOT NULL, reasoning_tokens INTEGER NOT NULL, requests INTEGER NOT NULL,
	flags TEXT NOT NULL,
	facts BLOB NOT NULL         -- what the record was folded from, see codec.go
);
CREATE INDEX records_by_parent ON records(parent) WHERE parent IS NOT NULL;
CREATE INDEX records_by_time ON records(time);
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
CREATE TABLE filters (
	hour INTEGER, layer INTEGER, entries INTEGER NOT NULL, bits BLOB NOT NULL, PRIMARY KEY (hour, layer)
);
CREATE TABLE totals (
	dim INTEGER, bucket INTEGER,
	input_tokens INTEGER NOT NULL, cached_input_tokens INTEGER NOT NULL,
	output_tokens INTEGER NOT NULL, reasoning_tokens INTEGER NOT NULL, requests INTEGER NOT NULL,
	PRIMARY KEY (dim, bucket)
) WITHOUT ROWID;
CREATE TABLE day_totals (
	dim INTEGER, bucket INTEGER, -- a day
	input_tokens INTEGER NOT NULL, cached_input_tokens INTEGER NOT NULL,
	output_tokens INTEGER NOT NULL, reasoning_tokens INTEGER NOT NULL, requests INTEGER NOT NULL,
	PRIMARY KEY (dim, bucket)
) WITHOUT ROWID;
CREATE TABLE other_totals (
	dim INTEGER, bucket INTEGER, quantity TEXT, amount INTEGER NOT NULL, PRIMARY KEY (dim, bucket, quantity)
) WITHOUT ROWID;
CREATE TABLE verdicts (
	origin TEXT, producer TEXT, verdict TEXT, amount INTEGER NOT NULL, PRIMARY KEY (origin, producer, verdict)
) WITHOUT ROWID;
CREATE TABLE kept_out (     -- every observation whose identity another has
	identity BLOB, received INTEGER, origin TEXT, seq INTEGER, place INTEGER,
	verdict TEXT NOT NULL,  -- duplicate or conflict, against the one that stays
	fact BLOB NOT NULL,
	kept BLOB,              -- for a conflict, the one that stays
	PRIMARY KEY (identity, received, origin, seq, place)
) WITHOUT ROWID;
CREATE INDEX conflicts ON kept_out(received) WHERE verdict = 'conflict';
`

// indexSchema is index.db: what belongs to no day.
const indexSchema = `
CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE positions (origin TEXT PRIMARY KEY, seq INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE checkpoints (     -- what is on the disk for certain: a replay starts behind it
	origin TEXT PRIMARY KEY, seq INTEGER NOT NULL, policy BLOB
) WITHOUT ROWID;
CREATE TABLE days (day INTEGER PRIMARY KEY);
CREATE TABLE strays (          -- file day may hold records whose time lies in day other
	day INTEGER, other INTEGER, PRIMARY KEY (day, other)
) WITHOUT ROWID;
CREATE TABLE pins (            -- in which day's file an event is, whatever time it says
	identity BLOB PRIMARY KEY, day INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE counted (origin TEXT PRIMARY KEY, seq INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE counts (
	origin TEXT, producer TEXT, verdict TEXT, reason TEXT, amount INTEGER NOT NULL,
	PRIMARY KEY (origin, producer, verdict, reason)
) WITHOUT ROWID;
`

const (
	// pageCache is what a file open for writing may hold in memory: the index
	// pages of the current hour of ten million records a day, in KiB.
	pageCache = 64 << 10
	// walPages is how long a WAL grows before it is checkpointed: a page that many
	// transactions change is then written back once. 64 MiB.
	walPages = 16 << 10
	// readIdle is after what time a reader lets go of a file that nobody asks: it
	// costs three descriptors and some 150 KiB, and there is one for each day.
	readIdle = time.Minute
	// busyMillis is how long to wait for the other side's short lock.
	busyMillis = 5000
)

// open opens one file of the projection; write makes it when it is missing, and
// has one connection.
func open(ctx context.Context, path, schema string, write bool) (*sql.DB, error) {
	q := url.Values{}
	pragma := func(name string, value any) { q.Add("_pragma", fmt.Sprintf("%s(%v)", name, value)) }
	pragma("busy_timeout", busyMillis)
	if write {
		pragma("journal_mode", "WAL")
		pragma("synchronous", "NORMAL")
		pragma("cache_size", -pageCache)
		pragma("wal_autocheckpoint", walPages)
		q.Set("_txlock", "immediate")
	} else {
		pragma("query_only", 1)
		q.Set("mode", "rw") // a reader of a WAL file needs its shared memory
	}
	db, err := sql.Open("sqlite", "file:"+url.PathEscape(path)+"?"+q.Encode())
	if err != nil {
		return nil, err
	}
	if write {
		db.SetMaxOpenConns(1)
	} else {
		db.SetConnMaxIdleTime(readIdle)
	}
	if err := ensure(ctx, db, schema, write); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), db.Close())
	}
	return db, nil
}

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

// durably runs fn in a transaction that is on the disk when it returns, as
// those of a WAL with synchronous=NORMAL are not. db has one connection.
func durably(ctx context.Context, db *sql.DB, fn func(tx *sql.Tx) error) (err error) {
	if _, err := db.ExecContext(ctx, "PRAGMA synchronous=FULL"); err != nil {
		return err
	}
	defer func() {
		_, back := db.ExecContext(ctx, "PRAGMA synchronous=NORMAL")
		err = errors.Join(err, back)
	}()
	return transact(ctx, db, fn)
}

// transact runs fn in a transaction.
func transact(ctx context.Context, db *sql.DB, fn func(tx *sql.Tx) error) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if err := fn(tx); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	return tx.Commit()
}
