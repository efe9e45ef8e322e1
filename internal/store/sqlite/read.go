package sqlite

import (
	"bytes"
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/tollkeeper/tollkeeper/internal/usage"
)

// Reader reads a projection, also beside the process that writes it. Each
// answer is consistent by day; TotalsAt is as a whole.
type Reader struct {
	dir string
	mu  sync.Mutex
	dbs map[string]*sql.DB
}

// OpenReader opens the projection in dir for reading. A missing one reads as
// empty.
func OpenReader(_ context.Context, dir string) (*Reader, error) {
	return &Reader{dir: dir, dbs: map[string]*sql.DB{}}, nil
}

// Close closes the files.
func (r *Reader) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var err error
	for _, db := range r.dbs {
		err = errors.Join(err, db.Close())
	}
	r.dbs = map[string]*sql.DB{}
	return err
}

// file opens a file for reading once.
func (r *Reader) file(ctx context.Context, name, schema string) (*sql.DB, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if db := r.dbs[name]; db != nil {
		return db, nil
	}
	db, err := open(ctx, filepath.Join(r.dir, name), schema, false)
	if err != nil {
		return nil, err
	}
	r.dbs[name] = db
	return db, nil
}

// file is the file of a day, and the days in which the times of its records
// may lie. One that was announced was made before, and holds something.
type file struct {
	day         int64
	first, last int64
	announced   bool
}

// files lists the files that may hold records of the range, in order: those of
// its days, and those in which a record of its days strayed.
func (r *Reader) files(ctx context.Context, in usage.Range) ([]file, error) {
	days, err := listDays(r.dir)
	if err != nil {
		return nil, err
	}
	announced, strays, err := r.announcements(ctx)
	switch {
	case err != nil:
		return nil, explain(err)
	case announced == nil && len(days) > 0: // it was there before them
		return nil, fmt.Errorf("%s: %w", filepath.Join(r.dir, indexFile), ErrStale)
	}
	for day := range announced {
		if !slices.Contains(days, day) {
			days = append(days, day)
		}
	}
	slices.Sort(days)
	within := func(day int64) bool {
		return (in.From == 0 || day >= usage.DayOf(in.From)) && (in.To == 0 || day <= usage.DayOf(in.To-1))
	}
	out := make([]file, 0, len(days))
	for _, day := range days {
		f, found := file{day, day, day, announced[day]}, within(day)
		for s := range strays {
			if s.day == day {
				f.first, f.last = min(f.first, s.other), max(f.last, s.other)
				found = found || within(s.other)
			}
		}
		if found {
			out = append(out, f)
		}
	}
	return out, nil
}

// eachDay calls fn for each file of the range, in order.
func (r *Reader) eachDay(ctx context.Context, in usage.Range, fn func(db *sql.DB) error) error {
	files, err := r.files(ctx, in)
	if err != nil {
		return err
	}
	for _, f := range files {
		if err := r.inDay(ctx, f, fn); err != nil {
			return err
		}
	}
	return nil
}

// announcements are the days that have a file, nil where there is no index.db,
// and which records strayed.
func (r *Reader) announcements(ctx context.Context) (days map[int64]bool, strays map[stray]bool, err error) {
	db, err := r.indexFile(ctx)
	if db == nil || err != nil {
		return nil, nil, err
	}
	if days, err = loadDays(ctx, db); err != nil {
		return nil, nil, err
	}
	strays, err = loadStrays(ctx, db)
	return days, strays, err
}

// inDay calls fn with the file of a day, unless it is just being made.
func (r *Reader) inDay(ctx context.Context, f file, fn func(db *sql.DB) error) error {
	db, err := r.dayFile(ctx, f)
	if errors.Is(err, errUnmade) {
		return nil
	}
	if err == nil {
		err = fn(db)
	}
	if err != nil {
		return fmt.Errorf("usage of %s: %w", dayName(f.day), explain(err))
	}
	return nil
}

// dayFile opens the file of a day: errUnmade while it is being made, ErrDamaged
// when what it held is gone.
func (r *Reader) dayFile(ctx context.Context, f file) (*sql.DB, error) {
	if f.announced && !r.has(f.day) {
		return nil, fmt.Errorf("the file is gone: %w", ErrDamaged)
	}
	db, err := r.file(ctx, dayName(f.day)+".db", daySchema)
	if f.announced && errors.Is(err, errUnmade) {
		err = fmt.Errorf("the file is empty: %w", ErrDamaged)
	}
	return db, err
}

// has tells whether a day has a file.
func (r *Reader) has(day int64) bool {
	_, err := os.Stat(filepath.Join(r.dir, dayName(day)+".db"))
	return !errors.Is(err, os.ErrNotExist)
}

// Positions says up to which entry of each journal the projection has come.
func (r *Reader) Positions(ctx context.Context) (map[string]uint64, error) {
	db, err := r.indexFile(ctx)
	if db == nil || err != nil {
		return map[string]uint64{}, err
	}
	positions, err := loadPositions(ctx, db)
	return positions, explain(err)
}

// Ahead tells whether the file of a day has more than Positions says: a batch is
// just being applied, or is applied again after the writer died.
func (r *Reader) Ahead(ctx context.Context) (ahead bool, err error) {
	at, err := r.Positions(ctx)
	if err != nil {
		return false, err
	}
	err = r.eachDay(ctx, usage.Range{}, func(db *sql.DB) error {
		positions, err := loadPositions(ctx, db)
		d := dayTotals{positions: positions}
		ahead = ahead || d.after(at)
		return err
	})
	return ahead, err
}

// indexFile opens index.db; nil when there is no projection yet.
func (r *Reader) indexFile(ctx context.Context) (*sql.DB, error) {
	if _, err := os.Stat(filepath.Join(r.dir, indexFile)); errors.Is(err, os.ErrNotExist) {
		return nil, nil //nolint:nilnil // no projection is an empty projection
	}
	db, err := r.file(ctx, indexFile, indexSchema)
	if errors.Is(err, errUnmade) {
		return nil, nil //nolint:nilnil // as above
	}
	if err == nil {
		err = checkFold(ctx, db)
	}
	return db, explain(err)
}

// checkFold refuses a projection that another version of the fold made: its
// records would be folded by these rules and its sums by those. A file without a
// version is one that its writer is making.
func checkFold(ctx context.Context, db *sql.DB) error {
	var version int
	err := db.QueryRowContext(ctx, "SELECT value FROM meta WHERE name = 'fold'").Scan(&version)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err == nil && version != usage.FoldVersion {
		return ErrStale
	}
	return err
}

// Tallies counts every item by producer and verdict, rejected and ignored ones
// by reason.
func (r *Reader) Tallies(ctx context.Context) ([]usage.Tally, error) {
	var out []usage.Tally
	sums := map[usage.Tally]int64{}
	if err := r.eachDay(ctx, usage.Range{}, func(db *sql.DB) error {
		return each(ctx, db, "SELECT origin, producer, verdict, amount FROM verdicts", nil, func(scan scanFunc) error {
			var t usage.Tally
			var n int64
			err := scan(&t.Origin, &t.Producer, &t.Verdict, &n)
			sums[t] += n
			return err
		})
	}); err != nil {
		return nil, err
	}
	for t, n := range sums {
		t.Amount = n
		out = append(out, t)
	}
	db, err := r.indexFile(ctx)
	if db != nil && err == nil {
		err = each(ctx, db, "SELECT origin, producer, verdict, reason, amount FROM counts", nil, func(scan scanFunc) error {
			var t usage.Tally
			err := scan(&t.Origin, &t.Producer, &t.Verdict, &t.Reason, &t.Amount)
			out = append(out, t)
			return err
		})
	}
	err = explain(err)
	slices.SortFunc(out, func(a, b usage.Tally) int {
		return strings.Compare(strings.Join([]string{a.Origin, a.Producer, a.Verdict, a.Reason}, "\x00"),
			strings.Join([]string{b.Origin, b.Producer, b.Verdict, b.Reason}, "\x00"))
	})
	return out, err
}

// Totals sums records whose time lies in the range, per step seconds of UTC
// (a multiple of 900; 0: over the whole range, bucket 0) and what else they
// share. Bounds lie on quarter hours.
func (r *Reader) Totals(ctx context.Context, in usage.Range, step int64) ([]usage.Total, error) {
	where, args := within(in)
	bucket := "0"
	if step > 0 {
		bucket = fmt.Sprintf("bucket / %d * %d", step, step)
	}
	table := "totals"
	if wholeDays(in.From) && wholeDays(in.To) && step%86400 == 0 {
		table = "day_totals"
	}
	sums := map[usage.TotalKey]usage.Quantities{}
	err := r.eachDay(ctx, in, func(db *sql.DB) error {
		if err := sumTotals(ctx, db, table, bucket, where, args, sums); err != nil {
			return err
		}
		return sumOthers(ctx, db, bucket, where, args, sums)
	})
	return totalsOf(sums), err
}

// wholeDays tells whether a bound lies at the start of a UTC day, or is open.
func wholeDays(ns int64) bool { return ns%(86400*1e9) == 0 }

// within is the condition that a bucket lies in a range.
func within(in usage.Range) (where string, args []any) {
	const second = 1_000_000_000
	if in.From != 0 {
		where, args = " AND bucket >= ?", append(args, in.From/second)
	}
	if in.To != 0 {
		where, args = where+" AND bucket < ?", append(args, in.To/second)
	}
	return where, args
}

// totalsOf makes a sorted list of sums, those of nothing left out.
func totalsOf(sums map[usage.TotalKey]usage.Quantities) []usage.Total {
	out := make([]usage.Total, 0, len(sums))
	for k, q := range sums {
		q = slices.DeleteFunc(q, func(x usage.Quantity) bool { return x.Amount == 0 })
		if len(q) == 0 {
			continue
		}
		out = append(out, k.Total(q))
	}
	usage.SortTotals(out)
	return out
}

const dimColumns = "customer, project, key, rule, model, service, grade"

// sumTotals adds up a table of quarter hours, or of days.
func sumTotals(ctx context.Context, db querier, table, bucket, where string, args []any, sums map[usage.TotalKey]usage.Quantities) error {
	query := "SELECT b, " + dimColumns + ", i, ci, o, ro, n FROM (SELECT " + bucket + ` AS b, dim, sum(input_tokens) AS i,
		sum(cached_input_tokens) AS ci, sum(output_tokens) AS o, sum(reasoning_tokens) AS ro, sum(requests) AS n
		FROM ` + table + ` WHERE true` + where + ` GROUP BY b, dim) JOIN dims ON dims.id = dim`
	return each(ctx, db, query, args, func(scan scanFunc) error {
		var k usage.TotalKey
		var n [5]int64
		if err := scan(&k.Bucket, &k.Customer, &k.Project, &k.Key, &k.Rule, &k.Model, &k.Service, &k.Grade, &n[0], &n[1], &n[2], &n[3], &n[4]); err != nil {
			return err
		}
		q := sums[k]
		for i, name := range columns {
			q.Add(name, n[i])
		}
		sums[k] = q
		return nil
	})
}

func sumOthers(ctx context.Context, db querier, bucket, where string, args []any, sums map[usage.TotalKey]usage.Quantities) error {
	query := "SELECT b, " + dimColumns + ", quantity, n FROM (SELECT " + bucket + ` AS b, dim, quantity, sum(amount) AS n
		FROM other_totals WHERE true` + where + ` GROUP BY b, dim, quantity) JOIN dims ON dims.id = dim`
	return each(ctx, db, query, args, func(scan scanFunc) error {
		var k usage.TotalKey
		var name string
		var n int64
		if err := scan(&k.Bucket, &k.Customer, &k.Project, &k.Key, &k.Rule, &k.Model, &k.Service, &k.Grade, &name, &n); err != nil {
			return err
		}
		q := sums[k]
		q.Add(name, n)
		sums[k] = q
		return nil
	})
}

// Records lists records by time. Their facts are whole but for the raw tag and
// the attributes that decide nothing, which the journal has.
func (r *Reader) Records(ctx context.Context, f usage.RecordFilter) ([]usage.Record, error) {
	limit := f.Limit
	if limit <= 0 {
		limit = usage.DefaultLimit
	}
	files, err := r.files(ctx, f.Range)
	if err != nil {
		return nil, err
	}
	// By the earliest time that a file may hold, so that a list that is full is the
	// earliest there are.
	slices.SortStableFunc(files, func(a, b file) int { return cmp.Compare(a.first, b.first) })
	var out []usage.Record
	for _, x := range files {
		if len(out) >= limit && usage.DayOf(out[limit-1].Time) < x.first {
			break
		}
		if err := r.inDay(ctx, x, func(db *sql.DB) error {
			query, args := recordQuery(f)
			candidates, found := limit, 0
			if f.Trace != "" || f.RequestID != "" {
				candidates = -1 // others may share what the index keeps of it: a client chooses its ids
			}
			return readRecords(ctx, db, query, append(args, candidates), func(x *usage.Record) bool {
				if selects(f, x) {
					out = append(out, *x)
					found++
				}
				return found < limit
			})
		}); err != nil {
			return nil, err
		}
		slices.SortStableFunc(out, func(a, b usage.Record) int {
			return cmp.Or(cmp.Compare(a.Time, b.Time), bytes.Compare(a.Key[:], b.Key[:]))
		})
	}
	return out[:min(len(out), limit)], nil
}

// recordQuery finds candidates by the best index; selects decides.
func recordQuery(f usage.RecordFilter) (string, []any) {
	var where []string
	var args []any
	if f.From != 0 {
		where, args = append(where, "time >= ?"), append(args, f.From)
	}
	if f.To != 0 {
		where, args = append(where, "time < ?"), append(args, f.To)
	}
	found := func(index, column string, n ...any) {
		ids := hours("SELECT record FROM " + index + " WHERE hour IN (%s) AND " + column + " IN (?" + strings.Repeat(", ?", len(n)-1) + ")")
		where, args = append(where, "(id IN ("+ids+") OR parent IN ("+ids+"))"), append(append(args, n...), n...)
	}
	if n, ok := traceNumber(f.Trace); ok {
		found("by_trace", "trace", n)
	} else if f.Trace != "" {
		where = append(where, "false")
	}
	if f.RequestID != "" {
		var places []any
		for _, bare := range usage.BareForms(f.RequestID) {
			places = append(places, placeOf(bare))
		}
		found("by_request", "request", places...)
	}
	if f.Customer != nil {
		where, args = append(where, "dim IN (SELECT id FROM dims WHERE customer = ?)"), append(args, *f.Customer)
	}
	if key, ok := usage.ParseHash(strings.TrimPrefix(f.ID, "rec_")); ok {
		found("by_key", "key", first8(key))
		where, args = append(where, "key = ?"), append(args, key[:])
	} else if f.ID != "" {
		where = append(where, "false")
	}
	where = append(where, "true")
	return "SELECT parent, key, facts FROM records WHERE " + strings.Join(where, " AND ") + " ORDER BY time, key LIMIT ?", args
}

func selects(f usage.RecordFilter, r *usage.Record) bool {
	if f.Trace != "" && !slices.ContainsFunc(r.Facts, func(x usage.Fact) bool { return x.Trace == strings.ToLower(f.Trace) }) {
		return false
	}
	forms := usage.BareForms(f.RequestID)
	return f.RequestID == "" || slices.ContainsFunc(r.Facts, func(x usage.Fact) bool {
		return slices.Contains(forms, usage.BareRequestID(x.RequestID))
	})
}

// errEnough ends a reading.
var errEnough = errors.New("enough records")

// readRecords reads until take says that it has enough.
func readRecords(ctx context.Context, db *sql.DB, query string, args []any, take func(*usage.Record) bool) error {
	words := newTexts()
	err := each(ctx, db, query, args, func(scan scanFunc) error {
		var parent sql.NullInt64
		var key, blob []byte
		if err := scan(&parent, &key, &blob); err != nil {
			return err
		}
		if len(words.byID) == 0 {
			if err := words.load(ctx, db); err != nil {
				return err
			}
		}
		facts, err := readFacts(blob, words.text)
		if err != nil {
			return err
		}
		for _, r := range usage.FoldKey(facts) {
			if parent.Valid { // beyond the gateway's attempts: a key of its own
				r.Key = usage.Hash(key)
			}
			if !take(&r) {
				return errEnough
			}
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

// contains tells whether a time lies in a range.
func contains(in usage.Range, at int64) bool {
	return (in.From == 0 || at >= in.From) && (in.To == 0 || at < in.To)
}

// Conflicts lists the observations that were kept out and whose time lies in
// the range, in the order of their positions.
func (r *Reader) Conflicts(ctx context.Context, in usage.Range) ([]usage.ConflictPair, error) {
	var out []usage.ConflictPair
	err := r.eachDay(ctx, in, func(db *sql.DB) error {
		words := newTexts()
		return each(ctx, db, "SELECT fact, kept FROM kept_out WHERE verdict = 'conflict'", nil, func(scan scanFunc) error {
			var fact, kept []byte
			if err := scan(&fact, &kept); err != nil {
				return err
			}
			if len(words.byID) == 0 { // now, so that none came after the rows
				if err := words.load(ctx, db); err != nil {
					return err
				}
			}
			facts, err := readFacts(slices.Concat(fact, kept), words.text)
			if err != nil || len(facts) != 2 {
				return errors.Join(errCorrupt, err)
			}
			if contains(in, facts[0].Time) {
				record := usage.Record{Key: facts[1].Key}
				out = append(out, usage.ConflictPair{Fact: facts[0], Kept: facts[1].Position, KeptRecord: record.ID()})
			}
			return nil
		})
	})
	slices.SortFunc(out, func(a, b usage.ConflictPair) int { return a.Fact.Compare(b.Fact.Position) })
	return out, err
}
