package api_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/tollkeeper/tollkeeper/internal/api"
	"github.com/tollkeeper/tollkeeper/internal/billing"
	"github.com/tollkeeper/tollkeeper/internal/store/business"
)

// closed reads a closed invoice as it is kept.
func (h *house) closed(id string) (*business.Invoice, *billing.Invoice) {
	h.Helper()
	kept, err := h.local.Business.Invoice(h.Context(), id)
	h.must(err)
	x, err := billing.Parse(kept.Document)
	h.must(err)
	return &kept, x
}

func (h *house) remade(kept *business.Invoice, x *billing.Invoice, counted ...business.Invoice) []byte {
	h.Helper()
	made, err := h.local.RemakeInvoice(h.Context(), kept, x, counted)
	h.must(err)
	document, err := made.Canonical()
	h.must(err)
	return document
}

// TestAnInvoiceIsMadeAgain: from the same usage and book it is the same text, also
// after the prices and the customer changed; from other usage it is not.
func TestAnInvoiceIsMadeAgain(t *testing.T) {
	t.Parallel()
	h := newArchive(t)
	kept, x := h.closed("acme-0002")
	first, firstSaid := h.closed("acme-0001")
	name, zone := "Another", "Asia/Kolkata"
	_, err := api.UpdateCustomer.Call(t.Context(), h.local, &api.UpdateCustomerIn{ID: "acme", Body: api.CustomerSpec{Name: &name, TimeZone: &zone}})
	h.must(err)
	h.prices(book)
	h.local.Defaults = api.Defaults{Currency: "EUR", TimeZone: "UTC"}
	if got := h.remade(kept, x, *first); !bytes.Equal(got, kept.Document) {
		t.Errorf("made again it is\n%s\nnot\n%s", got, kept.Document)
	}
	// Usage stands behind the first invoice now: what came late is in its place.
	if got := h.remade(first, firstSaid); bytes.Equal(got, first.Document) {
		t.Error("other usage made the same invoice")
	}
	// Without what it subtracted, it adjusts nothing.
	if got := h.remade(kept, x); bytes.Equal(got, kept.Document) {
		t.Error("without the first the second is the same")
	}
	h.use(span{id: "acme-more", at: "2026-12-01T00:00:00Z", input: 1_000_000})
	if got := h.remade(kept, x, *first); bytes.Equal(got, kept.Document) {
		t.Error("more usage made the same invoice")
	}
}

// TestInvoicesThatCannotBeMadeAgain: the fault is the invoice's, and told from a
// disk's.
func TestInvoicesThatCannotBeMadeAgain(t *testing.T) {
	t.Parallel()
	h := newArchive(t)
	for name, spoil := range map[string]func(kept *business.Invoice, x *billing.Invoice, counted *business.Invoice){
		"a book that is not there": func(kept *business.Invoice, _ *billing.Invoice, _ *business.Invoice) { kept.Book = 99 },
		"a currency that is none":  func(_ *business.Invoice, x *billing.Invoice, _ *business.Invoice) { x.Currency.Code = "XQQ" },
		"a rounding that is none":  func(_ *business.Invoice, x *billing.Invoice, _ *business.Invoice) { x.Rounding = "up and down" },
		"a document that is none": func(_ *business.Invoice, _ *billing.Invoice, counted *business.Invoice) {
			counted.Document = []byte("{}")
		},
		"a period that is none": func(kept *business.Invoice, _ *billing.Invoice, _ *business.Invoice) { kept.End = kept.Start },
	} {
		kept, x := h.closed("acme-0002")
		first, _ := h.closed("acme-0001")
		spoil(kept, x, first)
		if _, err := h.local.RemakeInvoice(t.Context(), kept, x, []business.Invoice{*first}); !errors.Is(err, api.ErrCannotRemake) {
			t.Errorf("%s: %v", name, err)
		}
	}
	disk := errors.New("input/output error")
	h.local.Usage = failing{h.local.Usage, disk}
	kept, x := h.closed("acme-0001")
	if _, err := h.local.RemakeInvoice(t.Context(), kept, x, nil); !errors.Is(err, disk) || errors.Is(err, api.ErrCannotRemake) {
		t.Errorf("a disk's fault: %v", err)
	}
}
