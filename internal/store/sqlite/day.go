package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"github.com/tollkeeper/tollkeeper/internal/usage"
)

// dayFile is the one writer of a day's file.
type dayFile struct {
	db        *sql.DB
	positions map[string]uint64
	texts     *texts
	dims      map[usage.TotalKey]int64 // Bucket left 0
	nextDim   int64
	nextID    int64
	seen      filters // identities and keys that the file holds
	stmt      statements
	// soft says that the file was changed since it was last hardened.
	soft bool
}

type statements struct {
	insertRecord, insertRecords                                   *sql.Stmt
	addTrace, addTraces, addKey, addKeys, addRequest, addRequests *sql.Stmt
	identity, key, record, erase, keepOut, total, dayTotal        *sql.Stmt
}

type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

type scanFunc func(dest ...any) error

// each calls fn for every row.
func each(ctx context.Context, db querier, query string, args []any, fn func(scanFunc) error) (err error) {
	rows, err := db.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		if err := fn(rows.Scan); err != nil {
			return err
		}
	}
	return rows.Err()
}

func openDay(ctx context.Context, path string) (*dayFile, error) {
	db, err := open(ctx, path, daySchema, true)
	if err != nil {
		return nil, err
	}
	d := &dayFile{db: db, texts: newTexts(), dims: map[usage.TotalKey]int64{}}
	if err := d.load(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), db.Close())
	}
	return d, nil
}

func (d *dayFile) load(ctx context.Context) (err error) {
	if err := d.texts.load(ctx, d.db); err != nil {
		return err
	}
	if d.positions, err = loadPositions(ctx, d.db); err != nil {
		return err
	}
	if err := each(ctx, d.db, "SELECT id, customer, project, key, rule, model, service, grade FROM dims", nil, func(scan scanFunc) error {
		var id int64
		var k usage.TotalKey
		err := scan(&id, &k.Customer, &k.Project, &k.Key, &k.Rule, &k.Model, &k.Service, &k.Grade)
		d.dims[k], d.nextDim = id, max(d.nextDim, id)
		return err
	}); err != nil {
		return err
	}
	if err := d.db.QueryRowContext(ctx, "SELECT coalesce(max(id), 0) FROM records").Scan(&d.nextID); err != nil {
		return err
	}
	if err := d.seen.load(ctx, d.db); err != nil {
		return err
	}
	return d.prepare(ctx)
}

func loadPositions(ctx context.Context, db querier) (map[string]uint64, error) {
	return loadSeqs(ctx, db, "SELECT origin, seq FROM positions")
}

func loadSeqs(ctx context.Context, db querier, query string) (map[string]uint64, error) {
	out := map[string]uint64{}
	return out, each(ctx, db, query, nil, func(scan scanFunc) error {
		var origin string
		var seq uint64
		err := scan(&origin, &seq)
		out[origin] = seq
		return err
	})
}

const recordColumns = `(id, parent, key, time, started, ended, dim, request_id, trace, input_tokens, cached_input_tokens,
	output_tokens, reasoning_tokens, requests, flags, facts)`

// Rows of one statement: enough that its overhead does not count, few enough
// that what does not fill one is soon written one by one.
const (
	recordRows = 16
	indexRows  = 64
)

// rows is "(?,?,…),(?,?,…)".
func rows(columns, n int) string {
	row := "(" + strings.TrimSuffix(strings.Repeat("?,", columns), ",") + ")"
	return strings.TrimSuffix(strings.Repeat(row+",", n), ",")
}

func (d *dayFile) prepare(ctx context.Context) (err error) {
	const sums = ` VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET
		input_tokens = input_tokens + excluded.input_tokens, cached_input_tokens = cached_input_tokens + excluded.cached_input_tokens,
		output_tokens = output_tokens + excluded.output_tokens, reasoning_tokens = reasoning_tokens + excluded.reasoning_tokens,
		requests = requests + excluded.requests`
	const record, trace, key, request = "INSERT INTO records " + recordColumns + " VALUES ", "INSERT OR IGNORE INTO by_trace VALUES ",
		"INSERT OR IGNORE INTO by_key VALUES ", "INSERT OR IGNORE INTO by_request VALUES "
	for _, p := range []struct {
		stmt  **sql.Stmt
		query string
	}{
		{&d.stmt.insertRecord, record + rows(16, 1)},
		{&d.stmt.insertRecords, record + rows(16, recordRows)},
		{&d.stmt.addTrace, trace + rows(4, 1)},
		{&d.stmt.addTraces, trace + rows(4, indexRows)},
		{&d.stmt.addKey, key + rows(3, 1)},
		{&d.stmt.addKeys, key + rows(3, indexRows)},
		{&d.stmt.addRequest, request + rows(3, 1)},
		{&d.stmt.addRequests, request + rows(3, indexRows)},
		{&d.stmt.identity, "SELECT record FROM by_trace WHERE hour = ? AND trace = ? AND identity = ?"},
		{&d.stmt.key, "SELECT record FROM by_key WHERE hour = ? AND key = ?"},
		{&d.stmt.record, "SELECT facts FROM records WHERE id = ?1 OR parent = ?1 ORDER BY id"},
		// Index entries that point to a group's first row stay right: that row is
		// written again, or there is nothing to find.
		{&d.stmt.erase, "DELETE FROM records WHERE id = ?1 OR parent = ?1"},
		{&d.stmt.keepOut, "INSERT OR REPLACE INTO kept_out VALUES (?, ?, ?, ?, ?, ?, ?, ?)"},
		{&d.stmt.total, "INSERT INTO totals" + sums},
		{&d.stmt.dayTotal, "INSERT INTO day_totals" + sums},
	} {
		if *p.stmt, err = d.db.PrepareContext(ctx, p.query); err != nil { //nolint:sqlclosecheck // closed with the file
			return err
		}
	}
	return nil
}

// hours puts the hours of a day, and anyHour, into an IN list: the index starts
// with the hour, so a search in all of them is 25 short ones.
func hours(query string) string {
	const list = "-1,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23"
	return fmt.Sprintf(query, list)
}

// harden returns when all that the file holds is on the disk.
func (d *dayFile) harden(ctx context.Context) error {
	if !d.soft {
		return nil
	}
	err := durably(ctx, d.db, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "UPDATE meta SET value = value + 1 WHERE name = 'hardened'")
		return err
	})
	d.soft = d.soft && err != nil
	return err
}

// close keeps the filters, so that opening is quick, and hardens the file.
func (d *dayFile) close(ctx context.Context) error {
	var err error
	if d.seen.unsealed() {
		d.soft = true
		err = transact(ctx, d.db, func(tx *sql.Tx) error { return d.seen.save(ctx, tx, true) })
	}
	return errors.Join(err, d.harden(ctx), d.db.Close())
}

// abandon closes a file whose writer in memory may not be what is in it.
func (d *dayFile) abandon() error { return d.db.Close() }
