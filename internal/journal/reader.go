package journal

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"golang.org/x/mod/sumdb/tlog"
)

// Reader reads a journal, also beside the process that writes it. It may be
// used by several goroutines.
type Reader struct {
	db       *sql.DB
	origin   string
	appended func() <-chan struct{} // nil: another process writes, so it polls
}

// OpenReader opens a journal for reading. Errors wrap ErrNoJournal, ErrNotOurs
// or ErrNewerFormat.
func OpenReader(ctx context.Context, path string) (*Reader, error) {
	db, err := openForReading(ctx, path)
	if err != nil {
		return nil, err
	}
	r, err := newReader(ctx, db)
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return r, nil
}

func newReader(ctx context.Context, db *sql.DB) (*Reader, error) {
	origin, err := readMeta(ctx, db, metaOrigin)
	return &Reader{db: db, origin: origin}, err
}

// Close closes the file.
func (r *Reader) Close() error { return r.db.Close() }

// Origin names this journal among all journals.
func (r *Reader) Origin() string { return r.origin }

// Size is the number of entries.
func (r *Reader) Size(ctx context.Context) (size uint64, err error) {
	err = r.db.QueryRowContext(ctx, "SELECT coalesce(max(seq), 0) FROM entries").Scan(&size)
	return size, err
}

// Checkpoint returns the newest signed checkpoint, "" when none was signed.
func (r *Reader) Checkpoint(ctx context.Context) (note string, err error) {
	err = r.db.QueryRowContext(ctx, "SELECT note FROM checkpoint").Scan(&note)
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil
	}
	return note, err
}

// Verifier returns the verifier key that the journal itself names. Who wants
// more than a check of consistency compares it with one got elsewhere.
func (r *Reader) Verifier(ctx context.Context) (string, error) {
	return readMeta(ctx, r.db, metaVerifier)
}

const (
	// pageEntries and pageBytes bound one read transaction, since a long one
	// keeps the WAL from being reset.
	pageEntries = 256
	pageBytes   = 8 << 20
)

// Read calls fn for each entry from seq on, in order, until fn returns an error
// or there are no more. No transaction is open while fn runs.
func (r *Reader) Read(ctx context.Context, from uint64, fn func(Entry) error) error {
	for {
		page, err := r.page(ctx, from, from+pageEntries-1)
		if err != nil {
			return err
		}
		if len(page) == 0 {
			next, err := r.next(ctx, from)
			if err != nil || next == 0 {
				return err
			}
			continue // it came just now
		}
		for _, e := range page {
			if e.Header.Seq != from {
				return fmt.Errorf("%w: entry %d is missing", ErrCorrupt, from)
			}
			if err := fn(e); err != nil {
				return err
			}
			from++
		}
	}
}

// next finds the entry at from, when a page did not hold it: it may have come
// since. 0 is the end of the journal; behind a hole there is an error.
func (r *Reader) next(ctx context.Context, from uint64) (uint64, error) {
	var seq uint64
	err := r.db.QueryRowContext(ctx, "SELECT coalesce(min(seq), 0) FROM entries WHERE seq >= ?", from).Scan(&seq)
	if err == nil && seq > from {
		err = fmt.Errorf("%w: entry %d is missing", ErrCorrupt, from)
	}
	return seq, err
}

// Entry returns one entry.
func (r *Reader) Entry(ctx context.Context, seq uint64) (Entry, error) {
	page, err := r.page(ctx, seq, seq)
	if err == nil && len(page) == 0 {
		if _, err = r.next(ctx, seq); err == nil {
			err = fmt.Errorf("entry %d: the journal ends before it", seq)
		}
	}
	if err != nil {
		return Entry{}, err
	}
	return page[0], nil
}

// Newest returns the newest marked entry of a kind; found is false when there is
// none.
func (r *Reader) Newest(ctx context.Context, kind string) (e Entry, found bool, err error) {
	var seq uint64
	err = r.db.QueryRowContext(ctx, "SELECT seq FROM newest WHERE kind = ?", kind).Scan(&seq)
	if errors.Is(err, sql.ErrNoRows) {
		return e, false, nil
	}
	if err == nil {
		e, err = r.Entry(ctx, seq)
	}
	return e, err == nil, err
}

// raw is an entry as it is kept.
type raw struct {
	seq          uint64
	header, root []byte
	encoding     int64 // or noBody, noEncoding
	body         []byte
}

const (
	noBody     = -1 // there is no body
	noEncoding = -2 // what stands there is no number
)

const rawQuery = `SELECT entries.seq, header, root, encoding, body FROM entries LEFT JOIN bodies USING (seq)
	WHERE entries.seq BETWEEN ? AND ? ORDER BY entries.seq`

// rawPage reads entries as they are kept, whatever they hold, from one number
// through another; end is where it stopped: there, or before at pageBytes.
func (r *Reader) rawPage(ctx context.Context, from, through uint64) (page []raw, end uint64, err error) {
	rows, err := r.db.QueryContext(ctx, rawQuery, from, through)
	if err != nil {
		return nil, 0, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	size := 0
	for rows.Next() {
		var x raw
		var encoding any
		if err := rows.Scan(&x.seq, &x.header, &x.root, &encoding, &x.body); err != nil {
			return nil, 0, err
		}
		switch n := encoding.(type) {
		case int64:
			x.encoding = n
		case nil:
			x.encoding = noBody
		default:
			x.encoding = noEncoding
		}
		page = append(page, x)
		if size += len(x.header) + len(x.body); size >= pageBytes {
			return page, x.seq, nil
		}
	}
	return page, through, rows.Err()
}

func (r *Reader) page(ctx context.Context, from, through uint64) ([]Entry, error) {
	rawEntries, _, err := r.rawPage(ctx, from, through)
	if err != nil {
		return nil, err
	}
	page := make([]Entry, 0, len(rawEntries))
	for i := range rawEntries {
		e, err := rawEntries[i].entry()
		if err != nil {
			return nil, fmt.Errorf("entry %d: %w", rawEntries[i].seq, err)
		}
		page = append(page, e)
	}
	return page, nil
}

func (x *raw) entry() (Entry, error) {
	h, err := parseHeader(x.header)
	if err != nil {
		return Entry{}, err
	}
	if len(x.root) != tlog.HashSize || h.Seq != x.seq {
		return Entry{}, ErrCorrupt
	}
	items, err := unpackBody(x.encoding, x.body, h.Count)
	if err != nil {
		return Entry{}, err
	}
	if int64(len(items)) != h.Count {
		return Entry{}, fmt.Errorf("%w: %d items, the header says %d", ErrCorrupt, len(items), h.Count)
	}
	return Entry{Header: h, Root: tlog.Hash(x.root), Items: items, RawHeader: x.header}, nil
}

// pollInterval is how often a reader beside another process looks for entries.
const pollInterval = 100 * time.Millisecond

// Wait returns when there is an entry at or above seq, or the context's error.
func (r *Reader) Wait(ctx context.Context, seq uint64) error {
	for {
		var signal <-chan struct{}
		if r.appended != nil {
			signal = r.appended()
		}
		size, err := r.Size(ctx)
		if err != nil || size >= seq {
			return err
		}
		if err := r.pause(ctx, signal); err != nil {
			return err
		}
	}
}

func (r *Reader) pause(ctx context.Context, signal <-chan struct{}) error {
	var tick <-chan time.Time
	if signal == nil {
		t := time.NewTimer(pollInterval)
		defer t.Stop()
		tick = t.C
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-signal:
	case <-tick:
	}
	return nil
}

// hashes reads stored hashes of the journal's tree.
func (r *Reader) hashes(ctx context.Context) tlog.HashReaderFunc {
	return func(indexes []int64) ([]tlog.Hash, error) {
		out := make([]tlog.Hash, len(indexes))
		for i, id := range indexes {
			var h []byte
			err := r.db.QueryRowContext(ctx, "SELECT hash FROM hashes WHERE id = ?", id).Scan(&h)
			switch {
			case errors.Is(err, sql.ErrNoRows):
				return nil, fmt.Errorf("%w: hash %d is missing", ErrCorrupt, id)
			case err != nil:
				return nil, err
			case len(h) != tlog.HashSize:
				return nil, fmt.Errorf("%w: hash %d is %d bytes long", ErrCorrupt, id, len(h))
			}
			out[i] = tlog.Hash(h)
		}
		return out, nil
	}
}
