package backup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// A restore goes through two folders in the data directory. While there is one
// of them nothing but a restore may use the directory: see BrokenOff.
const (
	arriving = "restore.unfinished" // files that are not verified yet
	placing  = "restore.placing"    // verified ones, which are moved to their place one by one
)

// ErrOccupied says that a data directory holds something already.
var ErrOccupied = errors.New("there is something already")

// besides are the names of what SQLite keeps beside a file. It would take what is
// left of another file's for this one's.
var besides = []string{"", "-wal", "-shm", "-journal"}

// BrokenOff tells whether a restore into the data directory did not get to its
// end: what is there may be a part only.
func BrokenOff(dir string) bool {
	return exists(filepath.Join(dir, arriving)) || exists(filepath.Join(dir, placing))
}

// Arrive makes the folder in which a backup arrives that is to be put in its
// place in the data directory, and takes back what a restore that was broken off
// had put there. The caller holds the directory's lock.
func Arrive(dir string) (*Folder, error) {
	if err := takeBack(dir); err != nil {
		return nil, err
	}
	return Gather(filepath.Join(dir, arriving))
}

// takeBack removes what was moved to its place out of a set that was not whole
// there: nobody has used it.
func takeBack(dir string) error {
	from := filepath.Join(dir, placing)
	if !exists(from) {
		return nil
	}
	for _, name := range databases {
		if exists(filepath.Join(from, name)) {
			continue // was not moved
		}
		if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if err := syncDir(dir); err != nil {
		return err
	}
	return os.RemoveAll(from)
}

// Vacant refuses a data directory that holds what a restore would replace.
// Errors wrap ErrOccupied.
func Vacant(dir string) error {
	return occupants(dir, func(name string) error { return fmt.Errorf("%w: %s", ErrOccupied, filepath.Join(dir, name)) })
}

// SetAside moves what a restore would replace into a new folder.
func SetAside(dir, into string) error {
	if Vacant(dir) == nil {
		return nil
	}
	if err := os.Mkdir(into, dirMode); err != nil {
		return err
	}
	err := occupants(dir, func(name string) error { return os.Rename(filepath.Join(dir, name), filepath.Join(into, name)) })
	return errors.Join(err, syncDir(into), syncDir(dir))
}

// occupants calls fn for the databases of a data directory and what lies beside
// them, until an error.
func occupants(dir string, fn func(name string) error) error {
	for _, name := range databases {
		for _, suffix := range besides {
			if !exists(filepath.Join(dir, name+suffix)) {
				continue
			}
			if err := fn(name + suffix); err != nil {
				return err
			}
		}
	}
	return nil
}

// Place moves the databases to their place in the data directory, which must be
// vacant, and removes the folder. Wherever it ends early, BrokenOff tells.
func (f *Folder) Place(dir string) error {
	for _, name := range []string{Verifier, Checkpoint, Sums} {
		if err := os.Remove(f.Path(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	from := filepath.Join(dir, placing)
	if err := f.Keep(from); err != nil {
		return err
	}
	for _, name := range databases {
		if err := os.Rename(filepath.Join(from, name), filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	if err := syncDir(dir); err != nil {
		return err
	}
	if err := os.Remove(from); err != nil {
		return err
	}
	return syncDir(dir)
}
