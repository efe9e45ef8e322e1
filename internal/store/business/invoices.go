package business

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/tollkeeper/tollkeeper/internal/tenant"
)

// InvoiceState is where an invoice stands. Drafts are computed when asked for
// and not kept.
type InvoiceState string

// The states.
const (
	InvoiceFinal InvoiceState = "final"
	InvoiceVoid  InvoiceState = "void"
)

// InvoiceKind tells invoices from credit notes; both share an account's numbers.
type InvoiceKind string

// The kinds.
const (
	KindInvoice    InvoiceKind = "invoice"
	KindCreditNote InvoiceKind = "credit_note"
)

// Invoice is a closed invoice: what was billed, and the columns to find it by.
type Invoice struct {
	// ID is the account and the number: "acme-0007".
	ID string `json:"id"`
	// Account is whose numbers run without a gap; Number counts from 1 in it.
	Account  string       `json:"account"`
	Number   int64        `json:"number"`
	Kind     InvoiceKind  `json:"kind"`
	Customer string       `json:"customer"`
	State    InvoiceState `json:"state"`
	// Start (inclusive) and End (exclusive) bound the period, in whole seconds.
	Start time.Time `json:"start"`
	End   time.Time `json:"end"`
	// Book is the version of the price book that rated it; 0 is none.
	Book int64 `json:"book,omitempty"`
	// Refers is the invoice that a credit note credits.
	Refers string `json:"refers,omitempty"`
	// Hash is the SHA-256 of Document in hex.
	Hash       string    `json:"hash"`
	Finalised  time.Time `json:"finalised"`
	Voided     time.Time `json:"voided,omitzero"`
	VoidReason string    `json:"void_reason,omitempty"`
	// Document is canonical JSON, byte for byte as it was built.
	Document json.RawMessage `json:"document,omitempty"`
}

const invoiceColumns = `id, account, number, kind, customer, period_start, period_end, coalesce(book, 0), coalesce(refers, ''),
	state, hash, finalised, voided, void_reason, document`

func scanInvoice(rows scanner) (i Invoice, err error) {
	var start, end, finalised, voided int64
	err = rows.Scan(&i.ID, &i.Account, &i.Number, &i.Kind, &i.Customer, &start, &end, &i.Book, &i.Refers,
		&i.State, &i.Hash, &finalised, &voided, &i.VoidReason, (*[]byte)(&i.Document))
	i.Start, i.End = time.Unix(start, 0).UTC(), time.Unix(end, 0).UTC()
	i.Finalised, i.Voided = fromMillis(finalised), fromMillis(voided)
	return i, err
}

// Closing is what FinaliseInvoice needs to know apart from the document.
type Closing struct {
	Kind     InvoiceKind // "" is KindInvoice
	Customer string      // must be known; archived is allowed, it still owes
	// Account is whose next number it gets; "" is the customer.
	Account    string
	Start, End time.Time
	Book       int64  // 0: none
	Refers     string // of a credit note
	// Revision is InvoiceRevision(Account) from before the amounts were computed:
	// closing subtracts what was billed already, so that must still be all.
	Revision int64
}

// Numbered is what the document of an invoice may need to say about itself.
type Numbered struct {
	ID        string
	Number    int64
	Finalised time.Time
}

// FinaliseInvoice closes an invoice: it draws the account's next number, has
// build write the document with it, and keeps both, or neither. build runs while
// the write lock is held and must only compute. Errors: tenant.ErrInvalid;
// ErrNotFound (customer, book or refers); ErrExists (a part of the period has a
// final invoice); ErrState (refers is void); ErrStale (compute again); or build's.
func (s *Store) FinaliseInvoice(ctx context.Context, actor string, c Closing, build func(Numbered) ([]byte, error)) (Invoice, error) {
	if c.Kind == "" {
		c.Kind = KindInvoice
	}
	if c.Account == "" {
		c.Account = c.Customer
	}
	if err := c.check(); err != nil {
		return Invoice{}, err
	}
	var made Invoice
	err := s.change(ctx, actor, func(tx *change) error {
		if err := tx.mayClose(ctx, c); err != nil {
			return err
		}
		made = Invoice{
			Account: c.Account, Kind: c.Kind, Customer: c.Customer, State: InvoiceFinal, Start: c.Start.UTC(), End: c.End.UTC(),
			Book: c.Book, Refers: c.Refers, Finalised: tx.now,
		}
		if err := tx.QueryRowContext(ctx, "SELECT coalesce(max(number), 0) + 1 FROM invoices WHERE account = ?", c.Account).Scan(&made.Number); err != nil {
			return err
		}
		made.ID = fmt.Sprintf("%s-%04d", made.Account, made.Number)
		var err error
		if made.Document, err = build(Numbered{ID: made.ID, Number: made.Number, Finalised: made.Finalised}); err != nil {
			return err
		}
		if !json.Valid(made.Document) {
			return fmt.Errorf("%w invoice document: not JSON", tenant.ErrInvalid)
		}
		made.Hash = hashOf(made.Document)
		if _, err := tx.ExecContext(ctx, `INSERT INTO invoices
			(id, account, number, kind, customer, period_start, period_end, book, refers, state, hash, finalised, document)
			VALUES (?, ?, ?, ?, ?, ?, ?, nullif(?, 0), nullif(?, ''), ?, ?, ?, ?)`,
			made.ID, made.Account, made.Number, made.Kind, made.Customer, made.Start.Unix(), made.End.Unix(), made.Book, made.Refers,
			made.State, made.Hash, made.Finalised.UnixMilli(), []byte(made.Document)); err != nil {
			return err
		}
		return tx.audit(ctx, "invoice.finalise", "invoice/"+made.ID, made.closed())
	})
	if err != nil {
		return Invoice{}, err
	}
	return made, nil
}

// closed is what the audit log keeps of an invoice: what never changes, apart
// from the document.
func (i Invoice) closed() any {
	return struct {
		Hash     string      `json:"hash"`
		Kind     InvoiceKind `json:"kind"`
		Customer string      `json:"customer"`
		Start    time.Time   `json:"start"`
		End      time.Time   `json:"end"`
		Book     int64       `json:"book,omitempty"`
		Refers   string      `json:"refers,omitempty"`
	}{i.Hash, i.Kind, i.Customer, i.Start, i.End, i.Book, i.Refers}
}

func (c Closing) check() error {
	switch {
	case c.Customer == tenant.TestCustomer:
		return fmt.Errorf("%w invoice: customer %s is reserved for tests and never gets one", tenant.ErrInvalid, c.Customer)
	case c.Kind != KindInvoice && c.Kind != KindCreditNote:
		return fmt.Errorf("%w kind %q of invoice", tenant.ErrInvalid, c.Kind)
	case (c.Kind == KindCreditNote) != (c.Refers != ""):
		return fmt.Errorf("%w: a credit note, and nothing else, refers to an invoice", tenant.ErrInvalid)
	case !c.Start.Before(c.End):
		return fmt.Errorf("%w period: it starts at %s and ends at %s", tenant.ErrInvalid, c.Start, c.End)
	case c.Start.Nanosecond() != 0 || c.End.Nanosecond() != 0:
		return fmt.Errorf("%w period: its bounds are whole seconds", tenant.ErrInvalid)
	}
	return tenant.CheckID("account", c.Account)
}

// mayClose asks whether what the closing rests on is there and unchanged.
func (c *change) mayClose(ctx context.Context, x Closing) error {
	if _, err := customer(ctx, c, x.Customer); err != nil {
		return err
	}
	revision, err := invoiceRevision(ctx, c, x.Account)
	if err != nil {
		return err
	}
	if revision != x.Revision {
		return fmt.Errorf("the invoices of account %s have %w: compute again", x.Account, ErrStale)
	}
	if x.Book != 0 {
		found, err := exists(ctx, c, "SELECT 1 FROM price_books WHERE version = ?", x.Book)
		if err != nil {
			return err
		}
		if !found {
			return fmt.Errorf("price book version %d %w", x.Book, ErrNotFound)
		}
	}
	if x.Kind == KindCreditNote {
		return c.mayCredit(ctx, x)
	}
	return c.mayInvoice(ctx, x)
}

// mayCredit asks whether what a credit note refers to can be credited.
func (c *change) mayCredit(ctx context.Context, x Closing) error {
	i, err := invoice(ctx, c, x.Refers)
	switch {
	case err != nil:
		return err
	case i.Customer != x.Customer || i.Kind != KindInvoice:
		return fmt.Errorf("%w: a credit note of customer %s refers to an invoice of that customer, not to %s", tenant.ErrInvalid, x.Customer, i.ID)
	case i.State != InvoiceFinal:
		return fmt.Errorf("%w: invoice %s is %s, nothing of it is left to credit", ErrState, i.ID, i.State)
	}
	return nil
}

// mayInvoice asks whether no part of the period is invoiced already: what two
// invoices cover would be billed twice.
func (c *change) mayInvoice(ctx context.Context, x Closing) error {
	before, err := list(ctx, c, scanInvoice, "SELECT "+invoiceColumns+` FROM invoices
		WHERE customer = ? AND state = 'final' AND kind = 'invoice' AND period_start < ? AND period_end > ? LIMIT 1`,
		x.Customer, x.End.Unix(), x.Start.Unix())
	if err == nil && len(before) > 0 {
		i := before[0]
		err = fmt.Errorf("final invoice %s of customer %s for %s to %s %w: void it to invoice any of that again",
			i.ID, i.Customer, i.Start.Format(time.RFC3339), i.End.Format(time.RFC3339), ErrExists)
	}
	return err
}

// InvoiceRevision is a number that changes whenever an invoice of the account
// is closed or voided. Read it before computing what is to be billed.
func (s *Store) InvoiceRevision(ctx context.Context, account string) (int64, error) {
	n, err := invoiceRevision(ctx, s.db, account)
	return n, explain(err)
}

func invoiceRevision(ctx context.Context, q queryer, account string) (n int64, err error) {
	err = q.QueryRowContext(ctx, "SELECT count(*) + count(nullif(voided, 0)) FROM invoices WHERE account = ?", account).Scan(&n)
	return n, err
}

// VoidInvoice declares a final invoice void; its number stays used. Errors:
// tenant.ErrInvalid (no reason), ErrNotFound, ErrState (void already).
func (s *Store) VoidInvoice(ctx context.Context, actor, id, reason string) error {
	if reason == "" {
		return fmt.Errorf("%w: voiding invoice %s needs a reason", tenant.ErrInvalid, id)
	}
	return s.change(ctx, actor, func(tx *change) error {
		i, err := invoice(ctx, tx, id)
		if err != nil {
			return err
		}
		if i.State != InvoiceFinal {
			return fmt.Errorf("%w: invoice %s is %s since %s", ErrState, id, i.State, i.Voided.Format("2006-01-02"))
		}
		if _, err := tx.ExecContext(ctx, "UPDATE invoices SET state = ?, voided = ?, void_reason = ? WHERE id = ?",
			InvoiceVoid, tx.now.UnixMilli(), reason, id); err != nil {
			return err
		}
		return tx.audit(ctx, "invoice.void", "invoice/"+id, map[string]string{"reason": reason})
	})
}

// Invoice finds an invoice. Errors: ErrNotFound.
func (s *Store) Invoice(ctx context.Context, id string) (Invoice, error) {
	return invoice(ctx, s.db, id)
}

func invoice(ctx context.Context, q queryer, id string) (Invoice, error) {
	return one(ctx, q, "invoice", id, scanInvoice, "SELECT "+invoiceColumns+" FROM invoices WHERE id = ?", id)
}

// InvoiceFilter chooses invoices; a zero field chooses all.
type InvoiceFilter struct {
	Customer, Account string
	State             InvoiceState
	// From and To choose periods that overlap [From, To).
	From, To time.Time
}

// Invoices lists invoices by period, then account and number, with their documents.
func (s *Store) Invoices(ctx context.Context, f InvoiceFilter) ([]Invoice, error) {
	from, to := int64(-1<<62), int64(1<<62)
	if !f.From.IsZero() {
		from = f.From.Unix()
	}
	if !f.To.IsZero() {
		to = f.To.Unix()
	}
	return list(ctx, s.db, scanInvoice, "SELECT "+invoiceColumns+` FROM invoices
		WHERE (?1 = '' OR customer = ?1) AND (?2 = '' OR account = ?2) AND (?3 = '' OR state = ?3) AND period_end > ?4 AND period_start < ?5
		ORDER BY period_start, account, number`, f.Customer, f.Account, f.State, from, to)
}
