package api_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/tollkeeper/tollkeeper/internal/api"
	"github.com/tollkeeper/tollkeeper/internal/tenant"
)

func spec(id, name string) api.CustomerSpec { return api.CustomerSpec{ID: id, Name: &name} }

func TestCustomersAreTheSameInProcessAndOverHTTP(t *testing.T) {
	t.Parallel()
	w := newTwins(t, newHouse)
	h := w.inside
	c, err := change(w, api.AddCustomer, api.AddCustomerIn{Body: spec("acme", "Acme Ltd")})
	h.must(err)
	if c.ID != "acme" || c.Name != "Acme Ltd" || !c.Known || !c.Created.Equal(noon) {
		t.Errorf("%+v", c)
	}
	berlin, euro, none := "Europe/Berlin", "EUR", ""
	update := api.UpdateCustomerIn{ID: "acme", Body: api.CustomerSpec{TimeZone: &berlin, Currency: &euro}}
	if c, err = change(w, api.UpdateCustomer, update); err != nil || c.Name != "Acme Ltd" || c.TimeZone != berlin || c.Currency != euro {
		t.Errorf("what is absent stays: %+v, %v", c, err)
	}
	update.Body = api.CustomerSpec{Name: &none}
	if c, err = change(w, api.UpdateCustomer, update); err != nil || c.Name != "" || c.TimeZone != berlin {
		t.Errorf("what is empty is taken away: %+v, %v", c, err)
	}
	_, err = change(w, api.ArchiveCustomer, api.ByID{ID: "acme"})
	h.must(err)
	if list, err := change(w, api.ListCustomers, api.None{}); err != nil || len(list.Customers) != 1 || !list.Customers[0].Archived.Equal(noon) {
		t.Errorf("%+v, %v", list, err)
	}
	_, err = change(w, api.ArchiveCustomer, api.ByID{ID: "acme"})
	h.refused(err, http.StatusConflict, "customer acme is archived since 2026-12-02")
	_, err = change(w, api.AddProject, addProject("acme", "chat"))
	h.refused(err, http.StatusConflict, "restore it first")
	_, err = change(w, api.RestoreCustomer, api.ByID{ID: "acme"})
	h.must(err)
	_, err = change(w, api.RestoreCustomer, api.ByID{ID: "acme"})
	h.refused(err, http.StatusConflict, "not archived")
}

func TestCustomersThatAreRefused(t *testing.T) {
	t.Parallel()
	w := newTwins(t, newHouse)
	h := w.inside
	_, err := change(w, api.AddCustomer, api.AddCustomerIn{Body: spec("acme", "")})
	h.must(err)
	_, err = change(w, api.AddCustomer, api.AddCustomerIn{Body: spec("acme", "another")})
	h.refused(err, http.StatusConflict, "customer acme already exists")
	for _, id := range []string{"", ".", "..", "a/b", "a b", "ä", strings.Repeat("a", 64)} {
		_, err := change(w, api.AddCustomer, api.AddCustomerIn{Body: spec(id, "")})
		h.refused(err, http.StatusBadRequest, "invalid customer id")
	}
	for name, c := range map[string]struct {
		set  func(*api.CustomerSpec, string)
		bad  string
		says string
	}{
		"lower case":           {func(s *api.CustomerSpec, v string) { s.Currency = &v }, "eur", "currency"},
		"no such currency":     {func(s *api.CustomerSpec, v string) { s.Currency = &v }, "XQQ", `currency "XQQ": an ISO 4217 code`},
		"four decimal places":  {func(s *api.CustomerSpec, v string) { s.Currency = &v }, "CLF", `currency "CLF"`},
		"no such zone":         {func(s *api.CustomerSpec, v string) { s.TimeZone = &v }, "Europe/Atlantis", "time zone"},
		"the machine's zone":   {func(s *api.CustomerSpec, v string) { s.TimeZone = &v }, "Local", "time zone"},
		"a zone that is a way": {func(s *api.CustomerSpec, v string) { s.TimeZone = &v }, "../passwd", "time zone"},
	} {
		t.Run(name, func(t *testing.T) {
			s := api.CustomerSpec{ID: "zeta"}
			c.set(&s, c.bad)
			_, err := change(w, api.AddCustomer, api.AddCustomerIn{Body: s})
			h.refused(err, http.StatusBadRequest, c.says)
			s.ID = ""
			_, err = change(w, api.UpdateCustomer, api.UpdateCustomerIn{ID: "acme", Body: s})
			h.refused(err, http.StatusBadRequest, c.says)
		})
	}
	_, err = change(w, api.UpdateCustomer, api.UpdateCustomerIn{ID: "acme", Body: spec("zeta", "Zeta")})
	h.refused(err, http.StatusBadRequest, "a customer's id never changes")
	if list, err := change(w, api.ListCustomers, api.None{}); err != nil || len(list.Customers) != 1 {
		t.Errorf("something was added: %+v, %v", list, err)
	}
}

// strange are ids that nothing has, and that a path could be led astray by.
var strange = []string{"nobody", ".", "..", "", "a/b", "a%2Fb", "../customers", "ä ?#&", "acme/archive"}

// TestUnknownIDs: what is not there is not found, by whatever id, in process and
// over HTTP, by every operation that takes one.
func TestUnknownIDs(t *testing.T) {
	t.Parallel()
	h := newOffice(t)
	_, err := api.AddProject.Call(t.Context(), h.local, new(addProject("acme", "chat")))
	h.must(err)
	for _, id := range strange {
		void := api.VoidInvoiceIn{ID: id}
		void.Body.Reason = "wrong"
		for name, ask := range map[string]func(api.Caller) error{
			"update customer":     asking(h, api.UpdateCustomer, api.UpdateCustomerIn{ID: id}),
			"archive customer":    asking(h, api.ArchiveCustomer, api.ByID{ID: id}),
			"restore customer":    asking(h, api.RestoreCustomer, api.ByID{ID: id}),
			"projects":            asking(h, api.ListProjects, api.ByID{ID: id}),
			"another's project":   asking(h, api.ArchiveProject, api.ArchiveProjectIn{ID: id, Project: "chat"}),
			"archive project":     asking(h, api.ArchiveProject, api.ArchiveProjectIn{ID: "acme", Project: id}),
			"archive key":         asking(h, api.ArchiveKey, api.ByID{ID: id}),
			"invoice":             asking(h, api.ShowInvoice, api.ByID{ID: id}),
			"line":                asking(h, api.ExplainLine, api.ExplainQuery{ID: id, Line: 1}),
			"void":                asking(h, api.VoidInvoice, void),
			"400 explain request": asking(h, api.ExplainRequest, api.ByID{ID: id}),
			"400 prove":           asking(h, api.ProveRequest, api.ByID{ID: id}),
			"400 explain trace":   asking(h, api.ExplainTrace, api.TraceQuery{Trace: id}),
		} {
			want := http.StatusNotFound
			if strings.HasPrefix(name, "400") {
				want = http.StatusBadRequest // it has not the form of an id
			}
			inside, outside := problem(ask(h.local)), problem(ask(h.client))
			if inside.Status != want {
				t.Errorf("%s %q in process: %d %v", name, id, inside.Status, inside)
			}
			// These three would make it another path, so the client asks nothing.
			unaskable := id == "" || id == "." || id == ".."
			if unaskable && outside.Status != http.StatusNotFound || !unaskable && outside.Error() != inside.Error() {
				t.Errorf("%s %q over HTTP: %d %v; in process %v", name, id, outside.Status, outside, inside)
			}
		}
	}
	if list, err := same(h, api.ListCustomers, api.None{}); err != nil || !list.Customers[0].Archived.IsZero() {
		t.Errorf("one of them archived acme: %+v, %v", list, err)
	}
}

// asking binds an operation to its input.
func asking[I, O any](h *house, op *api.Op[I, O], in I) func(api.Caller) error {
	return func(c api.Caller) error {
		_, err := op.Call(h.Context(), c, &in)
		return err
	}
}

func addProject(customer, project string) (in api.AddProjectIn) {
	in.ID, in.Body.Project, in.Body.Name = customer, project, "Chat"
	return in
}

func TestProjects(t *testing.T) {
	t.Parallel()
	w := newTwins(t, newOffice)
	h := w.inside
	p, err := change(w, api.AddProject, addProject("acme", "chat"))
	h.must(err)
	if p.Customer != "acme" || p.ID != "chat" || p.Name != "Chat" || !p.Created.Equal(noon) {
		t.Errorf("%+v", p)
	}
	_, err = change(w, api.AddProject, addProject("acme", "chat"))
	h.refused(err, http.StatusConflict, "project chat of customer acme already exists")
	_, err = change(w, api.AddProject, addProject("acme", "no/no"))
	h.refused(err, http.StatusBadRequest, "invalid project id")
	_, err = change(w, api.AddProject, addProject("stranger", "chat"))
	h.refused(err, http.StatusNotFound, "customer stranger not found")
	_, err = change(w, api.AddProject, addProject("zeta", "chat")) // another customer's may have the same name
	h.must(err)
	_, err = change(w, api.ArchiveProject, api.ArchiveProjectIn{ID: "acme", Project: "chat"})
	h.must(err)
	_, err = change(w, api.ArchiveProject, api.ArchiveProjectIn{ID: "acme", Project: "chat"})
	h.refused(err, http.StatusConflict, "project chat of customer acme is archived")
	for customer, archived := range map[string]bool{"acme": true, "zeta": false} {
		list, err := change(w, api.ListProjects, api.ByID{ID: customer})
		if err != nil || len(list.Projects) != 1 || list.Projects[0].Customer != customer || list.Projects[0].Archived.IsZero() == archived {
			t.Errorf("%s: %+v, %v", customer, list, err)
		}
	}
	// A customer's own key sees its own, and not whether another's are there.
	zeta := w.inside.key("zeta", tenant.RoleReader)
	if list, err := api.ListProjects.Call(t.Context(), zeta, &api.ByID{ID: "zeta"}); err != nil || len(list.Projects) != 1 {
		t.Errorf("%+v, %v", list, err)
	}
	for _, other := range []string{"acme", "nobody"} {
		_, err := api.ListProjects.Call(t.Context(), zeta, &api.ByID{ID: other})
		h.refused(err, http.StatusForbidden, "customer zeta only")
	}
}

// TestCustomersThatOnlyUsageNames stand in the list as unknown.
func TestCustomersThatOnlyUsageNames(t *testing.T) {
	t.Parallel()
	h := newOffice(t)
	list, err := same(h, api.ListCustomers, api.None{})
	h.must(err)
	var got []string
	for _, c := range list.Customers {
		got = append(got, fmt.Sprint(c.ID, " ", c.Known))
	}
	if want := []string{"acme true", "stranger false", "zeta true"}; !slices.Equal(got, want) {
		t.Errorf("%q; want %q", got, want)
	}
}

func addKey(customer, project, role string) (in api.AddKeyIn) {
	in.Body.Customer, in.Body.Project, in.Body.Role, in.Body.Note = customer, project, role, "a test's"
	return in
}

func TestKeys(t *testing.T) {
	t.Parallel()
	w := newTwins(t, newOffice)
	h := w.inside
	_, err := change(w, api.AddProject, addProject("acme", "chat"))
	h.must(err)
	k, err := change(w, api.AddKey, addKey("acme", "chat", "caller"))
	h.must(err)
	if k.Key.Customer != "acme" || k.Key.Project != "chat" || k.Key.Role != tenant.RoleCaller || k.Key.Note != "a test's" || !strings.HasPrefix(k.Token, k.Key.Hint) || !k.Key.Created.Equal(noon) {
		t.Errorf("%+v", k)
	}
	for _, c := range []struct {
		in     api.AddKeyIn
		status int
		says   string
	}{
		{addKey("", "", "root"), http.StatusBadRequest, `role "root"`},
		{addKey("", "", ""), http.StatusBadRequest, "role"},
		{addKey("acme", "", "admin"), http.StatusBadRequest, "an admin key belongs to the operator"},
		{addKey("", "", "caller"), http.StatusBadRequest, "name a customer"},
		{addKey("", "chat", "reader"), http.StatusBadRequest, `project "chat" without a customer`},
		{addKey("stranger", "", "reader"), http.StatusNotFound, "customer stranger not found"},
		{addKey("acme", "none", "reader"), http.StatusNotFound, "project acme/none not found"},
		{addKey("zeta", "chat", "reader"), http.StatusNotFound, "project zeta/chat not found"},
	} {
		_, err := change(w, api.AddKey, c.in)
		h.refused(err, c.status, c.says)
	}
	_, err = change(w, api.AddKey, addKey("zeta", "", "producer"))
	h.must(err)
	for customer, want := range map[string]int{"acme": 1, "zeta": 1, "nobody": 0} {
		list, err := change(w, api.ListKeys, api.KeysQuery{Customer: customer})
		if err != nil || len(list.Keys) != want || strings.Contains(text(h, list), k.Token) {
			t.Errorf("%q: %+v, %v; want %d", customer, list, err, want)
		}
	}
}

// TestAKeyOpensUntilItEnds: a new key is good at once, an archived one no more,
// and its owner's end is its own.
func TestAKeyOpensUntilItEnds(t *testing.T) {
	t.Parallel()
	h := newOffice(t)
	in := addKey("acme", "", "reader")
	k, err := api.AddKey.Call(t.Context(), h.client, &in)
	h.must(err)
	acme := h.as(k.Token)
	if _, err := api.AskUsage.Call(t.Context(), acme, &api.UsageQuery{}); err != nil {
		t.Errorf("a new key: %v", err)
	}
	_, err = api.ArchiveKey.Call(t.Context(), h.client, &api.ByID{ID: k.Key.ID})
	h.must(err)
	_, err = api.ArchiveKey.Call(t.Context(), h.client, &api.ByID{ID: k.Key.ID})
	h.refused(err, http.StatusConflict, "is archived")
	h.must(h.live.Refresh(t.Context())) // what a running server does every second
	_, err = api.AskUsage.Call(t.Context(), acme, &api.UsageQuery{})
	h.refused(err, http.StatusUnauthorized, "is archived")
}

// TestRoles: what each role may ask, of a server that wants a key.
func TestRoles(t *testing.T) {
	t.Parallel()
	h := newOffice(t)
	for _, c := range []struct {
		customer             string
		role                 tenant.Role
		reads, changes, owns int
	}{
		{"", tenant.RoleAdmin, 0, 0, 0},
		{"", tenant.RoleReader, 0, 403, 0},
		{"", tenant.RoleProducer, 403, 403, 403},
		{"acme", tenant.RoleReader, 403, 403, 0},
		{"acme", tenant.RoleProducer, 403, 403, 403},
		{"acme", tenant.RoleCaller, 403, 403, 403},
	} {
		by := h.key(c.customer, c.role)
		_, err := api.ListCustomers.Call(t.Context(), by, &api.None{})
		if got := problem(err).Status; got != c.reads {
			t.Errorf("%s of %q reads: %v", c.role, c.customer, err)
		}
		_, err = api.ApplyPrices.Call(t.Context(), by, &api.PriceDocumentIn{Body: api.PriceDocument{RawMessage: []byte(book)}})
		if got := problem(err).Status; got != c.changes {
			t.Errorf("%s of %q changes: %v", c.role, c.customer, err)
		}
		_, err = api.AskUsage.Call(t.Context(), by, &api.UsageQuery{})
		if got := problem(err).Status; got != c.owns {
			t.Errorf("%s of %q asks for its own: %v", c.role, c.customer, err)
		}
	}
}

// TestAuditSaysWhoChangedWhat: a change over HTTP is the key's that asked for it.
func TestAuditSaysWhoChangedWhat(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	admin := h.key("", tenant.RoleAdmin)
	for i := range 5 {
		_, err := api.AddCustomer.Call(t.Context(), admin, &api.AddCustomerIn{Body: spec(fmt.Sprint("c", i), "")})
		h.must(err)
	}
	_, err := api.ArchiveCustomer.Call(t.Context(), h.client, &api.ByID{ID: "c1"})
	h.must(err)
	keys, err := h.local.Business.Keys(t.Context(), "")
	h.must(err)
	byKey := "key:" + keys[0].ID
	for name, c := range map[string]struct {
		q    api.AuditQuery
		want []string
	}{
		"all": {api.AuditQuery{}, []string{
			"1 test key.add key/" + keys[0].ID, "2 " + byKey + " customer.add customer/c0", "3 " + byKey + " customer.add customer/c1", "4 " + byKey + " customer.add customer/c2",
			"5 " + byKey + " customer.add customer/c3", "6 " + byKey + " customer.add customer/c4", "7 local customer.archive customer/c1",
		}},
		"of one":       {api.AuditQuery{Subject: "customer/c1"}, []string{"3 " + byKey + " customer.add customer/c1", "7 local customer.archive customer/c1"}},
		"of nothing":   {api.AuditQuery{Subject: "customer/none"}, nil},
		"a page":       {api.AuditQuery{After: 2, Limit: 1}, []string{"3 " + byKey + " customer.add customer/c1"}},
		"the last":     {api.AuditQuery{After: 6, Limit: 10_000}, []string{"7 local customer.archive customer/c1"}},
		"behind it":    {api.AuditQuery{After: 7}, nil},
		"far behind":   {api.AuditQuery{After: 1 << 62}, nil},
		"one of a set": {api.AuditQuery{Subject: "customer/c1", After: 3}, []string{"7 local customer.archive customer/c1"}},
	} {
		out, err := same(h, api.AskAudit, c.q)
		h.must(err)
		var got []string
		for _, x := range out.Changes {
			got = append(got, fmt.Sprint(x.Seq, " ", x.Actor, " ", x.Action, " ", x.Subject))
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %q; want %q", name, got, c.want)
		}
	}
	for _, q := range []api.AuditQuery{{Limit: -1}, {Limit: 10_001}, {After: -1}} {
		_, err := same(h, api.AskAudit, q)
		h.refused(err, http.StatusBadRequest, "")
	}
}

// TestAnEmptyDirectory: lists of nothing are empty, never null, and what cannot
// be there is not found.
func TestAnEmptyDirectory(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	for name, call := range map[string]func() (any, error){
		`{"customers":[]}`: func() (any, error) { return same(h, api.ListCustomers, api.None{}) },
		`{"keys":[]}`:      func() (any, error) { return same(h, api.ListKeys, api.KeysQuery{}) },
		`{"changes":[]}`:   func() (any, error) { return same(h, api.AskAudit, api.AuditQuery{}) },
		`{"tallies":[]}`:   func() (any, error) { return same(h, api.AskTallies, api.None{}) },
		`{"versions":[]}`:  func() (any, error) { return same(h, api.ListPriceVersions, api.None{}) },
		`{"invoices":[]}`:  func() (any, error) { return same(h, api.ListInvoices, api.InvoicesQuery{}) },
		`{"as_of":{"journals":{}},"records":[],"more":false}`: func() (any, error) { return same(h, api.AskRequests, api.RequestsQuery{}) },
		`{"as_of":{"journals":{}},"conflicts":[]}`:            func() (any, error) { return same(h, api.AskConflicts, api.ConflictsQuery{}) },
	} {
		out, err := call()
		if got := text(h, out); err != nil || got != name {
			t.Errorf("%s, %v; want %s", got, err, name)
		}
	}
	_, err := same(h, api.AskPrices, api.PricesQuery{})
	h.refused(err, http.StatusNotFound, "`tollkeeper price apply FILE`")
	_, err = same(h, api.ExplainTrace, api.TraceQuery{Trace: trace})
	h.refused(err, http.StatusNotFound, "no request is of the trace "+trace)
}
