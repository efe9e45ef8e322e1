package journal_test

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tollkeeper/tollkeeper/internal/journal"
)

// raw opens the file as another program would.
func raw(t *testing.T, path string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	db.SetMaxOpenConns(1)
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// tamper changes the file as another program would.
func tamper(t *testing.T, path, statements string) {
	t.Helper()
	db := raw(t, path)
	if _, err := db.ExecContext(t.Context(), statements); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestForeignFilesAreRefusedUntouched leaves every byte of a file that is not
// ours, and makes none beside it but the lock.
func TestForeignFilesAreRefusedUntouched(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		make func(t *testing.T, path string)
		want error
	}{
		{"text", func(t *testing.T, path string) {
			if err := os.WriteFile(path, []byte(strings.Repeat("a letter to nobody\n", 100)), 0o600); err != nil {
				t.Fatal(err)
			}
		}, journal.ErrNotOurs},
		{"another program's", func(t *testing.T, path string) { tamper(t, path, "CREATE TABLE songs (title)") }, journal.ErrNotOurs},
		{"another program's of our version", func(t *testing.T, path string) {
			tamper(t, path, "CREATE TABLE songs (title); PRAGMA user_version = 1")
		}, journal.ErrNotOurs},
		{"another program's with an application id", func(t *testing.T, path string) {
			tamper(t, path, "PRAGMA application_id = 42; PRAGMA user_version = 1")
		}, journal.ErrNotOurs},
		{"a newer tollkeeper's", func(t *testing.T, path string) {
			f := openAt(t, path, journal.Options{})
			f.fill(t, 3)
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
			tamper(t, path, "PRAGMA user_version = 2")
		}, journal.ErrNewerFormat},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "journal.db")
			tt.make(t, path)
			os.Remove(filepath.Join(filepath.Dir(path), "journal.ballast"))
			before := contents(t, filepath.Dir(path))
			_, err := journal.Open(t.Context(), path, journal.Options{})
			if !errors.Is(err, tt.want) {
				t.Errorf("writing: %v", err)
			}
			if _, err := journal.OpenReader(t.Context(), path); !errors.Is(err, tt.want) {
				t.Errorf("reading: %v", err)
			}
			after := contents(t, filepath.Dir(path))
			delete(after, "journal.lock")
			delete(before, "journal.lock")
			if len(after) != len(before) || after["journal.db"] != before["journal.db"] {
				t.Errorf("files before %v, after %v", before, after)
			}
		})
	}
}

// contents are the hashes of a directory's files.
func contents(t *testing.T, dir string) map[string][32]byte {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][32]byte{}
	for _, f := range list {
		b, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		out[f.Name()] = sha256.Sum256(b)
	}
	return out
}

func TestOpenReaderWithoutAJournal(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "journal.db")
	if _, err := journal.OpenReader(t.Context(), path); !errors.Is(err, journal.ErrNoJournal) {
		t.Errorf("no file: %v", err)
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("a reader made the file")
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := journal.OpenReader(t.Context(), path); !errors.Is(err, journal.ErrNoJournal) {
		t.Errorf("an empty file, as a first start that was killed leaves it: %v", err)
	}
	// The next start makes it.
	f := openAt(t, path, journal.Options{})
	f.fill(t, 2)
}

// TestOpenMakesDirectories makes what is missing above the file.
func TestOpenMakesDirectories(t *testing.T) {
	t.Parallel()
	f := openAt(t, filepath.Join(t.TempDir(), "a", "b", "journal.db"), journal.Options{})
	f.fill(t, 1)
}

func TestOneWriter(t *testing.T) {
	t.Parallel()
	f := open(t, journal.Options{})
	dir := filepath.Dir(f.path)
	if _, err := journal.Open(t.Context(), f.path, journal.Options{}); !errors.Is(err, journal.ErrLocked) || !strings.Contains(err.Error(), dir) {
		t.Errorf("second writer: %v", err)
	}
	if _, err := journal.Lock(dir); !errors.Is(err, journal.ErrLocked) {
		t.Errorf("the lock beside a writer: %v", err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	unlock, err := journal.Lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := journal.Open(t.Context(), f.path, journal.Options{}); !errors.Is(err, journal.ErrLocked) {
		t.Errorf("a writer beside the lock: %v", err)
	}
	if err := unlock(); err != nil {
		t.Error(err)
	}
	again := openAt(t, f.path, journal.Options{Signer: f.signer})
	if err := again.Close(); err != nil {
		t.Error(err)
	}
}

// TestWriterGoesOnOnlyFromWhatWasSigned refuses to build on, and so to sign,
// what one without the key changed while the server was down.
func TestWriterGoesOnOnlyFromWhatWasSigned(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]string{
		"tail cut":                  "DELETE FROM entries WHERE seq > 15; DELETE FROM bodies WHERE seq > 15; DELETE FROM hashes WHERE id >= 26",
		"entry added":               "INSERT INTO entries SELECT 21, header, root FROM entries WHERE seq = 20; INSERT INTO hashes SELECT 38, hash FROM hashes WHERE id = 0",
		"last header edited":        "UPDATE entries SET header = replace(CAST(header AS TEXT), '\"producer\":\"p\"', '\"producer\":\"q\"') WHERE seq = 20",
		"hash of the edge edited":   "UPDATE hashes SET hash = zeroblob(32) WHERE id = (SELECT max(id) FROM hashes)",
		"root of a subtree edited":  "UPDATE hashes SET hash = zeroblob(32) WHERE id = 30",
		"hash of the edge removed":  "DELETE FROM hashes WHERE id = 30",
		"checkpoint removed":        "DELETE FROM checkpoint",
		"checkpoint and key gone":   "DELETE FROM checkpoint; DELETE FROM meta WHERE name = 'verifier'",
		"checkpoint edited":         "UPDATE checkpoint SET note = replace(note, char(10) || '20' || char(10), char(10) || '19' || char(10))",
		"another origin":            "UPDATE meta SET value = 'tollkeeper-journal-0000000000000000' WHERE name = 'origin'",
		"key edited":                "UPDATE meta SET value = replace(value, 'tollkeeper', 'tollkeepex') WHERE name = 'verifier'",
		"last header is unreadable": "UPDATE entries SET header = x'00' WHERE seq = 20",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := open(t, journal.Options{})
			f.fill(t, 20)
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
			tamper(t, f.path, change)
			j, err := journal.Open(t.Context(), f.path, journal.Options{Signer: f.signer})
			if !errors.Is(err, journal.ErrCorrupt) {
				t.Errorf("%v", err)
			}
			if err == nil {
				j.Close()
			}
		})
	}
}

// TestRunningWriterDoesNotSignWhatChangesUnderneath rewrites old entries with
// all their hashes while the writer runs: the next checkpoint it signs is that of
// what it wrote, so verify finds the change.
func TestRunningWriterDoesNotSignWhatChangesUnderneath(t *testing.T) {
	t.Parallel()
	f := open(t, journal.Options{})
	f.fill(t, 20)
	rewrite(t, f.path, func(n int, e *storedEntry) {
		if n == 7 {
			e.header = []byte(strings.Replace(string(e.header), `"producer":"p"`, `"producer":"q"`, 1))
		}
	})
	for n := 20; n < 40; n++ {
		if _, err := f.Append(t.Context(), batch(n, 1)); err != nil {
			t.Fatal(err)
		}
	}
	wantDefect(t, verify(t, f.path, journal.VerifyOptions{}), journal.DefectCheckpoint, 0)
}

// TestAnotherKey refuses a journal that another key signed, until told that the
// key is lost; then both keys verify what they signed.
func TestAnotherKey(t *testing.T) {
	t.Parallel()
	f := open(t, journal.Options{})
	f.fill(t, 5)
	old, err := f.Checkpoint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	signer := newSigner(t)
	if _, err := journal.Open(t.Context(), f.path, journal.Options{Signer: signer}); !errors.Is(err, journal.ErrOtherKey) {
		t.Fatalf("%v", err)
	}
	again, err := journal.Open(t.Context(), f.path, journal.Options{Signer: signer, ReplaceKey: true})
	if err != nil {
		t.Fatal(err)
	}
	if r := verify(t, f.path, journal.VerifyOptions{Verifiers: []string{signer.Verifier()}}); len(r.Defects) > 0 || r.Signed != 5 {
		t.Errorf("right after the change of keys: %+v", r)
	}
	if _, err := again.Append(context.Background(), batch(5, 1)); err != nil {
		t.Fatal(err)
	}
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
	both := journal.VerifyOptions{Verifiers: []string{f.signer.Verifier(), signer.Verifier()}, Checkpoints: []string{old}}
	if r := verify(t, f.path, both); len(r.Defects) > 0 {
		t.Errorf("with both keys: %+v", r)
	}
	wantDefect(t, verify(t, f.path, journal.VerifyOptions{Verifiers: both.Verifiers[:1]}), journal.DefectMeta, 0)
}
