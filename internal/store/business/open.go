package business

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

const (
	// busyTimeout is how long a change waits for another process's. Changes take
	// milliseconds, so only a stuck process makes one wait longer.
	busyTimeout = 5 * time.Second
	// maxConnections serves a few readers at once; writers exclude one another anyway.
	maxConnections = 4
	// fileMode keeps tag secrets to the server's user; SQLite gives the same to
	// the files beside it.
	fileMode = 0o600
)

// Options are the seams and choices of Open.
type Options struct {
	// Now is the clock; nil is time.Now.
	Now func() time.Time
	// MustExist refuses to make a new file: for commands that read.
	MustExist bool
}

// Store is an open business.db. Its methods may be called by many goroutines.
type Store struct {
	db  *sql.DB
	now func() time.Time
}

// Open opens the file, makes it if it is not there, and brings its schema up to
// date. A file of a newer version or of another program is refused untouched.
// Errors: ErrNewerSchema, ErrNotOurs, ErrNoAccess, ErrBusy, ErrFull, or fs.ErrNotExist with MustExist.
func Open(ctx context.Context, path string, o Options) (*Store, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if err := prepareFile(path, o.MustExist); err != nil {
		return nil, err
	}
	dsn, err := dataSource(path)
	if err != nil {
		return nil, err
	}
	db, err := sql.Open("sqlite", dsn)
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(maxConnections)
	s := &Store{db: db, now: o.Now}
	err = s.migrate(ctx)
	if err == nil && !o.MustExist {
		err = s.useWAL(ctx) // a copy of VACUUM INTO, put in place, has none
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, explain(err)), db.Close())
	}
	return s, nil
}

// dataSource is what the driver opens. WAL is not asked for here: the file
// remembers it, and asking would change another program's file.
func dataSource(path string) (string, error) {
	// Absolute, since two slashes at the start would be taken for a host.
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	q := url.Values{}
	q.Add("_pragma", "busy_timeout("+strconv.FormatInt(busyTimeout.Milliseconds(), 10)+")")
	q.Add("_pragma", "foreign_keys(1)")
	q.Add("_pragma", "synchronous(FULL)")
	q.Set("_txlock", "immediate") // a change takes the lock before it reads what it decides on
	return "file:" + (&url.URL{Path: path}).EscapedPath() + "?" + q.Encode(), nil
}

// Close lets go of the file.
func (s *Store) Close() error { return s.db.Close() }

// prepareFile makes an empty file with the right mode, since SQLite would make
// one that everybody may read. One that is there is not opened: closing it would
// drop the locks that this process has on it by another Store.
func prepareFile(path string, mustExist bool) error {
	if mustExist {
		_, err := os.Stat(path)
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("%w: no customers, prices or invoices there yet; is --data right?", err)
		}
		return err
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, fileMode)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return f.Close()
}
