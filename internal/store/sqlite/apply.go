package sqlite

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/hex"
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/tollkeeper/tollkeeper/internal/usage"
)

// group is the facts of one key while a transaction works on them.
type group struct {
	id      int64 // row of its first record; 0: not stored yet
	facts   []usage.Fact
	before  []usage.Record // what the totals hold of it
	changed bool
}

// change is one transaction on a day's file.
type change struct {
	*dayFile
	tx         *sql.Tx
	groups     map[usage.Hash]*group
	identities map[usage.Hash]*group
	order      []*group // in the order of first use: rows follow the journal
	totals     map[usage.TotalKey]usage.Quantities
	verdicts   map[usage.Tally]int64
	stmt       statements
}

// apply takes the facts of one batch that belong to this day.
func (d *dayFile) apply(ctx context.Context, origin string, through uint64, facts []usage.Fact) error {
	done := d.positions[origin]
	facts = slices.DeleteFunc(slices.Clone(facts), func(f usage.Fact) bool { return f.Seq <= done })
	if len(facts) == 0 {
		return nil
	}
	if d.seenCount > d.seenRoom {
		if err := d.fillSeen(ctx); err != nil {
			return err
		}
	}
	tx, err := d.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	c := d.begin(ctx, tx)
	if err := c.run(ctx, origin, through, facts); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	d.positions[origin] = through
	return nil
}

func (d *dayFile) begin(ctx context.Context, tx *sql.Tx) *change {
	c := &change{
		dayFile: d, tx: tx, groups: map[usage.Hash]*group{}, identities: map[usage.Hash]*group{},
		totals: map[usage.TotalKey]usage.Quantities{}, verdicts: map[usage.Tally]int64{},
	}
	c.stmt = statements{
		insertRecord: tx.StmtContext(ctx, d.stmt.insertRecord), replaceRecord: tx.StmtContext(ctx, d.stmt.replaceRecord),
		addTrace: tx.StmtContext(ctx, d.stmt.addTrace), addKey: tx.StmtContext(ctx, d.stmt.addKey), addRequest: tx.StmtContext(ctx, d.stmt.addRequest),
		identity: tx.StmtContext(ctx, d.stmt.identity), identityAnywhere: tx.StmtContext(ctx, d.stmt.identityAnywhere),
		key: tx.StmtContext(ctx, d.stmt.key), record: tx.StmtContext(ctx, d.stmt.record),
	}
	return c
}

func (c *change) run(ctx context.Context, origin string, through uint64, facts []usage.Fact) error {
	for i := range facts {
		if err := c.take(ctx, &facts[i]); err != nil {
			return err
		}
	}
	for _, g := range c.order {
		if err := c.write(ctx, g); err != nil {
			return err
		}
	}
	return c.finish(ctx, origin, through)
}

// take puts one fact where it belongs. Of one identity the lowest position
// stays.
func (c *change) take(ctx context.Context, f *usage.Fact) error {
	g, kept, err := c.lookup(ctx, f)
	if err != nil {
		return err
	}
	if g == nil {
		return c.add(ctx, f)
	}
	verdict := usage.Conflict
	if kept.Content == f.Content {
		verdict = usage.Duplicate
	}
	out, stays := *f, *kept
	if f.Position.Before(kept.Position) {
		out, stays = *kept, *f
		c.tally(&out, usage.Accepted, -1)
		c.tally(&stays, usage.Accepted, 1)
		if err := c.swap(ctx, g, kept, f); err != nil {
			return err
		}
	}
	c.tally(&out, verdict, 1)
	if verdict == usage.Conflict {
		return c.conflict(ctx, &out, &stays)
	}
	return nil
}

// tally counts a fact by verdict for its producer.
func (c *change) tally(f *usage.Fact, v usage.Verdict, n int64) {
	c.verdicts[usage.Tally{Origin: f.Origin, Producer: f.Producer, Verdict: string(v)}] += n
}

// lookup returns the group that holds the fact's identity, and the fact kept
// there.
func (c *change) lookup(ctx context.Context, f *usage.Fact) (*group, *usage.Fact, error) {
	if g := c.identities[f.Identity]; g != nil {
		return g, g.find(f.Identity), nil
	}
	trace, identity := traceOf(f), identityOf(f)
	if !c.seen.Test(pair(trace, identity)) {
		return nil, nil, nil
	}
	g, kept, err := c.search(ctx, f.Identity, c.stmt.identity, hourOf(f), trace, identity)
	if err != nil || kept != nil {
		return g, kept, err
	}
	return c.search(ctx, f.Identity, c.stmt.identityAnywhere, trace, identity)
}

// search looks for the identity in the groups that an index query names. An
// entry may point to a group that the identity has left.
func (c *change) search(ctx context.Context, identity usage.Hash, stmt *sql.Stmt, args ...any) (*group, *usage.Fact, error) {
	ids, err := rowIDs(ctx, stmt, args...)
	if err != nil {
		return nil, nil, err
	}
	for _, id := range ids {
		g, err := c.load(ctx, id)
		if err != nil {
			return nil, nil, err
		}
		if kept := g.find(identity); kept != nil {
			return g, kept, nil
		}
	}
	return nil, nil, nil
}

func (g *group) find(identity usage.Hash) *usage.Fact {
	for i := range g.facts {
		if g.facts[i].Identity == identity {
			return &g.facts[i]
		}
	}
	return nil
}

func rowIDs(ctx context.Context, stmt *sql.Stmt, args ...any) (ids []int64, err error) {
	rows, err := stmt.QueryContext(ctx, args...)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var id int64
		if err := rows.Scan(&id); err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	return ids, rows.Err()
}

// load reads a group from its rows, once a transaction.
func (c *change) load(ctx context.Context, id int64) (g *group, err error) {
	rows, err := c.stmt.record.QueryContext(ctx, id)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	g = &group{id: id}
	for rows.Next() {
		var blob sql.RawBytes
		if err := rows.Scan(&blob); err != nil {
			return nil, err
		}
		facts, err := readFacts(blob, c.texts.text)
		if err != nil {
			return nil, err
		}
		g.facts = append(g.facts, facts...)
	}
	if err := rows.Err(); err != nil || len(g.facts) == 0 {
		return g, err
	}
	if known := c.groups[g.facts[0].Key]; known != nil {
		return known, nil
	}
	g.before = usage.FoldKey(g.facts)
	c.remember(g)
	return g, nil
}

func (c *change) remember(g *group) {
	c.groups[g.facts[0].Key] = g
	for i := range g.facts {
		c.identities[g.facts[i].Identity] = g
	}
	c.order = append(c.order, g)
}

// add puts a new fact into its group.
func (c *change) add(ctx context.Context, f *usage.Fact) error {
	g, err := c.groupFor(ctx, f)
	if err != nil {
		return err
	}
	c.tally(f, usage.Accepted, 1)
	c.put(g, f)
	return nil
}

func (c *change) put(g *group, f *usage.Fact) {
	g.facts, g.changed = append(g.facts, *f), true
	c.identities[f.Identity] = g
}

func (c *change) groupFor(ctx context.Context, f *usage.Fact) (*group, error) {
	if g := c.groups[f.Key]; g != nil {
		return g, nil
	}
	key := first8(f.Key)
	if c.seen.Test(pair(key, 0)) {
		ids, err := rowIDs(ctx, c.stmt.key, hourOf(f), key)
		if err != nil {
			return nil, err
		}
		for _, id := range ids {
			g, err := c.load(ctx, id)
			if err != nil {
				return nil, err
			}
			if len(g.facts) > 0 && g.facts[0].Key == f.Key {
				return g, nil
			}
		}
	}
	g := &group{}
	c.groups[f.Key] = g
	c.order = append(c.order, g)
	return g, nil
}

// swap lets f take the place of kept, which has the same identity and a higher
// position.
func (c *change) swap(ctx context.Context, g *group, kept, f *usage.Fact) error {
	if kept.Key == f.Key {
		*kept = *f
		g.changed = true
		return nil
	}
	identity := f.Identity
	g.facts = slices.DeleteFunc(slices.Clone(g.facts), func(x usage.Fact) bool { return x.Identity == identity })
	g.changed = true
	delete(c.identities, identity)
	other, err := c.groupFor(ctx, f)
	if err != nil {
		return err
	}
	c.put(other, f)
	return nil
}

func (c *change) conflict(ctx context.Context, out, stays *usage.Fact) error {
	_, err := c.tx.ExecContext(ctx, "INSERT INTO conflicts VALUES (?, ?, ?, ?, ?)", out.Identity[:],
		appendFact(nil, out, c.texts.id), appendFact(nil, stays, c.texts.id), stays.Key[:], out.Received)
	return err
}

// write stores a changed group: its records, their index entries, and the
// difference in the totals.
func (c *change) write(ctx context.Context, g *group) error {
	if !g.changed {
		return nil
	}
	for i := range g.before {
		c.total(&g.before[i], -1)
	}
	if g.id != 0 {
		if err := c.erase(ctx, g.id); err != nil {
			return err
		}
	}
	records := usage.FoldKey(g.facts)
	if len(records) == 0 {
		return nil
	}
	parent, stmt := g.id, c.stmt.replaceRecord
	if parent == 0 {
		c.nextID++
		parent, stmt = c.nextID, c.stmt.insertRecord
	}
	for i := range records {
		id := parent
		if i > 0 {
			c.nextID++
			id, stmt = c.nextID, c.stmt.insertRecord
		}
		if err := c.writeRecord(ctx, stmt, id, parent, &records[i]); err != nil {
			return err
		}
		c.total(&records[i], 1)
	}
	return c.index(ctx, parent, g.facts)
}

// erase takes the rows of a group out; index entries that point to its first
// row stay right, since that row is written again, or find nothing there.
func (c *change) erase(ctx context.Context, id int64) error {
	_, err := c.tx.ExecContext(ctx, "DELETE FROM records WHERE id = ?1 OR parent = ?1", id)
	return err
}

func (c *change) writeRecord(ctx context.Context, stmt *sql.Stmt, id, parent int64, r *usage.Record) error {
	var above any
	if id != parent {
		above = parent
	}
	dim, err := c.dim(ctx, r)
	if err != nil {
		return err
	}
	blob := make([]byte, 0, 256)
	for i := range r.Facts {
		blob = appendFact(blob, &r.Facts[i], c.texts.id)
	}
	trace, err := hex.DecodeString(r.Trace)
	if err != nil {
		return err
	}
	if trace == nil {
		trace = []byte{}
	}
	q := r.Quantities
	_, err = stmt.ExecContext(ctx, id, above, r.Key[:], r.Time, r.Start, r.End, dim, r.RequestID, trace,
		q.Get(usage.InputTokens), q.Get(usage.CachedInputTokens), q.Get(usage.OutputTokens), q.Get(usage.ReasoningTokens), q.Get(usage.Requests),
		strings.Join(r.Flags, ","), blob)
	return err
}

func (c *change) dim(ctx context.Context, r *usage.Record) (int64, error) {
	k := r.TotalKey()
	k.Bucket = 0
	return c.dimID(ctx, k)
}

func (c *change) dimID(ctx context.Context, k usage.TotalKey) (int64, error) {
	if id, ok := c.dims[k]; ok {
		return id, nil
	}
	c.nextDim++
	c.dims[k] = c.nextDim
	_, err := c.tx.ExecContext(ctx, "INSERT INTO dims VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
		c.nextDim, k.Customer, k.Project, k.Key, k.Rule, k.Model, k.Service, string(k.Grade))
	return c.nextDim, err
}

// index makes the group's facts findable by identity, trace, request id and key.
func (c *change) index(ctx context.Context, id int64, facts []usage.Fact) error {
	for i := range facts {
		f := &facts[i]
		hour, trace, identity := hourOf(f), traceOf(f), identityOf(f)
		if _, err := c.stmt.addTrace.ExecContext(ctx, hour, trace, identity, id); err != nil {
			return err
		}
		c.see(trace, identity)
		if i == 0 {
			if _, err := c.stmt.addKey.ExecContext(ctx, hour, first8(f.Key), id); err != nil {
				return err
			}
			c.see(first8(f.Key), 0)
		}
		if f.RequestID == "" {
			continue
		}
		if _, err := c.stmt.addRequest.ExecContext(ctx, hour, requestOf(f.RequestID), id); err != nil {
			return err
		}
	}
	return nil
}

func (c *change) total(r *usage.Record, sign int64) {
	k := r.TotalKey()
	q := c.totals[k]
	for _, x := range r.Quantities {
		q.Add(x.Name, sign*x.Amount)
	}
	c.totals[k] = q
}

// finish writes totals, verdicts, texts and the position.
func (c *change) finish(ctx context.Context, origin string, through uint64) error {
	for _, k := range slices.SortedFunc(maps.Keys(c.totals), compareTotals) {
		if err := c.addTotal(ctx, k, c.totals[k]); err != nil {
			return err
		}
	}
	for t, n := range c.verdicts {
		if _, err := c.tx.ExecContext(ctx, `INSERT INTO verdicts VALUES (?, ?, ?, ?)
			ON CONFLICT DO UPDATE SET amount = amount + excluded.amount`, t.Origin, t.Producer, t.Verdict, n); err != nil {
			return err
		}
	}
	first := len(c.texts.ids) - len(c.texts.fresh) + 1
	for i, text := range c.texts.fresh {
		if _, err := c.tx.ExecContext(ctx, "INSERT INTO texts VALUES (?, ?)", first+i, []byte(text)); err != nil {
			return err
		}
	}
	c.texts.fresh = nil
	_, err := c.tx.ExecContext(ctx, "INSERT INTO positions VALUES (?, ?) ON CONFLICT DO UPDATE SET seq = excluded.seq", origin, through)
	return err
}

func compareTotals(a, b usage.TotalKey) int {
	return cmp.Or(cmp.Compare(a.Bucket, b.Bucket), strings.Compare(a.Customer, b.Customer), strings.Compare(a.Model, b.Model))
}

var columns = []string{usage.InputTokens, usage.CachedInputTokens, usage.OutputTokens, usage.ReasoningTokens, usage.Requests}

func (c *change) addTotal(ctx context.Context, k usage.TotalKey, q usage.Quantities) error {
	bucket := k.Bucket
	k.Bucket = 0
	dim, err := c.dimID(ctx, k)
	if err != nil {
		return err
	}
	if _, err := c.tx.ExecContext(ctx, `INSERT INTO totals VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET
		input_tokens = input_tokens + excluded.input_tokens, cached_input_tokens = cached_input_tokens + excluded.cached_input_tokens,
		output_tokens = output_tokens + excluded.output_tokens, reasoning_tokens = reasoning_tokens + excluded.reasoning_tokens,
		requests = requests + excluded.requests`, bucket, dim,
		q.Get(columns[0]), q.Get(columns[1]), q.Get(columns[2]), q.Get(columns[3]), q.Get(columns[4])); err != nil {
		return err
	}
	for _, x := range q {
		if slices.Contains(columns, x.Name) {
			continue
		}
		if _, err := c.tx.ExecContext(ctx, `INSERT INTO other_totals VALUES (?, ?, ?, ?)
			ON CONFLICT DO UPDATE SET amount = amount + excluded.amount`, bucket, dim, x.Name, x.Amount); err != nil {
			return err
		}
	}
	return nil
}
