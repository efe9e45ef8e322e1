package journal

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/mod/sumdb/tlog"
)

// Errors of Append. The retryable ones say that nothing was kept, or that
// keeping it again is harmless.
var (
	ErrBusy     = errors.New("the journal's queue is full: try again")
	ErrFull     = errors.New("the journal's disk is full: free some space, nothing that was acknowledged is lost")
	ErrStopping = errors.New("the journal is closing: try again")
	// ErrFailed says that the disk failed. The process must end: what a failed
	// fsync left behind is not known.
	ErrFailed = errors.New("the journal's disk failed: check it, then start again; nothing that was acknowledged is lost")
	// ErrLocked says that another process writes to this data directory.
	ErrLocked = errors.New("another tollkeeper writes to this data directory: stop it first, or use another --data")
)

// Retryable reports whether the same batch may be appended again later.
func Retryable(err error) bool {
	return errors.Is(err, ErrBusy) || errors.Is(err, ErrFull) || errors.Is(err, ErrStopping)
}

const (
	// DefaultQueueBytes bounds what waits for a commit: about a second of a fast
	// disk's work.
	DefaultQueueBytes = 64 << 20
	// groupBytes bounds one commit, so that the first in it does not wait long.
	groupBytes = 8 << 20
	// groupEntries bounds one commit in entries.
	groupEntries = 4096
	// ballastBytes is room that is given up when the disk is full, so that the
	// journal can be closed and read.
	ballastBytes = 4 << 20
)

// Options are the settings of a journal. The zero value is ready to use but for
// Signer, without which no checkpoint is signed.
type Options struct {
	Signer     *Signer
	QueueBytes int64            // 0: DefaultQueueBytes
	Now        func() time.Time // nil: time.Now; decides when a full disk is tried again
	// Fault, when set, is asked before each commit and may fail it: tests fail
	// the disk by it.
	Fault func() error
}

// Journal is the one writer of a journal.
type Journal struct {
	*Reader
	dir     string
	lock    *os.File
	write   *writer
	signer  *Signer
	now     func() time.Time
	fault   func() error
	queue   chan *pending
	queued  atomic.Int64 // bytes
	limit   int64
	fatal   chan error
	stopped chan struct{} // closed when the writer has ended

	mu     sync.Mutex
	closed bool
	news   chan struct{} // closed and replaced at each commit
}

// pending is a batch that waits for its commit.
type pending struct {
	batch    Batch
	root     tlog.Hash
	encoding int
	body     []byte
	size     int64
	seq      uint64
	done     chan error
}

// Open opens or makes the journal at path for writing. Errors wrap ErrLocked,
// ErrNewerFormat or ErrCorrupt.
func Open(ctx context.Context, path string, o Options) (*Journal, error) {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, err
	}
	lock, err := lockDir(dir)
	if err != nil {
		return nil, err
	}
	j, err := open(ctx, path, o)
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	j.dir, j.lock = dir, lock
	j.ballast()
	go j.run()
	return j, nil
}

func open(ctx context.Context, path string, o Options) (*Journal, error) {
	db, err := openFile(ctx, path, true)
	if err != nil {
		return nil, err
	}
	j := &Journal{
		signer: o.Signer, now: o.Now, fault: o.Fault, limit: o.QueueBytes,
		queue: make(chan *pending, groupEntries), fatal: make(chan error, 1), stopped: make(chan struct{}), news: make(chan struct{}),
	}
	if j.now == nil {
		j.now = time.Now
	}
	if j.limit == 0 {
		j.limit = DefaultQueueBytes
	}
	if j.Reader, err = OpenReader(ctx, path); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	if j.write, err = newWriter(ctx, db, j.Reader, o.Signer); err != nil {
		return nil, errors.Join(err, j.Reader.Close(), db.Close())
	}
	j.appended = j.signal
	return j, nil
}

// Append keeps a batch and returns its entry's number after the commit is on
// disk. Errors: ErrBusy, ErrFull, ErrStopping (see Retryable), ErrFailed, or
// the context's. After the context's the batch may be kept all the same:
// appending it again makes duplicates, which the projection knows.
func (j *Journal) Append(ctx context.Context, b Batch) (uint64, error) {
	p := &pending{batch: b, done: make(chan error, 1)}
	var err error
	if p.root, err = treeRoot(b.Items); err != nil {
		return 0, err
	}
	p.encoding, p.body = packBody(b.Items)
	p.size = int64(len(p.body)) + 512
	if err := j.enqueue(p); err != nil {
		return 0, err
	}
	select {
	case err := <-p.done:
		return p.seq, err
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

func (j *Journal) enqueue(p *pending) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.closed {
		return ErrStopping
	}
	// One batch is always let in, however large: limits on requests are ingest's.
	if n := j.queued.Load(); n > 0 && n+p.size > j.limit {
		return ErrBusy
	}
	select {
	case j.queue <- p:
		j.queued.Add(p.size)
		return nil
	default:
		return ErrBusy
	}
}

// Queued is how many bytes wait for a commit.
func (j *Journal) Queued() int64 { return j.queued.Load() }

// Fatal tells the error that must end the process.
func (j *Journal) Fatal() <-chan error { return j.fatal }

// run is the writer: it commits as soon as the previous commit is done.
func (j *Journal) run() {
	defer close(j.stopped)
	for p := range j.queue {
		group, size := []*pending{p}, p.size
		for size < groupBytes && len(group) < groupEntries {
			select {
			case next, open := <-j.queue:
				if open {
					group, size = append(group, next), size+next.size
					continue
				}
			default:
			}
			break
		}
		err := j.commit(group)
		j.queued.Add(-size)
		for _, p := range group {
			p.done <- err
		}
		if err == nil {
			j.announce()
		}
		if errors.Is(err, ErrFailed) {
			j.fail(err)
			return
		}
	}
}

// fail tells the fatal error and refuses all that waits or comes.
func (j *Journal) fail(err error) {
	j.fatal <- err
	j.mu.Lock()
	if !j.closed {
		j.closed = true
		close(j.queue)
	}
	j.mu.Unlock()
	for p := range j.queue {
		p.done <- ErrFailed
	}
}

func (j *Journal) signal() <-chan struct{} {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.news
}

func (j *Journal) announce() {
	j.mu.Lock()
	defer j.mu.Unlock()
	close(j.news)
	j.news = make(chan struct{})
}

// Close takes no more batches, waits for those in the queue, and closes the
// file.
func (j *Journal) Close() error {
	j.mu.Lock()
	if !j.closed {
		j.closed = true
		close(j.queue)
	}
	j.mu.Unlock()
	<-j.stopped
	return errors.Join(j.Reader.Close(), j.write.close(), j.lock.Close())
}

// commit writes a group in one transaction. Its error is the answer to all of
// the group: nil, ErrFull or ErrFailed.
func (j *Journal) commit(group []*pending) error {
	if j.write.full && !j.recover() {
		return ErrFull
	}
	err := j.write.commit(group, j.fault)
	switch {
	case err == nil:
		return nil
	case isFull(err):
		j.write.full = true
		j.write.retry = j.now().Add(fullPause)
		_ = os.Remove(j.ballastPath())
		return fmt.Errorf("%w: %w", ErrFull, err)
	default:
		return fmt.Errorf("%w: %w", ErrFailed, err)
	}
}

// fullPause is how long a full disk is left alone before it is tried again.
const fullPause = time.Second

// recover tries whether the full disk has room again, for the ballast first.
func (j *Journal) recover() bool {
	if j.now().Before(j.write.retry) {
		return false
	}
	if !j.ballast() {
		j.write.retry = j.now().Add(fullPause)
		return false
	}
	j.write.full = false
	return true
}

func (j *Journal) ballastPath() string { return filepath.Join(j.dir, "journal.ballast") }

// ballast makes the ballast file and reports whether it stands.
func (j *Journal) ballast() bool {
	if info, err := os.Stat(j.ballastPath()); err == nil && info.Size() == ballastBytes {
		return true
	}
	// Zeros would do, but a file system may keep a file of zeros in no space.
	b := make([]byte, ballastBytes)
	for i := range b {
		b[i] = byte(i*7 + i>>8)
	}
	err := os.WriteFile(j.ballastPath(), b, 0o600)
	if err != nil {
		_ = os.Remove(j.ballastPath())
	}
	return err == nil
}

// writer is what one transaction needs. Only the writing goroutine uses it.
type writer struct {
	db       *sql.DB
	origin   string
	signer   *Signer
	seq      uint64
	received int64
	edge     *edge
	full     bool
	retry    time.Time
	stmt     struct{ entry, body, hash, checkpoint *sql.Stmt }
}

// newWriter takes a reader of the same file: stored hashes are looked up on its
// connections, since the writer's only one is busy with the transaction.
func newWriter(ctx context.Context, db *sql.DB, r *Reader, signer *Signer) (*writer, error) {
	db.SetMaxOpenConns(1)
	w := &writer{db: db, signer: signer, origin: r.origin, edge: &edge{stored: r.hashes(context.WithoutCancel(ctx))}}
	err := w.last(ctx, r)
	if err != nil {
		return nil, err
	}
	if signer != nil {
		if _, err := db.ExecContext(ctx, "INSERT OR REPLACE INTO meta VALUES ('verifier', ?)", signer.Verifier()); err != nil {
			return nil, err
		}
	}
	for _, p := range []struct {
		stmt  **sql.Stmt
		query string
	}{
		{&w.stmt.entry, "INSERT INTO entries VALUES (?, ?, ?)"},
		{&w.stmt.body, "INSERT INTO bodies VALUES (?, ?, ?)"},
		{&w.stmt.hash, "INSERT INTO hashes VALUES (?, ?)"},
		{&w.stmt.checkpoint, "INSERT OR REPLACE INTO checkpoint VALUES (1, ?, ?)"},
	} {
		if *p.stmt, err = db.PrepareContext(ctx, p.query); err != nil { //nolint:sqlclosecheck // closed with the file
			return nil, err
		}
	}
	return w, nil
}

// last reads where the journal ends.
func (w *writer) last(ctx context.Context, r *Reader) error {
	size, err := r.Size(ctx)
	if err != nil || size == 0 {
		return err
	}
	var header []byte
	if err := r.db.QueryRowContext(ctx, "SELECT header FROM entries WHERE seq = ?", size).Scan(&header); err != nil {
		return err
	}
	h, err := parseHeader(header)
	w.seq, w.received = size, h.Received
	return err
}

func (w *writer) close() error { return w.db.Close() }

// commit is one transaction. What it changed in memory counts only when it
// succeeds.
func (w *writer) commit(group []*pending, fault func() error) error {
	ctx := context.Background() // a commit that began is finished
	tx, err := w.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	seq, received, mark := w.seq, w.received, w.edge.mark()
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
		w.seq, w.received = seq, received
		w.edge.reset(mark)
	}
	return err
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
			if _, err := tx.ExecContext(ctx, "INSERT OR REPLACE INTO newest VALUES (?, ?)", p.batch.Kind, p.seq); err != nil {
				return err
			}
		}
		n := int64(p.seq) - 1
		stored, err := tlog.StoredHashesForRecordHash(n, leafHash(header, p.root), w.edge)
		if err != nil {
			return err
		}
		first := tlog.StoredHashIndex(0, n)
		for i, h := range stored {
			if _, err := hash.ExecContext(ctx, first+int64(i), h[:]); err != nil {
				return err
			}
			w.edge.add(first+int64(i), h)
		}
	}
	return w.checkpoint(ctx, tx)
}

// header gives the entry its number and its time, never below the one before:
// a clock that was stepped back does not change the order.
func (w *writer) header(p *pending) ([]byte, error) {
	w.seq++
	w.received = max(w.received, p.batch.Received.UnixNano())
	p.seq = w.seq
	h := Header{
		Format: Format, Seq: w.seq, Received: w.received, Origin: w.origin, Producer: p.batch.Producer, Kind: p.batch.Kind,
		Count: int64(len(p.batch.Items)), Rejected: p.batch.Rejected, Ignored: p.batch.Ignored,
	}
	return h.canonical()
}

func (w *writer) checkpoint(ctx context.Context, tx *sql.Tx) error {
	if w.signer == nil {
		return nil
	}
	root, err := tlog.TreeHash(int64(w.seq), w.edge)
	if err != nil {
		return err
	}
	text, err := w.signer.Sign(Checkpoint{Origin: w.origin, Size: w.seq, Root: root})
	if err != nil {
		return err
	}
	_, err = tx.StmtContext(ctx, w.stmt.checkpoint).ExecContext(ctx, w.seq, text) //nolint:sqlclosecheck // as above
	return err
}

// edge answers for the newest stored hashes from memory, which is where
// appending looks, and for others from the file.
type edge struct {
	stored tlog.HashReader
	recent map[int64]tlog.Hash
	order  []int64
}

// edgeHashes is how many hashes stay in memory.
const edgeHashes = 4 * groupEntries

func (e *edge) add(id int64, h tlog.Hash) {
	if e.recent == nil {
		e.recent = map[int64]tlog.Hash{}
	}
	e.recent[id] = h
	e.order = append(e.order, id)
}

func (e *edge) mark() int {
	if len(e.order) > edgeHashes {
		e.recent, e.order = nil, nil
	}
	return len(e.order)
}

// reset forgets what was added since the mark.
func (e *edge) reset(mark int) {
	for _, id := range e.order[mark:] {
		delete(e.recent, id)
	}
	e.order = e.order[:mark]
}

// ReadHashes implements tlog.HashReader.
func (e *edge) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, id := range indexes {
		if h, ok := e.recent[id]; ok {
			out[i] = h
			continue
		}
		h, err := e.stored.ReadHashes([]int64{id})
		if err != nil {
			return nil, err
		}
		out[i] = h[0]
	}
	return out, nil
}
