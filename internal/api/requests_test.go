package api_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tollkeeper/tollkeeper/internal/api"
	"github.com/tollkeeper/tollkeeper/internal/journal"
	"github.com/tollkeeper/tollkeeper/internal/project"
	"github.com/tollkeeper/tollkeeper/internal/tenant"
	"github.com/tollkeeper/tollkeeper/internal/usage"
)

// requestIDs are those of the records, without what is the same in all.
func requestIDs(out *api.Requests) (ids []string) {
	for i := range out.Records {
		ids = append(ids, strings.TrimSuffix(strings.TrimPrefix(out.Records[i].RequestID, "cmpl-"), "-0"))
	}
	return ids
}

// trace that a client chose.
const trace = "0af7651916cd43dd8448eb211c80319c"

func TestRequestsAreFound(t *testing.T) {
	t.Parallel()
	h := newOffice(t)
	h.use(
		span{id: "zeta-7", at: "2026-11-20T00:00:00Z", input: 1, output: 1, trace: trace},
		span{id: "acme-7", at: "2026-11-20T00:00:01Z", input: 1, output: 1, trace: trace},
		span{id: "42-nobody", at: "2026-11-21T00:00:00Z", input: 1, output: 1},
	)
	all, err := same(h, api.AskRequests, api.RequestsQuery{})
	h.must(err)
	for _, c := range []struct {
		name string
		q    api.RequestsQuery
		want []string
		more bool
	}{
		{"all, by time", api.RequestsQuery{}, []string{"acme-1", "acme-2", "zeta-1", "stranger-1", "zeta-7", "acme-7", "42-nobody", "acme-3", "acme-4"}, false},
		{"of a customer", api.RequestsQuery{Customer: "zeta"}, []string{"zeta-1", "zeta-7"}, false},
		{"of nobody", api.RequestsQuery{Unattributed: true}, []string{"42-nobody"}, false},
		{"of a trace, across customers", api.RequestsQuery{Trace: trace}, []string{"zeta-7", "acme-7"}, false},
		{"of a trace in capitals", api.RequestsQuery{Trace: strings.ToUpper(trace)}, []string{"zeta-7", "acme-7"}, false},
		{"of a trace and a customer", api.RequestsQuery{Trace: trace, Customer: "acme"}, []string{"acme-7"}, false},
		{"by the id that the API answered", api.RequestsQuery{RequestID: "cmpl-acme-2"}, []string{"acme-2"}, false},
		{"by the client's own id", api.RequestsQuery{RequestID: "acme-2"}, []string{"acme-2"}, false},
		{"by the record's id", api.RequestsQuery{ID: all.Records[2].ID}, []string{"zeta-1"}, false},
		{"by an id and another's customer", api.RequestsQuery{ID: all.Records[2].ID, Customer: "acme"}, nil, false},
		{"by an id that is not there", api.RequestsQuery{ID: "rec_" + strings.Repeat("0", 32)}, nil, false},
		{"by an id that is none", api.RequestsQuery{ID: "rec_x"}, nil, false},
		{"by an id with what a path or a query would read", api.RequestsQuery{RequestID: "a&b=c/../%2e ü"}, nil, false},
		{"from, to", api.RequestsQuery{From: day(11, 4), To: day(11, 5)}, []string{"zeta-1"}, false},
		{"to the nanosecond", api.RequestsQuery{From: day(11, 20).Add(time.Nanosecond), To: day(11, 20).Add(time.Second + time.Nanosecond)}, []string{"acme-7"}, false},
		{"the first two", api.RequestsQuery{Limit: 2}, []string{"acme-1", "acme-2"}, true},
		{"exactly as many as there are", api.RequestsQuery{Customer: "zeta", Limit: 2}, []string{"zeta-1", "zeta-7"}, false},
		{"after the year 2262", api.RequestsQuery{From: time.Date(2600, 1, 1, 0, 0, 0, 0, time.UTC)}, nil, false},
		{"up to the year 9999", api.RequestsQuery{Customer: "zeta", To: time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)}, []string{"zeta-1", "zeta-7"}, false},
		{"before 1970", api.RequestsQuery{To: time.Date(1970, 1, 1, 0, 0, 0, 0, time.UTC)}, nil, false},
	} {
		out, err := same(h, api.AskRequests, c.q)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if got := requestIDs(out); !slices.Equal(got, c.want) || out.More != c.more {
			t.Errorf("%s: %q, more %t; want %q", c.name, got, out.More, c.want)
		}
	}
}

func TestRequestsQueriesThatAreWrong(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	for _, c := range []struct {
		q    api.RequestsQuery
		says string
	}{
		{api.RequestsQuery{Trace: "0af765"}, `trace "0af765": a trace id is 32 hex digits`},
		{api.RequestsQuery{Trace: strings.Repeat("g", 32)}, "32 hex digits"},
		{api.RequestsQuery{ID: "cmpl-1"}, `id "cmpl-1": a record's id begins with rec_`},
		{api.RequestsQuery{Limit: -1}, "limit -1: from 1 to 100000"},
		{api.RequestsQuery{Limit: 100_001}, "limit 100001: from 1 to 100000"},
		{api.RequestsQuery{Customer: "acme", Unattributed: true}, "acme"},
		{api.RequestsQuery{From: day(11, 2), To: day(11, 1)}, "the range is empty: it begins at 2026-11-02T00:00:00Z and ends at 2026-11-01T00:00:00Z"},
	} {
		_, err := same(h, api.AskRequests, c.q)
		h.refused(err, http.StatusBadRequest, c.says)
	}
}

// TestARecordSaysWhatItRestsOn pins what is told of one request.
func TestARecordSaysWhatItRestsOn(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.policy()
	h.use(span{id: "acme-1", at: "2026-11-03T10:00:00.000000001Z", input: usage.MaxAmount, output: 5})
	h.use(span{id: "acme-1", at: "2026-11-03T10:00:00.000000001Z", input: usage.MaxAmount, output: 5}) // sent again
	out, err := same(h, api.AskRequests, api.RequestsQuery{})
	h.must(err)
	if len(out.Records) != 1 || len(out.Records[0].Observations) != 1 {
		t.Fatalf("%+v", out)
	}
	r := out.Records[0]
	if r.Time != "2026-11-03T10:00:00.000000001Z" || r.End != "2026-11-03T10:00:01.000000001Z" || r.Customer != "acme" || r.Rule != "request_id" || r.Model != opt ||
		r.Service != service || r.Grade != "final" || r.Quantities["input_tokens"] != usage.MaxAmount || r.Quantities["output_tokens"] != 5 || r.Quantities["requests"] != 1 {
		t.Errorf("%+v", r)
	}
	if p := r.Observations[0].Position; p.Journal != h.journal.Origin() || p.Entry != 2 || p.Index != 0 || p.Received != "2026-12-02T12:00:00Z" {
		t.Errorf("%+v", p)
	}
}

func TestConflictsAndTallies(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.policy()
	first := span{id: "acme-1", at: "2026-11-03T10:00:00Z", input: 10, output: 5}
	other := first
	other.output = 6
	h.use(first, first, other)
	h.append(journal.Batch{Producer: "key_sender", Kind: project.KindTraces, Received: noon, Rejected: map[string]int64{"negative": 3}, Ignored: map[string]int64{"no_usage": 2}})
	h.fold()

	for name, c := range map[string]struct {
		q    api.ConflictsQuery
		want int
	}{
		"all":                 {api.ConflictsQuery{}, 1},
		"its day":             {api.ConflictsQuery{From: day(11, 3), To: day(11, 4)}, 1},
		"another day":         {api.ConflictsQuery{From: day(11, 4)}, 0},
		"after the year 2262": {api.ConflictsQuery{From: time.Date(2600, 1, 1, 0, 0, 0, 0, time.UTC)}, 0},
	} {
		out, err := same(h, api.AskConflicts, c.q)
		h.must(err)
		if len(out.Conflicts) != c.want {
			t.Errorf("%s: %+v", name, out)
			continue
		}
		for _, x := range out.Conflicts {
			if x.Observation.Quantities["output_tokens"] != 6 || x.Observation.Position.Entry != 4 || x.Kept.Entry != 2 || !strings.HasPrefix(x.Record, "rec_") {
				t.Errorf("%s: %+v", name, x)
			}
		}
	}
	_, err := same(h, api.AskConflicts, api.ConflictsQuery{From: day(11, 4), To: day(11, 3)})
	h.refused(err, http.StatusBadRequest, "the range is empty")

	tallies, err := same(h, api.AskTallies, api.None{})
	h.must(err)
	var got []string
	for _, x := range tallies.Tallies {
		if x.Journal == h.journal.Origin() && x.Producer == "key_sender" {
			got = append(got, strings.TrimSpace(fmt.Sprint(x.Verdict, " ", x.Amount, " ", x.Reason)))
		}
	}
	slices.Sort(got)
	if want := []string{"accepted 1", "conflict 1", "duplicate 1", "ignored 2 no_usage", "rejected 3 negative"}; !slices.Equal(got, want) {
		t.Errorf("%q; want %q", got, want)
	}
}

// TestCustomersSeeTheirOwnRequests: also by the id and by the trace of another's.
func TestCustomersSeeTheirOwnRequests(t *testing.T) {
	t.Parallel()
	h := newOffice(t)
	h.use(span{id: "zeta-7", at: "2026-11-20T00:00:00Z", trace: trace}, span{id: "acme-7", at: "2026-11-20T00:00:01Z", trace: trace})
	acme, err := same(h, api.AskRequests, api.RequestsQuery{Customer: "acme"})
	h.must(err)
	zeta := h.key("zeta", tenant.RoleReader)
	for name, c := range map[string]struct {
		q    api.RequestsQuery
		want []string
	}{
		"all":              {api.RequestsQuery{}, []string{"zeta-1", "zeta-7"}},
		"another's record": {api.RequestsQuery{ID: acme.Records[0].ID}, nil},
		"a shared trace":   {api.RequestsQuery{Trace: trace}, []string{"zeta-7"}},
	} {
		out, err := api.AskRequests.Call(t.Context(), zeta, &c.q)
		h.must(err)
		if got := requestIDs(out); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q; want %q", name, got, c.want)
		}
	}
	_, err = api.AskRequests.Call(t.Context(), zeta, &api.RequestsQuery{Unattributed: true})
	if p := problem(err); p.Status/100 != 4 {
		t.Errorf("a customer asked for what nobody pays for: %v", err)
	}
	_, err = api.AskConflicts.Call(t.Context(), zeta, &api.ConflictsQuery{})
	h.refused(err, http.StatusForbidden, "a customer's key; this is the operator's")
}
