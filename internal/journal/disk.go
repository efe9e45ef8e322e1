package journal

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"

	sqlite3 "modernc.org/sqlite/lib"
)

const (
	// ballastBytes is room that is given up when the disk is full, so that the
	// journal can be closed, opened and read.
	ballastBytes = 4 << 20
	// probeBytes are written to learn why a write failed.
	probeBytes = 64 << 10
	// startBytes is what opening takes, of all files in the data directory.
	startBytes = 1 << 20
	// fullPause is how long a full disk is left alone before it is tried again.
	fullPause = time.Second
)

// disk watches the room of the data directory. Only full may be used by others
// than the writer.
type disk struct {
	dir   string
	now   func() time.Time
	full  atomic.Bool
	retry time.Time
}

func (d *disk) ballastPath() string { return filepath.Join(d.dir, "journal.ballast") }

// ranOut gives the ballast up and waits.
func (d *disk) ranOut() {
	d.full.Store(true)
	d.retry = d.now().Add(fullPause)
	_ = os.Remove(d.ballastPath()) // there may be none: then there is nothing to give
}

// startRoom sees to it that there is room to open in: the ballast is it where
// there is none else. Errors wrap ErrFull.
func (d *disk) startRoom() error {
	err := d.probe(startBytes)
	if outOfRoom(err) {
		d.ranOut()
		err = d.probe(startBytes)
	}
	if outOfRoom(err) {
		return fmt.Errorf("%s: %w", d.dir, ErrFull)
	}
	return err
}

// probe tries whether so many bytes can be written.
func (d *disk) probe(size int) error {
	path := filepath.Join(d.dir, "journal.probe")
	err := writeFile(path, size)
	_ = os.Remove(path) // may not have been made
	return err
}

// recovered tries whether there is room again, for the ballast first. The error
// is any but that there is none.
func (d *disk) recovered() (bool, error) {
	if d.now().Before(d.retry) {
		return false, nil
	}
	switch err := d.ballast(); {
	case outOfRoom(err):
		d.retry = d.now().Add(fullPause)
		return false, nil
	case err != nil:
		return false, err
	}
	d.full.Store(false)
	return true, nil
}

func (d *disk) room() (free, size uint64, err error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(d.dir, &s); err != nil {
		return 0, 0, fmt.Errorf("%s: %w", d.dir, err)
	}
	block := uint64(s.Bsize)
	// As df has it: what is kept back for root, or for others by a quota, is no part of the size.
	return s.Bavail * block, (s.Blocks - s.Bfree + s.Bavail) * block, nil
}

// ballast makes the ballast file if it does not stand.
func (d *disk) ballast() error {
	if info, err := os.Stat(d.ballastPath()); err == nil && info.Size() == ballastBytes {
		return nil
	}
	err := writeFile(d.ballastPath(), ballastBytes)
	if err != nil {
		_ = os.Remove(d.ballastPath()) // the first error is the one that counts
	}
	return err
}

// writeFile writes chance, which no file system keeps in less room, and waits
// until it has its room: some find out late that they have none.
func writeFile(path string, size int) error {
	b := make([]byte, size)
	if _, err := rand.Read(b); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// isFull tells a disk or a quota without room from a disk that fails. SQLite
// says SQLITE_FULL for ENOSPC only; of a write that failed otherwise, as with a
// quota, a write of our own tells why. A failed fsync is never taken for a full
// disk, whatever its reason.
func (d *disk) isFull(err error) bool {
	switch extendedCode(err) {
	case 0:
		return outOfRoom(err)
	case sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_SHMSIZE, sqlite3.SQLITE_IOERR_SHMOPEN, sqlite3.SQLITE_CANTOPEN:
		return outOfRoom(d.probe(probeBytes))
	}
	return code(err) == sqlite3.SQLITE_FULL
}

func outOfRoom(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// isBusy tells that another program holds the file's write lock.
func isBusy(err error) bool {
	c := code(err)
	return c == sqlite3.SQLITE_BUSY || c == sqlite3.SQLITE_LOCKED
}

// makeDir makes a directory that is still there after a power cut.
func makeDir(dir string) error {
	var holders []string // of what is made
	for d := filepath.Clean(dir); ; d = filepath.Dir(d) {
		if _, err := os.Stat(d); !errors.Is(err, fs.ErrNotExist) {
			break
		}
		holders = append(holders, filepath.Dir(d))
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	for _, d := range holders {
		if err := syncDir(d); err != nil {
			return err
		}
	}
	return nil
}

// syncDir waits until the names in a directory are on disk.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
