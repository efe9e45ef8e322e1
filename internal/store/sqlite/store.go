package sqlite

import (
	"context"
	"errors"
	"fmt"
	"maps"
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
	// maxOpenDays bounds the files that are open for writing, each with its page
	// cache. A batch seldom touches more than two days, a replay goes through them
	// in order.
	maxOpenDays = 4
	// checkpointAfter is the number of facts and entries after which the next run
	// need not read them again: it is some seconds of work, and the fsyncs of a
	// checkpoint are few.
	checkpointAfter = 200_000
)

// Store is the one writer of a usage projection. Its methods may be called
// from several goroutines; Apply calls follow one another.
type Store struct {
	*Reader
	mu    sync.Mutex
	index *index
	days  map[int64]*dayFile
	used  []int64 // open days, least recently used first
	since int     // facts and entries since the last checkpoint
}

// Open opens or makes the projection in dir for writing. The caller sees to it
// that there is one writer (the journal's lock does). ErrStale: rebuild it.
//
// A day's file that is gone, or empty, is made again: then every journal is to be read
// from its start, and the files that are there skip what they have.
func Open(ctx context.Context, dir string) (*Store, error) {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, err
	}
	present, err := listDays(dir)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(filepath.Join(dir, indexFile)); errors.Is(err, os.ErrNotExist) && len(present) > 0 {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, indexFile), ErrStale)
	}
	x, err := openIndex(ctx, filepath.Join(dir, indexFile))
	if err != nil {
		return nil, explain(err)
	}
	var gone []int64
	for day := range x.days {
		if info, err := os.Stat(filepath.Join(dir, dayName(day)+".db")); errors.Is(err, os.ErrNotExist) || err == nil && info.Size() == 0 {
			gone = append(gone, day)
		}
	}
	if err := x.restart(ctx, gone); err != nil {
		return nil, errors.Join(explain(err), x.db.Close())
	}
	s := &Store{index: x, days: map[int64]*dayFile{}}
	s.Reader, err = OpenReader(ctx, dir)
	return s, err
}

// Resume says up to which entry the origin's journal need not be read again,
// and which policy governs what comes behind it, nil when there is none. It may
// be before the position: what a sudden end of the machine can take away is
// read again, and skipped where it is still there.
func (s *Store) Resume(ctx context.Context, origin string) (through uint64, policy []byte, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	through, policy, err = s.index.resume(ctx, origin)
	return through, policy, explain(err)
}

// Apply takes a batch: whole consecutive entries of one journal. It is
// idempotent, and leaves each file as it was or as it must be; after an error
// the same batch is applied again. Errors: ErrDamaged, ErrStale.
func (s *Store) Apply(ctx context.Context, b usage.Batch) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return explain(s.apply(ctx, b))
}

func (s *Store) apply(ctx context.Context, b usage.Batch) error {
	for i := 1; i < len(b.Facts); i++ {
		if b.Facts[i].Seq < b.Facts[i-1].Seq { // a file would skip it, or take it twice
			return fmt.Errorf("facts are not in journal order: entry %d behind %d", b.Facts[i].Seq, b.Facts[i-1].Seq)
		}
	}
	days, n, err := s.index.split(ctx, b.Facts)
	if err != nil {
		return err
	}
	for _, day := range n.days {
		// Made before it is announced: one that is announced and gone has all read again.
		if _, err := s.day(ctx, day); err != nil {
			return fmt.Errorf("usage of %s: %w", dayName(day), err)
		}
	}
	if err := s.index.announce(ctx, n); err != nil {
		return err
	}
	for _, day := range slices.Sorted(maps.Keys(days)) {
		if err := s.applyDay(ctx, day, b, days[day]); err != nil {
			return fmt.Errorf("usage of %s: %w", dayName(day), err)
		}
	}
	if err := s.index.advance(ctx, b); err != nil {
		return err
	}
	s.since += 1 + len(b.Facts)
	if s.since < checkpointAfter {
		return nil
	}
	return s.checkpoint(ctx)
}

// checkpoint puts all on the disk and says so.
func (s *Store) checkpoint(ctx context.Context) error {
	for _, d := range s.days {
		if err := d.harden(ctx); err != nil {
			return err
		}
	}
	s.since = 0
	return s.index.checkpoint(ctx)
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
		return errors.Join(err, d.abandon())
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
		d := s.days[oldest]
		s.used = s.used[1:]
		delete(s.days, oldest)
		if err := d.close(ctx); err != nil {
			return nil, err
		}
	}
	d, err := openDay(ctx, filepath.Join(s.dir, dayName(day)+".db"))
	if err != nil {
		s.used = s.used[:len(s.used)-1]
		return nil, err
	}
	s.days[day] = d
	return d, nil
}

func dayName(day int64) string { return time.Unix(day*86400, 0).UTC().Format(dayLayout) }

// Close closes all files. What was applied stays, and is on the disk.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.index == nil {
		return nil
	}
	ctx := context.Background()
	var err error
	for _, d := range s.days {
		err = errors.Join(err, d.close(ctx))
	}
	if err == nil {
		err = s.index.checkpoint(ctx)
	}
	err = errors.Join(err, s.Reader.Close(), s.index.db.Close())
	s.index, s.days, s.used = nil, map[int64]*dayFile{}, nil
	return err
}

// Remove deletes a projection, and nothing else in dir. index.db goes first:
// what an interruption leaves is then no projection, rather than one that has
// lost its earliest days.
func Remove(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := os.Remove(filepath.Join(dir, indexFile)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	for _, e := range entries {
		name := e.Name()
		base := strings.TrimSuffix(strings.TrimSuffix(name, "-wal"), "-shm")
		if _, ok := dayOf(base); name == indexFile || !ok && base != indexFile {
			continue
		}
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return nil
}

// listDays lists the days that have a file, in order; none for a folder that is
// not there.
func listDays(dir string) (days []int64, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	for _, e := range entries {
		if day, ok := dayOf(e.Name()); ok {
			days = append(days, day)
		}
	}
	slices.Sort(days)
	return days, nil
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
