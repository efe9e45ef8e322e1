package journal

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"
)

// writer is what one transaction needs. Only the writing goroutine uses it.
type writer struct {
	db     *sql.DB
	origin string
	signer *Signer
	end    end
	pages  int64 // of WAL written since it was copied into the file, nearly
	stmt   struct{ entry, body, hash, newest, checkpoint *sql.Stmt }
}

// end is where the journal ends. A copy of it is a place to come back to.
type end struct {
	seq      uint64
	received int64
	edge     edge
}

// ErrOtherKey says that the journal was signed by another key than the one that
// is to sign now.
var ErrOtherKey = errors.New("another key signed this journal: put that signing key back; if it is lost, start once with --replace-signing-key, and keep the old verifier key for the old checkpoints")

// newWriter goes on where the journal ends, after it has checked that this is
// what was last signed: going on from anything else would sign what somebody
// changed.
func newWriter(ctx context.Context, db *sql.DB, r *Reader, o *Options) (*writer, error) {
	w := &writer{db: db, signer: o.Signer, origin: r.origin}
	if err := w.resume(ctx, r, o.ReplaceKey); err != nil {
		return nil, err
	}
	var err error
	for _, p := range []struct {
		stmt  **sql.Stmt
		query string
	}{
		{&w.stmt.entry, "INSERT INTO entries VALUES (?, ?, ?)"},
		{&w.stmt.body, "INSERT INTO bodies VALUES (?, ?, ?)"},
		{&w.stmt.hash, "INSERT INTO hashes VALUES (?, ?)"},
		{&w.stmt.newest, "INSERT OR REPLACE INTO newest VALUES (?, ?)"},
		{&w.stmt.checkpoint, "INSERT OR REPLACE INTO checkpoint VALUES (1, ?)"},
	} {
		if *p.stmt, err = db.PrepareContext(ctx, p.query); err != nil { //nolint:sqlclosecheck // closed with the file
			return nil, err
		}
	}
	return w, nil
}

func (w *writer) resume(ctx context.Context, r *Reader, replaceKey bool) error {
	size, err := r.Size(ctx)
	if err != nil {
		return err
	}
	if size > 0 {
		if err := w.last(ctx, r, size); err != nil {
			return err
		}
	}
	if w.signer == nil {
		return nil
	}
	signed, err := w.checkSigned(ctx, r)
	if errors.Is(err, ErrOtherKey) && replaceKey {
		signed, err = false, nil
	}
	if err != nil || signed {
		return err
	}
	return w.introduce(ctx)
}

// last reads the last entry and the edge of the tree.
func (w *writer) last(ctx context.Context, r *Reader, size uint64) error {
	var header, root []byte
	if err := r.db.QueryRowContext(ctx, "SELECT header, root FROM entries WHERE seq = ?", size).Scan(&header, &root); err != nil {
		return err
	}
	h, err := parseHeader(header)
	if err != nil {
		return err
	}
	w.end.seq, w.end.received = size, h.Received
	hashes := r.hashes(ctx)
	leaf, err := hashes.ReadHashes([]int64{tlog.StoredHashIndex(0, int64(size)-1)})
	if err != nil {
		return err
	}
	if len(root) != tlog.HashSize || leaf[0] != leafHash(header, tlog.Hash(root)) {
		return fmt.Errorf("%w: entry %d is not the one in the tree", ErrCorrupt, size)
	}
	w.end.edge, err = loadEdge(int64(size), hashes)
	return err
}

// checkSigned reports whether the signer's key signed the journal as it is;
// false for a journal that has no entry yet and no key.
func (w *writer) checkSigned(ctx context.Context, r *Reader) (bool, error) {
	text, err := r.Checkpoint(ctx)
	if err != nil {
		return false, err
	}
	known, err := r.Verifier(ctx)
	if err != nil {
		return false, err
	}
	if text == "" {
		if w.end.seq > 0 {
			return false, fmt.Errorf("%w: it has %d entries, and nothing signs them", ErrCorrupt, w.end.seq)
		}
		return known == w.signer.Verifier(), nil
	}
	c, err := OpenCheckpoint(text, known)
	if err != nil {
		return false, fmt.Errorf("%w: its own checkpoint: %w", ErrCorrupt, err)
	}
	root, err := w.end.edge.root()
	if err != nil {
		return false, err
	}
	if want := (Checkpoint{Origin: w.origin, Size: w.end.seq, Root: root}); c != want {
		return false, fmt.Errorf("%w: it was signed with %d entries and root %s, it has %d and %s", ErrCorrupt, c.Size, c.Root, w.end.seq, root)
	}
	if known != w.signer.Verifier() {
		return false, fmt.Errorf("%w (it was %s, this is %s)", ErrOtherKey, known, w.signer.Verifier())
	}
	return true, nil
}

// introduce names the signer's key in the journal, and signs what there is.
func (w *writer) introduce(ctx context.Context) (err error) {
	tx, err := w.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, "INSERT OR REPLACE INTO meta VALUES (?, ?)", metaVerifier, w.signer.Verifier())
	if err == nil && w.end.seq > 0 {
		var text string
		if text, err = w.sign(); err == nil {
			_, err = tx.ExecContext(ctx, "INSERT OR REPLACE INTO checkpoint VALUES (1, ?)", text)
		}
	}
	if err != nil {
		return errors.Join(err, tx.Rollback())
	}
	return tx.Commit()
}

func (w *writer) close() error { return w.db.Close() }

// pagesPerCommit is how many pages a commit of one small entry writes.
const pagesPerCommit = 8

// commit is one transaction. What it changed in memory counts only when it
// succeeds.
func (w *writer) commit(group []*pending, fault func() error) error {
	ctx := context.Background() // a commit that began is finished
	tx, err := w.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	before := w.end
	err = w.insert(ctx, tx, group)
	if err == nil && fault != nil {
		err = fault()
	}
	if err == nil {
		err = tx.Commit()
	} else {
		_ = tx.Rollback() // the first error is the one that counts
	}
	if err != nil {
		w.end = before
		return err
	}
	w.pages += pagesPerCommit
	for _, p := range group {
		w.pages += p.size / 4096
	}
	return nil
}

func (w *writer) insert(ctx context.Context, tx *sql.Tx, group []*pending) error {
	entry, body, hash := tx.StmtContext(ctx, w.stmt.entry), tx.StmtContext(ctx, w.stmt.body), tx.StmtContext(ctx, w.stmt.hash) //nolint:sqlclosecheck // the transaction closes them
	for _, p := range group {
		header, err := w.header(p)
		if err != nil {
			return err
		}
		if _, err := entry.ExecContext(ctx, p.seq, header, p.root[:]); err != nil {
			return err
		}
		if _, err := body.ExecContext(ctx, p.seq, p.encoding, p.body); err != nil {
			return err
		}
		if p.batch.Mark {
			if _, err := tx.StmtContext(ctx, w.stmt.newest).ExecContext(ctx, p.batch.Kind, p.seq); err != nil { //nolint:sqlclosecheck // as above
				return err
			}
		}
		first, stored, err := w.end.edge.grow(leafHash(header, p.root))
		if err != nil {
			return err
		}
		for i := range stored {
			if _, err := hash.ExecContext(ctx, first+int64(i), stored[i][:]); err != nil {
				return err
			}
		}
	}
	if w.signer == nil {
		return nil
	}
	text, err := w.sign()
	if err != nil {
		return err
	}
	_, err = tx.StmtContext(ctx, w.stmt.checkpoint).ExecContext(ctx, text) //nolint:sqlclosecheck // as above
	return err
}

// header gives the entry its number and its time, never below the one before:
// a clock that was stepped back does not change the order.
func (w *writer) header(p *pending) ([]byte, error) {
	w.end.seq++
	w.end.received = max(w.end.received, p.batch.Received.UnixNano())
	p.seq = w.end.seq
	h := Header{
		Format: Format, Seq: w.end.seq, Received: w.end.received, Origin: w.origin, Producer: p.batch.Producer, Kind: p.batch.Kind,
		Count: p.count, Rejected: p.batch.Rejected, Ignored: p.batch.Ignored,
	}
	return h.canonical()
}

// sign signs the journal as it ends now.
func (w *writer) sign() (string, error) {
	root, err := w.end.edge.root()
	if err != nil {
		return "", err
	}
	return w.signer.Sign(Checkpoint{Origin: w.origin, Size: w.end.seq, Root: root})
}

// backfill copies the WAL into the file, so that the next commit can begin it
// anew. SQLite would do it by itself, and hide its errors. What readers still
// look at stays for the next time.
func (w *writer) backfill(ctx context.Context) error {
	var busy, log, copied int64
	err := w.db.QueryRowContext(ctx, "PRAGMA wal_checkpoint(PASSIVE)").Scan(&busy, &log, &copied)
	if err == nil {
		w.pages = 0
	}
	return err
}
