package sqlite_test

import (
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/tollkeeper/tollkeeper/internal/store/sqlite"
	"github.com/tollkeeper/tollkeeper/internal/store/storetest"
)

func check(t *testing.T, dir string) []sqlite.Problem {
	t.Helper()
	r, err := sqlite.OpenReader(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	problems, err := r.Check(t.Context())
	if err = errors.Join(err, r.Close()); err != nil {
		t.Fatal(err)
	}
	return problems
}

// TestCheckFindsWhatIsMissing takes away one thing after the other that answers
// or the next batch rest on, and that no sum shows.
func TestCheckFindsWhatIsMissing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	fill(t, dir, storetest.NewGenerator(2, 2).Batches(60))
	if found := check(t, dir); len(found) > 0 {
		t.Fatal(found)
	}
	for name, edit := range map[string]string{
		"strays":   "DELETE FROM strays",
		"pins":     "DELETE FROM pins",
		"moved":    "UPDATE pins SET day = day + 1",
		"filters":  "UPDATE filters SET bits = zeroblob(length(bits))",
		"traces":   "DELETE FROM by_trace",
		"keys":     "DELETE FROM by_key",
		"requests": "DELETE FROM by_request",
		"columns":  "UPDATE records SET output_tokens = output_tokens + 1",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			copied := t.TempDir()
			if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
				t.Fatal(err)
			}
			file := dayFiles(t, copied)[1]
			if name == "strays" || name == "pins" || name == "moved" {
				file = filepath.Join(copied, "index.db")
			}
			db, err := sql.Open("sqlite", file)
			if err != nil {
				t.Fatal(err)
			}
			_, err = db.ExecContext(t.Context(), edit)
			if err = errors.Join(err, db.Close()); err != nil {
				t.Fatal(err)
			}
			if found := check(t, copied); len(found) == 0 {
				t.Error("it was not found")
			}
		})
	}
}

// TestCheckBesideTheWriter finds nothing wrong while batches are applied.
func TestCheckBesideTheWriter(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, err := sqlite.Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	batches := storetest.NewGenerator(7, 2).Batches(60)
	applied := make(chan error, 1)
	go func() {
		var err error
		for i := 0; i < len(batches) && err == nil; i++ {
			err = s.Apply(t.Context(), batches[i])
		}
		applied <- err
	}()
	for done := false; !done; {
		select {
		case err := <-applied:
			if err != nil {
				t.Fatal(err)
			}
			done = true // once more, at rest
		default:
		}
		if found := check(t, dir); len(found) > 0 {
			t.Fatal(found)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}
