package api

import (
	"cmp"
	"context"
	"encoding/hex"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/tollkeeper/tollkeeper/internal/tenant"
	"github.com/tollkeeper/tollkeeper/internal/usage"
)

// RequestsQuery asks for records. Zero fields do not select.
type RequestsQuery struct {
	ID           string    `query:"id" doc:"rec_…"`
	Trace        string    `query:"trace" doc:"trace id, 32 hex digits"`
	RequestID    string    `query:"request_id" doc:"as the API answered it, or the client's X-Request-Id"`
	Customer     string    `query:"customer" doc:"only this customer's"`
	Unattributed bool      `query:"unattributed" doc:"only what nobody is known to pay for"`
	From         time.Time `query:"from"`
	To           time.Time `query:"to"`
	Limit        int       `query:"limit" minimum:"0" maximum:"100000" doc:"at most so many; 0: 1000"`
}

// AskRequests lists records.
var AskRequests = &Op[RequestsQuery, Requests]{
	Name: "requests", Method: http.MethodGet, Path: "/v1/requests", Summary: "Billable requests and what they rest on",
	Role: tenant.RoleReader, Own: true,
	Folded: true,
	Do: func(ctx context.Context, l *Local, q *RequestsQuery) (_ *Requests, err error) {
		if q.Customer, err = l.own(q.Customer); err != nil {
			return nil, err
		}
		return listRequests(ctx, l.Usage, q)
	},
}

// traceBytes is the length of a trace id (W3C Trace Context).
const traceBytes = 16

func checkTrace(id string) error {
	if raw, err := hex.DecodeString(id); err != nil || len(raw) != traceBytes {
		return badRequest("trace %q: a trace id is 32 hex digits", id)
	}
	return nil
}

// maxRequests bounds an answer, which is made in memory: about 100 MiB.
const maxRequests = 100_000

// check finds what is wrong with a query; the error says what to change.
func (q *RequestsQuery) check() error {
	if q.Trace != "" {
		if err := checkTrace(q.Trace); err != nil {
			return err
		}
	}
	switch {
	case q.ID != "" && !recordID(q.ID):
		return badRequest("id %q: a record's id begins with rec_", q.ID)
	case q.Limit < 0 || q.Limit > maxRequests:
		return badRequest("limit %d: from 1 to %d; narrow the range of time to see others", q.Limit, maxRequests)
	case q.Customer != "" && q.Unattributed:
		return badRequest("ask for what customer %s pays, or for what nobody is known to pay, not for both", q.Customer)
	}
	return checkRange(q.From, q.To)
}

// filter is the store's form of the query.
func (q *RequestsQuery) filter() usage.RecordFilter {
	f := usage.RecordFilter{Range: timeRange(q.From, q.To), ID: q.ID, Trace: strings.ToLower(q.Trace), RequestID: q.RequestID, Limit: q.Limit}
	if q.Customer != "" || q.Unattributed {
		f.Customer = &q.Customer
	}
	return f
}

// Requests is the answer, by time.
type Requests struct {
	AsOf    AsOf     `json:"as_of"`
	Records []Record `json:"records"`
	// More says that the limit cut the list.
	More bool `json:"more"`
}

// Record is one billable request with what it rests on. Times are RFC 3339
// with nanoseconds.
type Record struct {
	ID           string           `json:"id" doc:"what explain --request and prove --request take"`
	Time         string           `json:"time" doc:"decides period and price"`
	Start        string           `json:"start"`
	End          string           `json:"end"`
	Customer     string           `json:"customer" doc:"empty: unattributed"`
	Project      string           `json:"project"`
	Key          string           `json:"key"`
	Rule         string           `json:"rule" doc:"which rule said who pays"`
	Model        string           `json:"model" doc:"empty: unknown"`
	Service      string           `json:"service"`
	Grade        string           `json:"grade"`
	Shape        string           `json:"shape" doc:"how the observations fold"`
	RequestID    string           `json:"request_id"`
	Trace        string           `json:"trace_id"`
	Quantities   map[string]int64 `json:"quantities"`
	Flags        []string         `json:"flags"`
	Observations []Observation    `json:"observations"`
}

// Observation is one thing that a source said, and where it stands in the
// journal.
type Observation struct {
	Kind       string           `json:"kind"`
	Trace      string           `json:"trace_id,omitempty"`
	Span       string           `json:"span_id,omitempty"`
	Source     string           `json:"source,omitempty"`
	SourceID   string           `json:"source_id,omitempty"`
	RequestID  string           `json:"request_id"`
	Start      string           `json:"start"`
	End        string           `json:"end"`
	Quantities map[string]int64 `json:"quantities"`
	Producer   string           `json:"producer"`
	Position   Position         `json:"position"`
}

// Position is a place in a journal.
type Position struct {
	Journal  string `json:"journal"`
	Entry    uint64 `json:"entry"`
	Index    int    `json:"index"`
	Received string `json:"received"`
}

// Conflicts is the list of observations that were kept out.
type Conflicts struct {
	AsOf      AsOf       `json:"as_of"`
	Conflicts []Conflict `json:"conflicts"`
}

// Conflict is an observation with the identity of another, and other content.
type Conflict struct {
	Observation Observation `json:"observation"`
	Record      string      `json:"record" doc:"the record that keeps the first one"`
	Kept        Position    `json:"kept"`
}

// RecordStore is what a question about records reads.
type RecordStore interface {
	Positions(ctx context.Context) (map[string]uint64, error)
	Records(ctx context.Context, f usage.RecordFilter) ([]usage.Record, error)
	Conflicts(ctx context.Context, in usage.Range) ([]usage.ConflictPair, error)
}

// listRequests answers a query from a store.
func listRequests(ctx context.Context, s RecordStore, q *RequestsQuery) (*Requests, error) {
	if err := q.check(); err != nil {
		return nil, err
	}
	positions, err := s.Positions(ctx)
	if err != nil {
		return nil, err
	}
	limit := cmp.Or(q.Limit, usage.DefaultLimit)
	f := q.filter()
	f.Limit = limit + 1 // to know whether there are more
	records, err := s.Records(ctx, f)
	if err != nil {
		return nil, err
	}
	out := &Requests{AsOf: AsOf{Journals: positions}, Records: []Record{}, More: len(records) > limit}
	for i := range records[:min(limit, len(records))] {
		out.Records = append(out.Records, NewRecord(&records[i]))
	}
	return out, nil
}

// ConflictsQuery bounds the times of the conflicts; zero ones are open.
type ConflictsQuery struct {
	From time.Time `query:"from"`
	To   time.Time `query:"to"`
}

// AskConflicts lists what was kept out.
var AskConflicts = &Op[ConflictsQuery, Conflicts]{
	Name: "conflicts", Method: http.MethodGet, Path: "/v1/conflicts", Summary: "Observations that say otherwise than the first of their identity",
	Role:   tenant.RoleReader,
	Folded: true,
	Do: func(ctx context.Context, l *Local, q *ConflictsQuery) (*Conflicts, error) {
		return listConflicts(ctx, l.Usage, q.From, q.To)
	},
}

func listConflicts(ctx context.Context, s RecordStore, from, to time.Time) (*Conflicts, error) {
	if err := checkRange(from, to); err != nil {
		return nil, err
	}
	positions, err := s.Positions(ctx)
	if err != nil {
		return nil, err
	}
	list, err := s.Conflicts(ctx, timeRange(from, to))
	if err != nil {
		return nil, err
	}
	out := &Conflicts{AsOf: AsOf{Journals: positions}, Conflicts: []Conflict{}}
	for i := range list {
		out.Conflicts = append(out.Conflicts, Conflict{
			Observation: newObservation(&list[i].Fact), Record: list[i].KeptRecord, Kept: newPosition(list[i].Kept),
		})
	}
	return out, nil
}

// NewRecord is the view of a record.
func NewRecord(r *usage.Record) Record {
	out := Record{
		ID: r.ID(), Time: nanoTime(r.Time), Start: nanoTime(r.Start), End: nanoTime(r.End),
		Customer: r.Customer, Project: r.Project, Key: r.Attribution.Key, Rule: r.Rule,
		Model: r.Model, Service: r.Service, Grade: string(r.Grade), Shape: string(r.Shape),
		RequestID: r.RequestID, Trace: r.Trace, Quantities: amounts(r.Quantities), Flags: append([]string{}, r.Flags...),
	}
	facts := slices.Clone(r.Facts)
	slices.SortFunc(facts, func(a, b usage.Fact) int { return a.Position.Compare(b.Position) })
	for i := range facts {
		out.Observations = append(out.Observations, newObservation(&facts[i]))
	}
	return out
}

func newObservation(f *usage.Fact) Observation {
	return Observation{
		Kind: string(f.Kind), Trace: f.Trace, Span: f.Span, Source: f.Source, SourceID: f.ID, RequestID: f.RequestID,
		Start: nanoTime(f.Start), End: nanoTime(f.End), Quantities: amounts(f.Quantities), Producer: f.Producer,
		Position: newPosition(f.Position),
	}
}

func newPosition(p usage.Position) Position {
	return Position{Journal: p.Origin, Entry: p.Seq, Index: p.Index, Received: nanoTime(p.Received)}
}

func amounts(q usage.Quantities) map[string]int64 {
	m := make(map[string]int64, len(q))
	for _, x := range q {
		m[x.Name] = x.Amount
	}
	return m
}

func nanoTime(ns int64) string { return time.Unix(0, ns).UTC().Format(time.RFC3339Nano) }
