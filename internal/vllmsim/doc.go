// Package vllmsim is a vLLM 0.32 without a model: it answers, counts, traces and
// meters as the recordings in testdata/recordings do, so that a demo, a test or a
// load run needs neither a GPU nor Python.
//
// A [Server] is one vLLM. It serves the OpenAI API (and vLLM's own additions),
// exports one "llm_request" span for each finished sequence by OTLP, and shows
// vLLM's counters at /metrics. What matters for billing is what the real one does:
// the n choices of a request share id and start time, a client that leaves gets no
// span and no histogram entry, and an unsampled caller switches its span off.
//
// [Traffic] is a bounded load of several customers that keeps the client's own sums.
package vllmsim
