package api_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/tollkeeper/tollkeeper/internal/api"
	"github.com/tollkeeper/tollkeeper/internal/store/business"
	"github.com/tollkeeper/tollkeeper/internal/tenant"
	"github.com/tollkeeper/tollkeeper/internal/usage"
)

// failing is a projection that fails as the test says.
type failing struct {
	api.Store
	err error
}

func (s failing) Positions(context.Context) (map[string]uint64, error) { return nil, s.err }
func (s failing) Totals(context.Context, usage.Range, int64) ([]usage.Total, error) {
	return nil, s.err
}
func (s failing) TotalsAt(context.Context, []usage.Range, []string) (map[string]uint64, [][]usage.Total, error) {
	return nil, nil, s.err
}

// TestErrorsOfTheStores: each kind has its status, and what a stranger must not
// read stays in the log.
func TestErrorsOfTheStores(t *testing.T) {
	t.Parallel()
	secret := errors.New("open /srv/secret/usage/2026-11-03.db: input/output error")
	for name, c := range map[string]struct {
		err    error
		status int
		says   string
	}{
		"busy":         {errors.Join(business.ErrBusy, errors.New("retry")), 503, "business.db is busy"},
		"full":         {business.ErrFull, 503, "no room on the disk"},
		"anything":     {secret, 503, "try again; its log says why"},
		"a known hint": {&api.Error{Status: 409, Message: "no", Hint: "do otherwise", Err: secret}, 409, "no\ndo otherwise"},
	} {
		h := newHouse(t)
		h.local.Usage = failing{h.local.Usage, c.err}
		_, err := api.AskUsage.Call(t.Context(), h.client, &api.UsageQuery{})
		h.refused(err, c.status, c.says)
		if strings.Contains(err.Error(), "/srv/secret") {
			t.Errorf("%s: a stranger reads %v", name, err)
		}
		resp, err := http.Get(h.server.URL + "/v1/usage")
		h.must(err)
		resp.Body.Close()
		if retry := resp.Header.Get("Retry-After"); (retry != "") != (c.status == http.StatusServiceUnavailable) {
			t.Errorf("%s: Retry-After %q", name, retry)
		}
		if _, err := api.AskUsage.Call(t.Context(), h.local, &api.UsageQuery{}); !errors.Is(err, c.err) {
			t.Errorf("%s: in process the cause is lost: %v", name, err)
		}
	}
}

// TestNothingIsHalfDone: what fails is no answer at all.
func TestNothingIsHalfDone(t *testing.T) {
	t.Parallel()
	h := newOffice(t)
	h.local.Usage = failing{h.local.Usage, errors.New("disk")}
	for name, call := range map[string]func(api.Caller) error{
		"usage":     asking(h, api.AskUsage, api.UsageQuery{}),
		"requests":  asking(h, api.AskRequests, api.RequestsQuery{}),
		"conflicts": asking(h, api.AskConflicts, api.ConflictsQuery{}),
		"draft":     asking(h, api.DraftInvoice, api.DraftQuery{Customer: "acme"}),
		"finalise":  asking(h, api.FinaliseInvoice, closing("acme", "2026-11")),
		"customers": asking(h, api.ListCustomers, api.None{}),
		"check":     asking(h, api.CheckPrices, api.PriceDocumentIn{Body: api.PriceDocument{RawMessage: json.RawMessage(book)}}),
	} {
		if err := call(h.client); problem(err).Status != http.StatusServiceUnavailable {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// wire posts or gets as any client of the world does.
func (h *house) wire(method, path, contentType, body string) (*http.Response, string) {
	h.Helper()
	r, err := http.NewRequestWithContext(h.Context(), method, h.server.URL+path, strings.NewReader(body))
	h.must(err)
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	resp, err := http.DefaultTransport.RoundTrip(r)
	h.must(err)
	defer resp.Body.Close()
	w := httptest.NewRecorder()
	_, err = w.Body.ReadFrom(resp.Body)
	h.must(err)
	return resp, w.Body.String()
}

// TestRequestsThatCannotBeRead: each is refused as the caller's mistake, and says
// which.
func TestRequestsThatCannotBeRead(t *testing.T) {
	t.Parallel()
	h := newOffice(t)
	const json = "application/json"
	for name, c := range map[string]struct {
		method, path, contentType, body string
		want                            int
		says                            string
	}{
		"an unknown path":        {"GET", "/v1/usages", "", "", 404, "404"},
		"a wrong method":         {"DELETE", "/v1/customers/acme", "", "", 405, ""},
		"a question as a change": {"POST", "/v1/usage", json, "{}", 405, ""},
		"a change as a question": {"GET", "/v1/customers/acme/archive", "", "", 405, ""},
		"no body":                {"POST", "/v1/customers", json, "", 400, "body is required"},
		"no JSON":                {"POST", "/v1/customers", json, "id=acme", 400, ""},
		"half of it":             {"POST", "/v1/customers", json, `{"id":"ac`, 400, ""},
		"a list":                 {"POST", "/v1/customers", json, `["acme"]`, 422, "body"},
		"a wrong type":           {"POST", "/v1/customers", json, `{"id":7}`, 422, "body.id"},
		"an unknown field":       {"POST", "/v1/customers", json, `{"id":"umbrella","nickname":"U"}`, 422, "nickname"},
		"a form":                 {"POST", "/v1/customers", "application/x-www-form-urlencoded", "id=acme", 415, "x-www-form-urlencoded"},
		"XML":                    {"POST", "/v1/prices", "application/xml", "<prices/>", 415, "xml"},
		"too much":               {"POST", "/v1/customers", json, `{"name":"` + strings.Repeat("x", 5<<20) + `"}`, 413, "too large"},
		"too many prices":        {"POST", "/v1/prices", json, `{"v":1,"currency":"` + strings.Repeat("x", 5<<20) + `"}`, 413, "too large"},
		"deep":                   {"POST", "/v1/prices/check", json, strings.Repeat("[", 1<<20), 400, ""},
		"a number that is none":  {"GET", "/v1/requests?limit=many", "", "", 422, "query.limit"},
		"a time that is none":    {"GET", "/v1/usage?from=yesterday", "", "", 422, "query.from"},
		"a date alone":           {"GET", "/v1/usage?from=2026-11-01", "", "", 422, "query.from"},
		"a boolean that is none": {"GET", "/v1/requests?unattributed=perhaps", "", "", 422, "query.unattributed"},
		"a filter twice":         {"GET", "/v1/usage?customer=acme&customer=zeta", "", "", 400, "customer stands twice"},
		"a list as many":         {"GET", "/v1/usage?by=day&by=customer", "", "", 400, "separated by commas"},
		"a line that is none":    {"GET", "/v1/invoices/acme-0001/lines/two", "", "", 422, "path.line"},
		"no customer to draft":   {"GET", "/v1/drafts", "", "", 422, "customer"},
	} {
		t.Run(name, func(t *testing.T) {
			resp, body := h.wire(c.method, c.path, c.contentType, c.body)
			if resp.StatusCode != c.want || !strings.Contains(body, c.says) {
				t.Errorf("%d %.300s; want %d with %q", resp.StatusCode, body, c.want, c.says)
			}
		})
	}
	if list, err := same(h, api.ListCustomers, api.None{}); err != nil || len(list.Customers) != 3 {
		t.Errorf("something was changed: %+v, %v", list, err)
	}
}

// TestADirectoryWithoutAJournal: a directory that no server ever ran on.
func TestADirectoryWithoutAJournal(t *testing.T) {
	t.Parallel()
	l := local(t)
	for name, call := range map[string]func() error{
		"checkpoint": func() error { _, err := api.AskCheckpoint.Call(t.Context(), l, &api.None{}); return err },
		"finalise": func() error {
			if _, err := l.Business.AddCustomer(t.Context(), "test", tenant.Customer{ID: "acme"}); err != nil {
				return err
			}
			in := &api.FinaliseIn{}
			in.Body.Customer, in.Body.Month = "acme", "2026-11"
			_, err := api.FinaliseInvoice.Call(t.Context(), l, in)
			return err
		},
	} {
		if p := problem(call()); p.Status != http.StatusNotFound || !strings.Contains(p.Error(), "there is no journal") || !strings.Contains(p.Hint, "`tollkeeper serve`") {
			t.Errorf("%s: %d %v", name, p.Status, p)
		}
	}
}
