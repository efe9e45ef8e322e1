package sqlite_test

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/tollkeeper/tollkeeper/internal/store/sqlite"
	"github.com/tollkeeper/tollkeeper/internal/store/storetest"
	"github.com/tollkeeper/tollkeeper/internal/usage"
)

// execute changes a file as another program would.
func execute(t *testing.T, path, statement string) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	_, err = db.ExecContext(t.Context(), statement)
	if err = errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
}

// questions are all that a projection is asked.
var questions = map[string]func(ctx context.Context, r *sqlite.Reader) error{
	"records": func(ctx context.Context, r *sqlite.Reader) error {
		_, err := r.Records(ctx, usage.RecordFilter{Limit: 1 << 20})
		return err
	},
	"totals": func(ctx context.Context, r *sqlite.Reader) error {
		_, err := r.Totals(ctx, usage.Range{}, 0)
		return err
	},
	"tallies": func(ctx context.Context, r *sqlite.Reader) error { _, err := r.Tallies(ctx); return err },
	"conflicts": func(ctx context.Context, r *sqlite.Reader) error {
		_, err := r.Conflicts(ctx, usage.Range{})
		return err
	},
	"totals at": func(ctx context.Context, r *sqlite.Reader) error {
		_, _, err := r.TotalsAt(ctx, []usage.Range{{}}, []string{"acme", "globex", "a", ""})
		return err
	},
}

// TestDamageIsTold takes away or destroys one file of a projection after the
// other: no question is answered with less than there was, and who asks is told
// what to do.
func TestDamageIsTold(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	batches := storetest.NewGenerator(8, 2).Batches(40)
	want := fill(t, dir, batches)
	day := filepath.Base(dayFiles(t, dir)[1])
	for name, c := range map[string]struct {
		file  string
		spoil func(t *testing.T, path string)
		want  error
		made  bool // anew when all is read again
	}{
		"a day is gone":      {day, remove, sqlite.ErrDamaged, true},
		"a day is empty":     {day, func(t *testing.T, path string) { write(t, path, nil) }, sqlite.ErrDamaged, true},
		"a day is rubbish":   {day, func(t *testing.T, path string) { write(t, path, []byte(strings.Repeat("rubbish ", 4096))) }, sqlite.ErrDamaged, false},
		"a day's pages":      {day, spoil, sqlite.ErrDamaged, false},
		"a day is newer":     {day, func(t *testing.T, path string) { execute(t, path, "PRAGMA user_version = 99") }, sqlite.ErrStale, false},
		"the index is gone":  {"index.db", remove, sqlite.ErrStale, false},
		"the index is waste": {"index.db", func(t *testing.T, path string) { write(t, path, []byte(strings.Repeat("rubbish ", 4096))) }, sqlite.ErrDamaged, false},
		"the index is newer": {"index.db", func(t *testing.T, path string) { execute(t, path, "PRAGMA user_version = 99") }, sqlite.ErrStale, false},
		"another fold": {"index.db", func(t *testing.T, path string) {
			execute(t, path, "UPDATE meta SET value = value + 1 WHERE name = 'fold'")
		}, sqlite.ErrStale, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			copied := copyOf(t, dir)
			c.spoil(t, filepath.Join(copied, c.file))
			for question, ask := range questions {
				r, err := sqlite.OpenReader(t.Context(), copied)
				if err != nil {
					t.Fatal(err)
				}
				err = ask(t.Context(), r)
				if !errors.Is(err, c.want) || !strings.Contains(err.Error(), "tollkeeper rebuild") {
					t.Errorf("%s: %v; want %v", question, err, c.want)
				}
				if c.file == day && !strings.Contains(err.Error(), strings.TrimSuffix(day, ".db")) {
					t.Errorf("%s: %v does not name the day", question, err)
				}
				if err := r.Close(); err != nil {
					t.Fatal(err)
				}
			}
			err := applied(t, copied, batches)
			if c.made && err != nil || !c.made && (!errors.Is(err, c.want) || !strings.Contains(err.Error(), "tollkeeper rebuild")) {
				t.Errorf("applying: %v", err)
			}
			if !c.made {
				if err := sqlite.Remove(copied); err != nil {
					t.Fatal(err)
				}
			}
			if got := fill(t, copied, batches); !reflect.DeepEqual(got, want) {
				t.Error("made anew it differs")
			}
		})
	}
}

// applied opens the projection and applies all that it does not have for
// certain, and each batch again.
func applied(t *testing.T, dir string, batches []usage.Batch) error {
	t.Helper()
	s, err := sqlite.Open(t.Context(), dir)
	if err != nil {
		return err
	}
	for _, b := range batches {
		if err = s.Apply(t.Context(), b); err != nil {
			break
		}
	}
	return errors.Join(err, s.Close())
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// spoil overwrites all pages but the first.
func spoil(t *testing.T, path string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := 4096; i < len(b); i++ {
		b[i] = 0xaa
	}
	write(t, path, b)
}

// TestCheckFindsDamage names each file that is gone or cannot be read, and goes
// on with the others.
func TestCheckFindsDamage(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	fill(t, dir, storetest.NewGenerator(9, 2).Batches(60))
	files := dayFiles(t, dir)
	remove(t, files[0])
	write(t, files[1], nil)
	spoil(t, files[2])
	execute(t, files[3], "UPDATE records SET facts = zeroblob(5) WHERE id = 1")
	execute(t, files[4], "UPDATE records SET requests = requests + 1 WHERE id = 1")
	places := map[string]string{}
	for _, p := range check(t, dir) {
		if p.Detail == "" {
			t.Errorf("%+v says nothing", p)
		}
		if p.Kind == sqlite.ProblemDamaged {
			places[filepath.Base(p.Place)] = p.Detail
		}
	}
	for _, file := range files[:4] {
		if places[filepath.Base(file)] == "" {
			t.Errorf("%s is not named in %v", file, places)
		}
	}
	if len(places) != 4 {
		t.Errorf("damage at %v, want four files", places)
	}
	if !slices.ContainsFunc(check(t, dir), func(p sqlite.Problem) bool { return p.Kind == sqlite.ProblemColumns }) {
		t.Error("the file behind the damaged ones was not checked")
	}
}
