package backup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// Files of a backup.
const (
	Business   = "business.db"
	Journal    = "journal.db"
	Verifier   = "signing.key.pub" // may be missing
	Checkpoint = "checkpoint.txt"
	Sums       = "SHA256SUMS" // as sha256sum writes it; may be missing
)

// names are in the order of a tar.
var names = []string{Business, Journal, Verifier, Checkpoint, Sums}

// required are the names without which it is no backup.
var required = []string{Business, Journal, Checkpoint}

// databases are what a restore puts in its place.
var databases = []string{Business, Journal}

const (
	// fileMode is everybody's who may read tag secrets.
	fileMode = 0o600
	dirMode  = 0o700
	// spare is room that is left to others: to a server that writes on the same disk
	// meanwhile, whose log cannot be cut while its journal is copied.
	spare = 64 << 20 // bytes
)

var (
	// ErrBusy says that another process gathers files in the same place.
	ErrBusy = errors.New("another backup or restore works there: let it end")
	// ErrNoRoom says that the disk has no room for the files.
	ErrNoRoom = errors.New("no room")
)

// Folder gathers the files of a backup, in a place whose name says that it is
// none yet.
type Folder struct {
	path string
	file *os.File // of the folder itself: it holds the lock
}

// Gather makes an empty folder at path, always of that name: so what a process
// that died left there is removed, and does not take room for ever. Errors wrap
// ErrBusy.
func Gather(path string) (*Folder, error) {
	if err := os.Mkdir(path, dirMode); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	f := &Folder{path: path, file: file}
	if err := f.own(); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	if err := f.empty(); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return f, nil
}

// own takes the folder's lock, and refuses one that is another user's, who could
// read and change what is gathered in it.
func (f *Folder) own() error {
	if err := syscall.Flock(int(f.file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return fmt.Errorf("%s: %w (%w)", f.path, ErrBusy, err)
	}
	opened, err := f.file.Stat()
	if err != nil {
		return err
	}
	// Its owner may have renamed it before the lock was free.
	if named, err := os.Lstat(f.path); err != nil || !os.SameFile(opened, named) {
		return fmt.Errorf("%s: %w", f.path, ErrBusy)
	}
	owner, ok := opened.Sys().(*syscall.Stat_t)
	if !ok || int(owner.Uid) != os.Geteuid() {
		return fmt.Errorf("%s is there already and is another user's: remove it, or name another place", f.path)
	}
	return f.file.Chmod(dirMode)
}

func (f *Folder) empty() error {
	left, err := os.ReadDir(f.path)
	if err != nil {
		return err
	}
	for _, x := range left {
		if err := os.RemoveAll(f.Path(x.Name())); err != nil {
			return err
		}
	}
	return nil
}

// Path is where a file of the folder lies.
func (f *Folder) Path(name string) string { return filepath.Join(f.path, name) }

// NeedRoom tells before they are written whether so many bytes can be. Errors
// wrap ErrNoRoom.
func (f *Folder) NeedRoom(bytes int64) error {
	var s syscall.Statfs_t
	if err := syscall.Statfs(f.path, &s); err != nil {
		return fmt.Errorf("%s: %w", f.path, err)
	}
	if free := s.Bavail * uint64(s.Bsize); uint64(bytes)+spare > free {
		const mb = 1 << 20
		return fmt.Errorf("%w in %s: %d MiB are free, it takes %d, and %d more are left to others", ErrNoRoom, filepath.Dir(f.path), free/mb, bytes/mb+1, spare/mb)
	}
	return nil
}

// Create makes a file of the folder, empty, for its owner only.
func (f *Folder) Create(name string) (*os.File, error) {
	return os.OpenFile(f.Path(name), os.O_CREATE|os.O_EXCL|os.O_WRONLY, fileMode)
}

// Write makes a file that holds text.
func (f *Folder) Write(name, text string) error {
	w, err := f.Create(name)
	if err != nil {
		return err
	}
	_, err = w.WriteString(text)
	return errors.Join(err, w.Close())
}

// File is a file of a backup.
type File struct {
	Name  string `json:"name"`
	Bytes int64  `json:"bytes"`
}

// Files lists what was gathered.
func (f *Folder) Files() (list []File, err error) {
	for _, name := range names {
		info, err := os.Stat(f.Path(name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		list = append(list, File{name, info.Size()})
	}
	return list, nil
}

// Keep makes the folder what it is to be, under the name that it is to have, once
// all of it is on disk.
func (f *Folder) Keep(as string) error {
	if err := f.sync(); err != nil {
		return err
	}
	if err := os.Rename(f.path, as); err != nil {
		return err
	}
	return errors.Join(syncDir(filepath.Dir(as)), f.file.Close())
}

// sync waits until the files and their names are on disk.
func (f *Folder) sync() error {
	list, err := f.Files()
	if err != nil {
		return err
	}
	for _, x := range list {
		if err := syncFile(f.Path(x.Name)); err != nil {
			return err
		}
	}
	return f.file.Sync()
}

// Discard removes the folder with all that is in it; after Keep it does nothing.
func (f *Folder) Discard() error {
	if _, err := f.file.Stat(); errors.Is(err, os.ErrClosed) {
		return nil
	}
	return errors.Join(os.RemoveAll(f.path), f.file.Close())
}

func syncDir(dir string) error { return syncFile(dir) }

func syncFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
