package sqlite

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/maphash"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/tollkeeper/tollkeeper/internal/usage"
)

// ErrDamaged says that a file is no longer what was written. Nothing is lost:
// the projection is made anew from the journal.
var ErrDamaged = errors.New("usage is damaged: run `tollkeeper rebuild`")

// explain tells a damaged file from other errors.
func explain(err error) error {
	var e *sqlite.Error
	if errors.As(err, &e) && !errors.Is(err, ErrDamaged) {
		if code := e.Code() & 0xff; code == sqlite3.SQLITE_CORRUPT || code == sqlite3.SQLITE_NOTADB {
			return fmt.Errorf("%w: %w", ErrDamaged, err)
		}
	}
	return err
}

// The kinds of Problem.
const (
	ProblemDamaged = "damaged" // SQLite, or we, cannot read it
	ProblemColumns = "columns" // what other programs read of a record is not what it folds to
	ProblemIndex   = "index"   // a record that some question would not find
)

// Problem is one way in which a file does not agree with itself.
type Problem struct{ Kind, Place, Detail string }

// maxProblems bounds what is told of one file.
const maxProblems = 100

// Check looks for what no batch can make of a file: a page that SQLite cannot
// read, a record whose columns are not its fold, one that no index names or that
// would count twice were it sent again. That records and totals follow from the
// journal is compared elsewhere. It may run beside the process that writes.
func (r *Reader) Check(ctx context.Context) ([]Problem, error) {
	var all []Problem
	days, err := listDays(r.dir)
	if err != nil {
		return nil, err
	}
	var checks []*check
	var announced map[int64]bool
	index, err := r.indexFile(ctx)
	if index != nil || err != nil {
		checks = append(checks, &check{name: indexFile})
	}
	if index != nil {
		if announced, err = loadDays(ctx, index); err != nil && !errors.Is(explain(err), ErrDamaged) {
			return nil, err
		}
	}
	for _, day := range slices.Sorted(maps.Keys(announced)) {
		if !slices.Contains(days, day) && !r.has(day) {
			all = append(all, Problem{ProblemDamaged, filepath.Join(filepath.Base(r.dir), dayName(day)+".db"), "the file is gone"})
		}
	}
	for _, day := range days {
		checks = append(checks, &check{name: dayName(day) + ".db", day: day, index: index})
	}
	for _, c := range checks {
		c.place = filepath.Join(filepath.Base(r.dir), c.name)
		err := c.file(ctx, r)
		switch {
		case errors.Is(err, errUnmade) && !announced[c.day]:
		case errors.Is(err, errUnmade):
			c.found(ProblemDamaged, c.place, "the file is empty")
		case errors.Is(err, ErrDamaged):
			c.found(ProblemDamaged, c.place, err.Error())
		case err != nil:
			return nil, fmt.Errorf("%s: %w", c.place, err)
		}
		all = append(all, c.problems...)
	}
	return all, nil
}

// check is the check of one file.
type check struct {
	name, place string
	day         int64
	problems    []Problem
	db          *sql.DB
	dims        map[int64]usage.TotalKey
	words       *texts
	index       *sql.DB // index.db, nil when there is none
	strays      map[stray]bool
	seen        filters // the sealed hours
}

func (c *check) found(kind, place, detail string) {
	if len(c.problems) < maxProblems {
		c.problems = append(c.problems, Problem{kind, place, detail})
	}
}

func (c *check) file(ctx context.Context, r *Reader) (err error) {
	schema := daySchema
	if c.name == indexFile {
		schema = indexSchema
	}
	if c.db, err = r.file(ctx, c.name, schema); err != nil {
		return explain(err)
	}
	err = each(ctx, c.db, "PRAGMA integrity_check(20)", nil, func(scan scanFunc) error {
		var text string
		err := scan(&text)
		if err == nil && text != "ok" {
			c.found(ProblemDamaged, c.place, text)
		}
		return err
	})
	if err != nil || c.name == indexFile || len(c.problems) > 0 {
		return explain(err)
	}
	return explain(c.records(ctx))
}

// records reads each record once, and sums up which index entries there should
// be. Where the sums differ, each is looked for: entries that point to where an
// identity has left are harmless.
func (c *check) records(ctx context.Context) error {
	want := newSums()
	if err := c.eachRecord(ctx, func(row *row) error {
		c.columns(row)
		want.record(row)
		return c.announced(ctx, row)
	}); err != nil {
		return err
	}
	if err := c.seen.loadSealed(ctx, c.db); err != nil {
		return err
	}
	have := newSums()
	have.seed = want.seed
	for table, query := range indexQueries {
		if err := each(ctx, c.db, query, nil, func(scan scanFunc) error {
			var e entry
			if err := scan(&e.hour, &e.a, &e.b, &e.record); err != nil {
				return err
			}
			have.add(table, e)
			return c.known(ctx, table, e)
		}); err != nil {
			return err
		}
	}
	if want.equal(have) {
		return nil
	}
	return c.eachRecord(ctx, func(row *row) error { return c.indexed(ctx, row) })
}

// row is a record as it is kept.
type row struct {
	id, top int64 // top is the first row of its group
	columns usage.Record
	dim     int64
	trace   []byte
	flags   string
	fold    usage.Record
}

func (c *check) eachRecord(ctx context.Context, fn func(*row) error) error {
	c.words, c.dims = newTexts(), map[int64]usage.TotalKey{}
	return each(ctx, c.db, `SELECT id, coalesce(parent, id), key, time, started, ended, dim, request_id, trace, input_tokens, cached_input_tokens,
		output_tokens, reasoning_tokens, requests, flags, facts FROM records`, nil, func(scan scanFunc) error {
		x, err := c.scan(ctx, scan)
		if err != nil {
			return err
		}
		return fn(x)
	})
}

func (c *check) scan(ctx context.Context, scan scanFunc) (*row, error) {
	x := &row{}
	r := &x.columns
	var key, blob []byte
	var amounts [5]int64
	if err := scan(&x.id, &x.top, &key, &r.Time, &r.Start, &r.End, &x.dim, &r.RequestID, &x.trace,
		&amounts[0], &amounts[1], &amounts[2], &amounts[3], &amounts[4], &x.flags, &blob); err != nil {
		return nil, err
	}
	copy(r.Key[:], key)
	for i, name := range columns {
		if amounts[i] != 0 {
			r.Quantities.Add(name, amounts[i])
		}
	}
	facts, err := readFacts(blob, c.words.text)
	if errors.Is(err, errCorrupt) { // a text that came after they were loaded
		if err := c.words.load(ctx, c.db); err != nil {
			return nil, err
		}
		facts, err = readFacts(blob, c.words.text)
	}
	if err != nil || len(facts) == 0 {
		return nil, fmt.Errorf("record in row %d: %w", x.id, errCorrupt)
	}
	x.fold = usage.FoldKey(facts)[0]
	if x.id != x.top {
		x.fold.Key = r.Key
	}
	key0 := x.fold.TotalKey()
	key0.Bucket = 0
	if c.dims[x.dim] != key0 {
		if c.dims[x.dim], err = loadDim(ctx, c.db, x.dim); err != nil {
			return nil, err
		}
	}
	return x, nil
}

func loadDim(ctx context.Context, db querier, id int64) (k usage.TotalKey, err error) {
	return k, each(ctx, db, "SELECT customer, project, key, rule, model, service, grade FROM dims WHERE id = ?", []any{id}, func(scan scanFunc) error {
		return scan(&k.Customer, &k.Project, &k.Key, &k.Rule, &k.Model, &k.Service, &k.Grade)
	})
}

// columns compares what stands beside the facts with their fold.
func (c *check) columns(x *row) {
	r, fold := &x.columns, &x.fold
	trace, _ := hex.DecodeString(fold.Trace) // ours, so in hex
	key := fold.TotalKey()
	key.Bucket = 0
	amounts := true
	for _, name := range columns {
		amounts = amounts && r.Quantities.Get(name) == fold.Quantities.Get(name)
	}
	var wrong string
	switch {
	case r.Key != fold.Key:
		wrong = "key"
	case r.Time != fold.Time || r.Start != fold.Start || r.End != fold.End:
		wrong = "times"
	case r.RequestID != fold.RequestID || !bytes.Equal(x.trace, trace):
		wrong = "ids"
	case !amounts:
		wrong = "quantities"
	case x.flags != strings.Join(fold.Flags, ","):
		wrong = "flags"
	case c.dims[x.dim] != key:
		wrong = "customer, model or grade"
	default:
		return
	}
	c.found(ProblemColumns, fold.ID(), "the columns in row "+fmt.Sprint(x.id)+" of "+c.place+" are not what its observations fold to: "+wrong)
}

// announced looks into index.db for what it must know of a record: that it
// strayed here, and that its event is here.
func (c *check) announced(ctx context.Context, x *row) (err error) {
	if c.index == nil {
		return nil
	}
	s := stray{c.day, usage.DayOf(x.fold.Time)}
	if s.day != s.other && !c.strays[s] {
		// Those of a record that came after they were loaded.
		if c.strays, err = loadStrays(ctx, c.index); err != nil {
			return err
		}
		if !c.strays[s] {
			c.found(ProblemIndex, x.fold.ID(), indexFile+" does not say that "+c.place+" holds records of "+dayName(s.other)+": questions would not find it")
		}
	}
	for i := range x.fold.Facts {
		f := &x.fold.Facts[i]
		if _, home := f.Home(); home {
			continue
		}
		day, ok, err := pinned(ctx, c.index, f.Identity)
		if err != nil {
			return err
		}
		if !ok || day != c.day {
			c.found(ProblemIndex, x.fold.ID(), indexFile+" does not say that its event is in "+c.place+": sent again, it would count twice")
		}
	}
	return nil
}

// known wants an index entry in the filter of its hour, if that is kept in the
// file: what the filter does not know is taken for new.
func (c *check) known(ctx context.Context, table string, e entry) error {
	var h uint64
	switch table {
	case "by_trace":
		h = identityEntry(e.b)
	case "by_key":
		h = keyEntry(e.a)
	default:
		return nil
	}
	unknown := func() bool {
		i := e.hour - anyHour
		return i >= 0 && i < int64(len(c.seen)) && c.seen[i].sealed && !c.seen[i].has(h)
	}
	if !unknown() {
		return nil
	}
	c.seen = filters{} // a writer may have opened the hour since, and sealed it again
	if err := c.seen.loadSealed(ctx, c.db); err != nil {
		return err
	}
	if unknown() {
		c.found(ProblemIndex, c.place, fmt.Sprintf("the filter of hour %d does not know the entry of row %d in %s: sent again, it would count twice", e.hour, e.record, table))
	}
	return nil
}

// entry is a row of an index: a and b are what it is found by.
type entry struct{ hour, a, b, record int64 }

// indexQueries read the indexes in one form.
var indexQueries = map[string]string{
	"by_trace":   "SELECT hour, trace, identity, record FROM by_trace",
	"by_key":     "SELECT hour, key, 0, record FROM by_key",
	"by_request": "SELECT hour, request, 0, record FROM by_request",
}

// sums tell two sets of index entries apart, whatever their order.
type sums struct {
	seed maphash.Seed
	sum  map[string]uint64
}

func newSums() *sums { return &sums{seed: maphash.MakeSeed(), sum: map[string]uint64{}} }

func (s *sums) add(table string, e entry) { s.sum[table] += maphash.Comparable(s.seed, e) }

func (s *sums) equal(t *sums) bool {
	for table := range indexQueries {
		if s.sum[table] != t.sum[table] {
			return false
		}
	}
	return true
}

// record adds the entries that the record should have.
func (s *sums) record(x *row) {
	for table, entries := range entriesOf(x) {
		for e := range entries {
			s.add(table, e)
		}
	}
}

// entriesOf are a record's index entries, each once.
func entriesOf(x *row) map[string]map[entry]bool {
	out := map[string]map[entry]bool{"by_trace": {}, "by_key": {}, "by_request": {}}
	for i := range x.fold.Facts {
		f := &x.fold.Facts[i]
		hour := hourOf(f)
		out["by_trace"][entry{hour, traceOf(f), identityOf(f), x.top}] = true
		if f.RequestID != "" {
			out["by_request"][entry{hour, requestOf(f.RequestID), 0, x.top}] = true
		}
		if i == 0 {
			out["by_key"][entry{hour, first8(x.fold.Key), 0, x.top}] = true
		}
	}
	return out
}

// indexed looks for each entry of a record.
func (c *check) indexed(ctx context.Context, x *row) error {
	queries := map[string]string{
		"by_trace":   "SELECT EXISTS (SELECT 1 FROM by_trace WHERE hour = ? AND trace = ? AND identity = ? AND record = ?)",
		"by_key":     hours("SELECT EXISTS (SELECT 1 FROM by_key WHERE hour IN (%s, ?) AND key = ? AND 0 = ? AND record = ?)"),
		"by_request": "SELECT EXISTS (SELECT 1 FROM by_request WHERE hour = ? AND request = ? AND 0 = ? AND record = ?)",
	}
	for table, entries := range entriesOf(x) {
		for e := range entries {
			var there bool
			if err := c.db.QueryRowContext(ctx, queries[table], e.hour, e.a, e.b, e.record).Scan(&there); err != nil {
				return err
			}
			if !there {
				c.found(ProblemIndex, x.fold.ID(), table+" in "+c.place+" does not name it: questions would not find it")
			}
		}
	}
	return nil
}
