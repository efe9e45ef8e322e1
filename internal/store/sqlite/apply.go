package sqlite

import (
	"context"
	"database/sql"
	"encoding/hex"
	"errors"
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
	rows       rowsToAdd
	totals     map[usage.TotalKey]*usage.Quantities
	verdicts   map[usage.Tally]int64
	stmt       statements
}

// apply takes the facts of one batch that belong to this day.
func (d *dayFile) apply(ctx context.Context, origin string, through uint64, facts []usage.Fact) error {
	done := d.positions[origin]
	i := slices.IndexFunc(facts, func(f usage.Fact) bool { return f.Seq > done })
	if i < 0 {
		return nil
	}
	facts = facts[i:]
	if err := ctx.Err(); err != nil {
		return err
	}
	// A transaction is short, and a context that cannot end costs the driver no
	// goroutine a statement.
	ctx = context.WithoutCancel(ctx)
	d.soft = true
	if err := transact(ctx, d.db, func(tx *sql.Tx) error {
		return d.begin(ctx, tx).run(ctx, origin, through, facts)
	}); err != nil {
		return err
	}
	d.positions[origin] = through
	return nil
}

func (d *dayFile) begin(ctx context.Context, tx *sql.Tx) *change {
	return &change{
		dayFile: d, tx: tx, groups: map[usage.Hash]*group{}, identities: map[usage.Hash]*group{},
		totals: map[usage.TotalKey]*usage.Quantities{}, verdicts: map[usage.Tally]int64{}, stmt: d.stmt.in(ctx, tx),
	}
}

func (c *change) run(ctx context.Context, origin string, through uint64, facts []usage.Fact) error {
	for i := range facts {
		if err := c.take(ctx, facts[i:i+1:i+1]); err != nil {
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
func (c *change) take(ctx context.Context, one []usage.Fact) error {
	f := &one[0]
	g, kept, err := c.lookup(ctx, f)
	switch {
	case err != nil:
		return err
	case g == nil:
		return c.add(ctx, one)
	case f.Position.Before(kept.Position):
		return c.replace(ctx, g, *kept, f)
	default:
		return c.keepOut(ctx, f, kept)
	}
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
	for hour := range c.seen.hours(identityEntry(identity)) {
		if g, kept, err := c.search(ctx, f.Identity, hour, trace, identity); err != nil || kept != nil {
			return g, kept, err
		}
	}
	return nil, nil, nil
}

// search looks for the identity in the groups that the index names, at the place
// of trace and at. An entry may point to a group that the identity has left.
func (c *change) search(ctx context.Context, identity usage.Hash, hour, trace, at int64) (*group, *usage.Fact, error) {
	ids, err := rowIDs(ctx, c.stmt.identity, hour, trace, at)
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
	i := slices.IndexFunc(g.facts, func(f usage.Fact) bool { return f.Identity == identity })
	if i < 0 {
		return nil
	}
	return &g.facts[i]
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
	c.groups[g.facts[0].Key] = g
	for i := range g.facts {
		c.identities[g.facts[i].Identity] = g
	}
	c.order = append(c.order, g)
	return g, nil
}

// add puts a new fact into its group.
func (c *change) add(ctx context.Context, one []usage.Fact) error {
	g, err := c.groupFor(ctx, &one[0])
	if err != nil {
		return err
	}
	c.tally(&one[0], usage.Accepted, 1)
	c.put(g, one)
	return nil
}

// put makes the fact one of the group's. The first of a group stays where it is
// in the batch: facts are large, and most groups have one.
func (c *change) put(g *group, one []usage.Fact) {
	if g.facts == nil {
		g.facts = one
	} else {
		g.facts = append(g.facts, one[0])
	}
	g.changed = true
	c.identities[one[0].Identity] = g
}

func (c *change) groupFor(ctx context.Context, f *usage.Fact) (*group, error) {
	if g := c.groups[f.Key]; g != nil {
		return g, nil
	}
	key, hour := first8(f.Key), hourOf(f)
	if c.seen.hour(hour).has(keyEntry(key)) {
		ids, err := rowIDs(ctx, c.stmt.key, hour, key)
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

// replace lets f take the place of kept, which has the same identity and a
// higher position: kept is one of those kept out now, and they are judged anew.
func (c *change) replace(ctx context.Context, g *group, kept usage.Fact, f *usage.Fact) error {
	g.facts = slices.DeleteFunc(slices.Clone(g.facts), func(x usage.Fact) bool { return x.Identity == f.Identity })
	g.changed = true
	delete(c.identities, f.Identity)
	c.tally(&kept, usage.Accepted, -1)
	if err := c.add(ctx, []usage.Fact{*f}); err != nil {
		return err
	}
	if err := c.rejudge(ctx, f); err != nil {
		return err
	}
	return c.keepOut(ctx, &kept, f)
}

// judge says what out is beside the one that stays.
func judge(out, stays *usage.Fact) usage.Verdict {
	if out.Content == stays.Content {
		return usage.Duplicate
	}
	return usage.Conflict
}

// keepOut keeps and counts a fact beside the one that stays. It is kept for
// ever, since one that comes by another journal may change the verdict.
func (c *change) keepOut(ctx context.Context, out, stays *usage.Fact) error {
	v := judge(out, stays)
	c.tally(out, v, 1)
	return c.writeOut(ctx, out, stays, v)
}

func (c *change) writeOut(ctx context.Context, out, stays *usage.Fact, v usage.Verdict) error {
	var kept []byte
	if v == usage.Conflict {
		kept = appendFact(nil, stays, c.texts.id)
	}
	_, err := c.stmt.keepOut.ExecContext(ctx, out.Identity[:], out.Received, out.Origin, out.Seq, out.Index,
		string(v), appendFact(nil, out, c.texts.id), kept)
	return err
}

// rejudge gives those that were kept out before their verdict beside the one
// that stays now.
func (c *change) rejudge(ctx context.Context, stays *usage.Fact) error {
	var list []usage.Fact
	var verdicts []usage.Verdict
	if err := each(ctx, c.tx, "SELECT verdict, fact FROM kept_out WHERE identity = ?", []any{stays.Identity[:]}, func(scan scanFunc) error {
		var verdict string
		var blob []byte
		if err := scan(&verdict, &blob); err != nil {
			return err
		}
		facts, err := readFacts(blob, c.texts.text)
		list, verdicts = append(list, facts...), append(verdicts, usage.Verdict(verdict))
		return err
	}); err != nil {
		return err
	}
	for i := range list {
		c.tally(&list[i], verdicts[i], -1)
		if err := c.keepOut(ctx, &list[i], stays); err != nil {
			return err
		}
	}
	return nil
}

// write prepares the rows of a changed group: its records, their index entries,
// and the difference in the totals.
func (c *change) write(ctx context.Context, g *group) error {
	if !g.changed {
		return nil
	}
	for i := range g.before {
		c.total(&g.before[i], -1)
	}
	if g.id != 0 {
		if _, err := c.stmt.erase.ExecContext(ctx, g.id); err != nil {
			return err
		}
	}
	records := usage.FoldKey(g.facts)
	if len(records) == 0 {
		return nil
	}
	parent := g.id
	if parent == 0 {
		c.nextID++
		parent = c.nextID
	}
	for i := range records {
		id := parent
		if i > 0 {
			c.nextID++
			id = c.nextID
		}
		if err := c.addRecord(ctx, id, parent, &records[i]); err != nil {
			return err
		}
		c.total(&records[i], 1)
	}
	c.index(parent, g.facts)
	for i := range records[1:] {
		// Found by ids of their own, at the hour of the group.
		c.indexKey(hourOf(&g.facts[0]), records[1+i].Key, parent)
	}
	return nil
}

func (c *change) addRecord(ctx context.Context, id, parent int64, r *usage.Record) error {
	var above any
	if id != parent {
		above = parent
	}
	dim, err := c.dim(ctx, r.TotalKey())
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
	q := r.Quantities
	c.rows.records = append(c.rows.records, recordRow{id, [...]any{
		id, above, r.Key[:], r.Time, r.Start, r.End, dim, r.RequestID, trace,
		q.Get(usage.InputTokens), q.Get(usage.CachedInputTokens), q.Get(usage.OutputTokens), q.Get(usage.ReasoningTokens), q.Get(usage.Requests),
		strings.Join(r.Flags, ","), blob,
	}})
	return nil
}

// dim is the number of what records share but for the bucket.
func (c *change) dim(ctx context.Context, k usage.TotalKey) (int64, error) {
	k.Bucket = 0
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
func (c *change) index(id int64, facts []usage.Fact) {
	for i := range facts {
		f := &facts[i]
		hour, identity := hourOf(f), identityOf(f)
		c.rows.traces = append(c.rows.traces, [4]int64{hour, traceOf(f), identity, id})
		c.seen.add(hour, identityEntry(identity))
		if i == 0 {
			c.indexKey(hour, f.Key, id)
		}
		if f.RequestID != "" {
			c.rows.requests = append(c.rows.requests, [3]int64{hour, requestOf(f.RequestID), id})
		}
	}
}

func (c *change) indexKey(hour int64, key usage.Hash, id int64) {
	n := first8(key)
	c.rows.keys = append(c.rows.keys, [3]int64{hour, n, id})
	c.seen.add(hour, keyEntry(n))
}
