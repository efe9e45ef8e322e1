package oteltraces

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// tableName is the exporter's default; its other names follow from it.
const tableName = "otel_traces"

// column is one column of a table.
type column struct{ name, kind, codec string }

// table is one table as the exporter 0.161 makes it.
type table struct {
	name                 string
	columns              []column
	indexes              []string
	partition, order, at string // at is the moment that its TTL counts from
}

const (
	zstd       = "ZSTD(1)"
	word       = "LowCardinality(String)"
	attributes = "Map(LowCardinality(String), String)"
)

// tables are the exporter's two tables. Nested columns stand as the arrays that
// they are, so that the server's flatten_nested does not matter.
var tables = []table{
	{
		name: tableName,
		columns: []column{
			{"Timestamp", "DateTime64(9)", "Delta, ZSTD(1)"},
			{"TraceId", "String", zstd},
			{"SpanId", "String", zstd},
			{"ParentSpanId", "String", zstd},
			{"TraceState", "String", zstd},
			{"SpanName", word, zstd},
			{"SpanKind", word, zstd},
			{"ServiceName", word, zstd},
			{"ResourceAttributes", attributes, zstd},
			{"ScopeName", "String", zstd},
			{"ScopeVersion", "String", zstd},
			{"SpanAttributes", attributes, zstd},
			{"Duration", "UInt64", zstd},
			{"StatusCode", word, zstd},
			{"StatusMessage", "String", zstd},
			{"Events.Timestamp", "Array(DateTime64(9))", zstd},
			{"Events.Name", "Array(" + word + ")", zstd},
			{"Events.Attributes", "Array(" + attributes + ")", zstd},
			{"Links.TraceId", "Array(String)", zstd},
			{"Links.SpanId", "Array(String)", zstd},
			{"Links.TraceState", "Array(String)", zstd},
			{"Links.Attributes", "Array(" + attributes + ")", zstd},
		},
		indexes: []string{
			"idx_trace_id TraceId TYPE bloom_filter(0.001) GRANULARITY 1",
			"idx_res_attr_key mapKeys(ResourceAttributes) TYPE bloom_filter(0.01) GRANULARITY 1",
			"idx_res_attr_value mapValues(ResourceAttributes) TYPE bloom_filter(0.01) GRANULARITY 1",
			"idx_span_attr_key mapKeys(SpanAttributes) TYPE bloom_filter(0.01) GRANULARITY 1",
			"idx_span_attr_value mapValues(SpanAttributes) TYPE bloom_filter(0.01) GRANULARITY 1",
			"idx_duration Duration TYPE minmax GRANULARITY 1",
		},
		partition: "toDate(Timestamp)", order: "ServiceName, SpanName, toDateTime(Timestamp)", at: "toDateTime(Timestamp)",
	},
	{
		name: tableName + "_trace_id_ts",
		columns: []column{
			{"TraceId", "String", zstd},
			{"Start", "DateTime", "Delta, ZSTD(1)"},
			{"End", "DateTime", "Delta, ZSTD(1)"},
		},
		indexes:   []string{"idx_trace_id TraceId TYPE bloom_filter(0.01) GRANULARITY 1"},
		partition: "toDate(Start)", order: "TraceId, Start", at: "toDateTime(Start)",
	},
}

const (
	viewName  = tableName + "_trace_id_ts_mv"
	viewQuery = "SELECT TraceId, min(Timestamp) AS Start, max(Timestamp) AS End FROM %s WHERE TraceId != '' GROUP BY TraceId"
)

// durable are the settings of MergeTree without which an acknowledged insert is
// in the page cache only: the part, the directory that names it, and the part
// that a merge puts in the place of those that were synced.
var durable = map[string]string{
	"fsync_after_insert":            "1",
	"fsync_part_directory":          "1",
	"min_rows_to_fsync_after_merge": "1",
}

// create is the statement that makes the table.
func (t *table) create(database, ttl string) string {
	var lines []string
	for _, c := range t.columns {
		lines = append(lines, fmt.Sprintf("    %s %s CODEC(%s)", quote(c.name), c.kind, c.codec))
	}
	for _, index := range t.indexes {
		lines = append(lines, "    INDEX "+index)
	}
	if ttl != "" {
		ttl = "\nTTL " + ttl
	}
	return fmt.Sprintf("CREATE TABLE IF NOT EXISTS %s\n(\n%s\n)\nENGINE = MergeTree\nPARTITION BY %s\nORDER BY (%s)%s\nSETTINGS index_granularity = 8192, ttl_only_drop_parts = 1, %s",
		full(database, t.name), strings.Join(lines, ",\n"), t.partition, t.order, ttl, assignments(durable))
}

func createView(database string) string {
	return fmt.Sprintf("CREATE MATERIALIZED VIEW IF NOT EXISTS %s TO %s AS "+viewQuery,
		full(database, viewName), full(database, tableName+"_trace_id_ts"), full(database, tableName))
}

// assignments writes settings in the order of their names.
func assignments(settings map[string]string) string {
	out := make([]string, 0, len(settings))
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		out = append(out, name+" = "+settings[name])
	}
	return strings.Join(out, ", ")
}

// quote makes any name an identifier.
func quote(name string) string {
	return "`" + strings.NewReplacer(`\`, `\\`, "`", "\\`").Replace(name) + "`"
}

// full is a table's name with its database, for statements.
func full(database, name string) string { return quote(database) + "." + quote(name) }
