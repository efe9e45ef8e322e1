package business_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/tollkeeper/tollkeeper/internal/store/business"
	"github.com/tollkeeper/tollkeeper/internal/tenant"
)

func TestFinaliseAndVoid(t *testing.T) {
	h := newHouse(t, "")
	ctx := t.Context()
	h.customer("acme")
	book, _, err := h.store.ApplyPriceBook(ctx, actor, []byte(`{"v":1}`))
	h.must(err)
	c := h.closing("acme", 1)
	c.Book = book.Version
	var told business.Numbered
	made, err := h.store.FinaliseInvoice(ctx, actor, c, func(n business.Numbered) ([]byte, error) {
		told = n
		return []byte(`{ "spaces" : "stay" }`), nil
	})
	h.must(err)
	if told != (business.Numbered{ID: "acme-0001", Number: 1, Finalised: made.Finalised}) {
		t.Errorf("build was told %+v", told)
	}
	got, err := h.store.Invoice(ctx, "acme-0001")
	h.must(err)
	if !reflect.DeepEqual(got, made) || string(got.Document) != `{ "spaces" : "stay" }` || got.State != business.InvoiceFinal || got.Book != 1 {
		t.Errorf("read %+v, made %+v", got, made)
	}

	h.must(h.store.VoidInvoice(ctx, actor, made.ID, "wrong address"))
	got, err = h.store.Invoice(ctx, made.ID)
	h.must(err)
	if got.State != business.InvoiceVoid || got.VoidReason != "wrong address" || got.Voided.IsZero() || got.Hash != made.Hash {
		t.Errorf("%+v", got)
	}
	for _, c := range []struct {
		err, want error
	}{
		{h.store.VoidInvoice(ctx, actor, made.ID, "again"), business.ErrState},
		{h.store.VoidInvoice(ctx, actor, made.ID, ""), tenant.ErrInvalid},
		{h.store.VoidInvoice(ctx, actor, "acme-0002", "absent"), business.ErrNotFound},
	} {
		if !errors.Is(c.err, c.want) {
			t.Errorf("%v; want %v", c.err, c.want)
		}
	}
	if again := h.finalise("acme", 1); again.ID != "acme-0002" {
		t.Errorf("%s: a void invoice keeps its number, and frees its period", again.ID)
	}
	h.clean()
}

func TestFinaliseRefuses(t *testing.T) {
	h := newHouse(t, "")
	ctx := t.Context()
	h.customer("acme")
	h.customer("zeta")
	final := h.finalise("acme", 1)
	void := h.finalise("acme", 2)
	h.must(h.store.VoidInvoice(ctx, actor, void.ID, "a test"))
	foreign := h.finalise("zeta", 1)
	odd := errors.New("the build failed")
	for name, c := range map[string]struct {
		change func(*business.Closing)
		build  func(business.Numbered) ([]byte, error)
		want   error
	}{
		"unknown customer":   {change: func(c *business.Closing) { c.Customer, c.Account = "absent", "acme" }, want: business.ErrNotFound},
		"unknown book":       {change: func(c *business.Closing) { c.Book = 9 }, want: business.ErrNotFound},
		"unknown kind":       {change: func(c *business.Closing) { c.Kind = "receipt" }, want: tenant.ErrInvalid},
		"stale":              {change: func(c *business.Closing) { c.Revision-- }, want: business.ErrStale},
		"same period":        {change: func(c *business.Closing) { c.Start, c.End = month(1) }, want: business.ErrExists},
		"overlapping period": {change: func(c *business.Closing) { c.Start = c.Start.Add(-60 * 24 * time.Hour) }, want: business.ErrExists},
		"empty period":       {change: func(c *business.Closing) { c.End = c.Start }, want: tenant.ErrInvalid},
		"half seconds":       {change: func(c *business.Closing) { c.End = c.End.Add(time.Second / 2) }, want: tenant.ErrInvalid},
		"bad account":        {change: func(c *business.Closing) { c.Account = "a/b" }, want: tenant.ErrInvalid},
		"refers":             {change: func(c *business.Closing) { c.Refers = final.ID }, want: tenant.ErrInvalid},
		"note without":       {change: func(c *business.Closing) { c.Kind = business.KindCreditNote }, want: tenant.ErrInvalid},
		"note for nothing":   {change: credit("acme-0009"), want: business.ErrNotFound},
		"note for another's": {change: credit(foreign.ID), want: tenant.ErrInvalid},
		"note for a void":    {change: credit(void.ID), want: business.ErrState},
		"no JSON":            {build: func(business.Numbered) ([]byte, error) { return []byte("{"), nil }, want: tenant.ErrInvalid},
		"build fails":        {build: func(business.Numbered) ([]byte, error) { return nil, odd }, want: odd},
	} {
		closing, build := h.closing("acme", 3), document
		if c.change != nil {
			c.change(&closing)
		}
		if c.build != nil {
			build = c.build
		}
		if i, err := h.store.FinaliseInvoice(ctx, actor, closing, build); !errors.Is(err, c.want) || i.ID != "" {
			t.Errorf("%s: %v, %v; want %v", name, i.ID, err, c.want)
		}
	}
	if next := h.finalise("acme", 3); next.Number != 3 {
		t.Errorf("number %d: refused ones used some up", next.Number)
	}
	h.clean()
}

func credit(id string) func(*business.Closing) {
	return func(c *business.Closing) { c.Kind, c.Refers = business.KindCreditNote, id }
}

func TestCreditNote(t *testing.T) {
	h := newHouse(t, "")
	h.customer("acme")
	i := h.finalise("acme", 1)
	c := h.closing("acme", 1)
	credit(i.ID)(&c)
	note, err := h.store.FinaliseInvoice(t.Context(), actor, c, document)
	h.must(err)
	if note.ID != "acme-0002" || note.Refers != i.ID || note.Kind != business.KindCreditNote {
		t.Errorf("%+v", note)
	}
	h.clean()
}

// TestNumbersHaveNoGap closes and voids from two processes at once, with builds
// that fail and decisions that are stale in between.
func TestNumbersHaveNoGap(t *testing.T) {
	a := newHouse(t, "")
	b := newHouse(t, a.path)
	for c := range 2 {
		a.customer(fmt.Sprintf("c%d", c))
	}
	var all sync.WaitGroup
	for w := range 4 {
		h := []*house{a, b}[w%2]
		customer := fmt.Sprintf("c%d", w/2)
		all.Go(func() {
			for m := 1; m <= 12; m++ {
				h.closeMonth(t, customer, m, m%3 == 0)
			}
		})
	}
	all.Wait()
	for c := range 2 {
		got, err := a.store.Invoices(t.Context(), business.InvoiceFilter{Account: fmt.Sprintf("c%d", c), State: business.InvoiceFinal})
		a.must(err)
		if len(got) != 12 {
			t.Errorf("c%d: %d months are closed", c, len(got))
		}
	}
	a.clean() // which looks for gaps
}

// closeMonth closes until a final invoice is there, from whichever process.
func (h *house) closeMonth(t *testing.T, customer string, m int, first bool) {
	for {
		c, err := h.decide(customer, m)
		if err != nil {
			t.Error(err)
			return
		}
		_, err = h.store.FinaliseInvoice(t.Context(), actor, c, func(n business.Numbered) ([]byte, error) {
			if first {
				first = false
				return nil, business.ErrStale // as good as any failure
			}
			return document(n)
		})
		switch {
		case err == nil || errors.Is(err, business.ErrExists):
			return
		case !errors.Is(err, business.ErrStale):
			t.Error(err)
			return
		}
	}
}

// decide is closing for goroutines, which may not end the test.
func (h *house) decide(customer string, m int) (business.Closing, error) {
	revision, err := h.store.InvoiceRevision(h.t.Context(), customer)
	start, end := month(m)
	return business.Closing{Customer: customer, Start: start, End: end, Revision: revision}, err
}

// TestStale changes an account between the decision and the closing.
func TestStale(t *testing.T) {
	h := newHouse(t, "")
	ctx := t.Context()
	h.customer("acme")
	h.customer("zeta")
	before := h.closing("acme", 2)
	h.finalise("zeta", 1)
	january := h.finalise("acme", 1)
	if _, err := h.store.FinaliseInvoice(ctx, actor, before, document); !errors.Is(err, business.ErrStale) {
		t.Errorf("after another invoice: %v", err)
	}
	before = h.closing("acme", 2)
	h.must(h.store.VoidInvoice(ctx, actor, january.ID, "a test"))
	if _, err := h.store.FinaliseInvoice(ctx, actor, before, document); !errors.Is(err, business.ErrStale) {
		t.Errorf("after a void: %v", err)
	}
}

func TestInvoicesFilter(t *testing.T) {
	h := newHouse(t, "")
	ctx := t.Context()
	for _, id := range []string{"acme", "zeta"} {
		h.customer(id)
		for m := 1; m <= 3; m++ {
			h.finalise(id, m)
		}
	}
	h.must(h.store.VoidInvoice(ctx, actor, "acme-0003", "a test"))
	shared := h.closing("acme", 4)
	shared.Account = "group"
	h.must(second(h.store.FinaliseInvoice(ctx, actor, withRevision(shared, 0), document)))
	start, end := month(2)
	for name, c := range map[string]struct {
		filter business.InvoiceFilter
		want   []string
	}{
		"customer": {business.InvoiceFilter{Customer: "acme"}, []string{"acme-0001", "acme-0002", "acme-0003", "group-0001"}},
		"account":  {business.InvoiceFilter{Account: "acme"}, []string{"acme-0001", "acme-0002", "acme-0003"}},
		"void":     {business.InvoiceFilter{State: business.InvoiceVoid}, []string{"acme-0003"}},
		"period":   {business.InvoiceFilter{From: start, To: end}, []string{"acme-0002", "zeta-0002"}},
		"from":     {business.InvoiceFilter{From: end}, []string{"acme-0003", "zeta-0003", "group-0001"}},
		"touching": {business.InvoiceFilter{From: start.Add(-time.Second), To: start}, []string{"acme-0001", "zeta-0001"}},
		"none":     {business.InvoiceFilter{Customer: "absent"}, nil},
	} {
		all, err := h.store.Invoices(ctx, c.filter)
		h.must(err)
		var got []string
		for _, i := range all {
			got = append(got, i.ID)
		}
		if !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %v; want %v", name, got, c.want)
		}
	}
}

func withRevision(c business.Closing, n int64) business.Closing {
	c.Revision = n
	return c
}

func TestPriceBooks(t *testing.T) {
	h := newHouse(t, "")
	ctx := t.Context()
	if _, err := h.store.NewestPriceBook(ctx); !errors.Is(err, business.ErrNotFound) {
		t.Error(err)
	}
	apply := h.store.ApplyPriceBook
	sync := h.store.SyncPriceBook
	for i, step := range []struct {
		how      func(ctx context.Context, actor string, document []byte) (business.PriceBook, bool, error)
		document string
		version  int64
		changed  bool
	}{
		{sync, `{"file":1}`, 1, true},
		{sync, `{"file":1}`, 1, false},
		{apply, `{"file":1}`, 1, false},
		{apply, `{"command":1}`, 2, true},
		{sync, `{"file":1}`, 2, false}, // a start with the same file keeps the command's book
		{apply, `{"file":1}`, 3, true}, // a command may go back
		{apply, `{"file":2}`, 4, true},
		{sync, `{"file":2}`, 4, false}, // the command applied the new file already
		{sync, `{"file":3}`, 5, true},
	} {
		b, changed, err := step.how(ctx, actor, []byte(step.document))
		if err != nil || b.Version != step.version || changed != step.changed {
			t.Errorf("step %d: version %d, changed %v, %v; want %+v", i, b.Version, changed, err, step)
		}
		if changed && string(b.Document) != step.document {
			t.Errorf("step %d: %s", i, b.Document)
		}
		newest, err := h.store.NewestPriceBook(ctx)
		if err != nil || !reflect.DeepEqual(newest, b) {
			t.Errorf("step %d: in force is %+v, told was %+v, %v", i, newest, b, err)
		}
	}
	if _, _, err := apply(ctx, actor, []byte("prices: []")); !errors.Is(err, tenant.ErrInvalid) {
		t.Error(err)
	}
	if _, err := h.store.PriceBook(ctx, 99); !errors.Is(err, business.ErrNotFound) {
		t.Error(err)
	}
	second, err := h.store.PriceBook(ctx, 2)
	h.must(err)
	if second.Source != business.SourceCommand || second.Actor != actor || string(second.Document) != `{"command":1}` {
		t.Errorf("%+v", second)
	}
	all, err := h.store.PriceBooks(ctx)
	if err != nil || len(all) != 5 || !json.Valid(all[4].Document) {
		t.Errorf("%d books, %v", len(all), err)
	}
	h.clean()
}
