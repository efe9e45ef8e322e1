package api_test

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tollkeeper/tollkeeper/internal/api"
	"github.com/tollkeeper/tollkeeper/internal/rating"
	"github.com/tollkeeper/tollkeeper/internal/usage"
)

// used answers with its totals, summed by step, and with nothing else.
type used struct {
	api.Store
	totals []usage.Total
}

func (s used) Totals(_ context.Context, _ usage.Range, step int64) ([]usage.Total, error) {
	out := slices.Clone(s.totals)
	for i := range out {
		if step == 0 {
			out[i].Bucket = 0
			continue
		}
		out[i].Bucket -= out[i].Bucket % step
	}
	return out, nil
}

// document is a book with one entry that says more.
func document(more string) string {
	return `{"v":1,"currency":"USD","entries":[{"model":"m","from":"2026-01-01T00:00:00Z","per":1,"prices":{"requests":"1"}` + more + `}]}`
}

func TestDocumentsThatCannotBeApplied(t *testing.T) {
	l := local(t)
	server := httptest.NewServer(api.Handler(api.HandlerOptions{
		Local: l, Open: true, Ready: func() error { return nil }, Metrics: http.NotFoundHandler(), Logger: slog.New(slog.DiscardHandler),
	}))
	defer server.Close()
	for _, c := range []struct{ body, want string }{
		{"", "request body is required"},
		{"{", "unexpected end of JSON"},
		{document(`,"customr":"acme"`), "unexpected property"},
		{document(`,"model":"n"`), `"model" stands twice in one object`},
		{strings.Replace(document(""), `"1"}`, `1.5}`, 1), "expected string"},
		{strings.Replace(document(""), `"1"}`, `"1e400"}`, 1), "not a decimal number"},
		{strings.Replace(document(""), `"1"}`, `"-1"}`, 1), "entry 0: the price of requests is negative: -1"},
		{strings.Replace(document(""), `"1"}`, `"0.1234567890123"}`, 1), "entry 0: the price of requests has 13 decimal places"},
		{strings.Replace(document(""), `"from":"2026-01-01T00:00:00Z",`, ``, 1), "expected required property from"},
		{strings.Replace(document(""), `"per":1`, `"per":7`, 1), "entry 0: per is 7"},
		{strings.Replace(document(""), `USD`, `XXQ`, 1), `"XXQ" is no currency of ISO 4217`},
		{strings.Replace(document(""), `USD`, `CLF`, 1), `"CLF" is no currency of ISO 4217 with at most 3 decimal places`},
		{strings.Replace(document(""), `"v":1`, `"v":2`, 1), `expected value to be one of`},
		{document(`,"customer":"a/b"`), `entry 0: invalid customer id "a/b"`},
		{document(`,"to":"2026-01-01T00:00:00Z"`), "entry 0: to, 2026-01-01T00:00:00Z, is not after from"},
		{document(`},{"model":"m","from":"2026-01-01T00:00:00Z","per":1,"prices":{"requests":"2"}`), `entry 1: requests of "m" has another price`},
	} {
		resp, err := http.Post(server.URL+"/v1/prices", "application/json", strings.NewReader(c.body))
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		text, err := json.Marshal(c.want)
		if err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode/100 != 4 || !strings.Contains(string(b), strings.Trim(string(text), `"`)) {
			t.Errorf("%s: %d %s; want %q", c.body, resp.StatusCode, b, c.want)
		}
	}
	if list, err := l.Business.PriceBooks(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("%d books were applied, %v", len(list), err)
	}
}

// TestUnpricedUsageIsFoundByTheQuarterHour holds that usage right before and right
// after a change of prices is rated by its own price, however usage is summed.
func TestUnpricedUsageIsFoundByTheQuarterHour(t *testing.T) {
	total := func(customer, at string, requests int64) usage.Total {
		when, err := time.Parse(time.RFC3339, at)
		if err != nil {
			t.Fatal(err)
		}
		return usage.Total{Customer: customer, Model: "m", Bucket: when.Unix(), Quantities: usage.NewQuantities(usage.Quantity{Name: "gpu_ms", Amount: requests})}
	}
	l := local(t)
	l.Usage = used{totals: []usage.Total{
		total("b", "2026-01-31T23:45:00Z", 1), total("b", "2026-02-01T00:00:00Z", 2), total("b", "2026-02-01T12:00:00Z", 4),
		total("b", "2026-02-01T12:15:00Z", 8), total("a", "2026-02-01T12:15:00Z", 16),
	}}
	for _, c := range []struct {
		period string
		want   []int64 // of a, of b
	}{
		{`"from":"2026-02-01T00:00:00Z"`, []int64{0, 1}},
		{`"from":"2026-02-01T12:15:00Z"`, []int64{0, 7}},
		{`"from":"2026-01-01T00:00:00Z","to":"2026-02-01T12:15:00Z"`, []int64{16, 8}},
		{`"from":"1970-01-01T00:00:00Z"`, []int64{0, 0}},
		{`"from":"1960-01-01T00:00:00Z","to":"1970-01-02T00:00:00Z"`, []int64{16, 15}},
	} {
		text := strings.NewReplacer(`"from":"2026-01-01T00:00:00Z"`, c.period, "requests", "gpu_ms").Replace(document(""))
		out, err := api.CheckPrices.Call(t.Context(), l, &api.PriceDocumentIn{Body: api.PriceDocument{RawMessage: json.RawMessage(text)}})
		if err != nil || len(out.Problems) != 0 {
			t.Fatalf("%s: %+v, %v", text, out, err)
		}
		got := []int64{0, 0}
		for _, u := range out.Unpriced {
			if u.Reason != rating.ReasonNoPrice {
				t.Errorf("%+v", u)
			}
			got[strings.Index("ab", u.Customer)] += u.Amount
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: unpriced %v, want %v", c.period, got, c.want)
		}
	}
}
