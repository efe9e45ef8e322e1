package journal

import (
	"bytes"
	"cmp"
	"context"
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
	ErrHeld     = errors.New("another program holds the journal's write lock: end its transaction, then try again")
	ErrStopping = errors.New("the journal is closing: try again")
	// ErrTooLarge says that a batch is larger than any entry can be.
	ErrTooLarge = errors.New("the batch is too large for one entry of the journal: send it in parts")
	// ErrFailed says that the disk failed. The process must end: what a failed
	// fsync left behind is not known.
	ErrFailed = errors.New("the journal's disk failed: look for its errors in the kernel's log (dmesg), mend or replace it, then start again; nothing that was acknowledged is lost")
)

// Retryable reports whether the same batch may be appended again later.
func Retryable(err error) bool {
	return errors.Is(err, ErrBusy) || errors.Is(err, ErrFull) || errors.Is(err, ErrHeld) || errors.Is(err, ErrStopping)
}

const (
	// DefaultQueueBytes bounds what waits for a commit: about a second of a fast
	// disk's work.
	DefaultQueueBytes = 64 << 20
	// groupBytes bounds one commit, so that the first in it does not wait long.
	groupBytes = 8 << 20
	// groupEntries bounds one commit in entries.
	groupEntries = 4096
	// patience bounds how long a commit waits for those whom the commit before
	// answered, beside twice what that commit took.
	patience = time.Millisecond
	// entryBytes is what an entry takes beside its body, and reasonBytes what a
	// reason in its header does.
	entryBytes  = 512
	reasonBytes = 64
)

// Options are the settings of a journal. The zero value is ready to use but for
// Signer, without which no checkpoint is signed.
type Options struct {
	Signer *Signer
	// ReplaceKey lets Signer go on with a journal that another key signed.
	ReplaceKey bool
	QueueBytes int64            // 0: DefaultQueueBytes
	Now        func() time.Time // nil: time.Now; decides when a full disk is tried again
	LockWait   time.Duration    // for another program's transaction; 0: DefaultLockWait
	// Fault, when set, is asked before each commit and may fail it: tests fail
	// the disk by it.
	Fault func() error
}

// Journal is the one writer of a journal.
type Journal struct {
	*Reader
	lock    *os.File
	write   *writer
	disk    *disk
	fault   func() error
	queue   chan *pending
	queued  atomic.Int64 // bytes
	limit   int64
	fatal   chan error
	stopped chan struct{} // closed when the writer has ended
	close   func() error  // once
	next    returning     // the writer's own

	mu     sync.Mutex
	closed bool
	failed bool
	news   chan struct{} // closed and replaced at each commit
}

// pending is a batch that waits for its commit.
type pending struct {
	ctx      context.Context
	batch    Batch // without its items
	count    int64
	root     tlog.Hash
	encoding int64
	body     []byte
	size     int64
	seq      uint64
	done     chan error
}

// Open opens or makes the journal at path for writing. Errors wrap ErrLocked,
// ErrNotOurs, ErrNewerFormat, ErrOtherKey, ErrCorrupt, or ErrFull where even the
// ballast leaves no room to open in.
func Open(ctx context.Context, path string, o Options) (*Journal, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	d := &disk{dir: filepath.Dir(path), now: o.Now}
	if err := makeDir(d.dir); err != nil {
		return nil, err
	}
	lock, err := lockDir(d.dir)
	if err != nil {
		return nil, err
	}
	if err := d.startRoom(); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	j, err := open(ctx, path, &o, d)
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	j.lock = lock
	if !d.full.Load() {
		switch err := d.ballast(); {
		case outOfRoom(err):
			d.ranOut()
		case err != nil:
			return nil, errors.Join(err, j.Reader.Close(), j.write.close(), lock.Close())
		}
	}
	go j.run()
	return j, nil
}

func open(ctx context.Context, path string, o *Options, d *disk) (*Journal, error) {
	db, err := openForWriting(ctx, path, cmp.Or(o.LockWait, DefaultLockWait))
	if err != nil {
		return nil, err
	}
	j := &Journal{
		disk: d, fault: o.Fault, limit: o.QueueBytes,
		queue: make(chan *pending, groupEntries), fatal: make(chan error, 1), stopped: make(chan struct{}), news: make(chan struct{}),
	}
	if j.limit == 0 {
		j.limit = DefaultQueueBytes
	}
	if j.Reader, err = OpenReader(ctx, path); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	if j.write, err = newWriter(ctx, db, j.Reader, o); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), j.Reader.Close(), db.Close())
	}
	// What a process that died left in the WAL, perhaps after a failed fsync, is
	// written anew before anything is built on it.
	if err := j.write.backfill(ctx); err != nil && !d.isFull(err) {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), j.Reader.Close(), db.Close())
	}
	j.appended = j.signal
	j.close = sync.OnceValue(j.shut)
	return j, nil
}

// Append keeps a batch and returns its entry's number after the commit is on
// disk. Errors: ErrBusy, ErrFull, ErrHeld, ErrStopping (see Retryable),
// ErrTooLarge, ErrFailed, or the context's. After the context's the batch may be
// kept all the same: appending it again makes duplicates, which the projection
// knows.
func (j *Journal) Append(ctx context.Context, b Batch) (uint64, error) {
	p, err := prepareBatch(ctx, b)
	if err != nil {
		return 0, err
	}
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

// prepareBatch does what needs no order, on the caller's time.
func prepareBatch(ctx context.Context, b Batch) (*pending, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	length := 0
	for i, item := range b.Items {
		if bytes.IndexByte(item, '\n') >= 0 {
			return nil, fmt.Errorf("journal: observation %d is not one line", i)
		}
		length += len(item) + 1
	}
	if length > maxBody {
		return nil, fmt.Errorf("%w (%d bytes, at most %d)", ErrTooLarge, length, maxBody)
	}
	p := &pending{ctx: ctx, batch: b, count: int64(len(b.Items)), root: treeRoot(b.Items), done: make(chan error, 1)}
	p.encoding, p.body = packBody(b.Items)
	p.batch.Items = nil // packed: what waits holds no more than it counts
	p.size = int64(len(p.body)) + entryBytes + reasonBytes*int64(len(b.Rejected)+len(b.Ignored))
	return p, nil
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

// Full reports whether the disk was full when it was last tried.
func (j *Journal) Full() bool { return j.disk.full.Load() }

// Room is what is left for this user of the file system that the journal lies in,
// and what is left and used together, in bytes.
func (j *Journal) Room() (free, size uint64, err error) { return j.disk.room() }

// Fatal tells the error that must end the process.
func (j *Journal) Fatal() <-chan error { return j.fatal }

// returning says who is expected in the next group: those who were answered and
// those who wait. A sender has one request under way at a time, or few, so the
// first one answered is back long before the others; a commit that began with it
// would have the others wait for two.
type returning struct {
	count int
	until time.Time
}

// after expects as many within twice the time that a commit took: what waiting
// saves is a commit, and small requests are back by then.
func (r *returning) after(count int, began, ended time.Time) {
	*r = returning{count, ended.Add(min(2*ended.Sub(began), patience))}
}

// run is the writer: it commits as soon as the previous commit is done and those
// whom it answered are back, or late.
func (j *Journal) run() {
	defer close(j.stopped)
	for first := range j.queue {
		group, size := j.gather(first)
		if len(group) == 0 {
			j.queued.Add(-size)
			continue
		}
		began := time.Now()
		err := j.commit(group)
		j.next.after(len(group)+len(j.queue), began, time.Now())
		j.queued.Add(-size)
		for _, p := range group {
			p.done <- err
		}
		if err == nil {
			j.announce()
			err = j.backfill()
		}
		if errors.Is(err, ErrFailed) {
			j.fail(err)
			return
		}
	}
}

// gather takes what waits into one group, but for what nobody waits for any
// more: its sender sends it again. The size is that of all that was taken.
func (j *Journal) gather(p *pending) (group []*pending, size int64) {
	for {
		size += p.size
		if err := p.ctx.Err(); err != nil {
			p.done <- err
		} else {
			group = append(group, p)
		}
		if size >= groupBytes || len(group) >= groupEntries {
			return group, size
		}
		var open bool
		if p, open = j.another(len(group)); !open {
			return group, size
		}
	}
}

// another takes one more batch into a group that has some already, if there is
// one or one is expected.
func (j *Journal) another(have int) (p *pending, ok bool) {
	select {
	case p, ok = <-j.queue:
		return p, ok
	default:
	}
	wait := time.Until(j.next.until)
	if have >= j.next.count || wait <= 0 {
		return nil, false
	}
	late := time.NewTimer(wait)
	defer late.Stop()
	select {
	case p, ok = <-j.queue:
	case <-late.C:
	}
	return p, ok
}

// fail tells the fatal error and refuses all that waits or comes.
func (j *Journal) fail(err error) {
	j.fatal <- err
	j.mu.Lock()
	j.failed = true
	if !j.closed {
		j.closed = true
		close(j.queue)
	}
	j.mu.Unlock()
	for p := range j.queue {
		j.queued.Add(-p.size)
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
// file. After the disk failed it leaves the file as it is, since closing would
// write: the process is about to end.
func (j *Journal) Close() error { return j.close() }

func (j *Journal) shut() error {
	j.mu.Lock()
	if !j.closed {
		j.closed = true
		close(j.queue)
	}
	j.mu.Unlock()
	<-j.stopped
	if j.failed {
		return j.lock.Close()
	}
	return errors.Join(j.Reader.Close(), j.write.close(), j.lock.Close())
}

// commit writes a group in one transaction. Its error is the answer to all of
// the group.
func (j *Journal) commit(group []*pending) error {
	if j.disk.full.Load() {
		if ok, err := j.disk.recovered(); !ok && err == nil {
			return ErrFull
		} else if err != nil {
			return j.judge(err)
		}
	}
	return j.judge(j.write.commit(group, j.fault))
}

// backfill copies the WAL into the file when it has become long.
func (j *Journal) backfill() error {
	if j.write.pages < backfillPages {
		return nil
	}
	return j.judge(j.write.backfill(context.Background()))
}

// judge says what an error of the file's means: nil, ErrHeld, ErrFull or
// ErrFailed.
func (j *Journal) judge(err error) error {
	switch {
	case err == nil:
		return nil
	case isBusy(err):
		return fmt.Errorf("%w: %w", ErrHeld, err)
	case j.disk.isFull(err):
		j.disk.ranOut()
		return fmt.Errorf("%w: %w", ErrFull, err)
	default:
		return fmt.Errorf("%w: %w", ErrFailed, err)
	}
}
