package business_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tollkeeper/tollkeeper/internal/store/business"
	"github.com/tollkeeper/tollkeeper/internal/tenant"
)

// closed is an invoice as a model of the store has it.
type closed struct {
	id, customer, account string
	start, end            int // days
	void                  bool
}

func (c closed) overlaps(customer string, start, end int) bool {
	return !c.void && c.customer == customer && c.start < end && start < c.end
}

// TestNothingIsBilledTwice closes invoices of any periods and voids them, by two
// processes in turn, sometimes on stale knowledge: what is refused and what is
// not, the numbers of each account and the list of what is final are those of a
// model of a few lines; and the file stays clean.
func TestNothingIsBilledTwice(t *testing.T) {
	checks(t, "50")
	root, folders := t.TempDir(), 0
	ctx := t.Context()
	rapid.Check(t, func(t *rapid.T) {
		folders++
		var stores [2]*business.Store
		for i := range stores {
			s, err := business.Open(ctx, filepath.Join(root, strconv.Itoa(folders)+".db"), business.Options{})
			must(t, err)
			defer s.Close()
			stores[i] = s
		}
		for _, id := range []string{"acme", "zeta"} {
			_, err := stores[0].AddCustomer(ctx, actor, tenant.Customer{ID: id})
			must(t, err)
		}
		var all []closed
		for range rapid.IntRange(1, 25).Draw(t, "changes") {
			s := stores[rapid.IntRange(0, 1).Draw(t, "process")]
			if len(all) > 0 && rapid.IntRange(0, 3).Draw(t, "voids") == 0 {
				x := &all[rapid.IntRange(0, len(all)-1).Draw(t, "which")]
				err := s.VoidInvoice(ctx, actor, x.id, "a test")
				if x.void != errors.Is(err, business.ErrState) || !x.void && err != nil {
					t.Fatalf("voiding %+v: %v", *x, err)
				}
				x.void = true
				continue
			}
			all = tryToClose(ctx, t, s, all)
		}
		wantModel(ctx, t, stores[0], all)
	})
}

// tryToClose closes an invoice of any period, if the model allows it.
func tryToClose(ctx context.Context, t *rapid.T, s *business.Store, all []closed) []closed {
	x := closed{customer: rapid.SampledFrom([]string{"acme", "zeta"}).Draw(t, "customer"), start: rapid.IntRange(0, 60).Draw(t, "start")}
	x.account = rapid.SampledFrom([]string{x.customer, "group"}).Draw(t, "account")
	x.end = x.start + rapid.IntRange(1, 31).Draw(t, "days")
	revision, err := s.InvoiceRevision(ctx, x.account)
	must(t, err)
	stale := rapid.IntRange(0, 5).Draw(t, "stale") == 0 && revision > 0
	if stale {
		revision--
	}
	day := func(n int) time.Time { return noon.AddDate(0, 0, n) }
	made, err := s.FinaliseInvoice(ctx, actor, business.Closing{Customer: x.customer, Account: x.account, Start: day(x.start), End: day(x.end), Revision: revision}, document)
	number := 1
	for _, before := range all {
		if before.account == x.account {
			number++
		}
	}
	switch {
	case stale:
		if !errors.Is(err, business.ErrStale) {
			t.Fatalf("%+v on what was billed before: %v", x, err)
		}
	case slices.ContainsFunc(all, func(c closed) bool { return c.overlaps(x.customer, x.start, x.end) }):
		if !errors.Is(err, business.ErrExists) {
			t.Fatalf("%+v beside %+v: %v", x, all, err)
		}
	default:
		if x.id = fmt.Sprintf("%s-%04d", x.account, number); err != nil || made.ID != x.id {
			t.Fatalf("%+v beside %+v: %s, %v", x, all, made.ID, err)
		}
		return append(all, x)
	}
	return all
}

// wantModel compares what is listed with the model, and looks for what is wrong.
func wantModel(ctx context.Context, t *rapid.T, s *business.Store, all []closed) {
	list, err := s.Invoices(ctx, business.InvoiceFilter{})
	must(t, err)
	final, err := s.Invoices(ctx, business.InvoiceFilter{State: business.InvoiceFinal})
	must(t, err)
	finals := 0
	for _, x := range all {
		i := slices.IndexFunc(list, func(i business.Invoice) bool { return i.ID == x.id })
		if i < 0 || list[i].Customer != x.customer || list[i].Account != x.account || x.void != (list[i].State == business.InvoiceVoid) {
			t.Fatalf("%+v is not among %+v", x, list)
		}
		if !x.void {
			finals++
		}
	}
	problems, err := s.Check(ctx)
	if len(list) != len(all) || len(final) != finals || len(problems) > 0 || err != nil {
		t.Fatalf("%d invoices, %d final, want %d and %d; %v, %v", len(list), len(final), len(all), finals, problems, err)
	}
}

func must(t *rapid.T, err error) {
	if err != nil {
		t.Fatalf("%v", err)
	}
}
