package api

import (
	"context"
	"errors"
	"fmt"

	"github.com/tollkeeper/tollkeeper/internal/billing"
	"github.com/tollkeeper/tollkeeper/internal/pricing"
	"github.com/tollkeeper/tollkeeper/internal/store/business"
)

// ErrCannotRemake says that an invoice names what is not there or not readable,
// so that nothing can be made of it again.
var ErrCannotRemake = errors.New("cannot be made again")

// RemakeInvoice makes a closed invoice again: from usage as it is now, with the
// version of the price book that the invoice pinned, less what the counted
// invoices billed. To be compared with x, its document, usage must stand where x
// counted it. What no usage and no price decides (name, address, time zone,
// rounding, note) is taken from x. Errors wrap ErrCannotRemake where the fault is
// the invoice's, or its book's.
func (l *Local) RemakeInvoice(ctx context.Context, kept *business.Invoice, x *billing.Invoice, counted []business.Invoice) (*billing.Invoice, error) {
	in := billing.Input{
		Issuer: x.Issuer, Customer: x.Customer, Note: x.Note, Projects: x.Projects, Rounding: x.Rounding, Fold: x.Fold,
		Period: billing.Period{Start: pricing.Instant(kept.Start.Unix()), End: pricing.Instant(kept.End.Unix()), Zone: x.Period.Zone},
	}
	in.Customer.ID = kept.Customer
	var err error
	if in.Currency, err = currencyOf(x.Currency.Code); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCannotRemake, err)
	}
	if kept.Book != 0 {
		if in.Book, err = l.billingBook(ctx, kept.Book); err != nil {
			return nil, cannotRemake(err)
		}
	}
	if in.Closed, err = l.closedOf(ctx, counted); err != nil {
		return nil, cannotRemake(err)
	}
	if err := l.count(ctx, &in); err != nil {
		return nil, err
	}
	made, err := billing.Make(in)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCannotRemake, err)
	}
	return made.Sealed(billing.Seal{ID: kept.ID, Number: kept.Number, Finalised: kept.Finalised, Checkpoint: x.Checkpoint}), nil
}

// cannotRemake tells what is wrong with a document or a book from what is wrong
// with reading it.
func cannotRemake(err error) error {
	for _, fault := range []error{business.ErrNotFound, billing.ErrDocument, pricing.ErrMalformed, pricing.ErrNewerFormat} {
		if errors.Is(err, fault) {
			return fmt.Errorf("%w: %w", ErrCannotRemake, err)
		}
	}
	return err
}
