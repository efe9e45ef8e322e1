package business_test

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/tollkeeper/tollkeeper/internal/store/business"
)

// askForLocks names the file whose locks the test binary, started again, asks for.
const askForLocks = "BUSINESS_TEST_LOCKS"

func TestMain(m *testing.M) {
	if path := os.Getenv(askForLocks); path != "" {
		printLock(path)
		return
	}
	os.Exit(m.Run())
}

// printLock prints which process keeps others from locking the whole file; 0: none.
func printLock(path string) {
	lock := syscall.Flock_t{Type: syscall.F_WRLCK, Whence: io.SeekStart}
	f, err := os.Open(path)
	if err == nil {
		err = syscall.FcntlFlock(f.Fd(), syscall.F_GETLK, &lock)
	}
	if err != nil {
		fmt.Fprintln(os.Stdout, err)
	} else if lock.Type != syscall.F_UNLCK {
		fmt.Fprint(os.Stdout, lock.Pid)
	}
}

// locked tells whether this process holds a lock on the file, which only another
// process can ask.
func locked(t *testing.T, path string) bool {
	t.Helper()
	c := exec.CommandContext(t.Context(), os.Args[0])
	c.Env = append(os.Environ(), askForLocks+"="+path)
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return string(out) == fmt.Sprint(os.Getpid())
}

// TestOpenKeepsLocks opens the file again in a process that has it open. POSIX
// drops all locks of a process on a file when it closes any descriptor of it;
// another process would then take itself for the last one, copy the log into
// the file and delete it (sqlite.org/howtocorrupt.html, 2.2).
func TestOpenKeepsLocks(t *testing.T) {
	t.Parallel()
	h := newHouse(t, filepath.Join(t.TempDir(), "business.db"))
	if !locked(t, h.path) {
		t.Fatal("an open file is not locked: the test proves nothing")
	}
	for _, mustExist := range []bool{true, false} {
		s, err := business.Open(t.Context(), h.path, business.Options{MustExist: mustExist})
		h.must(err)
		if !locked(t, h.path) {
			t.Errorf("MustExist %v: opened a second time, the file is not locked any more", mustExist)
		}
		h.must(s.Close())
		if !locked(t, h.path) {
			t.Errorf("MustExist %v: the second one closed, the file is not locked any more", mustExist)
		}
	}
}
