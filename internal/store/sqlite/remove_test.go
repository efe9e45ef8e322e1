package sqlite_test

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/tollkeeper/tollkeeper/internal/store/sqlite"
	"github.com/tollkeeper/tollkeeper/internal/store/storetest"
	"github.com/tollkeeper/tollkeeper/internal/usage"
)

// fill applies batches to the store in dir and returns its records.
func fill(t *testing.T, dir string, batches []usage.Batch) []usage.Record {
	t.Helper()
	s, err := sqlite.Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range batches {
		if err := s.Apply(t.Context(), b); err != nil {
			t.Fatal(err)
		}
	}
	records, err := s.Records(t.Context(), usage.RecordFilter{Limit: 1 << 20})
	if err = errors.Join(err, s.Close()); err != nil {
		t.Fatal(err)
	}
	return records
}

// dayFiles are the names of the days' files, in order.
func dayFiles(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "2*.db"))
	if err != nil || len(files) < 3 {
		t.Fatalf("%d files of days, %v: too few to say anything", len(files), err)
	}
	return files
}

// TestDayIsGone deletes a day's file: all is read again, and the others skip
// what they have.
func TestDayIsGone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	batches := storetest.NewGenerator(1, 2).Batches(40)
	want := fill(t, dir, batches)
	if err := os.Remove(dayFiles(t, dir)[1]); err != nil {
		t.Fatal(err)
	}
	if got := fill(t, dir, batches); !reflect.DeepEqual(got, want) {
		t.Error("read again it differs")
	}
}

// TestIndexIsOlder gives index.db the state of an earlier moment than the days':
// read again from there, each file skips what it has.
func TestIndexIsOlder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	batches := storetest.NewGenerator(3, 2).Batches(40)
	fill(t, dir, batches[:30])
	index := filepath.Join(dir, "index.db")
	before, err := os.ReadFile(index)
	if err != nil {
		t.Fatal(err)
	}
	want := fill(t, dir, batches)
	if err := os.WriteFile(index, before, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := fill(t, dir, batches[30:]); !reflect.DeepEqual(got, want) {
		t.Error("read again it differs")
	}
}

// TestRemoveIsInterrupted lets a deletion fail on its way, and goes on with what
// it left.
func TestRemoveIsInterrupted(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	batches := storetest.NewGenerator(4, 1).Batches(40)
	want := fill(t, dir, batches)
	obstacle := dayFiles(t, dir)[1] + "-wal"
	if err := os.MkdirAll(filepath.Join(obstacle, "not empty"), 0o750); err != nil {
		t.Fatal(err)
	}
	if err := sqlite.Remove(dir); err == nil {
		t.Fatal("it was not interrupted")
	}
	if err := os.RemoveAll(obstacle); err != nil {
		t.Fatal(err)
	}
	if len(dayFiles(t, dir)) == 0 {
		t.Fatal("nothing is left")
	}
	if s, err := sqlite.Open(t.Context(), dir); !errors.Is(err, sqlite.ErrStale) {
		if err == nil {
			err = s.Close()
		}
		t.Fatalf("what is left counts as a projection: %v", err)
	}
	if err := sqlite.Remove(dir); err != nil {
		t.Fatal(err)
	}
	if got := fill(t, dir, batches); !reflect.DeepEqual(got, want) {
		t.Error("made anew it differs")
	}
}

// TestOnlyLogsAreLeft begins beside the WALs of files that are gone, which is all
// that a Remove that was interrupted late has left.
func TestOnlyLogsAreLeft(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	batches := storetest.NewGenerator(5, 1).Batches(40)
	s, err := sqlite.Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range batches[:20] {
		if err := s.Apply(t.Context(), b); err != nil {
			t.Fatal(err)
		}
	}
	left := map[string][]byte{}
	for _, name := range append(dayFiles(t, dir), filepath.Join(dir, "index.db")) {
		if b, err := os.ReadFile(name + "-wal"); err == nil && len(b) > 0 {
			left[name+"-wal"] = b
		}
	}
	if err := errors.Join(s.Close(), sqlite.Remove(dir)); err != nil || len(left) < 2 {
		t.Fatalf("%d logs, %v", len(left), err)
	}
	for name, b := range left {
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := fill(t, dir, batches), fill(t, t.TempDir(), batches); !reflect.DeepEqual(got, want) {
		t.Error("it differs from what is made without them")
	}
}
