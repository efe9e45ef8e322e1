package business_test

import (
	"context"
	"database/sql"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/tollkeeper/tollkeeper/internal/store/business"
)

// journalMode is how a file keeps its transactions.
func journalMode(t *testing.T, path string) (mode string) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.QueryRow("PRAGMA journal_mode").Scan(&mode); err != nil {
		t.Fatal(err)
	}
	return mode
}

// TestCopy copies while others use the file, and goes on with the copy.
func TestCopy(t *testing.T) {
	h := newHouse(t, "")
	h.customer("acme")
	path := filepath.Join(t.TempDir(), "file:copy.db")
	h.must(business.Copy(t.Context(), h.path, path))
	h.customer("beta")

	// Who only reads leaves it as it is, one file; who writes wants a log, or readers
	// would keep writers out.
	reader, err := business.Open(t.Context(), path, business.Options{MustExist: true})
	h.must(err)
	if list, err := reader.Customers(t.Context()); err != nil || len(list) != 1 || list[0].ID != "acme" {
		t.Errorf("%+v, %v", list, err)
	}
	if found, err := reader.Check(t.Context()); err != nil || len(found) > 0 {
		t.Errorf("%+v, %v", found, err)
	}
	h.must(reader.Close())
	if mode := journalMode(t, path); mode != "delete" {
		t.Errorf("journal mode %q after it was read", mode)
	}
	again := newHouse(t, path)
	again.customer("gamma")
	if mode := journalMode(t, path); mode != "wal" {
		t.Errorf("journal mode %q after it was written", mode)
	}
}

func TestCopyRefused(t *testing.T) {
	dir := t.TempDir()
	into := filepath.Join(dir, "copy.db")
	if err := business.Copy(t.Context(), filepath.Join(dir, "none.db"), into); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	newer := filepath.Join(dir, "newer.db")
	newHouse(t, newer).close()
	tamper(t, newer, "PRAGMA user_version = 99")
	if err := business.Copy(t.Context(), newer, into); !errors.Is(err, business.ErrNewerSchema) {
		t.Error(err)
	}
	ours := newHouse(t, "")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := business.Copy(ctx, ours.path, into); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if _, err := os.Stat(into); err == nil {
		t.Error("a copy was made all the same")
	}
}
