package api_test

import (
	"context"
	"encoding/json"
	"fmt"
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
	"github.com/tollkeeper/tollkeeper/internal/tenant"
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

func priceDocument(text string) (in api.PriceDocumentIn) {
	in.Body.RawMessage = json.RawMessage(text)
	return in
}

// dearer is book with another price of output and prices of zeta's own.
var dearer = strings.Replace(strings.Replace(book, `"0.40"`, `"0.45"`, 1), `]}`,
	`,{"model":"facebook/opt-125m","customer":"zeta","from":"2026-06-01T00:00:00Z","per":1000,"prices":{"output_tokens":"0.0001"}}]}`, 1)

// TestPricesComeIntoForce: a version each, the same prices none; both ways give the
// same book.
func TestPricesComeIntoForce(t *testing.T) {
	t.Parallel()
	w := newTwins(t, newHouse)
	h := w.inside
	for _, c := range []struct {
		document string
		version  int64
		changed  bool
	}{{book, 1, true}, {book, 1, false}, {strings.ReplaceAll(book, `"0.10"`, `"0.1"`), 1, false}, {dearer, 2, true}, {book, 3, true}} {
		out, err := change(w, api.ApplyPrices, priceDocument(c.document))
		h.must(err)
		if out.Version != c.version || out.Changed != c.changed || !out.Applied.Equal(noon) || len(out.Hash) != 64 || out.Source != "command" {
			t.Errorf("%+v; want %d, %t", out, c.version, c.changed)
		}
	}
	versions, err := change(w, api.ListPriceVersions, api.None{})
	h.must(err)
	if len(versions.Versions) != 3 || versions.Versions[0].Hash != versions.Versions[2].Hash || versions.Versions[0].Hash == versions.Versions[1].Hash {
		t.Errorf("%+v", versions)
	}
	for version, want := range map[int64]string{0: "0.4", 1: "0.4", 2: "0.45", 3: "0.4"} {
		out, err := change(w, api.AskPrices, api.PricesQuery{Version: version})
		h.must(err)
		if p := out.Entries[0].Prices; out.Currency != "USD" || p["output_tokens"].String() != want || p["input_tokens"].String() != "0.1" {
			t.Errorf("version %d: %+v", version, out)
		}
	}
	_, err = change(w, api.AskPrices, api.PricesQuery{Version: 4})
	h.refused(err, http.StatusNotFound, "price book version 4 not found")
	_, err = change(w, api.AskPrices, api.PricesQuery{Version: -1})
	h.refused(err, http.StatusBadRequest, "")
}

func TestPricesAreChecked(t *testing.T) {
	t.Parallel()
	h := newOffice(t)
	h.use(span{id: "acme-9", at: "2026-11-09T00:00:00Z", input: 3, service: "dear", model: "dear"})
	for name, c := range map[string]struct {
		document string
		problems int
		unpriced []string
		unknown  []string
	}{
		"in force":                   {book, 0, []string{"acme dear input_tokens 3"}, nil},
		"of a month":                 {strings.Replace(book, "2026-01-01", "2026-12-01", 1), 0, []string{"acme dear input_tokens 3", "acme " + opt + " input_tokens 1000110", "acme " + opt + " output_tokens 500055", "stranger " + opt + " input_tokens 70", "stranger " + opt + " output_tokens 30", "zeta " + opt + " input_tokens 7", "zeta " + opt + " output_tokens 3"}, nil},
		"of one whom nobody added":   {strings.ReplaceAll(dearer, "zeta", "umbrella"), 0, []string{"acme dear input_tokens 3"}, []string{"umbrella"}},
		"of what cannot be applied":  {strings.Replace(book, `"0.10"`, `"-1"`, 1), 1, nil, nil},
		"in a currency that is none": {strings.Replace(book, "USD", "XQQ", 1), 1, nil, nil},
	} {
		out, err := same(h, api.CheckPrices, priceDocument(c.document))
		h.must(err)
		var unpriced []string
		for _, u := range out.Unpriced {
			unpriced = append(unpriced, fmt.Sprint(u.Customer, " ", u.Model, " ", u.Quantity, " ", u.Amount))
		}
		if len(out.Problems) != c.problems || !slices.Equal(unpriced, c.unpriced) || !slices.Equal(out.UnknownCustomers, c.unknown) {
			t.Errorf("%s: %+v %q; want %q", name, out, unpriced, c.unpriced)
		}
	}
}

func diff(before, after int64, document string) (in api.DiffPricesIn) {
	in.Body.Before, in.Body.After = before, after
	if document != "" {
		in.Body.Document = &api.PriceDocument{RawMessage: json.RawMessage(document)}
	}
	return in
}

func unit(p *api.UnitPrice) string {
	if p == nil {
		return "-"
	}
	return fmt.Sprintf("%s/%d", p.Price, p.Per)
}

func TestPricesAreCompared(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	_, err := same(h, api.DiffPrices, diff(0, 0, ""))
	h.refused(err, http.StatusNotFound, "there are no prices yet")
	first, err := same(h, api.DiffPrices, diff(0, 0, book))
	h.must(err)
	if len(first.Changes) != 2 || first.Changes[0].Before != nil || first.Changes[0].After.Price.String() != "0.1" || first.Changes[0].Percent != "" {
		t.Errorf("what nothing comes before: %+v", first)
	}
	h.prices(book)
	h.prices(dearer)
	euro := strings.NewReplacer("USD", "EUR", `"0.10"`, `"0.20"`).Replace(book)
	for name, c := range map[string]struct {
		in   api.DiffPricesIn
		want []string
	}{
		"the one in force with the one before": {diff(0, 0, ""), []string{"output_tokens 0.4/1000000 0.45/1000000 +12.5%", "zeta output_tokens - 0.0001/1000"}},
		"the other way round":                  {diff(2, 1, ""), []string{"output_tokens 0.45/1000000 0.4/1000000 -11.1%", "zeta output_tokens 0.0001/1000 -"}},
		"the first with nothing":               {diff(0, 1, ""), []string{"input_tokens - 0.1/1000000", "output_tokens - 0.4/1000000"}},
		"itself":                               {diff(2, 2, ""), nil},
		"a document with the one in force":     {diff(0, 0, dearer), nil},
		"a document with an earlier one":       {diff(1, 0, book), nil},
		"another currency: no percent":         {diff(1, 0, euro), []string{"input_tokens 0.1/1000000 0.2/1000000", "output_tokens 0.4/1000000 0.4/1000000"}},
	} {
		out, err := same(h, api.DiffPrices, c.in)
		h.must(err)
		var got []string
		for _, x := range out.Changes {
			got = append(got, strings.TrimSpace(strings.Join([]string{x.Customer, x.Quantity, unit(x.Before), unit(x.After), x.Percent}, " ")))
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %q; want %q", name, got, c.want)
		}
	}
	for _, c := range []struct {
		in     api.DiffPricesIn
		status int
		says   string
	}{
		{diff(0, 1, book), http.StatusBadRequest, "not both"},
		{diff(0, 9, ""), http.StatusNotFound, "version 9 not found"},
		{diff(9, 0, ""), http.StatusNotFound, "version 9 not found"},
		{diff(-1, 0, ""), http.StatusBadRequest, ""},
		{diff(0, -1, ""), http.StatusBadRequest, ""},
		{diff(0, 0, "[]"), http.StatusBadRequest, ""},
		{diff(0, 0, strings.Replace(book, "USD", "XQQ", 1)), http.StatusBadRequest, "XQQ"},
	} {
		_, err := same(h, api.DiffPrices, c.in)
		h.refused(err, c.status, c.says)
	}
}

// TestCustomersSeeTheirOwnPrices, and not who works for the operator.
func TestCustomersSeeTheirOwnPrices(t *testing.T) {
	t.Parallel()
	h := newOffice(t)
	h.prices(dearer)
	for customer, want := range map[string]int{"zeta": 2, "acme": 1} {
		c := h.key(customer, tenant.RoleReader)
		out, err := api.AskPrices.Call(t.Context(), c, &api.PricesQuery{})
		if err != nil || len(out.Entries) != want || out.Actor != "" {
			t.Errorf("%s: %+v, %v", customer, out, err)
		}
		for name, call := range map[string]func(api.Caller) error{
			"apply": asking(h, api.ApplyPrices, priceDocument(book)), "check": asking(h, api.CheckPrices, priceDocument(book)),
			"diff": asking(h, api.DiffPrices, diff(0, 0, book)), "versions": asking(h, api.ListPriceVersions, api.None{}),
		} {
			if err := call(c); problem(err).Status != http.StatusForbidden {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}
