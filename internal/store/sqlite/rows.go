package sqlite

import (
	"cmp"
	"context"
	"database/sql"
	"maps"
	"slices"

	"github.com/tollkeeper/tollkeeper/internal/usage"
)

// rowsToAdd is what a transaction adds at its end, many rows a statement and
// the index entries in their order: then one page after the other is changed,
// each once.
type rowsToAdd struct {
	records  []recordRow
	traces   [][4]int64
	keys     [][3]int64
	requests [][3]int64
}

// recordRow is the values of recordColumns.
type recordRow struct {
	id     int64
	values [16]any
}

// in returns the statements as those of the transaction.
func (s statements) in(ctx context.Context, tx *sql.Tx) statements {
	for _, p := range []**sql.Stmt{
		&s.insertRecord, &s.insertRecords, &s.addTrace, &s.addTraces, &s.addKey, &s.addKeys, &s.addRequest, &s.addRequests,
		&s.identity, &s.key, &s.record, &s.erase, &s.keepOut, &s.total, &s.dayTotal,
	} {
		*p = tx.StmtContext(ctx, *p)
	}
	return s
}

// add writes the rows, one statement for many of them and then one for each of
// the rest. args appends the values of a row.
func add[R any](ctx context.Context, rows []R, many int, stmt, manyStmt *sql.Stmt, args func([]any, *R) []any) error {
	var values []any
	for len(rows) > 0 {
		n, s := many, manyStmt
		if len(rows) < many {
			n, s = 1, stmt
		}
		values = values[:0]
		for i := range n {
			values = args(values, &rows[i])
		}
		if _, err := s.ExecContext(ctx, values...); err != nil {
			return err
		}
		rows = rows[n:]
	}
	return nil
}

func (c *change) addRows(ctx context.Context) error {
	slices.SortFunc(c.rows.records, func(a, b recordRow) int { return cmp.Compare(a.id, b.id) })
	if err := add(ctx, c.rows.records, recordRows, c.stmt.insertRecord, c.stmt.insertRecords, func(v []any, r *recordRow) []any { return append(v, r.values[:]...) }); err != nil {
		return err
	}
	slices.SortFunc(c.rows.traces, func(a, b [4]int64) int { return slices.Compare(a[:], b[:]) })
	if err := add(ctx, c.rows.traces, indexRows, c.stmt.addTrace, c.stmt.addTraces, func(v []any, r *[4]int64) []any { return append(v, r[0], r[1], r[2], r[3]) }); err != nil {
		return err
	}
	three := func(v []any, r *[3]int64) []any { return append(v, r[0], r[1], r[2]) }
	byValue := func(a, b [3]int64) int { return slices.Compare(a[:], b[:]) }
	slices.SortFunc(c.rows.keys, byValue)
	if err := add(ctx, c.rows.keys, indexRows, c.stmt.addKey, c.stmt.addKeys, three); err != nil {
		return err
	}
	slices.SortFunc(c.rows.requests, byValue)
	return add(ctx, c.rows.requests, indexRows, c.stmt.addRequest, c.stmt.addRequests, three)
}

// total adds the record to the totals of the transaction, or takes it out.
func (c *change) total(r *usage.Record, sign int64) {
	k := r.TotalKey()
	q := c.totals[k]
	if q == nil {
		q = &usage.Quantities{}
		c.totals[k] = q
	}
	for _, x := range r.Quantities {
		q.Add(x.Name, sign*x.Amount)
	}
}

// finish writes rows, totals, verdicts, texts, filters and the position.
func (c *change) finish(ctx context.Context, origin string, through uint64) error {
	if err := c.addRows(ctx); err != nil {
		return err
	}
	if err := c.addTotals(ctx); err != nil {
		return err
	}
	for t, n := range c.verdicts {
		if _, err := c.tx.ExecContext(ctx, `INSERT INTO verdicts VALUES (?, ?, ?, ?)
			ON CONFLICT DO UPDATE SET amount = amount + excluded.amount`, t.Origin, t.Producer, t.Verdict, n); err != nil {
			return err
		}
	}
	if err := c.texts.write(func(id int, text []byte) error {
		_, err := c.tx.ExecContext(ctx, "INSERT INTO texts VALUES (?, ?)", id, text)
		return err
	}); err != nil {
		return err
	}
	if err := c.seen.save(ctx, c.tx, false); err != nil {
		return err
	}
	_, err := c.tx.ExecContext(ctx, "INSERT INTO positions VALUES (?, ?) ON CONFLICT DO UPDATE SET seq = excluded.seq", origin, through)
	return err
}

// addTotals writes the quarter hours, and their sums by day.
func (c *change) addTotals(ctx context.Context) error {
	days := map[usage.TotalKey]*usage.Quantities{}
	for k, q := range c.totals {
		if err := c.addTotal(ctx, c.stmt.total, k, *q); err != nil {
			return err
		}
		if err := c.addOthers(ctx, k, *q); err != nil {
			return err
		}
		k.Bucket = usage.DayOf(k.Bucket*1e9) * 86400
		if days[k] == nil {
			days[k] = &usage.Quantities{}
		}
		days[k].AddAll(*q)
	}
	for _, k := range slices.SortedFunc(maps.Keys(days), func(a, b usage.TotalKey) int { return cmp.Compare(a.Bucket, b.Bucket) }) {
		if err := c.addTotal(ctx, c.stmt.dayTotal, k, *days[k]); err != nil {
			return err
		}
	}
	return nil
}

// columns are the quantities that have a column of their own.
var columns = []string{usage.InputTokens, usage.CachedInputTokens, usage.OutputTokens, usage.ReasoningTokens, usage.Requests}

func (c *change) addTotal(ctx context.Context, stmt *sql.Stmt, k usage.TotalKey, q usage.Quantities) error {
	dim, err := c.dim(ctx, k)
	if err != nil {
		return err
	}
	_, err = stmt.ExecContext(ctx, dim, k.Bucket, q.Get(columns[0]), q.Get(columns[1]), q.Get(columns[2]), q.Get(columns[3]), q.Get(columns[4]))
	return err
}

func (c *change) addOthers(ctx context.Context, k usage.TotalKey, q usage.Quantities) error {
	dim, err := c.dim(ctx, k)
	if err != nil {
		return err
	}
	for _, x := range q {
		if slices.Contains(columns, x.Name) {
			continue
		}
		if _, err := c.tx.ExecContext(ctx, `INSERT INTO other_totals VALUES (?, ?, ?, ?)
			ON CONFLICT DO UPDATE SET amount = amount + excluded.amount`, dim, k.Bucket, x.Name, x.Amount); err != nil {
			return err
		}
	}
	return nil
}
