package journal_test

import (
	"bytes"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/mod/sumdb/tlog"
	"pgregory.net/rapid"

	"github.com/tollkeeper/tollkeeper/internal/journal"
)

func verify(t *testing.T, path string, o journal.VerifyOptions) *journal.Report {
	t.Helper()
	r, err := journal.OpenReader(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	report, err := r.Verify(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

func wantDefect(t *testing.T, r *journal.Report, kind string, seq uint64) {
	t.Helper()
	if !slices.ContainsFunc(r.Defects, func(d journal.Defect) bool { return d.Kind == kind && d.Seq == seq }) {
		t.Errorf("want %s at entry %d, found %+v", kind, seq, r.Defects)
	}
}

// TestTampering changes the file as one without the key could, and expects the
// kind and the place, and that nothing else is blamed.
func TestTampering(t *testing.T) {
	t.Parallel()
	base := filled(t, 20)
	tests := []struct {
		name, sql string
		want      []string // "kind entry"
	}{
		{"nothing", "SELECT 1", nil},
		{"body edited", "UPDATE bodies SET body = replace(CAST(body AS TEXT), '\"n\":5', '\"n\":6') WHERE seq = 6", []string{"items 6"}},
		{"bodies swapped", "UPDATE bodies SET seq = -seq WHERE seq IN (3, 10); UPDATE bodies SET seq = 13 + seq WHERE seq < 0", []string{"items 3", "items 10"}},
		{"body removed", "DELETE FROM bodies WHERE seq = 4", []string{"body 4"}},
		{"body unreadable", "UPDATE bodies SET encoding = 1, body = x'00' WHERE seq = 4", []string{"body 4"}},
		{"body of an unknown encoding", "UPDATE bodies SET encoding = 7 WHERE seq = 4", []string{"body 4"}},
		{"body of a nonsensical encoding", "UPDATE bodies SET encoding = 'plain' WHERE seq = 4", []string{"body 4"}},
		{"body added", "INSERT INTO bodies VALUES (999, 0, x'')", []string{"extra 0"}},
		{"body added below", "INSERT INTO bodies VALUES (0, 0, x'')", []string{"extra 0"}},
		{"header edited", `UPDATE entries SET header = replace(CAST(header AS TEXT), '"producer":"p"', '"producer":"q"') WHERE seq = 7`, []string{"tree 7"}},
		{"header's time edited", `UPDATE entries SET header = replace(CAST(header AS TEXT), '"received":"1', '"received":"3') WHERE seq = 7`, []string{"tree 7"}},
		{"header's count edited", `UPDATE entries SET header = replace(CAST(header AS TEXT), '"count":6', '"count":7') WHERE seq = 7`, []string{"items 7", "tree 7"}},
		{"header not canonical", `UPDATE entries SET header = replace(CAST(header AS TEXT), '{"count"', '{ "count"') WHERE seq = 7`, []string{"header 7", "tree 7"}},
		{"header unreadable", "UPDATE entries SET header = x'7b' WHERE seq = 7", []string{"header 7", "tree 7"}},
		{"header of a newer version", `UPDATE entries SET header = replace(CAST(header AS TEXT), '"v":1', '"v":9') WHERE seq = 7`, []string{"header 7", "tree 7"}},
		{"root edited", "UPDATE entries SET root = zeroblob(32) WHERE seq = 8", []string{"items 8", "tree 8"}},
		{"root cut", "UPDATE entries SET root = x'00' WHERE seq = 8", []string{"items 8", "tree 8"}},
		{"entry removed", "DELETE FROM entries WHERE seq = 9", []string{"extra 9", "gap 9"}},
		{"entry and body removed", "DELETE FROM entries WHERE seq IN (9, 10); DELETE FROM bodies WHERE seq IN (9, 10)", []string{"gap 9"}},
		{"entries swapped", "UPDATE entries SET seq = -seq WHERE seq IN (3, 10); UPDATE entries SET seq = 13 + seq WHERE seq < 0",
			[]string{"header 3", "items 3", "tree 3", "header 10", "items 10", "tree 10"}},
		{"entries and bodies swapped", "UPDATE entries SET seq = -seq WHERE seq IN (3, 10); UPDATE entries SET seq = 13 + seq WHERE seq < 0;" +
			"UPDATE bodies SET seq = -seq WHERE seq IN (3, 10); UPDATE bodies SET seq = 13 + seq WHERE seq < 0", []string{"header 3", "tree 3", "header 10", "tree 10"}},
		{"entry inserted", "INSERT INTO entries SELECT 21, header, root FROM entries WHERE seq = 20", []string{"header 21", "body 21", "tree 21", "unsigned 21"}},
		{"entry inserted below", "INSERT INTO entries SELECT 0, header, root FROM entries WHERE seq = 20", []string{"extra 0"}},
		{"entry inserted above a gap", "INSERT INTO entries SELECT 900, header, root FROM entries WHERE seq = 20", []string{"gap 21", "header 900", "body 900", "tree 900", "unsigned 21"}},
		{"entry inserted far above", "INSERT INTO entries SELECT 4611686018427387904, header, root FROM entries WHERE seq = 20", []string{"extra 0"}},
		{"leaf edited", "UPDATE hashes SET hash = zeroblob(32) WHERE id = 0", []string{"tree 1"}},
		{"inner hash edited", "UPDATE hashes SET hash = zeroblob(32) WHERE id = 14", []string{"tree 8"}},
		{"inner hash cut", "UPDATE hashes SET hash = x'00' WHERE id = 14", []string{"tree 8"}},
		{"hash removed", "DELETE FROM hashes WHERE id = 7", []string{"tree 5"}},
		{"hash added", "INSERT INTO hashes VALUES (999, zeroblob(32))", []string{"extra 0"}},
		{"hash added below", "INSERT INTO hashes VALUES (-1, zeroblob(32))", []string{"extra 0"}},
		{"hashes swapped", "UPDATE hashes SET id = -id WHERE id IN (1, 3); UPDATE hashes SET id = 4 + id WHERE id < 0", []string{"tree 2", "tree 3"}},
		{"checkpoint removed", "DELETE FROM checkpoint", []string{"unsigned 1"}},
		{"checkpoint and key removed", "DELETE FROM checkpoint; DELETE FROM meta WHERE name = 'verifier'", []string{"unsigned 1"}},
		{"checkpoint edited", "UPDATE checkpoint SET note = replace(note, char(10) || '20' || char(10), char(10) || '19' || char(10))", []string{"signature 0", "unsigned 1"}},
		{"tail cut", "DELETE FROM entries WHERE seq > 15; DELETE FROM bodies WHERE seq > 15", []string{"cut 16", "unsigned 1"}},
		{"tail cut with its hashes", "DELETE FROM entries WHERE seq > 15; DELETE FROM bodies WHERE seq > 15; DELETE FROM hashes WHERE id >= 26", []string{"cut 16", "unsigned 1"}},
		{"all cut", "DELETE FROM entries; DELETE FROM bodies; DELETE FROM hashes", []string{"cut 1", "index 0"}},
		{"origin edited", "UPDATE meta SET value = 'x' WHERE name = 'origin'", []string{"meta 0"}},
		{"meta added", "INSERT INTO meta VALUES ('x', 'y')", []string{"extra 0"}},
		{"index edited", "UPDATE newest SET seq = 12", []string{"index 0"}},
		{"index nonsensical", "UPDATE newest SET seq = 'x'", []string{"index 0"}},
		{"index added", "INSERT INTO newest VALUES ('otlp.traces', 3)", []string{"index 0"}},
		{"trigger added", "CREATE TRIGGER x AFTER INSERT ON entries BEGIN DELETE FROM bodies; END", []string{"schema 0"}},
		{"table removed", "DROP TABLE newest; CREATE TABLE newest (kind, seq)", []string{"schema 0"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			path := copyOf(t, base.path)
			tamper(t, path, tt.sql)
			got := []string{}
			for _, d := range verify(t, path, journal.VerifyOptions{}).Defects {
				got = append(got, fmt.Sprintf("%s %d", d.Kind, d.Seq))
			}
			slices.Sort(got)
			want := slices.Clone(tt.want)
			slices.Sort(want)
			if !slices.Equal(slices.Compact(got), slices.Compact(want)) {
				t.Errorf("want %q, found %q", want, got)
			}
		})
	}
}

// filled is a closed journal of so many entries; entry 5 is marked.
func filled(t *testing.T, entries int) *fixture {
	t.Helper()
	f := open(t, journal.Options{})
	for n := range entries {
		b := batch(n, n%7)
		if n == 4 {
			b.Kind, b.Mark = "policy", true
		}
		if _, err := f.Append(t.Context(), b); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return f
}

// copyOf copies a journal that nobody has open.
func copyOf(t interface {
	Helper()
	Fatal(args ...any)
	TempDir() string
}, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	to := filepath.Join(t.TempDir(), "journal.db")
	if err := os.WriteFile(to, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return to
}

// TestAnyChangedRowIsFound changes one row at random, as one without the key
// could, and expects that the report names it.
func TestAnyChangedRowIsFound(t *testing.T) {
	t.Parallel()
	const entries = 40
	base := filled(t, entries)
	dir := t.TempDir()
	original, err := os.ReadFile(base.path)
	if err != nil {
		t.Fatal(err)
	}
	hashes := tlog.StoredHashCount(entries)
	n := 0
	rapid.Check(t, func(t *rapid.T) {
		n++
		path := filepath.Join(dir, strconv.Itoa(n)+".db")
		if err := os.WriteFile(path, original, 0o600); err != nil {
			t.Fatal(err)
		}
		defer os.Remove(path)
		m := &mutation{t: t, path: path}
		seq := rapid.Int64Range(1, entries).Draw(t, "entry")
		hash := rapid.Int64Range(0, hashes-1).Draw(t, "hash")
		_, leaf := tlog.SplitStoredHashIndex(hash)
		level, _ := tlog.SplitStoredHashIndex(hash)
		owner := (leaf+1)<<level - 1 + 1 // the entry with which the hash was stored
		switch rapid.SampledFrom([]string{"header", "root", "body", "hash", "delete", "swap", "insert", "signature"}).Draw(t, "change") {
		case "header":
			m.flip("entries", "header", "seq", seq)
			m.expect(seq)
		case "root":
			m.flip("entries", "root", "seq", seq)
			m.expect(seq)
		case "body":
			if m.flip("bodies", "body", "seq", seq) {
				m.expect(seq)
			}
		case "hash":
			m.flip("hashes", "hash", "id", hash)
			m.expect(owner)
		case "delete":
			switch rapid.IntRange(0, 2).Draw(t, "table") {
			case 0:
				m.exec("DELETE FROM entries WHERE seq = ?", seq)
				m.expectOneOf(seq, "cut", uint64(seq))
			case 1:
				m.exec("DELETE FROM bodies WHERE seq = ?", seq)
				m.expect(seq)
			case 2:
				m.exec("DELETE FROM hashes WHERE id = ?", hash)
				m.expect(owner)
			}
		case "swap":
			other := rapid.Int64Range(1, entries).Filter(func(x int64) bool { return x%7 != seq%7 }).Draw(t, "other")
			table := rapid.SampledFrom([]string{"entries", "bodies"}).Draw(t, "table")
			m.exec("UPDATE "+table+" SET seq = -seq WHERE seq IN (?, ?)", seq, other)
			m.exec("UPDATE "+table+" SET seq = ? + seq WHERE seq < 0", seq+other)
			m.expect(seq)
			m.expect(other)
		case "insert":
			at := rapid.OneOf(rapid.Int64Range(-1<<62, 0), rapid.Int64Range(entries+1, 1<<62)).Draw(t, "at")
			switch rapid.IntRange(0, 2).Draw(t, "table") {
			case 0:
				m.exec("INSERT INTO entries SELECT ?, header, root FROM entries WHERE seq = ?", at, seq)
				m.expectOneOf(at, strconv.FormatInt(at, 10), 0)
			case 1:
				m.exec("INSERT INTO bodies SELECT ?, encoding, body FROM bodies WHERE seq = ?", at, seq)
				m.expectOneOf(at, strconv.FormatInt(at, 10), 0)
			case 2:
				if at > 0 {
					at = max(at, hashes)
				} else if at == 0 {
					at = -1
				}
				m.exec("INSERT INTO hashes SELECT ?, hash FROM hashes WHERE id = ?", at, hash)
				m.expectOneOf(entries+1, strconv.FormatInt(at, 10), 0)
			}
		case "signature":
			m.flip("checkpoint", "note", "id", 1)
			m.expectOneOf(0, "does not verify", 0)
		}
	})
}

// mutation is one change of a copy.
type mutation struct {
	t      *rapid.T
	path   string
	report *journal.Report
}

func (m *mutation) db(fn func(db *sql.DB) error) {
	m.t.Helper()
	db, err := sql.Open("sqlite", m.path)
	if err == nil {
		err = errors.Join(fn(db), db.Close())
	}
	if err != nil {
		m.t.Fatal(err)
	}
}

func (m *mutation) exec(query string, args ...any) {
	m.t.Helper()
	m.db(func(db *sql.DB) error {
		result, err := db.Exec(query, args...)
		if err != nil {
			return err
		}
		if n, err := result.RowsAffected(); err != nil || n == 0 {
			return fmt.Errorf("%s changed nothing: %w", query, err)
		}
		return nil
	})
}

// flip flips some bits of one byte of a column, and reports whether what it says
// has changed: a compressed body may be packed in several ways.
func (m *mutation) flip(table, column, key string, id int64) bool {
	m.t.Helper()
	changed := false
	m.db(func(db *sql.DB) error {
		var b []byte
		if err := db.QueryRow("SELECT CAST("+column+" AS BLOB) FROM "+table+" WHERE "+key+" = ?", id).Scan(&b); err != nil {
			return err
		}
		if len(b) == 0 {
			return nil // the body of an empty entry
		}
		before := unpacked(b)
		i := rapid.IntRange(0, len(b)-1).Draw(m.t, "byte")
		b[i] ^= byte(rapid.IntRange(1, 255).Draw(m.t, "bits"))
		changed = !bytes.Equal(before, unpacked(b))
		_, err := db.Exec("UPDATE "+table+" SET "+column+" = ? WHERE "+key+" = ?", b, id)
		return err
	})
	return changed
}

// unpacked is a body's content, or the bytes of what is not packed.
func unpacked(b []byte) []byte {
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1))
	if err != nil {
		return b
	}
	defer d.Close()
	if plain, err := d.DecodeAll(b, nil); err == nil {
		return plain
	}
	return b
}

// expect wants a defect at an entry.
func (m *mutation) expect(seq int64) {
	m.t.Helper()
	m.expectOneOf(seq, "\x00", 0)
}

// expectOneOf wants a defect at an entry, or one at another whose kind or words
// hold a text.
func (m *mutation) expectOneOf(seq int64, text string, at uint64) {
	m.t.Helper()
	if m.report == nil {
		r, err := journal.OpenReader(m.t.Context(), m.path)
		if err != nil {
			m.t.Fatal(err)
		}
		defer r.Close()
		if m.report, err = r.Verify(m.t.Context(), journal.VerifyOptions{}); err != nil {
			m.t.Fatal(err)
		}
	}
	for _, d := range m.report.Defects {
		if seq > 0 && d.Seq == uint64(seq) || d.Seq == at && (strings.Contains(d.Detail, text) || d.Kind == text) {
			return
		}
	}
	m.t.Errorf("want a defect at entry %d, found %+v", seq, m.report.Defects)
}

// storedEntry is an entry as one edits it who computes the hashes again.
type storedEntry struct {
	header []byte
	items  [][]byte
}

// rewrite edits entries and computes again all that needs no key.
func rewrite(t *testing.T, path string, edit func(n int, e *storedEntry)) (root tlog.Hash, size int64) {
	t.Helper()
	db := raw(t, path)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(db.QueryRow("SELECT max(seq) FROM entries").Scan(&size))
	var stored hashes
	for n := range size {
		var e storedEntry
		var encoding int
		var body []byte
		must(db.QueryRow("SELECT header, encoding, body FROM entries JOIN bodies USING (seq) WHERE seq = ?", n+1).Scan(&e.header, &encoding, &body))
		if encoding == 1 {
			body = unpacked(body)
		}
		if len(body) > 0 {
			e.items = bytes.Split(body, []byte("\n"))
		}
		edit(int(n)+1, &e)
		var items hashes
		for i, item := range e.items {
			more, err := tlog.StoredHashes(int64(i), item, items)
			must(err)
			items = append(items, more...)
		}
		entryRoot, err := tlog.TreeHash(int64(len(e.items)), items)
		must(err)
		more, err := tlog.StoredHashes(n, append(slices.Clone(e.header), entryRoot[:]...), stored)
		must(err)
		_, err = db.Exec("UPDATE entries SET header = ?, root = ? WHERE seq = ?", e.header, entryRoot[:], n+1)
		must(err)
		_, err = db.Exec("UPDATE bodies SET encoding = 0, body = ? WHERE seq = ?", bytes.Join(e.items, []byte("\n")), n+1)
		must(err)
		for i, h := range more {
			_, err = db.Exec("UPDATE hashes SET hash = ? WHERE id = ?", h[:], len(stored)+i)
			must(err)
		}
		stored = append(stored, more...)
	}
	root, err := tlog.TreeHash(size, stored)
	must(err)
	must(db.Close())
	return root, size
}

type hashes []tlog.Hash

func (h hashes) ReadHashes(indexes []int64) (out []tlog.Hash, err error) {
	for _, i := range indexes {
		out = append(out, h[i])
	}
	return out, nil
}

// TestRewritten rewrites a journal with all its hashes: the own checkpoint finds
// it where the key was not at hand, one kept elsewhere where it was.
func TestRewritten(t *testing.T) {
	t.Parallel()
	f := open(t, journal.Options{})
	f.fill(t, 20)
	kept, err := f.Checkpoint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for n := 20; n < 30; n++ {
		if _, err := f.Append(t.Context(), batch(n, 2)); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	root, size := rewrite(t, f.path, func(n int, e *storedEntry) {
		if n == 7 {
			e.items[2] = bytes.Replace(e.items[2], []byte(`"n":6`), []byte(`"n":1`), 1)
		}
	})
	trusted := []string{f.signer.Verifier()}
	t.Run("without a key", func(t *testing.T) {
		r := verify(t, f.path, journal.VerifyOptions{})
		if len(r.Defects) != 2 {
			t.Errorf("%+v", r.Defects)
		}
		wantDefect(t, r, journal.DefectCheckpoint, 0)
		wantDefect(t, r, journal.DefectUnsigned, 1)
	})
	forge := func(t *testing.T, s *journal.Signer) string {
		t.Helper()
		path := copyOf(t, f.path)
		note, err := s.Sign(journal.Checkpoint{Origin: f.Origin(), Size: uint64(size), Root: root})
		if err != nil {
			t.Fatal(err)
		}
		db := raw(t, path)
		for _, q := range []string{"UPDATE checkpoint SET note = ?1 WHERE ?2 <> ''", "UPDATE meta SET value = ?2 WHERE name = 'verifier' AND ?1 <> ''"} {
			if _, err := db.Exec(q, note, s.Verifier()); err != nil {
				t.Fatal(err)
			}
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		return path
	}
	t.Run("with a key of their own", func(t *testing.T) {
		path := forge(t, newSigner(t))
		if r := verify(t, path, journal.VerifyOptions{}); len(r.Defects) > 0 || r.VerifierGiven {
			t.Errorf("a journal that vouches for itself, and says that nobody else does: %+v", r)
		}
		r := verify(t, path, journal.VerifyOptions{Verifiers: trusted})
		wantDefect(t, r, journal.DefectMeta, 0)
		wantDefect(t, r, journal.DefectSignature, 0)
		wantDefect(t, r, journal.DefectUnsigned, 1)
	})
	t.Run("with the key", func(t *testing.T) {
		path := forge(t, f.signer)
		if r := verify(t, path, journal.VerifyOptions{Verifiers: trusted}); len(r.Defects) > 0 {
			t.Errorf("one with the key leaves no trace in the journal itself: %+v", r)
		}
		r := verify(t, path, journal.VerifyOptions{Verifiers: trusted, Checkpoints: []string{kept}})
		if len(r.Defects) != 1 {
			t.Errorf("%+v", r.Defects)
		}
		wantDefect(t, r, journal.DefectCheckpoint, 0)
	})
}

// TestCheckpointsKeptElsewhere tells a good one, one of a cut journal, another
// journal's, a forged and a mangled one apart.
func TestCheckpointsKeptElsewhere(t *testing.T) {
	t.Parallel()
	f := open(t, journal.Options{})
	f.fill(t, 20)
	kept, err := f.Checkpoint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	sign := func(s *journal.Signer, c journal.Checkpoint) string {
		note, err := s.Sign(c)
		if err != nil {
			t.Fatal(err)
		}
		return note
	}
	own, err := journal.OpenCheckpoint(kept, f.signer.Verifier())
	if err != nil {
		t.Fatal(err)
	}
	longer, other, wrong := own, own, own
	longer.Size, other.Origin, wrong.Root = 25, "tollkeeper-journal-other", tlog.Hash{1}
	for _, tt := range []struct {
		name, note, kind string
		seq              uint64
	}{
		{"good", kept, "", 0},
		{"of the empty journal", sign(f.signer, journal.Checkpoint{Origin: own.Origin, Root: tlog.Hash{}}), "", 0},
		{"of more entries", sign(f.signer, longer), journal.DefectCut, 21},
		{"of another journal", sign(f.signer, other), journal.DefectCheckpoint, 0},
		{"of another root", sign(f.signer, wrong), journal.DefectCheckpoint, 0},
		{"of another key", sign(newSigner(t), own), journal.DefectSignature, 0},
		{"mangled", strings.Replace(kept, "\n20\n", "\n21\n", 1), journal.DefectSignature, 0},
		{"empty", "", journal.DefectSignature, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := verify(t, f.path, journal.VerifyOptions{Verifiers: []string{f.signer.Verifier()}, Checkpoints: []string{tt.note}})
			if tt.kind == "" {
				if len(r.Defects) > 0 {
					t.Errorf("%+v", r.Defects)
				}
				return
			}
			wantDefect(t, r, tt.kind, tt.seq)
		})
	}
}

// TestDamagedFile finds a file that SQLite cannot read all of.
func TestDamagedFile(t *testing.T) {
	t.Parallel()
	f := filled(t, 200)
	b, err := os.ReadFile(f.path)
	if err != nil {
		t.Fatal(err)
	}
	for name, damaged := range map[string][]byte{
		"pages overwritten": append(append(slices.Clone(b[:8*4096]), bytes.Repeat([]byte{0xa5}, 4*4096)...), b[12*4096:]...),
		"cut":               b[:len(b)/8192*4096],
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "journal.db")
			if err := os.WriteFile(path, damaged, 0o600); err != nil {
				t.Fatal(err)
			}
			reader, err := journal.OpenReader(t.Context(), path)
			report := journal.Unreadable(err)
			if report == nil {
				if err != nil {
					t.Fatal(err)
				}
				defer reader.Close()
				if report, err = reader.Verify(t.Context(), journal.VerifyOptions{}); err != nil {
					t.Fatal(err)
				}
			}
			if !slices.ContainsFunc(report.Defects, func(d journal.Defect) bool { return d.Kind == journal.DefectFile }) {
				t.Errorf("%+v", report.Defects)
			}
		})
	}
}

func TestVerifyTellsProgress(t *testing.T) {
	t.Parallel()
	f := filled(t, 600)
	var told []uint64
	r := verify(t, f.path, journal.VerifyOptions{Progress: func(done, total uint64) {
		if total != 600 {
			t.Errorf("%d entries in all", total)
		}
		told = append(told, done)
	}})
	if len(r.Defects) > 0 || len(told) < 2 || !slices.IsSorted(told) || told[len(told)-1] != 600 {
		t.Errorf("%v, %+v", told, r)
	}
}
