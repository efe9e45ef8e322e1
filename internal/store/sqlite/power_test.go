package sqlite_test

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tollkeeper/tollkeeper/internal/store/sqlite"
	"github.com/tollkeeper/tollkeeper/internal/store/storetest"
)

// TestPowerCut makes what the end of the machine may leave: of each day's file
// what a moment of its own since the last checkpoint had, of index.db, which
// says first what the others rest on, the last moment. Read on from where
// the store says, it is as if nothing had happened.
func TestPowerCut(t *testing.T) {
	t.Parallel()
	for seed := range uint64(3) {
		dir, r := t.TempDir(), rand.New(rand.NewPCG(seed, 1))
		g := storetest.NewGenerator(10+seed, 2)
		batches := g.Batches(36)
		fill(t, dir, batches[:20]) // and closed: a checkpoint
		s, err := sqlite.Open(t.Context(), dir)
		if err != nil {
			t.Fatal(err)
		}
		moments := []string{copyOf(t, dir)}
		for _, b := range batches[20:30] {
			if err := s.Apply(t.Context(), b); err != nil {
				t.Fatal(err)
			}
			moments = append(moments, copyOf(t, dir))
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		left := moments[len(moments)-1]
		for _, file := range dayFiles(t, left) {
			replaceBy(t, file, moments[r.IntN(len(moments))])
		}
		if s, err = sqlite.Open(t.Context(), left); err != nil {
			t.Fatal(err)
		}
		for _, b := range batches {
			through, _, err := s.Resume(t.Context(), b.Origin)
			if err == nil && b.Through > through {
				err = s.Apply(t.Context(), b)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		storetest.Compare(t, s, g.All)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// copyOf copies a projection as it lies, without what only memory has.
func copyOf(t *testing.T, dir string) string {
	t.Helper()
	out := t.TempDir()
	if err := os.CopyFS(out, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	shared, err := filepath.Glob(out + "/*-shm")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range shared {
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// replaceBy gives a file the state of another moment, in which it may not exist.
func replaceBy(t *testing.T, file, moment string) {
	t.Helper()
	for _, end := range []string{"", "-wal"} {
		b, err := os.ReadFile(filepath.Join(moment, strings.TrimPrefix(file, filepath.Dir(file))) + end)
		switch {
		case errors.Is(err, os.ErrNotExist):
			err = os.Remove(file + end)
			if errors.Is(err, os.ErrNotExist) {
				err = nil
			}
		case err == nil:
			err = os.WriteFile(file+end, b, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}
