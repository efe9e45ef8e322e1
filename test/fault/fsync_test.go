package fault

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/tollkeeper/tollkeeper/test/process"
)

// failFsync makes each fsync of the server fail from now on, as a disk that dies
// does. Nothing else of it changes.
func failFsync(t *testing.T, s *process.Server) {
	t.Helper()
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("there is no strace, which makes fsync fail")
	}
	c := exec.CommandContext(t.Context(), strace, "-f", "-qq", "-o", filepath.Join(t.TempDir(), "trace"), "-p", strconv.Itoa(s.Pid()),
		"-e", "trace=fsync,fdatasync", "-e", "inject=fsync,fdatasync:error=EIO")
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- c.Wait() }()
	t.Cleanup(func() {
		_ = c.Process.Kill() // it may have ended with the server
		<-ended
	})
	err = process.Until(t.Context(), "strace is attached", func() (bool, error) {
		select {
		case err := <-ended:
			ended <- err
			t.Skipf("this machine does not let strace attach: %v", err)
		default:
		}
		return traced(s.Pid())
	})
	if err != nil {
		t.Fatal(err)
	}
}

// traced tells whether all threads of a process have a tracer.
func traced(pid int) (bool, error) {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err != nil || len(threads) == 0 {
		return false, fmt.Errorf("no threads of process %d: %w", pid, err)
	}
	for _, name := range threads {
		b, err := os.ReadFile(name)
		if err == nil && strings.Contains(string(b), "\nTracerPid:\t0\n") {
			return false, nil
		}
	}
	return true, nil
}

// TestFsyncFails lets fsync fail under a server: what it cannot promise it does
// not answer with 200, it ends with a hint, and what it promised before is there
// when it starts on a disk that works.
func TestFsyncFails(t *testing.T) {
	if os.Getenv(wanted) == "" {
		t.Skip("traces a process: make fault")
	}
	b := newBench(t, filepath.Join(t.TempDir(), "data"))
	b.start(t)
	for range 20 {
		b.wantAccepted(t)
	}
	b.wantReadable(t)
	failFsync(t, b.server)
	id := fmt.Sprintf("cmpl-%d-0", b.next+1)
	if err := b.post(t.Context()); err == nil {
		t.Fatalf("%s was acknowledged and is not on disk", id)
	}
	b.doubted = append(b.doubted, id)
	code, err := b.server.Wait(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if log := b.server.Log(); code <= 0 || !strings.Contains(log, "the journal's disk failed: look for its errors in the kernel's log") || strings.Contains(log, "panic") {
		t.Errorf("exit code %d\n%s", code, log)
	}
	b.start(t)
	b.wantReadable(t)
	b.wantAccepted(t)
	b.wantReadable(t)
}
