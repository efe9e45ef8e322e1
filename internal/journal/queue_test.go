package journal_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tollkeeper/tollkeeper/internal/journal"
)

// one is a batch of which all count for the same in the queue: small.
func one(int) journal.Batch { return batch(7, 1) }

var small = int64(512 + len(one(0).Items[0]))

// gate is a Fault that holds commits until it is opened, and counts them.
type gate struct {
	commits atomic.Int64
	entered chan struct{} // gets one for each commit that came
	leave   chan error    // what each commit may go on with
}

func newGate() *gate { return &gate{entered: make(chan struct{}, 100), leave: make(chan error, 100)} }

func (g *gate) fault() error {
	g.commits.Add(1)
	g.entered <- struct{}{}
	return <-g.leave
}

// open lets all commits through from now on.
func (g *gate) open() { close(g.leave) }

// appendAll appends n batches at once, and gives their answers when all are
// queued or answered. A queued one counts for some bytes at least.
func appendAll(t *testing.T, f *fixture, n int, least int64, batch func(i int) journal.Batch) chan error {
	t.Helper()
	before := f.Queued()
	answers := make(chan error, n)
	for i := range n {
		go func() {
			_, err := f.Append(context.Background(), batch(i))
			answers <- err
		}()
	}
	eventually(t, "all batches to be queued or answered", func() bool {
		return len(answers) == n || f.Queued()-before >= int64(n-len(answers))*least
	})
	return answers
}

// eventually polls until a condition holds.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); {
		if time.Now().After(end) {
			t.Fatalf("waited 10 s for %s", what)
		}
		<-time.After(time.Millisecond)
	}
}

// TestWaitingAppendsShareOneCommit holds the first commit: all that comes
// meanwhile is the second one.
func TestWaitingAppendsShareOneCommit(t *testing.T) {
	t.Parallel()
	g := newGate()
	f := open(t, journal.Options{Fault: g.fault})
	first := appendAll(t, f, 1, small, one)
	<-g.entered
	rest := appendAll(t, f, 500, small, one)
	if size, err := f.Size(t.Context()); err != nil || size != 0 {
		t.Errorf("%d entries can be read before their commit, %v", size, err)
	}
	select {
	case err := <-first:
		t.Fatalf("acknowledged before the commit: %v", err)
	default:
	}
	g.open()
	for range 500 {
		if err := <-rest; err != nil {
			t.Fatal(err)
		}
	}
	if n := g.commits.Load(); n != 2 {
		t.Errorf("501 appends took %d commits, want 2", n)
	}
	if r := verify(t, f.path, journal.VerifyOptions{}); len(r.Defects) > 0 || r.Entries != 501 {
		t.Errorf("%+v", r)
	}
}

// TestGroupIsBounded lets a group hold no more than its bytes, so that its first
// batch does not wait for the last of a long queue.
func TestGroupIsBounded(t *testing.T) {
	t.Parallel()
	g := newGate()
	f := open(t, journal.Options{Fault: g.fault})
	const least = 3 << 20
	large := func(i int) journal.Batch {
		b := batch(i, 1)
		for k := range 3 {
			b.Items = append(b.Items, noise(byte(3*i+k), 1<<20))
		}
		return b
	}
	first := appendAll(t, f, 1, least, large)
	<-g.entered
	rest := appendAll(t, f, 12, least, large) // 36 MiB: five groups of at most three batches
	g.open()
	<-first
	for range 12 {
		if err := <-rest; err != nil {
			t.Fatal(err)
		}
	}
	if n := g.commits.Load(); n != 5 {
		t.Errorf("%d commits, want 5", n)
	}
}

func TestManyAppendersShareCommits(t *testing.T) {
	t.Parallel()
	var commits atomic.Int64
	f := open(t, journal.Options{Fault: func() error { commits.Add(1); return nil }})
	var wg sync.WaitGroup
	var mu sync.Mutex
	seen := map[uint64]bool{}
	for w := range 8 {
		wg.Go(func() {
			for i := range 50 {
				seq, err := f.Append(context.Background(), batch(w*1000+i, 3))
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				if seen[seq] {
					t.Errorf("seq %d twice", seq)
				}
				seen[seq] = true
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if r := verify(t, f.path, journal.VerifyOptions{}); len(r.Defects) > 0 || r.Entries != 400 || r.Observations != 1200 {
		t.Errorf("%+v", r)
	}
	if n := commits.Load(); n > 400 {
		t.Errorf("400 appends took %d commits", n)
	}
}

// TestACommitWaitsForThoseThatWereAnswered has each sender pause for less than a
// commit waits: all of them share each commit but the first.
func TestACommitWaitsForThoseThatWereAnswered(t *testing.T) {
	t.Parallel()
	const senders, rounds = 8, 20
	for _, c := range []struct {
		name       string
		pause      time.Duration // what a sender takes to send again, times its number
		min, limit int64         // commits
	}{
		{"back in time", 100 * time.Microsecond, rounds, rounds + 1},
		{"back too late", 10 * time.Millisecond, 4 * rounds, senders * rounds},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var commits atomic.Int64
				slow := func() error { // the clock of the test stands still otherwise
					commits.Add(1)
					time.Sleep(5 * time.Millisecond) //nolint:forbidigo // the bubble's clock: no time passes
					return nil
				}
				j, err := journal.Open(t.Context(), filepath.Join(t.TempDir(), "journal.db"), journal.Options{Fault: slow})
				if err != nil {
					t.Fatal(err)
				}
				var wg sync.WaitGroup
				for w := range senders {
					wg.Go(func() {
						for i := range rounds {
							if _, err := j.Append(context.Background(), batch(w*1000+i, 1)); err != nil {
								t.Error(err)
							}
							time.Sleep(time.Duration(1+w) * c.pause) //nolint:forbidigo // the bubble's clock: no time passes
						}
					})
				}
				wg.Wait()
				if err := j.Close(); err != nil {
					t.Error(err)
				}
				if n := commits.Load(); n < c.min || n > c.limit {
					t.Errorf("%d senders, %d appends each: %d commits, want %d to %d", senders, rounds, n, c.min, c.limit)
				}
			})
		})
	}
}

// TestQueueIsBoundedInBytes fills the queue, finds the refusal retryable, and
// finds room again afterwards.
func TestQueueIsBoundedInBytes(t *testing.T) {
	t.Parallel()
	g := newGate()
	f := open(t, journal.Options{QueueBytes: 4096, Fault: g.fault})
	first := appendAll(t, f, 1, small, one)
	<-g.entered
	answers := appendAll(t, f, 20, small, one)
	if n := f.Queued(); n > 4096 {
		t.Errorf("%d bytes are queued, the limit is 4096", n)
	}
	refused := len(answers)
	for range refused {
		if err := <-answers; !errors.Is(err, journal.ErrBusy) || !journal.Retryable(err) {
			t.Errorf("full queue: %v", err)
		}
	}
	if refused == 0 || refused == 20 {
		t.Errorf("%d of 20 refused", refused)
	}
	g.open()
	<-first
	for range 20 - refused {
		if err := <-answers; err != nil {
			t.Error(err)
		}
	}
	if _, err := f.Append(t.Context(), batch(99, 1)); err != nil || f.Queued() != 0 {
		t.Errorf("after the queue was emptied: %v, %d bytes queued", err, f.Queued())
	}
}

// TestOneLargeBatchIsLetIn lets a batch above the queue's limit in when nothing
// else waits: it would never be kept otherwise.
func TestOneLargeBatchIsLetIn(t *testing.T) {
	t.Parallel()
	f := open(t, journal.Options{QueueBytes: 1})
	if _, err := f.Append(t.Context(), batch(1, 100)); err != nil {
		t.Error(err)
	}
}

// TestCancelled gives the caller its context's error at once; what nobody waits
// for any more is not written.
func TestCancelled(t *testing.T) {
	t.Parallel()
	g := newGate()
	f := open(t, journal.Options{Fault: g.fault})
	first := appendAll(t, f, 1, small, one)
	<-g.entered
	ctx, cancel := context.WithCancel(t.Context())
	cancelled := make(chan error, 1)
	before := f.Queued()
	go func() {
		_, err := f.Append(ctx, batch(1, 1))
		cancelled <- err
	}()
	eventually(t, "the batch to be queued", func() bool { return f.Queued() > before })
	cancel()
	if err := <-cancelled; !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if _, err := f.Append(ctx, batch(2, 1)); !errors.Is(err, context.Canceled) {
		t.Errorf("a context that had ended: %v", err)
	}
	g.open()
	if err := <-first; err != nil {
		t.Error(err)
	}
	if seq, err := f.Append(t.Context(), batch(3, 1)); err != nil || seq != 2 {
		t.Errorf("entry %d, %v: what was cancelled was written", seq, err)
	}
}

// TestCloseDrains keeps what was queued, and refuses what comes after.
func TestCloseDrains(t *testing.T) {
	t.Parallel()
	g := newGate()
	f := open(t, journal.Options{Fault: g.fault})
	first := appendAll(t, f, 1, small, one)
	<-g.entered
	rest := appendAll(t, f, 50, small, one)
	closed := make(chan error, 1)
	go func() { closed <- f.Close() }()
	eventually(t, "the journal to refuse", func() bool {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Millisecond, cancel)
		_, err := f.Append(ctx, batch(100, 1))
		return errors.Is(err, journal.ErrStopping) && journal.Retryable(err)
	})
	g.open()
	if err := <-closed; err != nil {
		t.Error(err)
	}
	for range 50 {
		if err := <-rest; err != nil {
			t.Errorf("queued before the close: %v", err)
		}
	}
	if err := errors.Join(<-first, f.Close()); err != nil {
		t.Errorf("closing again: %v", err)
	}
	if r := verify(t, f.path, journal.VerifyOptions{}); len(r.Defects) > 0 || r.Entries < 51 {
		t.Errorf("%+v", r)
	}
}

// TestFailureAnswersAll answers all that wait when the disk fails, and tells the
// process.
func TestFailureAnswersAll(t *testing.T) {
	t.Parallel()
	g := newGate()
	f := open(t, journal.Options{Fault: g.fault})
	first := appendAll(t, f, 1, small, one)
	<-g.entered
	rest := appendAll(t, f, 50, small, one)
	g.leave <- syscall.EIO
	if err := <-first; !errors.Is(err, journal.ErrFailed) || journal.Retryable(err) {
		t.Errorf("%v", err)
	}
	for range 50 {
		if err := <-rest; !errors.Is(err, journal.ErrFailed) {
			t.Errorf("queued behind the failure: %v", err)
		}
	}
	if err := <-f.Fatal(); !errors.Is(err, journal.ErrFailed) || !errors.Is(err, syscall.EIO) {
		t.Errorf("fatal: %v", err)
	}
	if _, err := f.Append(t.Context(), batch(1, 1)); err == nil {
		t.Error("append after the disk failed")
	}
	if f.Queued() != 0 {
		t.Errorf("%d bytes still count as queued", f.Queued())
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	if r := verify(t, f.path, journal.VerifyOptions{}); len(r.Defects) > 0 || r.Entries != 0 {
		t.Errorf("%+v", r)
	}
	again, err := journal.Open(t.Context(), f.path, journal.Options{Signer: f.signer})
	if err != nil {
		t.Fatal(err)
	}
	again.Close()
}

// TestBatchesThatNoEntryCanHold refuses them before they reach the writer, whose
// errors stop the process.
func TestBatchesThatNoEntryCanHold(t *testing.T) {
	t.Parallel()
	f := open(t, journal.Options{})
	b := batch(1, 2)
	b.Items[1] = []byte("{\"a\":1}\n{\"b\":2}")
	if _, err := f.Append(t.Context(), b); err == nil || journal.Retryable(err) {
		t.Errorf("an item of two lines: %v", err)
	}
	huge := make([]byte, 64<<20)
	b.Items = nil
	for range 9 {
		b.Items = append(b.Items, huge)
	}
	if _, err := f.Append(t.Context(), b); !errors.Is(err, journal.ErrTooLarge) || journal.Retryable(err) {
		t.Errorf("576 MiB: %v", err)
	}
	if seq, err := f.Append(t.Context(), batch(2, 1)); err != nil || seq != 1 {
		t.Errorf("the next one: entry %d, %v", seq, err)
	}
}

// TestReadersBesideTheWriter read whole entries in order, from this process and
// through connections of their own, while others append.
func TestReadersBesideTheWriter(t *testing.T) {
	t.Parallel()
	const entries = 600
	f := open(t, journal.Options{})
	apart, err := journal.OpenReader(t.Context(), f.path)
	if err != nil {
		t.Fatal(err)
	}
	defer apart.Close()
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range entries / 4 {
				if _, err := f.Append(context.Background(), batch(w*1000+i, 1+i%5)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for _, r := range []*journal.Reader{f.Reader, apart} {
		wg.Go(func() {
			if err := follow(t, r, entries); err != nil {
				t.Error(err)
			}
		})
	}
	// Verifying beside the writer sees one moment: no entry that came since is called unsigned.
	wg.Go(func() {
		for range 5 {
			report, err := apart.Verify(context.Background(), journal.VerifyOptions{Verifiers: []string{f.signer.Verifier()}})
			if err != nil || len(report.Defects) > 0 {
				t.Errorf("%+v, %v", report, err)
			}
		}
	})
	wg.Wait()
}

func follow(t *testing.T, r *journal.Reader, entries uint64) error {
	t.Helper()
	next := uint64(1)
	for next <= entries {
		if err := r.Wait(context.Background(), next); err != nil {
			return err
		}
		err := r.Read(context.Background(), next, func(e journal.Entry) error {
			if e.Header.Seq != next || int64(len(e.Items)) != e.Header.Count {
				return fmt.Errorf("entry %d holds %d items, after %d", e.Header.Seq, len(e.Items), next-1)
			}
			next++
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
