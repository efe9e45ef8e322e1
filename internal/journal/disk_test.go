package journal_test

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/tollkeeper/tollkeeper/internal/journal"
)

// A real full disk and an fsync that fails under the real binary are in
// test/fault; here is what they, and a quota, lead to, step by step.

func ballast(f *fixture) string { return filepath.Join(filepath.Dir(f.path), "journal.ballast") }

func TestFullDiskRecovers(t *testing.T) {
	t.Parallel()
	for _, errno := range []syscall.Errno{syscall.ENOSPC, syscall.EDQUOT} {
		t.Run(errno.Error(), func(t *testing.T) {
			t.Parallel()
			var fault error
			now := time.Unix(0, 0)
			f := open(t, journal.Options{Now: func() time.Time { return now }, Fault: func() error { return fault }})
			f.fill(t, 3)
			if info, err := os.Stat(ballast(f)); err != nil || info.Size() != 4<<20 {
				t.Fatalf("no ballast: %v, %v", info, err)
			}
			fault = errno
			if _, err := f.Append(t.Context(), batch(1, 1)); !errors.Is(err, journal.ErrFull) || !journal.Retryable(err) || !f.Full() {
				t.Fatalf("full disk: %v", err)
			}
			if _, err := os.Stat(ballast(f)); err == nil {
				t.Error("the ballast is kept while the disk is full")
			}
			if r := verify(t, f.path, journal.VerifyOptions{}); len(r.Defects) > 0 || r.Entries != 3 {
				t.Errorf("verify on a full disk: %+v", r)
			}
			fault = nil
			if _, err := f.Append(t.Context(), batch(1, 1)); !errors.Is(err, journal.ErrFull) {
				t.Errorf("before the pause is over: %v", err)
			}
			now = now.Add(time.Minute)
			if seq, err := f.Append(t.Context(), batch(1, 1)); err != nil || seq != 4 || f.Full() {
				t.Fatalf("after space returned: seq %d, %v", seq, err)
			}
			if _, err := os.Stat(ballast(f)); err != nil {
				t.Errorf("no ballast for the next time: %v", err)
			}
			if r := verify(t, f.path, journal.VerifyOptions{}); len(r.Defects) > 0 || r.Entries != 4 {
				t.Errorf("%+v", r)
			}
		})
	}
}

// TestHeldByAnotherProgram answers retryably when somebody keeps a write
// transaction open: no disk has failed.
func TestHeldByAnotherProgram(t *testing.T) {
	t.Parallel()
	const wait = 20 * time.Millisecond
	f := open(t, journal.Options{LockWait: wait})
	f.fill(t, 2)
	db := raw(t, f.path)
	if _, err := db.ExecContext(t.Context(), "BEGIN IMMEDIATE"); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if _, err := f.Append(t.Context(), batch(2, 1)); !errors.Is(err, journal.ErrHeld) || !journal.Retryable(err) {
		t.Errorf("while it is held: %v", err)
	}
	if waited := time.Since(began); waited < wait {
		t.Errorf("gave up after %v, not %v", waited, wait)
	}
	if _, err := db.ExecContext(t.Context(), "ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	if seq, err := f.Append(t.Context(), batch(2, 1)); err != nil || seq != 3 {
		t.Errorf("afterwards: entry %d, %v", seq, err)
	}
}

// TestRowInTheWay stops the process when somebody wrote an entry of their own:
// going on would sign it.
func TestRowInTheWay(t *testing.T) {
	t.Parallel()
	f := open(t, journal.Options{})
	f.fill(t, 2)
	tamper(t, f.path, "INSERT INTO entries SELECT 3, header, root FROM entries WHERE seq = 2")
	if _, err := f.Append(t.Context(), batch(2, 1)); !errors.Is(err, journal.ErrFailed) {
		t.Errorf("%v", err)
	}
	if err := <-f.Fatal(); err == nil {
		t.Error("the process was not told")
	}
}

// TestWALStaysShort copies the WAL into the file as it goes.
func TestWALStaysShort(t *testing.T) {
	t.Parallel()
	f := open(t, journal.Options{})
	for i := range 24 {
		b := batch(i, 0)
		b.Items = [][]byte{noise(byte(i), 4<<20)}
		if _, err := f.Append(t.Context(), b); err != nil {
			t.Fatal(err)
		}
	}
	wal, err := os.Stat(f.path + "-wal")
	if err != nil {
		t.Fatal(err)
	}
	if wal.Size() > 32<<20 {
		t.Errorf("after 96 MiB the WAL is %d MiB long", wal.Size()>>20)
	}
	if r := verify(t, f.path, journal.VerifyOptions{}); len(r.Defects) > 0 || r.Entries != 24 {
		t.Errorf("%+v", r)
	}
}
