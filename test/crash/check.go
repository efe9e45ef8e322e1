package main

import (
	"fmt"
	"maps"
	"slices"
)

// What the API says of a record, as far as it is checked.
type (
	record struct {
		ID           string           `json:"id"`
		Customer     string           `json:"customer"`
		Quantities   map[string]int64 `json:"quantities"`
		Observations []observation    `json:"observations"`
	}
	observation struct {
		Trace      string           `json:"trace_id"`
		Span       string           `json:"span_id"`
		RequestID  string           `json:"request_id"`
		Quantities map[string]int64 `json:"quantities"`
	}
)

// remembered is an export that a client sent.
type remembered struct {
	name  string // for people
	acked bool
	*export
}

// finding is one way in which the records are not what the clients know.
type finding struct {
	kind   string // missing, torn, twice, invented, wrong
	detail string
}

const (
	kindMissing  = "missing"  // acknowledged, and not there
	kindTorn     = "torn"     // a part of an export is there
	kindTwice    = "twice"    // one span stands in two places
	kindInvented = "invented" // nobody sent it
	kindWrong    = "wrong"    // it is not what was sent
)

// result of a check.
type result struct {
	acked    int // exports
	unacked  int // exports without an acknowledgement that are there all the same
	spans    int
	input    int64
	output   int64
	records  int
	findings []finding
}

func (r *result) find(kind, format string, args ...any) {
	r.findings = append(r.findings, finding{kind, fmt.Sprintf(format, args...)})
}

// spanKey is a span's identity.
type spanKey struct{ trace, span string }

// place is where an observation stands.
type place struct {
	record *record
	*observation
}

// check compares what clients remember with the records.
func check(sent []remembered, records []record) *result {
	r := &result{records: len(records)}
	at := map[spanKey][]place{}
	for i := range records {
		for k := range records[i].Observations {
			o := &records[i].Observations[k]
			key := spanKey{o.Trace, o.Span}
			at[key] = append(at[key], place{&records[i], o})
		}
	}
	for i := range sent {
		r.export(&sent[i], at)
	}
	for _, key := range slices.SortedFunc(maps.Keys(at), compareKeys) {
		r.find(kindInvented, "span %s of trace %s in record %s", key.span, key.trace, at[key][0].record.ID)
	}
	return r
}

func compareKeys(a, b spanKey) int {
	return slices.Compare([]string{a.trace, a.span}, []string{b.trace, b.span})
}

// export checks one export, and takes what it accounts for out of at.
func (r *result) export(e *remembered, at map[spanKey][]place) {
	there, all := 0, 0
	for i := range e.requests {
		all += len(e.requests[i].spans)
		there += r.request(e, &e.requests[i], at)
	}
	r.spans += there
	switch {
	case e.acked && there < all:
		r.find(kindMissing, "%s was acknowledged: %d of its %d spans are there", e.name, there, all)
	case there > 0 && there < all:
		r.find(kindTorn, "%s: %d of its %d spans are there", e.name, there, all)
	case !e.acked && there == all:
		r.unacked++
	}
	if e.acked {
		r.acked++
	}
}

// request returns how many of the request's spans are there.
func (r *result) request(e *remembered, q *request, at map[spanKey][]place) (there int) {
	var home *record
	for i := range q.spans {
		s := &q.spans[i]
		key := spanKey{s.trace, s.span}
		places := at[key]
		delete(at, key)
		if len(places) == 0 {
			continue
		}
		there++
		if len(places) > 1 {
			r.find(kindTwice, "%s: span %s of trace %s stands in %d places", e.name, s.span, s.trace, len(places))
		}
		o := places[0]
		if o.RequestID != s.id || o.Quantities["input_tokens"] != s.input || o.Quantities["output_tokens"] != s.output {
			r.find(kindWrong, "%s: span %s is %s %v, sent was %s %d input and %d output tokens", e.name, s.span, o.RequestID, o.Quantities, s.id, s.input, s.output)
		}
		if home != nil && home != o.record {
			r.find(kindTwice, "%s: the spans of one request stand in records %s and %s", e.name, home.ID, o.record.ID)
		}
		home = o.record
	}
	if home == nil || there < len(q.spans) {
		return there
	}
	r.input += q.input
	r.output += q.output
	have := home.Quantities
	if home.Customer != q.customer || have["input_tokens"] != q.input || have["output_tokens"] != q.output || have["requests"] != 1 || len(home.Observations) != len(q.spans) {
		r.find(kindWrong, "%s: record %s of %q has %v and %d observations, sent was %q, 1 request, %d input and %d output tokens in %d spans",
			e.name, home.ID, home.Customer, have, len(home.Observations), q.customer, q.input, q.output, len(q.spans))
	}
	return there
}

// usage is what the API says of the sums.
type usage struct {
	Total struct {
		Requests int64 `json:"requests"`
		Input    int64 `json:"input_tokens"`
		Output   int64 `json:"output_tokens"`
	} `json:"total"`
}

// sums checks that the totals are those of what was sent and is there.
func (r *result) sums(u *usage) {
	if t := u.Total; t.Requests != int64(r.records) || t.Input != r.input || t.Output != r.output {
		r.find(kindWrong, "the totals are %d requests, %d input and %d output tokens; what was sent and is there comes to %d, %d and %d",
			t.Requests, t.Input, t.Output, r.records, r.input, r.output)
	}
}
