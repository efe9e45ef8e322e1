package business_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/tollkeeper/tollkeeper/internal/store/business"
	"github.com/tollkeeper/tollkeeper/internal/tenant"
)

// TestAuditLog reads what a full house wrote: each change once, in order.
func TestAuditLog(t *testing.T) {
	h := newHouse(t, "")
	h.fill()
	ctx := t.Context()
	got, err := h.store.Changes(ctx, business.ChangeFilter{})
	h.must(err)
	want := []string{
		"customer.add", "customer.add", "project.add", "key.add", "key.archive", "tag_secret.add", "tag_secret.rotate",
		"price_book.apply", "price_book.apply", "invoice.finalise", "invoice.finalise", "invoice.finalise", "invoice.void",
	}
	if len(got) != len(want) {
		t.Fatalf("%d lines; want %d", len(got), len(want))
	}
	last := time.Time{}
	for i, c := range got {
		if c.Seq != int64(i)+1 || c.Action != want[i] || c.Actor != actor || c.Subject == "" || !c.At.After(last) {
			t.Errorf("line %d: %+v", i+1, c)
		}
		last = c.At
		var detail map[string]any
		if err := json.Unmarshal([]byte(c.Detail), &detail); err != nil {
			t.Errorf("line %d: detail %q: %v", i+1, c.Detail, err)
		}
	}
	if want := `{"hash":"` + firstHash(t, h) + `","kind":"invoice","customer":"acme","start":"2026-01-01T00:00:00Z","end":"2026-02-01T00:00:00Z"}`; got[9].Detail != want {
		t.Errorf("%s; want %s", got[9].Detail, want)
	}
}

// firstHash is the hash of the first invoice.
func firstHash(t *testing.T, h *house) string {
	t.Helper()
	i, err := h.store.Invoice(t.Context(), "acme-0001")
	h.must(err)
	return i.Hash
}

func TestAuditPages(t *testing.T) {
	h := newHouse(t, "")
	h.fill()
	ctx := t.Context()
	for name, c := range map[string]struct {
		filter      business.ChangeFilter
		first, many int
	}{
		"all":     {business.ChangeFilter{}, 1, 13},
		"page":    {business.ChangeFilter{After: 3, Limit: 4}, 4, 4},
		"tail":    {business.ChangeFilter{After: 12, Limit: 4}, 13, 1},
		"subject": {business.ChangeFilter{Subject: "invoice/acme-0002"}, 11, 2},
		"nothing": {business.ChangeFilter{Subject: "customer/absent"}, 0, 0},
	} {
		got, err := h.store.Changes(ctx, c.filter)
		h.must(err)
		if len(got) != c.many || c.many > 0 && got[0].Seq != int64(c.first) {
			t.Errorf("%s: %d lines: %+v", name, len(got), got)
		}
	}
}

// TestNoActorNoChange: a change that nobody did is refused.
func TestNoActorNoChange(t *testing.T) {
	h := newHouse(t, "")
	if _, err := h.store.AddCustomer(t.Context(), "", tenant.Customer{ID: "acme"}); err == nil {
		t.Error("a change without an actor")
	}
	if all, err := h.store.Customers(t.Context()); err != nil || len(all) != 0 {
		t.Errorf("%v, %v", all, err)
	}
}
