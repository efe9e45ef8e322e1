package sqlite_test

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tollkeeper/tollkeeper/internal/store/sqlite"
	"github.com/tollkeeper/tollkeeper/internal/store/storetest"
	"github.com/tollkeeper/tollkeeper/internal/usage"
)

// raw opens a file of a projection as another program does.
func raw(t *testing.T, dir, name string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

func reader(t *testing.T, dir string) *sqlite.Reader {
	t.Helper()
	r, err := sqlite.OpenReader(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// TestReaderBeforeTheWriter opens a projection that is not there: it is empty,
// and what a writer makes later is seen without opening it anew.
func TestReaderBeforeTheWriter(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "usage")
	r := reader(t, dir)
	for question, ask := range questions {
		if err := ask(t.Context(), r); err != nil {
			t.Errorf("%s: %v", question, err)
		}
	}
	if at, err := r.Positions(t.Context()); len(at) != 0 || err != nil {
		t.Errorf("%v, %v", at, err)
	}
	if found := check(t, dir); len(found) > 0 {
		t.Error(found)
	}
	s := open(t, dir)
	g := storetest.NewGenerator(12, 2)
	for _, b := range g.Batches(20) {
		if err := s.Apply(t.Context(), b); err != nil {
			t.Fatal(err)
		}
	}
	storetest.Compare(t, both{r, &writer{s}}, g.All)
}

// both has a writer, and answers by a reader of its own.
type both struct {
	*sqlite.Reader
	*writer
}

type writer struct{ s *sqlite.Store }

func (w writer) Apply(ctx context.Context, b usage.Batch) error { return w.s.Apply(ctx, b) }

func (w writer) Resume(ctx context.Context, origin string) (uint64, []byte, error) {
	return w.s.Resume(ctx, origin)
}

// TestReaderBesideTheWriter reads, in another reader, while batches are applied:
// positions never go back, records never vanish, and each answer as of a moment
// is whole.
func TestReaderBesideTheWriter(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, r := open(t, dir), reader(t, dir)
	const atLeast, moments = 120, 3 // batches, and how many of them are seen on the way
	var through atomic.Uint64
	enough, applied := make(chan struct{}), make(chan error, 1)
	go func() {
		for seq := uint64(1); ; seq++ {
			f := span(seq, noon+int64(seq%3)*day, fmt.Sprintf("%x", 0x1000+seq))
			if err := s.Apply(t.Context(), usage.Batch{Origin: "a", Through: seq, Facts: []usage.Fact{f}}); err != nil {
				applied <- err
				return
			}
			through.Store(seq)
			select {
			case <-enough:
				if seq >= atLeast {
					applied <- nil
					return
				}
			default:
			}
		}
	}()
	last, seen := uint64(0), map[uint64]bool{}
	for done := false; !done; {
		select {
		case err := <-applied:
			if err != nil {
				t.Fatal(err)
			}
			done = true // once more, with all of it
		default:
		}
		at, totals, err := r.TotalsAt(t.Context(), []usage.Range{{}}, []string{"c1"})
		if err != nil {
			t.Fatal(err)
		}
		requests := int64(0)
		for i := range totals[0] {
			requests += totals[0][i].Quantities.Get(usage.Requests)
		}
		if at["a"] < last || uint64(requests) != at["a"] {
			t.Fatalf("as of entry %d there are %d requests; before it was entry %d", at["a"], requests, last)
		}
		records, err := r.Records(t.Context(), usage.RecordFilter{Limit: 1 << 20})
		if err != nil || uint64(len(records)) < at["a"] {
			t.Fatalf("%d records after entry %d, %v", len(records), at["a"], err)
		}
		last = at["a"]
		if !seen[last] && len(seen) < moments {
			if seen[last] = true; len(seen) == moments {
				close(enough)
			}
		}
	}
	if last != through.Load() {
		t.Errorf("the last moment is of entry %d of %d", last, through.Load())
	}
}

// TestOtherProgramsRead asks a day's file what docs and dashboards ask it, beside
// the writer.
func TestOtherProgramsRead(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir)
	apply(t, s, span(1, noon, "1"), span(2, noon, "2"), span(3, noon+day, "3"))
	db := raw(t, dir, "2026-09-21.db")
	var got [3]int64
	if err := db.QueryRowContext(t.Context(), `SELECT count(*), sum(input_tokens), sum(output_tokens) FROM records JOIN dims ON dims.id = dim
		WHERE customer = 'c1' AND time >= ?`, noon).Scan(&got[0], &got[1], &got[2]); err != nil || got != [3]int64{2, 20, 10} {
		t.Errorf("%v, %v", got, err)
	}
	var id string
	if err := db.QueryRowContext(t.Context(), "SELECT 'rec_' || lower(hex(key)) FROM records WHERE request_id LIKE '%-2%'").Scan(&id); err != nil {
		t.Fatal(err)
	}
	records, err := s.Records(t.Context(), usage.RecordFilter{ID: id})
	if err != nil || len(records) != 1 || records[0].ID() != id {
		t.Errorf("%s is %+v, %v", id, records, err)
	}
	totals, err := s.Totals(t.Context(), usage.Range{From: noon, To: noon + 1_000_000_000}, 0)
	if err != nil || len(totals) != 1 || totals[0].Quantities.Get(usage.InputTokens) != 20 {
		t.Errorf("%+v, %v", totals, err)
	}
}

// TestReaderLetsGo asks about all days and then nothing: the files do not stay
// open, and can be asked again.
func TestReaderLetsGo(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	want := fill(t, dir, storetest.NewGenerator(13, 1).Batches(60))
	files := len(dayFiles(t, dir))
	synctest.Test(t, func(t *testing.T) {
		r := reader(t, dir)
		for range 2 {
			got, err := r.Records(t.Context(), usage.RecordFilter{Limit: 1 << 20})
			if err != nil || !reflect.DeepEqual(got, want) {
				t.Fatalf("%d records, want %d, or they differ, %v", len(got), len(want), err)
			}
			if n := descriptors(t, dir); n < files {
				t.Fatalf("%d descriptors of %d files: the test proves nothing", n, files)
			}
			<-time.After(5 * time.Minute)
			synctest.Wait()
			if n := descriptors(t, dir); n > 0 {
				t.Errorf("%d descriptors of %d files are open after five minutes", n, files)
			}
		}
	})
}

// descriptors counts the open files of this process below a folder.
func descriptors(t *testing.T, dir string) (n int) {
	t.Helper()
	open, err := filepath.Glob("/proc/self/fd/*")
	if err != nil || len(open) == 0 {
		t.Skip("this system does not list open files")
	}
	for _, fd := range open {
		if name, err := os.Readlink(fd); err == nil && strings.HasPrefix(name, dir+"/") {
			n++
		}
	}
	return n
}
