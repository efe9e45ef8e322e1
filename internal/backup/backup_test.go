package backup_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tollkeeper/tollkeeper/internal/backup"
)

// content is what the files of a test hold.
var content = map[string]string{
	backup.Business: "business", backup.Journal: strings.Repeat("journal ", 1000), backup.Verifier: "tollkeeper+1234abcd+key\n", backup.Checkpoint: "origin\n1\nroot\n",
}

// gathered is a folder with these files, sealed.
func gathered(t *testing.T, path string) *backup.Folder {
	t.Helper()
	f := gather(t, path)
	for name, text := range content {
		must(t, f.Write(name, text))
	}
	must(t, f.Seal(t.Context()))
	return f
}

func gather(t *testing.T, path string) *backup.Folder {
	t.Helper()
	f, err := backup.Gather(path)
	must(t, err)
	t.Cleanup(func() { must(t, f.Discard()) })
	return f
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// wantFiles compares a directory's plain files with what they should hold.
func wantFiles(t *testing.T, dir string, want map[string]string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	must(t, err)
	got := 0
	for _, e := range entries {
		if !e.Type().IsRegular() || e.Name() == backup.Sums {
			continue
		}
		got++
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if text, ok := want[e.Name()]; err != nil || !ok || string(b) != text {
			t.Errorf("%s: %.40q, %v; want %.40q", e.Name(), b, err, text)
		}
		if info, err := e.Info(); err != nil || info.Mode() != 0o600 {
			t.Errorf("%s: %v, %v: it may hold secrets", e.Name(), info.Mode(), err)
		}
	}
	if got != len(want) {
		t.Errorf("%d files in %s, want %d", got, dir, len(want))
	}
}

func TestThereAndBack(t *testing.T) {
	dir := t.TempDir()
	f := gathered(t, filepath.Join(dir, "a.unfinished"))
	var packed bytes.Buffer
	must(t, f.WriteTar(t.Context(), &packed, time.Unix(1_700_000_000, 0)))
	wantFiles(t, dir, nil) // and the folder is gone

	unpacked := gather(t, filepath.Join(dir, "b.unfinished"))
	must(t, unpacked.ReadTar(t.Context(), &packed))
	kept := filepath.Join(dir, "b")
	must(t, unpacked.Keep(kept))
	wantFiles(t, kept, content)
	if info, err := os.Stat(kept); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	must(t, unpacked.Discard())
	wantFiles(t, kept, content) // what is kept is not discarded

	copied := gather(t, filepath.Join(dir, "c.unfinished"))
	must(t, copied.ReadFolder(t.Context(), kept))
	must(t, copied.Keep(filepath.Join(dir, "c")))
	wantFiles(t, filepath.Join(dir, "c"), content)
}

// brokenPipe takes some bytes.
type brokenPipe struct{ left int }

func (w *brokenPipe) Write(b []byte) (int, error) {
	if w.left -= len(b); w.left < 0 {
		return 0, io.ErrClosedPipe
	}
	return len(b), nil
}

// TestNobodyReads: whenever the reader of a tar goes, an error says so and
// nothing is left.
func TestNobodyReads(t *testing.T) {
	dir := t.TempDir()
	for n := 0; ; n += 500 {
		f := gathered(t, filepath.Join(dir, "x.unfinished"))
		err := f.WriteTar(t.Context(), &brokenPipe{n}, time.Unix(0, 0))
		if entries, _ := os.ReadDir(dir); len(entries) > 0 {
			t.Fatalf("after %d bytes: %v is left", n, entries)
		}
		if err == nil {
			break
		}
		if !errors.Is(err, io.ErrClosedPipe) {
			t.Fatalf("after %d bytes: %v", n, err)
		}
	}
}

// entry is a file in a tar.
type entry struct {
	tar.Header
	body string
}

func plain(name, body string) entry {
	return entry{tar.Header{Name: name, Size: int64(len(body))}, body}
}

// pack makes a tar of these; entries that say more than they hold end it.
func pack(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		e.Mode = 0o777
		if err := w.WriteHeader(&e.Header); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, e.body); err != nil {
			t.Fatal(err)
		}
		if e.Size > int64(len(e.body)) {
			return b.Bytes()
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func wholeTar(t testing.TB, more ...entry) []byte {
	t.Helper()
	var entries []entry
	for _, name := range []string{backup.Business, backup.Journal, backup.Verifier, backup.Checkpoint} {
		entries = append(entries, plain(name, content[name]))
	}
	return pack(t, append(more, entries...)...)
}

func TestHostileTars(t *testing.T) {
	whole := wholeTar(t)
	link := func(kind byte, name, to string) entry {
		return entry{tar.Header{Typeflag: kind, Name: name, Linkname: to}, ""}
	}
	huge := plain(backup.Business, "x")
	huge.Size = 1 << 50
	for name, c := range map[string]struct {
		tar  []byte
		want error
		says string
	}{
		"above":               {wholeTar(t, plain("../escaped", "x")), backup.ErrNotBackup, `"../escaped"`},
		"above, by another":   {wholeTar(t, plain("./../escaped", "x")), backup.ErrNotBackup, `"../escaped"`},
		"absolute":            {wholeTar(t, plain("/tmp/escaped", "x")), backup.ErrNotBackup, `"/tmp/escaped"`},
		"in a folder":         {wholeTar(t, plain("x/journal.db", "x")), backup.ErrNotBackup, `"x/journal.db"`},
		"a folder":            {wholeTar(t, link(tar.TypeDir, "journal.db", "")), backup.ErrNotBackup, "no plain file"},
		"a symbolic link":     {wholeTar(t, link(tar.TypeSymlink, "signing.key.pub", "/etc/passwd")), backup.ErrNotBackup, "no plain file"},
		"a hard link":         {wholeTar(t, link(tar.TypeLink, "signing.key.pub", "/etc/passwd")), backup.ErrNotBackup, "no plain file"},
		"a pipe":              {wholeTar(t, link(tar.TypeFifo, "journal.db", "")), backup.ErrNotBackup, "no plain file"},
		"another's":           {wholeTar(t, plain("etc", "x")), backup.ErrNotBackup, `it holds "etc"`},
		"SQLite's log":        {wholeTar(t, plain("journal.db-wal", "x")), backup.ErrNotBackup, `it holds "journal.db-wal"`},
		"twice":               {wholeTar(t, plain("journal.db", "x")), backup.ErrNotBackup, "it holds journal.db twice"},
		"twice, otherwise":    {wholeTar(t, plain("./journal.db", "x")), backup.ErrNotBackup, "it holds journal.db twice"},
		"huge":                {pack(t, huge), backup.ErrNoRoom, "business.db: no room"},
		"a huge text":         {wholeTar(t, plain(backup.Checkpoint, strings.Repeat("x", 1<<20))), backup.ErrNotBackup, "1048576 bytes long"},
		"nothing":             {nil, backup.ErrNotBackup, "business.db is missing"},
		"no tar":              {bytes.Repeat([]byte("tar "), 1000), backup.ErrNotBackup, "decompress it first"},
		"cut in a file":       {whole[:2000], backup.ErrNotBackup, "broken off"},
		"cut in a header":     {whole[:1100], backup.ErrNotBackup, "broken off"},
		"cut between files":   {whole[:1024], backup.ErrNotBackup, "journal.db is missing"},
		"another sum":         {wholeTar(t, plain(backup.Sums, strings.Repeat("0", 64)+"  business.db\n")), backup.ErrNotBackup, "its business.db is not what SHA256SUMS says"},
		"an entry without it": {wholeTar(t, plain("", "x")), backup.ErrNotBackup, `it holds ""`},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			f := gather(t, filepath.Join(dir, "in"))
			if err := f.ReadTar(t.Context(), bytes.NewReader(c.tar)); !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v; want %v with %q", err, c.want, c.says)
			}
			must(t, f.Discard())
			if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
				t.Errorf("left: %v, %v", left, err)
			}
		})
	}
	t.Run("all is well", func(t *testing.T) {
		f := gather(t, filepath.Join(t.TempDir(), "in"))
		must(t, f.ReadTar(t.Context(), bytes.NewReader(wholeTar(t, link(tar.TypeDir, "./", "")))))
	})
}

// TestFolders: a folder is read by the same rules.
func TestFolders(t *testing.T) {
	for name, c := range map[string]struct {
		change func(t *testing.T, dir string)
		says   string
	}{
		"lacks one": {func(t *testing.T, dir string) { must(t, os.Remove(filepath.Join(dir, backup.Journal))) }, "journal.db is missing"},
		"changed": {func(t *testing.T, dir string) {
			must(t, os.WriteFile(filepath.Join(dir, backup.Business), []byte("x"), 0o600))
		}, "its business.db is not what"},
		"data directory": {func(t *testing.T, dir string) {
			must(t, os.WriteFile(filepath.Join(dir, "journal.db-wal"), nil, 0o600))
		}, "is a data directory"},
		"a folder as file": {func(t *testing.T, dir string) {
			must(t, errors.Join(os.Remove(filepath.Join(dir, backup.Journal)), os.Mkdir(filepath.Join(dir, backup.Journal), 0o700)))
		}, "no plain file"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			kept := filepath.Join(dir, "kept")
			must(t, gathered(t, kept+".unfinished").Keep(kept))
			c.change(t, kept)
			f := gather(t, filepath.Join(dir, "in"))
			if err := f.ReadFolder(t.Context(), kept); !errors.Is(err, backup.ErrNotBackup) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v; want %q", err, c.says)
			}
		})
	}
}

func TestReadingEndsWithTheContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	f := gather(t, filepath.Join(t.TempDir(), "in"))
	if err := f.ReadTar(ctx, bytes.NewReader(wholeTar(t))); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestGatherAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x")
	first := gather(t, path)
	must(t, first.Write(backup.Journal, "x"))
	if _, err := backup.Gather(path); !errors.Is(err, backup.ErrBusy) {
		t.Errorf("a second one: %v", err)
	}
	wantFiles(t, path, map[string]string{backup.Journal: "x"})
	must(t, first.Discard())

	// What a process that died left is taken over, whatever became of its mode.
	must(t, os.MkdirAll(filepath.Join(path, "junk"), 0o770))
	must(t, os.WriteFile(filepath.Join(path, backup.Journal), []byte("old"), 0o660))
	next := gather(t, path)
	must(t, next.Write(backup.Journal, "new"))
	wantFiles(t, path, map[string]string{backup.Journal: "new"})
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

// TestGatherElsewhere: nobody makes us write, or remove, where they want.
func TestGatherElsewhere(t *testing.T) {
	dir := t.TempDir()
	theirs := filepath.Join(dir, "theirs")
	must(t, errors.Join(os.Mkdir(theirs, 0o777), os.WriteFile(filepath.Join(theirs, "precious"), nil, 0o600)))
	must(t, os.Symlink(theirs, filepath.Join(dir, "link")))
	if f, err := backup.Gather(filepath.Join(dir, "link")); err == nil {
		t.Errorf("through a link: %v", f)
	}
	if os.Geteuid() == 0 {
		must(t, os.Chown(theirs, 65534, 65534))
		if _, err := backup.Gather(theirs); err == nil || !strings.Contains(err.Error(), "another user's") {
			t.Errorf("in another user's folder: %v", err)
		}
	}
	wantFiles(t, theirs, map[string]string{"precious": ""})
}

func TestNeedRoom(t *testing.T) {
	f := gather(t, filepath.Join(t.TempDir(), "x"))
	must(t, f.NeedRoom(1))
	for _, bytes := range []int64{1 << 55, 1<<63 - 1} {
		if err := f.NeedRoom(bytes); !errors.Is(err, backup.ErrNoRoom) {
			t.Errorf("%d bytes: %v", bytes, err)
		}
	}
}

// databases are what is put in its place.
func databases() map[string]string {
	return map[string]string{backup.Business: content[backup.Business], backup.Journal: content[backup.Journal]}
}

// arrive has a backup arrive in a data directory.
func arrive(t *testing.T, dir string) *backup.Folder {
	t.Helper()
	f, err := backup.Arrive(dir)
	must(t, err)
	t.Cleanup(func() { must(t, f.Discard()) })
	must(t, backup.Vacant(dir))
	must(t, f.ReadTar(t.Context(), bytes.NewReader(wholeTar(t))))
	return f
}

// TestPlaceAgain: from whatever a restore left that was killed, the next one gets
// to its end, and until then it is seen that there is none.
func TestPlaceAgain(t *testing.T) {
	for name, left := range map[string][]string{
		"nothing":                  nil,
		"while it arrived":         {"restore.unfinished/", "restore.unfinished/business.db", "restore.unfinished/x"},
		"when it was verified":     {"restore.placing/", "restore.placing/business.db", "restore.placing/journal.db"},
		"after the first":          {"restore.placing/", "business.db", "restore.placing/journal.db"},
		"after both":               {"restore.placing/", "business.db", "journal.db"},
		"while it was taken back":  {"restore.placing/", "journal.db"},
		"while a next one arrived": {"restore.placing/", "business.db", "journal.db", "restore.unfinished/", "restore.unfinished/business.db"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for _, name := range left {
				if path := filepath.Join(dir, name); strings.HasSuffix(name, "/") {
					must(t, os.Mkdir(path, 0o700))
				} else {
					must(t, os.WriteFile(path, []byte("old"), 0o600))
				}
			}
			if backup.BrokenOff(dir) != (left != nil) {
				t.Error("it is not seen that a restore was broken off")
			}
			must(t, arrive(t, dir).Place(dir))
			if backup.BrokenOff(dir) {
				t.Error("it is not seen that the restore came to its end")
			}
			wantFiles(t, dir, databases())
		})
	}
}

// TestVacant: what is there stays, whatever else lies there.
func TestVacant(t *testing.T) {
	for _, name := range []string{"journal.db", "business.db", "journal.db-wal", "business.db-shm", "journal.db-journal"} {
		dir := t.TempDir()
		must(t, os.WriteFile(filepath.Join(dir, name), []byte("mine"), 0o600))
		must(t, os.Mkdir(filepath.Join(dir, "restore.unfinished"), 0o700))
		f, err := backup.Arrive(dir)
		must(t, err)
		if err := backup.Vacant(dir); !errors.Is(err, backup.ErrOccupied) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
		must(t, f.Discard())
		wantFiles(t, dir, map[string]string{name: "mine"})

		aside := filepath.Join(dir, "aside")
		must(t, backup.SetAside(dir, aside))
		must(t, backup.Vacant(dir))
		wantFiles(t, aside, map[string]string{name: "mine"})
	}
	dir := t.TempDir()
	must(t, backup.SetAside(dir, filepath.Join(dir, "aside")))
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		t.Errorf("%v, %v: nothing was to be set aside", entries, err)
	}
}

// FuzzReadTar: whatever a tar says, only files of a backup appear, in the folder,
// and all is well only if it holds what a backup must.
func FuzzReadTar(f *testing.F) {
	f.Add(wholeTar(f))
	f.Add(wholeTar(f, plain("../x", "x")))
	f.Add(wholeTar(f, entry{tar.Header{Typeflag: tar.TypeSymlink, Name: backup.Checkpoint, Linkname: "/etc/passwd"}, ""}))
	f.Add(pack(f, entry{tar.Header{Name: backup.Journal, Size: 3, PAXRecords: map[string]string{"TOLL.x": "y"}}, "abc"}))
	f.Fuzz(func(t *testing.T, b []byte) {
		dir := t.TempDir()
		in := filepath.Join(dir, "in")
		err := gather(t, in).ReadTar(t.Context(), bytes.NewReader(b))
		known := []string{backup.Business, backup.Journal, backup.Verifier, backup.Checkpoint, backup.Sums}
		entries, listed := os.ReadDir(in)
		must(t, listed)
		required := 0
		for _, e := range entries {
			if !slices.Contains(known, e.Name()) || !e.Type().IsRegular() {
				t.Errorf("it made %v", e)
			}
			if e.Name() == backup.Business || e.Name() == backup.Journal || e.Name() == backup.Checkpoint {
				required++
			}
		}
		if err == nil && required < 3 {
			t.Error("half a backup was taken for a whole one")
		}
		if around, err := os.ReadDir(dir); err != nil || len(around) != 1 {
			t.Errorf("%v, %v: it wrote outside of the folder", around, err)
		}
	})
}
