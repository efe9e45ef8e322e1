package api

import (
	"context"
	"net/http"
	"time"

	"github.com/tollkeeper/tollkeeper/internal/billing"
	"github.com/tollkeeper/tollkeeper/internal/journal"
	"github.com/tollkeeper/tollkeeper/internal/money"
	"github.com/tollkeeper/tollkeeper/internal/store/business"
	"github.com/tollkeeper/tollkeeper/internal/usage"
)

// Store is the usage projection.
type Store interface {
	UsageStore
	RecordStore
	MomentStore
	Tallies(ctx context.Context) ([]usage.Tally, error)
}

// Local answers from the stores themselves.
type Local struct {
	Usage    Store
	Business *business.Store
	Journal  *journal.Reader
	// Actor is who changes something, for the audit log: "cli:USER", "key:key_…".
	Actor string
	// Scope is the customer whose own key asks; "" may see all.
	Scope    string
	Defaults Defaults
	Now      func() time.Time
}

func (*Local) caller() {}

// Defaults are the configuration's settings of invoices. A customer's own
// currency and time zone come first.
type Defaults struct {
	Currency string
	TimeZone string
	Rounding money.Rounding
	// Grace is how long after its end a period stays open.
	Grace  time.Duration
	Issuer billing.Party
	// Note stands below the total.
	Note string
}

// hasJournal refuses where no server ever ran.
func (l *Local) hasJournal() error {
	if l.Journal == nil {
		return &Error{Status: http.StatusNotFound, Message: "there is no journal", Hint: "`tollkeeper serve` makes one"}
	}
	return nil
}

// own returns the customer that the caller may see: its own whatever it asked
// for.
func (l *Local) own(customer string) (string, error) {
	if l.Scope == "" || customer == l.Scope {
		return customer, nil
	}
	if customer == "" {
		return l.Scope, nil
	}
	return "", &Error{Status: http.StatusForbidden, Message: "this key sees customer " + l.Scope + " only"}
}
