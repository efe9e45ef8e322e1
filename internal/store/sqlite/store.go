package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tollkeeper/tollkeeper/internal/usage"
)

const (
	indexFile = "index.db"
	dayLayout = "2006-01-02"
	// maxOpenDays bounds the files that are open for writing. A batch seldom
	// touches more than two days, a replay goes through them in order.
	maxOpenDays = 8
)

// Store is the one writer of a usage projection. Its methods may be called
// from several goroutines; Apply calls follow one another.
type Store struct {
	*Reader
	mu    sync.Mutex
	index *sql.DB
	days  map[int64]*dayFile
	used  []int64 // open days, least recently used first
	pins  map[usage.Hash]int64
}

// Open opens or makes the projection in dir for writing. The caller sees to it
// that there is one writer (the journal's lock does). ErrStale: rebuild it.
func Open(ctx context.Context, dir string) (*Store, error) {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, err
	}
	index, err := open(ctx, filepath.Join(dir, indexFile), indexSchema, true)
	if err != nil {
		return nil, err
	}
	s := &Store{index: index, days: map[int64]*dayFile{}, pins: map[usage.Hash]int64{}}
	if err := s.start(ctx, dir); err != nil {
		return nil, errors.Join(err, index.Close())
	}
	return s, nil
}

func (s *Store) start(ctx context.Context, dir string) error {
	if err := s.markFold(ctx); err != nil {
		return err
	}
	if err := each(ctx, s.index, "SELECT key, day FROM pins", nil, func(scan scanFunc) error {
		var key []byte
		var day int64
		if err := scan(&key, &day); err != nil {
			return err
		}
		s.pins[usage.Hash(key)] = day
		return nil
	}); err != nil {
		return err
	}
	var err error
	s.Reader, err = OpenReader(ctx, dir)
	return err
}

// markFold writes down which version of the fold makes the projection, and
// refuses one that another version made.
func (s *Store) markFold(ctx context.Context) error {
	if _, err := s.index.ExecContext(ctx, "INSERT OR IGNORE INTO meta VALUES ('fold', ?)", usage.FoldVersion); err != nil {
		return err
	}
	return checkFold(ctx, s.index)
}

// Apply takes a batch: whole consecutive entries of one journal. It is
// idempotent, and leaves each file as it was or as it must be; after an error
// the same batch is applied again.
func (s *Store) Apply(ctx context.Context, b usage.Batch) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	fresh := map[usage.Hash]int64{}
	for day, facts := range s.byDay(b.Facts, fresh) {
		if err := s.applyDay(ctx, day, b, facts); err != nil {
			return fmt.Errorf("usage of %s: %w", dayName(day), err)
		}
	}
	return s.finish(ctx, b, fresh)
}

// byDay splits facts by the UTC day of their records. Where a fact's own time
// does not say it, the first fact seen of its key does.
func (s *Store) byDay(facts []usage.Fact, fresh map[usage.Hash]int64) map[int64][]usage.Fact {
	days := map[int64][]usage.Fact{}
	for i := range facts {
		f := &facts[i]
		day, pinned := s.pins[f.Key]
		if !pinned {
			day = usage.DayOf(f.Time)
			if !f.StableDay() {
				s.pins[f.Key], fresh[f.Key] = day, day
			}
		}
		days[day] = append(days[day], *f)
	}
	return days
}

func (s *Store) applyDay(ctx context.Context, day int64, b usage.Batch, facts []usage.Fact) error {
	d, err := s.day(ctx, day)
	if err != nil {
		return err
	}
	if err := d.apply(ctx, b.Origin, b.Through, facts); err != nil {
		// What was numbered in memory may not be in the file: read it again.
		delete(s.days, day)
		s.used = slices.DeleteFunc(s.used, func(x int64) bool { return x == day })
		return errors.Join(err, d.close())
	}
	return nil
}

// day returns the open file of a day and makes room for it.
func (s *Store) day(ctx context.Context, day int64) (*dayFile, error) {
	s.used = append(slices.DeleteFunc(s.used, func(x int64) bool { return x == day }), day)
	if d := s.days[day]; d != nil {
		return d, nil
	}
	if len(s.days) >= maxOpenDays {
		oldest := s.used[0]
		s.used = s.used[1:]
		d := s.days[oldest]
		delete(s.days, oldest)
		if err := d.close(); err != nil {
			return nil, err
		}
	}
	d, err := openDay(ctx, filepath.Join(s.dir, dayName(day)+".db"))
	if err != nil {
		return nil, err
	}
	s.days[day] = d
	return d, nil
}

func dayName(day int64) string { return time.Unix(day*86400, 0).UTC().Format(dayLayout) }

// finish moves index.db: the pins, what the entries refused, and the position.
func (s *Store) finish(ctx context.Context, b usage.Batch, fresh map[usage.Hash]int64) error {
	tx, err := s.index.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if err := finishIn(ctx, tx, b, fresh); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	return tx.Commit()
}

func finishIn(ctx context.Context, tx *sql.Tx, b usage.Batch, fresh map[usage.Hash]int64) error {
	for key, day := range fresh {
		if _, err := tx.ExecContext(ctx, "INSERT OR IGNORE INTO pins VALUES (?, ?)", key[:], day); err != nil {
			return err
		}
	}
	positions, err := loadPositions(ctx, tx)
	if err != nil {
		return err
	}
	for _, n := range b.Counts {
		if n.Seq <= positions[b.Origin] {
			continue
		}
		if _, err := tx.ExecContext(ctx, `INSERT INTO counts VALUES (?, ?, ?, ?, ?)
			ON CONFLICT DO UPDATE SET amount = amount + excluded.amount`, b.Origin, n.Producer, n.Verdict, n.Reason, n.Amount); err != nil {
			return err
		}
	}
	if b.Through <= positions[b.Origin] {
		return nil
	}
	if b.Policy != nil {
		if _, err := tx.ExecContext(ctx, "INSERT OR REPLACE INTO policies VALUES (?, ?)", b.Origin, b.Policy); err != nil {
			return err
		}
	}
	_, err = tx.ExecContext(ctx, "INSERT OR REPLACE INTO positions VALUES (?, ?)", b.Origin, b.Through)
	return err
}

// Policy returns the canonical JSON of the policy that governs the entries
// behind the origin's position, nil when there is none.
func (s *Store) Policy(ctx context.Context, origin string) (policy []byte, err error) {
	err = s.index.QueryRowContext(ctx, "SELECT policy FROM policies WHERE origin = ?", origin).Scan(&policy)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	return policy, err
}

// Close closes all files. What was applied stays.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := errors.Join(s.Reader.Close(), s.index.Close())
	for _, d := range s.days {
		err = errors.Join(err, d.close())
	}
	s.days, s.used = map[int64]*dayFile{}, nil
	return err
}

// Remove deletes a projection, and nothing else in dir.
func Remove(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := e.Name()
		base := strings.TrimSuffix(strings.TrimSuffix(name, "-wal"), "-shm")
		if _, ok := dayOf(base); !ok && base != indexFile {
			continue
		}
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return nil
}

// dayOf reads the day out of a file's name.
func dayOf(name string) (int64, bool) {
	date, ok := strings.CutSuffix(name, ".db")
	if !ok {
		return 0, false
	}
	t, err := time.Parse(dayLayout, date)
	return t.Unix() / 86400, err == nil
}
