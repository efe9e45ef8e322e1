package business

import (
	"errors"
	"fmt"
	"slices"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// What went wrong, for errors.Is. Messages name the thing and say what to do.
var (
	// ErrNotFound says that no such thing was ever added.
	ErrNotFound = errors.New("not found")
	// ErrExists says that the id is taken.
	ErrExists = errors.New("already exists")
	// ErrArchived says that the thing was archived before.
	ErrArchived = errors.New("archived")
	// ErrStale says that what a decision rests on has changed: read and decide again.
	ErrStale = errors.New("changed in the meantime")
	// ErrState says that an invoice is not in the state that the change needs.
	ErrState = errors.New("not possible in this state")
	// ErrBusy says that another process held the write lock for too long: retry.
	ErrBusy = errors.New("business.db is busy")
	// ErrFull says that the disk is full: nothing was changed; retry when there is room.
	ErrFull = errors.New("no room on the disk")
	// ErrNoAccess says that this process may not use the file, or that it is none.
	ErrNoAccess = errors.New("business.db cannot be used")
	// ErrNewerSchema says that a newer tollkeeper made the file.
	ErrNewerSchema = errors.New("made by a newer tollkeeper")
	// ErrNotOurs says that the file is no business.db, or a broken one.
	ErrNotOurs = errors.New("not a business.db, or a damaged one")
)

// meanings are the errors that explain adds.
var meanings = []error{ErrBusy, ErrFull, ErrNoAccess, ErrNotOurs}

// explain gives SQLite's refusals the meaning that callers ask for. What is
// explained already stays as it is.
func explain(err error) error {
	var e *sqlite.Error
	if !errors.As(err, &e) || slices.ContainsFunc(meanings, func(m error) bool { return errors.Is(err, m) }) {
		return err
	}
	switch e.Code() & 0xff { // the primary code; the rest is detail
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED:
		return fmt.Errorf("%w: another process writes; retry: %w", ErrBusy, err)
	case sqlite3.SQLITE_FULL:
		return fmt.Errorf("%w: free some and retry: %w", ErrFull, err)
	case sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM:
		return fmt.Errorf("%w: this user must be able to read and write it, and to make files beside it: %w", ErrNoAccess, err)
	case sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT:
		return fmt.Errorf("%w: restore it from a backup: %w", ErrNotOurs, err)
	}
	return err
}
