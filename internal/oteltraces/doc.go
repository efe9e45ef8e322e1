// Package oteltraces makes the table otel_traces in ClickHouse, as the
// Collector's clickhouseexporter 0.161 would with create_schema: true, and such
// that an insert it acknowledges is on disk.
//
// The exporter's own create_schema stops the Collector while ClickHouse is
// absent, and billing with it. So the Collector runs with create_schema: false,
// and this makes the table whenever ClickHouse comes. What is there already is
// compared and, but for what makes it durable, left as it is.
package oteltraces
