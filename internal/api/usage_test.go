package api_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tollkeeper/tollkeeper/internal/api"
	"github.com/tollkeeper/tollkeeper/internal/tenant"
)

func day(month time.Month, day int) time.Time {
	return time.Date(2026, month, day, 0, 0, 0, 0, time.UTC)
}

// row is a group as "dimension values: requests input output".
func rows(u *api.Usage, by []string) (out []string) {
	for i := range u.Rows {
		r := &u.Rows[i]
		var values []string
		for _, d := range by {
			values = append(values, r.Dimension(d))
		}
		out = append(out, fmt.Sprintf("%s: %d %d %d", strings.Join(values, " "), r.Requests, r.InputTokens, r.OutputTokens))
	}
	return out
}

func TestUsageIsSummedByAnyDimensions(t *testing.T) {
	t.Parallel()
	h := newOffice(t)
	for _, c := range []struct {
		name string
		q    api.UsageQuery
		want []string
	}{
		{"by nothing", api.UsageQuery{}, nil},
		{"by customer, also one whom nobody added", api.UsageQuery{By: []string{"customer"}}, []string{
			"acme: 4 1000111 500056", "stranger: 1 70 30", "zeta: 1 7 3",
		}},
		{"in the order that is asked for", api.UsageQuery{By: []string{"service", "customer"}}, []string{
			"opt-125m acme: 3 1000011 500006", "opt-125m stranger: 1 70 30", "opt-125m zeta: 1 7 3", "other acme: 1 100 50",
		}},
		{"by month", api.UsageQuery{By: []string{"month", "model"}, Customer: "acme"}, []string{
			"2026-11 " + opt + ": 3 1000110 500055", "2026-12 " + opt + ": 1 1 1",
		}},
		{"by month of a zone: its November has ended", api.UsageQuery{By: []string{"month"}, Customer: "acme", TimeZone: "Asia/Kolkata"}, []string{
			"2026-11: 2 1000010 500005", "2026-12: 2 101 51",
		}},
		{"by day", api.UsageQuery{By: []string{"day"}, Customer: "acme"}, []string{
			"2026-11-03: 2 1000010 500005", "2026-11-30: 1 100 50", "2026-12-01: 1 1 1",
		}},
		{"by hour", api.UsageQuery{By: []string{"hour"}, From: day(11, 3), To: day(11, 5)}, []string{
			"2026-11-03T10Z: 2 1000010 500005", "2026-11-04T00Z: 1 7 3",
		}},
		{"by hour of a zone that is not whole hours from UTC", api.UsageQuery{By: []string{"hour"}, From: day(11, 3), To: day(11, 4), TimeZone: "Asia/Kolkata"}, []string{
			"2026-11-03T15+05:30: 2 1000010 500005",
		}},
		{"by rule and grade", api.UsageQuery{By: []string{"rule", "grade"}}, []string{"request_id final: 6 1000188 500089"}},
		{"by project and key", api.UsageQuery{By: []string{"project", "key"}}, []string{" : 6 1000188 500089"}},
		{"from a time on", api.UsageQuery{By: []string{"customer"}, From: day(11, 30)}, []string{"acme: 2 101 51"}},
		{"a quarter of an hour", api.UsageQuery{By: []string{"customer"}, From: day(11, 3).Add(10 * time.Hour), To: day(11, 3).Add(10*time.Hour + 15*time.Minute)}, []string{
			"acme: 1 1000000 500000",
		}},
		{"bounds in a zone of their own", api.UsageQuery{By: []string{"customer"}, From: day(11, 30).In(time.FixedZone("", 3600))}, []string{"acme: 2 101 51"}},
		{"of nobody", api.UsageQuery{By: []string{"customer"}, Customer: "nobody"}, nil},
		{"before all", api.UsageQuery{By: []string{"customer"}, To: day(1, 1)}, nil},
		{"before 1970", api.UsageQuery{By: []string{"customer"}, From: time.Date(1, 1, 1, 0, 15, 0, 0, time.UTC), To: time.Date(1970, 1, 1, 0, 0, 0, 0, time.UTC)}, nil},
		{"for ever", api.UsageQuery{
			By: []string{"customer"}, From: time.Date(1000, 1, 1, 0, 0, 0, 0, time.UTC), To: time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC), Customer: "zeta",
		}, []string{"zeta: 1 7 3"}},
		{"after the year 2262, where nanoseconds end", api.UsageQuery{By: []string{"customer"}, From: time.Date(2600, 1, 1, 0, 0, 0, 0, time.UTC)}, nil},
	} {
		out, err := same(h, api.AskUsage, c.q)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if got := rows(out, c.q.By); strings.Join(got, "\n") != strings.Join(c.want, "\n") {
			t.Errorf("%s: %q; want %q", c.name, got, c.want)
		}
		var sum int64
		for i := range out.Rows {
			sum += out.Rows[i].InputTokens
		}
		if len(c.q.By) > 0 && out.Total.InputTokens != sum {
			t.Errorf("%s: the total %d is not the sum %d", c.name, out.Total.InputTokens, sum)
		}
		if at := out.AsOf.Journals[h.journal.Origin()]; at != 7 {
			t.Errorf("%s: as of %v", c.name, out.AsOf.Journals)
		}
	}
}

func TestUsageQueriesThatAreWrong(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	for _, c := range []struct {
		q    api.UsageQuery
		says string
	}{
		{api.UsageQuery{By: []string{"custmer"}}, `unknown dimension "custmer": usage is grouped by month, day, hour, customer,`},
		{api.UsageQuery{By: []string{"day", "model", "day"}}, `dimension "day" stands twice`},
		{api.UsageQuery{TimeZone: "Mars/Olympus"}, `time zone "Mars/Olympus": an IANA name`},
		{api.UsageQuery{TimeZone: "Local"}, `time zone "Local": an IANA name`},
		{api.UsageQuery{TimeZone: "../../etc/passwd"}, `an IANA name`},
		{api.UsageQuery{From: day(11, 1).Add(time.Minute)}, "2026-11-01T00:01:00Z does not lie on a quarter hour"},
		{api.UsageQuery{To: day(11, 1).Add(time.Nanosecond)}, "does not lie on a quarter hour"},
		{api.UsageQuery{From: day(11, 2), To: day(11, 1)}, "the range is empty: it begins at 2026-11-02T00:00:00Z and ends at 2026-11-01T00:00:00Z"},
		{api.UsageQuery{From: day(11, 2), To: day(11, 2)}, "the range is empty"},
	} {
		_, err := same(h, api.AskUsage, c.q)
		h.refused(err, http.StatusBadRequest, c.says)
	}
}

// TestUsageOfNothing: an empty directory answers with zeros, not with null.
func TestUsageOfNothing(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	out, err := same(h, api.AskUsage, api.UsageQuery{By: []string{"day"}})
	h.must(err)
	const want = `{"from":"","to":"","as_of":{"journals":{}},"rows":[],"total":{"requests":0,"input_tokens":0,"cached_input_tokens":0,"output_tokens":0,"reasoning_tokens":0}}`
	if got := text(h, out); got != want {
		t.Errorf("%s; want %s", got, want)
	}
}

// TestCustomersSeeTheirOwnUsage: the key of a customer narrows every sum.
func TestCustomersSeeTheirOwnUsage(t *testing.T) {
	t.Parallel()
	h := newOffice(t)
	zeta := h.key("zeta", tenant.RoleReader)
	for _, customer := range []string{"", "zeta"} {
		out, err := api.AskUsage.Call(t.Context(), zeta, &api.UsageQuery{By: []string{"customer"}, Customer: customer})
		h.must(err)
		if got := rows(out, []string{"customer"}); len(got) != 1 || got[0] != "zeta: 1 7 3" || out.Total.InputTokens != 7 {
			t.Errorf("%q sees %q, %+v", customer, got, out.Total)
		}
	}
	_, err := api.AskUsage.Call(t.Context(), zeta, &api.UsageQuery{Customer: "acme"})
	h.refused(err, http.StatusForbidden, "this key sees customer zeta only")
}

// TestHoursThatTheClocksRepeat are two, in the order in which they came.
func TestHoursThatTheClocksRepeat(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.policy()
	h.use(
		span{id: "acme-1", at: "2026-10-24T23:45:00Z", input: 1},
		span{id: "acme-2", at: "2026-10-25T00:00:00Z", input: 2},
		span{id: "acme-3", at: "2026-10-25T00:59:59Z", input: 4},
		span{id: "acme-4", at: "2026-10-25T01:00:00Z", input: 8},
		span{id: "acme-5", at: "2026-10-25T02:00:00Z", input: 16},
	)
	for by, want := range map[string][]string{
		"hour": {"2026-10-25T01+02:00: 1 1 0", "2026-10-25T02+02:00: 2 6 0", "2026-10-25T02+01:00: 1 8 0", "2026-10-25T03+01:00: 1 16 0"},
		"day":  {"2026-10-25: 5 31 0"},
	} {
		out, err := same(h, api.AskUsage, api.UsageQuery{By: []string{by}, TimeZone: "Europe/Berlin"})
		h.must(err)
		if got := rows(out, []string{by}); !slices.Equal(got, want) {
			t.Errorf("%q; want %q", got, want)
		}
	}
}

// TestUsageOfOtherKinds: quantities that no text request has are summed by name.
func TestUsageOfOtherKinds(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.policy()
	h.use(
		span{id: "acme-1", at: "2026-11-03T00:00:00Z", input: 10, cached: 4, audio: 1500},
		span{id: "acme-2", at: "2026-11-03T01:00:00Z", audio: 500},
		span{id: "zeta-1", at: "2026-11-03T02:00:00Z", input: 1},
	)
	out, err := same(h, api.AskUsage, api.UsageQuery{By: []string{"customer"}})
	h.must(err)
	const amounts = `"cached_input_tokens":4,"output_tokens":0,"reasoning_tokens":0,"other":{"audio_ms":2000}`
	for _, want := range []string{
		`{"customer":"acme","requests":2,"input_tokens":10,` + amounts, `{"customer":"zeta","requests":1,"input_tokens":1,"cached_input_tokens":0,"output_tokens":0,"reasoning_tokens":0}`,
		`"total":{"requests":3,"input_tokens":11,` + amounts,
	} {
		if got := text(h, out); !strings.Contains(got, want) {
			t.Errorf("%s lacks %s", got, want)
		}
	}
}
