package oteltraces

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// found is a table that is there.
type found struct {
	engine, definition, order, partition string
	columns                              []column
	indexes                              []string
}

// existing reads our tables, by name.
func (m *maker) existing(ctx context.Context) (map[string]*found, error) {
	out := map[string]*found{}
	rows, err := m.conn.Query(ctx, `SELECT name, engine, engine_full, sorting_key, partition_key FROM system.tables WHERE database = ? AND startsWith(name, ?)`, m.database, tableName)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var name string
		var f found
		if err := rows.Scan(&name, &f.engine, &f.definition, &f.order, &f.partition); err != nil {
			return nil, err
		}
		out[name] = &f
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	for _, t := range tables {
		if f := out[t.name]; f != nil {
			if err := m.parts(ctx, t.name, f); err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}

// parts reads a table's columns and indexes.
func (m *maker) parts(ctx context.Context, name string, f *found) error {
	columns, err := m.conn.Query(ctx, `SELECT name, type, compression_codec FROM system.columns WHERE database = ? AND table = ? ORDER BY position`, m.database, name)
	if err != nil {
		return err
	}
	defer columns.Close()
	for columns.Next() {
		var c column
		if err := columns.Scan(&c.name, &c.kind, &c.codec); err != nil {
			return err
		}
		c.codec = plainCodec(c.codec)
		f.columns = append(f.columns, c)
	}
	if err := columns.Err(); err != nil {
		return err
	}
	indexes, err := m.conn.Query(ctx, `SELECT concat(name, ' ', expr, ' TYPE ', type_full, ' GRANULARITY ', toString(granularity)) FROM system.data_skipping_indices WHERE database = ? AND table = ?`, m.database, name)
	if err != nil {
		return err
	}
	defer indexes.Close()
	for indexes.Next() {
		var index string
		if err := indexes.Scan(&index); err != nil {
			return err
		}
		f.indexes = append(f.indexes, index)
	}
	return indexes.Err()
}

// deltaWidth is what ClickHouse adds to the name of the codec.
var deltaWidth = regexp.MustCompile(`Delta\(\d+\)`)

// plainCodec takes off a codec what ClickHouse wrote around it.
func plainCodec(s string) string {
	return deltaWidth.ReplaceAllString(strings.TrimSuffix(strings.TrimPrefix(s, "CODEC("), ")"), "Delta")
}

func (f *found) mergeTree() bool { return strings.HasSuffix(f.engine, "MergeTree") }

// setting matches "name = value" in an engine's definition.
var setting = regexp.MustCompile(`\b(\w+) = ([^,]+)`)

// lacks returns those of the settings that do not hold.
func (f *found) lacks(want map[string]string) map[string]string {
	have := map[string]string{}
	if _, settings, ok := strings.Cut(f.definition, " SETTINGS "); ok {
		for _, m := range setting.FindAllStringSubmatch(settings, -1) {
			have[m[1]] = m[2]
		}
	}
	out := map[string]string{}
	for name, value := range want {
		if have[name] == "" || have[name] == "0" {
			out[name] = value
		}
	}
	return out
}

// ttl is the TTL that the table has, "" for none.
func (f *found) ttl() string {
	_, rest, _ := strings.Cut(f.definition, " TTL ")
	ttl, _, _ := strings.Cut(rest, " SETTINGS ")
	return strings.TrimSpace(ttl)
}

// conflict says that a table cannot take what the Collector writes; it is left
// as it is.
func (t *table) conflict(database string, have *found) error {
	if have == nil {
		return nil
	}
	var wrong []string
	for _, want := range t.columns {
		i := slices.IndexFunc(have.columns, func(c column) bool { return c.name == want.name })
		if i < 0 {
			wrong = append(wrong, fmt.Sprintf("it has no column %s %s", want.name, want.kind))
		} else if c := have.columns[i]; c.kind != want.kind {
			wrong = append(wrong, fmt.Sprintf("its column %s is %s, not %s", c.name, c.kind, want.kind))
		}
	}
	if len(wrong) == 0 {
		return nil
	}
	name := full(database, t.name)
	return &failure{why: fmt.Sprintf(
		"the table %s.%s is not the Collector's: %s\nIt was not touched. Name another database with --database, or put the table out of the way (`RENAME TABLE %s TO %s`) and run this again",
		database, t.name, strings.Join(wrong, ", "), name, full(database, t.name+"_old"))}
}

// differences are what differs from the exporter's table and does no harm.
func (t *table) differences(have *found) (out []string) {
	for _, c := range have.columns {
		i := slices.IndexFunc(t.columns, func(want column) bool { return c.name == want.name })
		if i < 0 {
			out = append(out, "has a column more, "+c.name+": the Collector leaves it empty")
		} else if want := t.columns[i]; c.codec != want.codec {
			out = append(out, fmt.Sprintf("compresses %s by %q, not %q", c.name, c.codec, want.codec))
		}
	}
	for _, want := range t.indexes {
		if !slices.Contains(have.indexes, want) {
			out = append(out, "has no index "+want)
		}
	}
	if have.order != t.order {
		out = append(out, fmt.Sprintf("is ordered by (%s), not (%s)", have.order, t.order))
	}
	if have.partition != t.partition {
		out = append(out, fmt.Sprintf("is partitioned by %q, not %q", have.partition, t.partition))
	}
	return out
}
