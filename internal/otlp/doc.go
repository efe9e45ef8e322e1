// Package otlp turns OTLP trace exports (opentelemetry-proto, collector/trace/v1)
// into observations. decode.go walks the protobuf once without building it;
// each dialect, that is each way of telling usage by spans, has a file.
package otlp
