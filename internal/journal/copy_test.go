package journal_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/tollkeeper/tollkeeper/internal/journal"
)

// TestCopy copies beside a writer: a copy is a journal that was there at one
// moment, whole and signed, in one file.
func TestCopy(t *testing.T) {
	t.Parallel()
	f := open(t, journal.Options{})
	f.fill(t, 300)
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for n := 300; ; n++ {
			select {
			case <-stop:
				return
			default:
				if _, err := f.Append(context.Background(), batch(n, 2)); err != nil {
					t.Error(err)
					return
				}
			}
		}
	}()
	defer func() { close(stop); <-stopped }()
	r, err := journal.OpenReader(t.Context(), f.path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	dir := t.TempDir()
	for _, name := range []string{"one.db", "file:two.db?mode=memory", "drei öäü.db"} {
		before, err := r.Size(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, name)
		if err := r.Copy(t.Context(), path); err != nil {
			t.Fatal(err)
		}
		report := verify(t, path, journal.VerifyOptions{Verifiers: []string{f.signer.Verifier()}})
		if len(report.Defects) > 0 || report.Entries < before || report.Signed != report.Entries {
			t.Errorf("%s: %+v; there were %d entries before", name, report, before)
		}
		for _, beside := range []string{"-wal", "-shm", "-journal"} {
			if _, err := os.Stat(path + beside); err == nil {
				t.Errorf("%s is there", name+beside)
			}
		}
	}
}

// TestCopyGoesOn: a copy of a copy that was put in its place takes entries again.
func TestCopyGoesOn(t *testing.T) {
	t.Parallel()
	f := open(t, journal.Options{})
	f.fill(t, 5)
	path := filepath.Join(t.TempDir(), "journal.db")
	if err := f.Copy(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	again := openAt(t, path, journal.Options{Signer: f.signer})
	if seq, err := again.Append(t.Context(), batch(5, 1)); seq != 6 || err != nil {
		t.Errorf("entry %d, %v", seq, err)
	}
	if report := verify(t, path, journal.VerifyOptions{}); report.Entries != 6 || len(report.Defects) > 0 {
		t.Errorf("%+v", report)
	}
}

func TestCopyRefused(t *testing.T) {
	t.Parallel()
	f := open(t, journal.Options{})
	f.fill(t, 5)
	path := filepath.Join(t.TempDir(), "there.db")
	if err := os.WriteFile(path, []byte("somebody's"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := f.Copy(t.Context(), path); err == nil {
		t.Error("over another file")
	}
	if b, err := os.ReadFile(path); string(b) != "somebody's" {
		t.Errorf("%q, %v", b, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := f.Copy(ctx, path+".new"); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if size, err := f.Size(t.Context()); size != 5 || err != nil {
		t.Errorf("the reader reads no more: %d, %v", size, err)
	}
}
