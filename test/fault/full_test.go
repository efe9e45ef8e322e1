package fault

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/tollkeeper/tollkeeper/test/process"
)

// diskBytes is a disk on which the ballast is a part, and not the most.
const diskBytes = "24m"

// smallDisk mounts a small file system of its own.
func smallDisk(t *testing.T) string {
	t.Helper()
	if os.Getenv(wanted) == "" {
		t.Skip("mounts a file system: make fault")
	}
	if os.Geteuid() != 0 {
		t.Skip("only root may mount a file system")
	}
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+diskBytes); err != nil {
		t.Skipf("this machine does not let root mount a tmpfs: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// fill writes another program's file until not a byte more goes in.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for size := 1 << 20; size > 0; {
		if _, err := f.Write(make([]byte, size)); errors.Is(err, syscall.ENOSPC) {
			size /= 2
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

// room is what /metrics says is left on the small disk; it has to know its size.
func (b *bench) room(t *testing.T) int64 {
	t.Helper()
	free, err := b.server.Metric(t.Context(), "tollkeeper_data_free_bytes")
	if err != nil {
		t.Fatal(err)
	}
	if size, err := b.server.Metric(t.Context(), "tollkeeper_data_size_bytes"); err != nil || size != 24<<20 {
		t.Errorf("size %d, %v; want %s", size, err, diskBytes)
	}
	return free
}

// TestDiskIsFull fills the disk under a server, and once more after the ballast
// is gone: usage is refused retryably, all that was acknowledged can be read and
// verified, and the server goes on by itself when there is room.
func TestDiskIsFull(t *testing.T) {
	disk := smallDisk(t)
	b := newBench(t, filepath.Join(disk, "data"))
	b.start(t)
	for range 20 {
		b.wantAccepted(t)
	}
	b.wantMetric(t, 0)
	b.wantReadable(t)

	filler := filepath.Join(disk, "filler")
	if free := b.room(t); free < 8<<20 {
		t.Errorf("before it is full there are %d bytes of room", free)
	}
	fill(t, filler)
	if free := b.room(t); free > 4<<20 { // what the ballast takes, if it is gone already
		t.Errorf("on a full disk there are %d bytes of room", free)
	}
	b.wantRefused(t)
	b.wantMetric(t, 1)
	b.wantReadable(t)
	b.wantRefused(t)

	// It ends and starts on what the ballast left.
	if err := b.server.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.start(t)
	b.wantReadable(t)

	// Somebody takes all of that too, and what the ballast gives up again.
	for range 2 {
		fill(t, filler)
		b.wantRefused(t)
		b.wantReadable(t)
	}

	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	b.wantRecovery(t)
	if info, err := os.Stat(filepath.Join(b.data, "journal.ballast")); err != nil || info.Size() < 1<<20 {
		t.Errorf("there is no ballast for the next time: %v", err)
	}
	if err := b.server.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if log := b.server.Log(); strings.Contains(log, "panic") {
		t.Errorf("the server panicked:\n%s", log)
	}
}

// TestDiskIsFullAtTheStart kills a server on a disk without a byte, and starts
// it there.
func TestDiskIsFullAtTheStart(t *testing.T) {
	disk := smallDisk(t)
	b := newBench(t, filepath.Join(disk, "data"))
	b.start(t)
	for range 20 {
		b.wantAccepted(t)
	}
	filler := filepath.Join(disk, "filler")
	fill(t, filler)
	if err := b.server.Kill(); err != nil {
		t.Fatal(err)
	}
	b.start(t)
	b.wantRefused(t)
	b.wantReadable(t)

	// Without the ballast there is no room to start in, which is said.
	if err := b.server.Kill(); err != nil {
		t.Fatal(err)
	}
	fill(t, filler)
	out, err := b.program.Run(t.Context(), "serve", "--data", b.data, "--otlp-grpc", "127.0.0.1:0", "--otlp-http", "127.0.0.1:0", "--api", "127.0.0.1:0")
	if err == nil || !strings.Contains(err.Error(), "disk is full: free some space") {
		t.Fatalf("%v\n%s", err, out)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	b.start(t)
	b.wantRecovery(t)
}

// TestBackupOfAFullDisk takes what was acknowledged off a full disk, onto another
// one, and puts nothing onto one without room.
func TestBackupOfAFullDisk(t *testing.T) {
	disk, other := smallDisk(t), t.TempDir()
	b := newBench(t, filepath.Join(disk, "data"))
	b.start(t)
	for range 20 {
		b.wantAccepted(t)
	}
	fill(t, filepath.Join(disk, "filler"))
	b.wantRefused(t)
	wantNoRoom := func(hint string, args ...string) {
		t.Helper()
		if out, err := b.program.Run(t.Context(), args...); err == nil || len(out) > 0 || !strings.Contains(err.Error(), "no room") || !strings.Contains(err.Error(), hint) {
			t.Errorf("%v: %v, and it printed %d bytes", args, err, len(out))
		}
	}
	wantNoRoom("name another disk with --tmp", "backup", "--data", b.data, "--to", "-")
	wantNoRoom("name another disk with --to", "backup", "--data", b.data, "--to", filepath.Join(disk, "backup"))
	packed, err := b.program.Run(t.Context(), "backup", "--data", b.data, "--to", "-", "--tmp", other)
	if err != nil {
		t.Fatal(err)
	}
	tar := filepath.Join(other, "backup.tar")
	if err := os.WriteFile(tar, packed, 0o600); err != nil {
		t.Fatal(err)
	}
	wantNoRoom("nothing was put in its place", "restore", tar, "--data", filepath.Join(disk, "again"))
	if left, err := filepath.Glob(filepath.Join(disk, "*", "*.unfinished")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if err := b.server.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.data = filepath.Join(other, "data")
	if out, err := b.program.Run(t.Context(), "restore", tar, "--data", b.data); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	b.start(t)
	b.wantReadable(t)
}

// wantRecovery wants that the server accepts by itself, and has everything.
func (b *bench) wantRecovery(t *testing.T) {
	t.Helper()
	err := process.Until(t.Context(), "usage is accepted again", func() (bool, error) {
		err := b.post(t.Context())
		if errors.Is(err, errRefused) {
			return false, nil
		}
		return err == nil, err
	})
	if err != nil {
		t.Fatalf("%v\n%s", err, b.server.Log())
	}
	b.wantAccepted(t)
	b.wantMetric(t, 0)
	b.wantReadable(t)
}
