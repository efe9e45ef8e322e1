package api

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/tollkeeper/tollkeeper/internal/store/business"
	"github.com/tollkeeper/tollkeeper/internal/tenant"
	"github.com/tollkeeper/tollkeeper/internal/usage"
)

// None is an input or an answer without fields.
type None struct{}

// Customer is a customer, known or only named by usage.
type Customer struct {
	tenant.Customer
	// Known is false when usage names a customer that was never added: it gets no
	// final invoice until it is.
	Known bool `json:"known"`
	// Reserved is set for the customer of tests, which never gets an invoice.
	Reserved bool `json:"reserved,omitempty"`
}

// newCustomer tells what else there is to say about a customer.
func newCustomer(c tenant.Customer, known bool) *Customer {
	return &Customer{Customer: c, Known: known, Reserved: c.ID == tenant.TestCustomer}
}

// refuseReserved refuses what would put the customer of tests on an invoice.
func refuseReserved(id string) error {
	if id != tenant.TestCustomer {
		return nil
	}
	return &Error{
		Status: http.StatusConflict, Message: "customer " + id + " is reserved for tests of the installation: its usage is metered, priced and shown, and never invoiced",
		Hint: "`tollkeeper usage --customer " + id + "` shows it; choose another id for who is to pay",
	}
}

// ensureReserved adds the customer of tests when it is first needed: tags and
// keys name customers that are there.
func (l *Local) ensureReserved(ctx context.Context, id string) error {
	if id != tenant.TestCustomer {
		return nil
	}
	_, err := l.Business.AddCustomer(ctx, l.Actor, tenant.Customer{ID: id, Name: "Tests of the installation"})
	if errors.Is(err, business.ErrExists) {
		return nil
	}
	return err
}

// Customers is the list of customers.
type Customers struct {
	Customers []Customer `json:"customers"`
}

// ListCustomers lists known customers and those that usage names.
var ListCustomers = &Op[None, Customers]{
	Name: "list-customers", Method: http.MethodGet, Path: "/v1/customers", Summary: "Customers, and those that usage names but nobody added",
	Role:   tenant.RoleReader,
	Folded: true,
	Do: func(ctx context.Context, l *Local, _ *None) (*Customers, error) {
		known, err := l.Business.Customers(ctx)
		if err != nil {
			return nil, err
		}
		out := &Customers{Customers: []Customer{}}
		for _, c := range known {
			out.Customers = append(out.Customers, *newCustomer(c, true))
		}
		totals, err := l.Usage.Totals(ctx, usage.Range{}, 0)
		if err != nil {
			return nil, err
		}
		listed := map[string]bool{"": true}
		for i := range out.Customers {
			listed[out.Customers[i].ID] = true
		}
		for i := range totals {
			if id := totals[i].Customer; !listed[id] {
				listed[id] = true
				out.Customers = append(out.Customers, *newCustomer(tenant.Customer{ID: id}, false))
			}
		}
		slices.SortFunc(out.Customers, func(a, b Customer) int { return cmp.Compare(a.ID, b.ID) })
		return out, nil
	},
}

// CustomerSpec says how a customer is to be. On a change, fields that are
// absent stay as they are.
type CustomerSpec struct {
	ID       string  `json:"id,omitempty"`
	Name     *string `json:"name,omitempty"`
	Address  *string `json:"address,omitempty"`
	Email    *string `json:"email,omitempty"`
	TimeZone *string `json:"time_zone,omitempty"`
	Currency *string `json:"currency,omitempty"`
}

func (s *CustomerSpec) onto(c tenant.Customer) (tenant.Customer, error) {
	if s.Currency != nil && *s.Currency != "" {
		if _, err := currencyOf(*s.Currency); err != nil {
			return c, err
		}
	}
	for field, value := range map[*string]*string{
		&c.Name: s.Name, &c.Address: s.Address, &c.Email: s.Email, &c.TimeZone: s.TimeZone, &c.Currency: s.Currency,
	} {
		if value != nil {
			*field = *value
		}
	}
	return c, nil
}

// AddCustomerIn is the input of AddCustomer.
type AddCustomerIn struct{ Body CustomerSpec }

// AddCustomer adds a customer.
var AddCustomer = &Op[AddCustomerIn, Customer]{
	Name: "add-customer", Method: http.MethodPost, Path: "/v1/customers", Summary: "Add a customer", Role: tenant.RoleAdmin,
	Do: func(ctx context.Context, l *Local, in *AddCustomerIn) (*Customer, error) {
		if err := refuseReserved(in.Body.ID); err != nil {
			return nil, err
		}
		c, err := in.Body.onto(tenant.Customer{ID: in.Body.ID})
		if err != nil {
			return nil, err
		}
		c, err = l.Business.AddCustomer(ctx, l.Actor, c)
		return newCustomer(c, true), err
	},
}

// UpdateCustomerIn is the input of UpdateCustomer.
type UpdateCustomerIn struct {
	ID   string `path:"id"`
	Body CustomerSpec
}

// UpdateCustomer changes what is given.
var UpdateCustomer = &Op[UpdateCustomerIn, Customer]{
	Name: "update-customer", Method: http.MethodPatch, Path: "/v1/customers/{id}", Summary: "Change a customer", Role: tenant.RoleAdmin,
	Do: func(ctx context.Context, l *Local, in *UpdateCustomerIn) (*Customer, error) {
		if in.Body.ID != "" && in.Body.ID != in.ID {
			return nil, badRequest("a customer's id never changes: add %s as another customer", in.Body.ID)
		}
		c, err := l.Business.Customer(ctx, in.ID)
		if err != nil {
			return nil, err
		}
		if c, err = in.Body.onto(c); err != nil {
			return nil, err
		}
		c, err = l.Business.UpdateCustomer(ctx, l.Actor, c)
		return newCustomer(c, true), err
	},
}

// ByID names one thing.
type ByID struct {
	ID string `path:"id"`
}

// ArchiveCustomer puts a customer away: its keys and tags no longer count.
var ArchiveCustomer = &Op[ByID, None]{
	Name: "archive-customer", Method: http.MethodPost, Path: "/v1/customers/{id}/archive", Summary: "Archive a customer", Role: tenant.RoleAdmin,
	Do: func(ctx context.Context, l *Local, in *ByID) (*None, error) {
		return &None{}, l.Business.ArchiveCustomer(ctx, l.Actor, in.ID)
	},
}

// RestoreCustomer takes an archived customer back.
var RestoreCustomer = &Op[ByID, None]{
	Name: "restore-customer", Method: http.MethodPost, Path: "/v1/customers/{id}/restore", Summary: "Restore a customer", Role: tenant.RoleAdmin,
	Do: func(ctx context.Context, l *Local, in *ByID) (*None, error) {
		return &None{}, l.Business.RestoreCustomer(ctx, l.Actor, in.ID)
	},
}

// Projects is a list of projects.
type Projects struct {
	Projects []tenant.Project `json:"projects"`
}

// ListProjects lists a customer's projects.
var ListProjects = &Op[ByID, Projects]{
	Name: "list-projects", Method: http.MethodGet, Path: "/v1/customers/{id}/projects", Summary: "A customer's projects", Role: tenant.RoleReader, Own: true,
	Do: func(ctx context.Context, l *Local, in *ByID) (*Projects, error) {
		id, err := l.own(in.ID)
		if err != nil {
			return nil, err
		}
		if _, err := l.Business.Customer(ctx, id); err != nil {
			return nil, err
		}
		list, err := l.Business.Projects(ctx, id)
		return &Projects{Projects: append([]tenant.Project{}, list...)}, err
	},
}

// AddProjectIn is the input of AddProject.
type AddProjectIn struct {
	ID   string `path:"id"`
	Body struct {
		Project string `json:"project"`
		Name    string `json:"name,omitempty"`
	}
}

// AddProject adds a project to a customer.
var AddProject = &Op[AddProjectIn, tenant.Project]{
	Name: "add-project", Method: http.MethodPost, Path: "/v1/customers/{id}/projects", Summary: "Add a project", Role: tenant.RoleAdmin,
	Do: func(ctx context.Context, l *Local, in *AddProjectIn) (*tenant.Project, error) {
		p, err := l.Business.AddProject(ctx, l.Actor, tenant.Project{Customer: in.ID, ID: in.Body.Project, Name: in.Body.Name})
		return &p, err
	},
}

// ArchiveProjectIn is the input of ArchiveProject.
type ArchiveProjectIn struct {
	ID      string `path:"id"`
	Project string `path:"project"`
}

// ArchiveProject puts a project away.
var ArchiveProject = &Op[ArchiveProjectIn, None]{
	Name: "archive-project", Method: http.MethodPost, Path: "/v1/customers/{id}/projects/{project}/archive", Summary: "Archive a project", Role: tenant.RoleAdmin,
	Do: func(ctx context.Context, l *Local, in *ArchiveProjectIn) (*None, error) {
		return &None{}, l.Business.ArchiveProject(ctx, l.Actor, in.ID, in.Project)
	},
}

// Keys is a list of keys, without their tokens.
type Keys struct {
	Keys []tenant.Key `json:"keys"`
}

// KeysQuery narrows a list of keys.
type KeysQuery struct {
	Customer string `query:"customer" doc:"only this customer's"`
}

// ListKeys lists keys.
var ListKeys = &Op[KeysQuery, Keys]{
	Name: "list-keys", Method: http.MethodGet, Path: "/v1/keys", Summary: "Keys, without their tokens", Role: tenant.RoleReader,
	Do: func(ctx context.Context, l *Local, in *KeysQuery) (*Keys, error) {
		list, err := l.Business.Keys(ctx, in.Customer)
		return &Keys{Keys: append([]tenant.Key{}, list...)}, err
	},
}

// AddKeyIn is the input of AddKey.
type AddKeyIn struct {
	Body struct {
		Customer string `json:"customer,omitempty" doc:"the owner; absent: the operator"`
		Project  string `json:"project,omitempty"`
		Role     string `json:"role" enum:"producer,reader,admin,caller"`
		Note     string `json:"note,omitempty"`
	}
}

// NewKey is a key and its token, which is told this once.
type NewKey struct {
	Key   tenant.Key `json:"key"`
	Token string     `json:"token" doc:"shown once"`
}

// AddKey makes a key.
var AddKey = &Op[AddKeyIn, NewKey]{
	Name: "add-key", Method: http.MethodPost, Path: "/v1/keys", Summary: "Make a key; its token is shown once", Role: tenant.RoleAdmin,
	Do: func(ctx context.Context, l *Local, in *AddKeyIn) (*NewKey, error) {
		spec := tenant.Key{Customer: in.Body.Customer, Project: in.Body.Project, Role: tenant.Role(in.Body.Role), Note: in.Body.Note}
		k, token, err := tenant.NewKey(spec, rand.Reader, l.Now())
		if err != nil {
			return nil, err
		}
		if err := l.ensureReserved(ctx, k.Customer); err != nil {
			return nil, err
		}
		return &NewKey{Key: k, Token: token}, l.Business.AddKey(ctx, l.Actor, k)
	},
}

// ArchiveKey ends a key for ever.
var ArchiveKey = &Op[ByID, None]{
	Name: "archive-key", Method: http.MethodPost, Path: "/v1/keys/{id}/archive", Summary: "Archive a key, for ever", Role: tenant.RoleAdmin,
	Do: func(ctx context.Context, l *Local, in *ByID) (*None, error) {
		return &None{}, l.Business.ArchiveKey(ctx, l.Actor, in.ID)
	},
}

// AuditQuery narrows the audit log.
type AuditQuery struct {
	Subject string `query:"subject" doc:"such as customer/acme"`
	After   int64  `query:"after" minimum:"0" doc:"only lines after this seq, to page on"`
	Limit   int    `query:"limit" minimum:"0" maximum:"10000" doc:"at most so many; 0: 100"`
}

// Audit is the log of who changed what.
type Audit struct {
	Changes []tenant.Change `json:"changes"`
}

// maxAudit bounds an answer, in lines.
const maxAudit = 10_000

// AskAudit reads the audit log.
var AskAudit = &Op[AuditQuery, Audit]{
	Name: "audit", Method: http.MethodGet, Path: "/v1/audit", Summary: "Who changed what, and when", Role: tenant.RoleAdmin,
	Do: func(ctx context.Context, l *Local, in *AuditQuery) (*Audit, error) {
		if in.Limit < 0 || in.Limit > maxAudit || in.After < 0 {
			return nil, badRequest("limit %d after %d: from 1 to %d, after 0 or more", in.Limit, in.After, maxAudit)
		}
		list, err := l.Business.Changes(ctx, business.ChangeFilter{Subject: in.Subject, After: in.After, Limit: in.Limit})
		return &Audit{Changes: append([]tenant.Change{}, list...)}, err
	},
}

// Tallies count, for each producer, what became of what it sent.
type Tallies struct {
	Tallies []Tally `json:"tallies"`
}

// Tally is one count: sent = accepted + duplicate + conflict + rejected.
type Tally struct {
	Journal  string `json:"journal"`
	Producer string `json:"producer"`
	Verdict  string `json:"verdict"`
	Reason   string `json:"reason,omitempty"`
	Amount   int64  `json:"amount"`
}

// AskTallies counts what became of what was sent.
var AskTallies = &Op[None, Tallies]{
	Name: "tallies", Method: http.MethodGet, Path: "/v1/tallies", Summary: "What became of what each producer sent", Role: tenant.RoleReader,
	Folded: true,
	Do: func(ctx context.Context, l *Local, _ *None) (*Tallies, error) {
		list, err := l.Usage.Tallies(ctx)
		out := &Tallies{Tallies: []Tally{}}
		for _, t := range list {
			out.Tallies = append(out.Tallies, Tally{Journal: t.Origin, Producer: t.Producer, Verdict: t.Verdict, Reason: t.Reason, Amount: t.Amount})
		}
		return out, err
	},
}

// recordID tells a record's id from other text.
func recordID(s string) bool { return strings.HasPrefix(s, "rec_") }
