package sqlite

import (
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/bits-and-blooms/bloom/v3"

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
	seen      *bloom.BloomFilter // identities and keys that the file holds
	seenCount uint               // entries in seen
	seenRoom  uint               // entries it was made for
	stmt      statements
}

type statements struct {
	insertRecord, replaceRecord, addTrace, addKey, addRequest *sql.Stmt
	identity, identityAnywhere, key, record                   *sql.Stmt
}

// texts numbers repeated texts. Numbers given in a transaction that was rolled
// back are forgotten with the day file itself.
type texts struct {
	ids   map[string]uint64
	byID  map[uint64]string
	fresh []string // not yet written, numbered consecutively up to len(ids)
}

func newTexts() *texts { return &texts{ids: map[string]uint64{}, byID: map[uint64]string{}} }

func (t *texts) id(s string) uint64 {
	id, ok := t.ids[s]
	if !ok {
		id = uint64(len(t.ids) + 1)
		t.ids[s], t.byID[id] = id, s
		t.fresh = append(t.fresh, s)
	}
	return id
}

func (t *texts) text(id uint64) (string, bool) {
	s, ok := t.byID[id]
	return s, ok
}

// load reads the numbered texts of a file.
func (t *texts) load(ctx context.Context, db querier) error {
	return each(ctx, db, "SELECT id, text FROM texts", nil, func(scan scanFunc) error {
		var id uint64
		var text []byte
		if err := scan(&id, &text); err != nil {
			return err
		}
		t.ids[string(text)], t.byID[id] = id, string(text)
		return nil
	})
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

const (
	// bloomSlack is the least number of entries a filter is made for. It is made
	// anew, twice as large as what the file holds, when it is full.
	bloomSlack = 1 << 20
	// bloomWrong is the part of new entries that the filter takes for known ones:
	// each costs a search, 1 % for ten bits an entry.
	bloomWrong = 0.01
)

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
	if err := d.fillSeen(ctx); err != nil {
		return err
	}
	return d.prepare(ctx)
}

func loadPositions(ctx context.Context, db querier) (map[string]uint64, error) {
	positions := map[string]uint64{}
	return positions, each(ctx, db, "SELECT origin, seq FROM positions", nil, func(scan scanFunc) error {
		var origin string
		var seq uint64
		err := scan(&origin, &seq)
		positions[origin] = seq
		return err
	})
}

// fillSeen makes the filter from the indexes, which are read in their order.
func (d *dayFile) fillSeen(ctx context.Context) error {
	d.seenCount, d.seenRoom = 0, uint(4*d.nextID)+bloomSlack
	d.seen = bloom.NewWithEstimates(d.seenRoom, bloomWrong)
	add := func(scan scanFunc) error {
		var a, b int64
		if err := scan(&a, &b); err != nil {
			return err
		}
		d.see(a, b)
		return nil
	}
	if err := each(ctx, d.db, "SELECT trace, identity FROM by_trace", nil, add); err != nil {
		return err
	}
	return each(ctx, d.db, "SELECT key, 0 FROM by_key", nil, add)
}

func (d *dayFile) see(a, b int64) {
	d.seen.Add(pair(a, b))
	d.seenCount++
}

func pair(a, b int64) []byte {
	var buf [16]byte
	binary.BigEndian.PutUint64(buf[:8], uint64(a))
	binary.BigEndian.PutUint64(buf[8:], uint64(b))
	return buf[:]
}

func (d *dayFile) prepare(ctx context.Context) (err error) {
	const columns = `(id, parent, key, time, started, ended, dim, request_id, trace, input_tokens, cached_input_tokens,
		output_tokens, reasoning_tokens, requests, flags, facts) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`
	for _, p := range []struct {
		stmt  **sql.Stmt
		query string
	}{
		{&d.stmt.insertRecord, "INSERT INTO records " + columns},
		{&d.stmt.replaceRecord, "REPLACE INTO records " + columns},
		{&d.stmt.addTrace, "INSERT OR IGNORE INTO by_trace VALUES (?, ?, ?, ?)"},
		{&d.stmt.addKey, "INSERT OR IGNORE INTO by_key VALUES (?, ?, ?)"},
		{&d.stmt.addRequest, "INSERT OR IGNORE INTO by_request VALUES (?, ?, ?)"},
		{&d.stmt.identity, "SELECT record FROM by_trace WHERE hour = ? AND trace = ? AND identity = ?"},
		{&d.stmt.identityAnywhere, hours("SELECT record FROM by_trace WHERE hour IN (%s) AND trace = ? AND identity = ?")},
		{&d.stmt.key, "SELECT record FROM by_key WHERE hour = ? AND key = ?"},
		{&d.stmt.record, "SELECT facts FROM records WHERE id = ?1 OR parent = ?1 ORDER BY id"},
	} {
		if *p.stmt, err = d.db.PrepareContext(ctx, p.query); err != nil { //nolint:sqlclosecheck // closed with the file
			return err
		}
	}
	return nil
}

// anyHour stands for the hour of what has none of its own; see hourOf.
const anyHour = -1

// hours puts the hours of a day, and anyHour, into an IN list: the index starts
// with the hour, so a search in all of them is 25 short ones.
func hours(query string) string {
	const list = "-1,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23"
	return fmt.Sprintf(query, list)
}

func (d *dayFile) close() error { return d.db.Close() }
