// Package ingest takes usage from the network: OTLP over HTTP and gRPC. It
// answers 200 or OK only when what was sent is on disk, and every other answer
// says truly whether sending again can help, since compliant clients drop data
// on the wrong one.
package ingest
