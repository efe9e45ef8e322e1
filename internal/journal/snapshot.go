package journal

import (
	"context"
	"database/sql"
	"errors"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// snapshot is what Verify must know of one moment, since a server may be
// writing.
type snapshot struct {
	last   uint64 // the last entry
	note   string
	meta   map[string]string
	newest map[string]string // the entry, by kind
	// Rows where none can be; at most maxStrays of each.
	strayEntries, strayBodies, strayHashes []int64
}

const (
	// maxStrays bounds how many misplaced rows of a kind are named.
	maxStrays = 100
	// entryRowBytes is the least that an entry takes in the file. It bounds how
	// high a number can be: one far above was not given by counting.
	entryRowBytes = 40
)

func (r *Reader) snapshot(ctx context.Context) (s snapshot, err error) {
	tx, err := r.db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return s, err
	}
	defer tx.Rollback()
	var highest uint64
	err = tx.QueryRowContext(ctx, "SELECT page_count * page_size / ? FROM pragma_page_count, pragma_page_size", entryRowBytes).Scan(&highest)
	if err != nil {
		return s, err
	}
	err = tx.QueryRowContext(ctx, "SELECT coalesce(max(seq), 0) FROM entries WHERE seq BETWEEN 1 AND ?", highest).Scan(&s.last)
	if err != nil {
		return s, err
	}
	err = tx.QueryRowContext(ctx, "SELECT note FROM checkpoint").Scan(&s.note)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return s, err
	}
	if s.meta, err = pairs(ctx, tx, "SELECT name, value FROM meta"); err != nil {
		return s, err
	}
	if s.newest, err = pairs(ctx, tx, "SELECT kind, seq FROM newest"); err != nil {
		return s, err
	}
	for _, stray := range []struct {
		list *[]int64
		from string
		max  int64
	}{
		{&s.strayEntries, "seq FROM entries WHERE seq < 1 OR seq", int64(s.last)},
		{&s.strayBodies, "seq FROM bodies WHERE seq < 1 OR seq", int64(s.last)},
		{&s.strayHashes, "id FROM hashes WHERE id < 0 OR id", tlog.StoredHashIndex(0, int64(s.last)) - 1},
	} {
		if *stray.list, err = numbers(ctx, tx, "SELECT "+stray.from+" > ? ORDER BY 1 LIMIT ?", stray.max, maxStrays); err != nil {
			return s, err
		}
	}
	return s, nil
}

// pairs reads rows of two columns, as text whatever they hold.
func pairs(ctx context.Context, tx *sql.Tx, query string) (_ map[string]string, err error) {
	rows, err := tx.QueryContext(ctx, query)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	out := map[string]string{}
	for rows.Next() {
		var k, v string
		if err := rows.Scan(&k, &v); err != nil {
			return nil, err
		}
		out[k] = v
	}
	return out, rows.Err()
}

func numbers(ctx context.Context, tx *sql.Tx, query string, args ...any) (out []int64, err error) {
	rows, err := tx.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var n int64
		if err := rows.Scan(&n); err != nil {
			return nil, err
		}
		out = append(out, n)
	}
	return out, rows.Err()
}

// storedRange reads the hashes of a range of rows, whatever they hold.
func (r *Reader) storedRange(ctx context.Context, from, before int64) (out map[int64][]byte, err error) {
	rows, err := r.db.QueryContext(ctx, "SELECT id, hash FROM hashes WHERE id >= ? AND id < ?", from, before)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	out = make(map[int64][]byte, before-from)
	for rows.Next() {
		var id int64
		var h []byte
		if err := rows.Scan(&id, &h); err != nil {
			return nil, err
		}
		out[id] = h
	}
	return out, rows.Err()
}

func (r *Reader) hasBody(ctx context.Context, seq uint64) (has bool, err error) {
	err = r.db.QueryRowContext(ctx, "SELECT EXISTS (SELECT 1 FROM bodies WHERE seq = ?)", seq).Scan(&has)
	return has, err
}

// schema compares the file's tables with ours: a trigger would change what is
// written from now on.
func (v *verification) schema(ctx context.Context) error {
	ours, err := sql.Open("sqlite", ":memory:")
	if err != nil {
		return err
	}
	defer ours.Close()
	ours.SetMaxOpenConns(1) // each connection has a memory of its own
	if _, err := ours.ExecContext(ctx, schema); err != nil {
		return err
	}
	want, err := definitions(ctx, ours)
	if err != nil {
		return err
	}
	have, err := definitions(ctx, v.reader.db)
	if err != nil {
		return err
	}
	for name, text := range have {
		if want[name] != text {
			v.defectf(DefectSchema, 0, "%s is not as tollkeeper made it", name)
		}
		delete(want, name)
	}
	for name := range want {
		v.defectf(DefectSchema, 0, "%s is missing", name)
	}
	return nil
}

// definitions are the statements that made a file's tables, by kind and name.
func definitions(ctx context.Context, db *sql.DB) (out map[string]string, err error) {
	tx, err := db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return nil, err
	}
	defer tx.Rollback()
	return pairs(ctx, tx, "SELECT type || ' ' || name, coalesce(sql, '') FROM sqlite_schema")
}

// damaged says where SQLite cannot read the file.
func (v *verification) damaged(ctx context.Context, err error) {
	v.defectf(DefectFile, 0, "the file cannot be read: %v", err)
	rows, err := v.reader.db.QueryContext(ctx, "PRAGMA quick_check(20)")
	if err != nil {
		return // said already
	}
	defer rows.Close()
	for rows.Next() {
		var line string
		if rows.Scan(&line) == nil && line != "ok" {
			v.defectf(DefectFile, 0, "%s", line)
		}
	}
	_ = rows.Err() // as above
}

// knownKey reports whether a verifier key is among others, by name and hash.
func knownKey(keys []string, key string) bool {
	id := func(text string) (note.Verifier, bool) {
		v, err := note.NewVerifier(strings.TrimSpace(text))
		return v, err == nil
	}
	k, ok := id(key)
	if !ok {
		return false
	}
	for _, text := range keys {
		if v, ok := id(text); ok && v.Name() == k.Name() && v.KeyHash() == k.KeyHash() {
			return true
		}
	}
	return false
}
