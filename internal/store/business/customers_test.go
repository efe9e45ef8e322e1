package business_test

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tollkeeper/tollkeeper/internal/store/business"
	"github.com/tollkeeper/tollkeeper/internal/tenant"
)

func TestCustomerRoundTrip(t *testing.T) {
	h := newHouse(t, "")
	ctx := t.Context()
	given := tenant.Customer{
		ID: "acme", Name: "Acme GmbH", Address: "Hauptstraße 1\n10115 Berlin", Email: "bills@acme.example",
		TimeZone: "Europe/Berlin", Currency: "EUR", Archived: noon, // not read
	}
	made, err := h.store.AddCustomer(ctx, actor, given)
	h.must(err)
	given.Created, given.Archived = made.Created, time.Time{}
	if made != given || made.Created.IsZero() {
		t.Errorf("made %+v, given %+v", made, given)
	}
	if _, err := h.store.AddCustomer(ctx, actor, given); !errors.Is(err, business.ErrExists) {
		t.Errorf("added twice: %v", err)
	}
	if _, err := h.store.AddCustomer(ctx, actor, tenant.Customer{ID: "no good"}); !errors.Is(err, tenant.ErrInvalid) {
		t.Errorf("bad id: %v", err)
	}

	changed := tenant.Customer{ID: "acme", Name: "Acme AG"}
	after, err := h.store.UpdateCustomer(ctx, actor, changed)
	h.must(err)
	changed.Created = made.Created
	if got, err := h.store.Customer(ctx, "acme"); err != nil || got != changed || after != changed {
		t.Errorf("%+v, %+v, %v; want %+v", got, after, err, changed)
	}
	revision, err := h.store.Revision(ctx)
	h.must(err)
	if _, err := h.store.UpdateCustomer(ctx, actor, changed); err != nil {
		t.Error(err)
	}
	if again, err := h.store.Revision(ctx); err != nil || again != revision {
		t.Errorf("an update that changes nothing is a change: revision %d, was %d, %v", again, revision, err)
	}
	if _, err := h.store.UpdateCustomer(ctx, actor, tenant.Customer{ID: "absent"}); !errors.Is(err, business.ErrNotFound) {
		t.Error(err)
	}
}

func TestArchiveAndRestoreCustomer(t *testing.T) {
	h := newHouse(t, "")
	ctx := t.Context()
	h.customer("acme")
	h.must(h.store.ArchiveCustomer(ctx, actor, "acme"))
	if c, err := h.store.Customer(ctx, "acme"); err != nil || c.Active() {
		t.Errorf("%+v, %v", c, err)
	}
	for what, err := range map[string]error{
		"archive twice": h.store.ArchiveCustomer(ctx, actor, "acme"),
		"project":       second(h.store.AddProject(ctx, actor, tenant.Project{Customer: "acme", ID: "chat"})),
		"key":           h.addKey(tenant.Key{Customer: "acme", Role: tenant.RoleCaller}),
	} {
		if !errors.Is(err, business.ErrArchived) {
			t.Errorf("%s: %v", what, err)
		}
	}
	h.must(h.store.RestoreCustomer(ctx, actor, "acme"))
	h.must(h.addKey(tenant.Key{Customer: "acme", Role: tenant.RoleCaller}))
	if err := h.store.RestoreCustomer(ctx, actor, "acme"); !errors.Is(err, business.ErrState) {
		t.Errorf("restored twice: %v", err)
	}
	for _, err := range []error{h.store.ArchiveCustomer(ctx, actor, "absent"), h.store.RestoreCustomer(ctx, actor, "absent")} {
		if !errors.Is(err, business.ErrNotFound) {
			t.Error(err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

func (h *house) addKey(spec tenant.Key) error {
	k, _ := h.key(spec)
	return h.store.AddKey(h.t.Context(), actor, k)
}

func TestProjects(t *testing.T) {
	h := newHouse(t, "")
	ctx := t.Context()
	h.customer("acme")
	h.customer("zeta")
	chat, err := h.store.AddProject(ctx, actor, tenant.Project{Customer: "acme", ID: "chat", Name: "Chat"})
	h.must(err)
	other, err := h.store.AddProject(ctx, actor, tenant.Project{Customer: "zeta", ID: "chat"})
	h.must(err)
	if got, err := h.store.Projects(ctx, ""); err != nil || !reflect.DeepEqual(got, []tenant.Project{chat, other}) {
		t.Errorf("%+v, %v", got, err)
	}
	h.must(h.store.ArchiveProject(ctx, actor, "acme", "chat"))
	if got, err := h.store.Projects(ctx, "acme"); err != nil || len(got) != 1 || got[0].Active() {
		t.Errorf("%+v, %v", got, err)
	}
	for _, c := range []struct {
		err, want error
	}{
		{second(h.store.AddProject(ctx, actor, chat)), business.ErrExists},
		{second(h.store.AddProject(ctx, actor, tenant.Project{Customer: "absent", ID: "chat"})), business.ErrNotFound},
		{second(h.store.AddProject(ctx, actor, tenant.Project{Customer: "acme", ID: ""})), tenant.ErrInvalid},
		{h.store.ArchiveProject(ctx, actor, "acme", "chat"), business.ErrArchived},
		{h.store.ArchiveProject(ctx, actor, "acme", "absent"), business.ErrNotFound},
		{h.addKey(tenant.Key{Customer: "acme", Project: "chat", Role: tenant.RoleCaller}), business.ErrArchived},
		{h.addKey(tenant.Key{Customer: "acme", Project: "absent", Role: tenant.RoleCaller}), business.ErrNotFound},
	} {
		if !errors.Is(c.err, c.want) {
			t.Errorf("%v; want %v", c.err, c.want)
		}
	}
}

func TestKeys(t *testing.T) {
	h := newHouse(t, "")
	ctx := t.Context()
	h.customer("acme")
	h.must(second(h.store.AddProject(ctx, actor, tenant.Project{Customer: "acme", ID: "chat"})))
	k, token := h.key(tenant.Key{Customer: "acme", Project: "chat", Role: tenant.RoleCaller, Note: "laptop"})
	h.must(h.store.AddKey(ctx, actor, k))
	operator, _ := h.key(tenant.Key{Role: tenant.RoleAdmin})
	h.must(h.store.AddKey(ctx, actor, operator))

	got, err := h.store.Key(ctx, k.ID)
	h.must(err)
	k.Created = got.Created // that of the store's clock
	if got != k || !got.Created.After(noon) {
		t.Errorf("%+v; want %+v", got, k)
	}
	for customer, want := range map[string]int{"": 2, "acme": 1, "absent": 0} {
		if all, err := h.store.Keys(ctx, customer); err != nil || len(all) != want {
			t.Errorf("keys of %q: %d, %v; want %d", customer, len(all), err, want)
		}
	}
	twin, _ := h.key(tenant.Key{Customer: "acme", Role: tenant.RoleCaller})
	twin.Hash = k.Hash
	for _, c := range []struct {
		err, want error
	}{
		{h.store.AddKey(ctx, actor, k), business.ErrExists},
		{h.store.AddKey(ctx, actor, twin), business.ErrExists},
		{h.addKey(tenant.Key{Customer: "absent", Role: tenant.RoleCaller}), business.ErrNotFound},
		{h.store.AddKey(ctx, actor, tenant.Key{}), tenant.ErrInvalid},
		{h.store.ArchiveKey(ctx, actor, "key_absent"), business.ErrNotFound},
		{second(h.store.Key(ctx, "key_absent")), business.ErrNotFound},
	} {
		if !errors.Is(c.err, c.want) {
			t.Errorf("%v; want %v", c.err, c.want)
		}
	}

	h.opens(token, nil)
	h.must(h.store.ArchiveKey(ctx, actor, k.ID))
	h.opens(token, tenant.ErrUnauthenticated)
	if err := h.store.ArchiveKey(ctx, actor, k.ID); !errors.Is(err, business.ErrArchived) {
		t.Errorf("archived twice: %v", err)
	}
	changes, err := h.store.Changes(ctx, business.ChangeFilter{})
	h.must(err)
	for _, c := range changes {
		if strings.Contains(c.Detail, token) {
			t.Errorf("the audit log tells the token: %s", c.Detail)
		}
	}
}

// opens asks the directory of another process about a token.
func (h *house) opens(token string, want error) {
	h.t.Helper()
	d, err := newHouse(h.t, h.path).store.Directory(h.t.Context())
	h.must(err)
	if _, err := d.Authenticate(token); !errors.Is(err, want) {
		h.t.Errorf("%v; want %v", err, want)
	}
}

// TestTwoProcesses has two stores change one file at once; each change lands,
// and each is in the log once.
func TestTwoProcesses(t *testing.T) {
	a := newHouse(t, "")
	b := newHouse(t, a.path)
	const each, workers = 20, 4
	var all sync.WaitGroup
	for w := range workers {
		store := []*business.Store{a.store, b.store}[w%2]
		all.Go(func() {
			for i := range each {
				if _, err := store.AddCustomer(t.Context(), fmt.Sprintf("cli:%d", w), tenant.Customer{ID: fmt.Sprintf("c%d-%d", w, i)}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	// All of them also fight for one id.
	won := make(chan int, workers)
	for w := range workers {
		store := []*business.Store{a.store, b.store}[w%2]
		all.Go(func() {
			switch _, err := store.AddCustomer(t.Context(), actor, tenant.Customer{ID: "one"}); {
			case err == nil:
				won <- w
			case !errors.Is(err, business.ErrExists):
				t.Error(err)
			}
		})
	}
	all.Wait()
	if len(won) != 1 {
		t.Errorf("%d processes added the same customer", len(won))
	}
	for _, h := range []*house{a, b} {
		if got, err := h.store.Customers(t.Context()); err != nil || len(got) != each*workers+1 {
			t.Errorf("%d customers, %v", len(got), err)
		}
		if n, err := h.store.Revision(t.Context()); err != nil || n != each*workers+1 {
			t.Errorf("revision %d, %v", n, err)
		}
	}
	a.clean()
}

// clean asks Check for no problem.
func (h *house) clean() {
	h.t.Helper()
	found, err := h.store.Check(h.t.Context())
	h.must(err)
	for _, p := range found {
		h.t.Errorf("check: %+v", p)
	}
}
