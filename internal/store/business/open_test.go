package business_test

import (
	"database/sql"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/tollkeeper/tollkeeper/internal/store/business"
	"github.com/tollkeeper/tollkeeper/internal/tenant"
)

// TestOpenAtOnce has many processes meet at a file that is not there yet.
func TestOpenAtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "business.db")
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			s, err := business.Open(t.Context(), path, business.Options{})
			if err != nil {
				t.Error(err)
				return
			}
			defer s.Close()
			if _, err := s.Customers(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v: it holds secrets, so only its user may read it", info.Mode(), err)
	}
}

func TestOpenOddPaths(t *testing.T) {
	for _, name := range []string{"a b.db", "q?x=1#y%41.db", "c:d.db", "größe.db"} {
		dir := t.TempDir()
		s, err := business.Open(t.Context(), "/"+filepath.Join(dir, name), business.Options{})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		s.Close()
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
}

func TestMustExist(t *testing.T) {
	path := filepath.Join(t.TempDir(), "business.db")
	_, err := business.Open(t.Context(), path, business.Options{MustExist: true})
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "--data") {
		t.Errorf("%v", err)
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Error("it was made all the same")
	}
	newHouse(t, path)
	s, err := business.Open(t.Context(), path, business.Options{MustExist: true})
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
}

// TestRefusedFiles opens files that must be refused, and stay byte for byte.
func TestRefusedFiles(t *testing.T) {
	for name, c := range map[string]struct {
		make func(t *testing.T, path string)
		want error
		says string
	}{
		"newer": {func(t *testing.T, path string) {
			newHouse(t, path).close()
			tamper(t, path, "PRAGMA user_version = 99")
		}, business.ErrNewerSchema, "version 99"},
		"another program's": {func(t *testing.T, path string) {
			tamper(t, path, "CREATE TABLE x (y); PRAGMA user_version = 99")
		}, business.ErrNotOurs, "another program's"},
		"another program's, marked": {func(t *testing.T, path string) {
			tamper(t, path, "PRAGMA application_id = 7")
		}, business.ErrNotOurs, "0x7"},
		"no SQLite": {func(t *testing.T, path string) {
			if err := os.WriteFile(path, []byte(strings.Repeat("not a database. ", 100)), 0o600); err != nil {
				t.Fatal(err)
			}
		}, business.ErrNotOurs, "backup"},
		"a folder": {func(t *testing.T, path string) {
			if err := os.Mkdir(path, 0o700); err != nil {
				t.Fatal(err)
			}
		}, business.ErrNoAccess, "read and write it"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "business.db")
			c.make(t, path)
			before, _ := os.ReadFile(path)
			s, err := business.Open(t.Context(), path, business.Options{})
			if err == nil {
				s.Close()
			}
			if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), path) {
				t.Errorf("%v; want %v with %q and the path", err, c.want, c.says)
			}
			if after, _ := os.ReadFile(path); string(after) != string(before) {
				t.Error("the file was changed")
			}
		})
	}
}

// TestDurable asks the file for what the promise rests on.
func TestDurable(t *testing.T) {
	h := newHouse(t, "")
	db, err := sql.Open("sqlite", h.path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var mode string
	if err := db.QueryRow("PRAGMA journal_mode").Scan(&mode); err != nil || mode != "wal" {
		t.Errorf("journal mode %q, %v", mode, err)
	}
	if got := h.store.Synchronous(t); got != 2 {
		t.Errorf("synchronous %d, want 2 (FULL)", got)
	}
}

// TestReopen finds what was there before.
func TestReopen(t *testing.T) {
	h := newHouse(t, "")
	h.customer("acme")
	h.close()
	again := newHouse(t, h.path)
	if c, err := again.store.Customer(t.Context(), "acme"); err != nil || c.ID != "acme" {
		t.Errorf("%+v, %v", c, err)
	}
	if _, err := again.store.Customer(t.Context(), "absent"); !errors.Is(err, business.ErrNotFound) {
		t.Error(err)
	}
	if n, err := again.store.Revision(t.Context()); n != 1 || err != nil {
		t.Errorf("revision %d, %v: opening changed something", n, err)
	}
}

// TestFull fills the disk, as far as SQLite can tell.
func TestFull(t *testing.T) {
	h := newHouse(t, "")
	h.store.FillDisk(t)
	text := strings.Repeat("x", 1000) // with its line of the audit log more than a page
	big := tenant.Customer{ID: "big", Name: text, Address: text, Email: text}
	if _, err := h.store.AddCustomer(t.Context(), actor, big); !errors.Is(err, business.ErrFull) {
		t.Errorf("%v; want ErrFull", err)
	}
	if n, err := h.store.Revision(t.Context()); n != 0 || err != nil {
		t.Errorf("revision %d, %v after a refused change", n, err)
	}
	h.store.FreeDisk(t)
	if _, err := h.store.AddCustomer(t.Context(), actor, big); err != nil {
		t.Errorf("with room again: %v", err)
	}
}

// TestBusy lets a stuck process hold the write lock.
func TestBusy(t *testing.T) {
	h := newHouse(t, "")
	h.customer("acme")
	db, err := sql.Open("sqlite", h.path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	tx, err := db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	if _, err := tx.Exec("PRAGMA user_version = 1"); err != nil { // takes the lock
		t.Fatal(err)
	}
	h.store.WaitNoLock(t)
	err = h.store.ArchiveCustomer(t.Context(), actor, "acme")
	if !errors.Is(err, business.ErrBusy) || strings.Count(err.Error(), "busy:") != 1 {
		t.Errorf("%v", err)
	}
	if _, err := h.store.Directory(t.Context()); err != nil {
		t.Errorf("reading waits for a writer: %v", err)
	}
}
