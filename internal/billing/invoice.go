package billing

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/tollkeeper/tollkeeper/internal/money"
)

// Format is the version of an invoice's document.
const Format = 1

// Invoice is what an invoice says. Its JSON is canonical: members in the order
// of their names, which is the order of the fields here, strings and whole
// numbers only. Amounts of money are texts with all decimal places of the
// currency; charges and prices are exact decimal numbers.
type Invoice struct {
	// Adjustments are what closed periods still owe, or are owed.
	Adjustments []Adjustment `json:"adjustments"`
	// Book is the price book that rated the lines.
	Book BookRef `json:"book"`
	// Checkpoint is the signed checkpoint of the journal at the closing (C2SP
	// tlog-checkpoint), "" in a draft.
	Checkpoint string `json:"checkpoint"`
	// Counted are the customer's other final invoices, which the adjustments
	// subtract.
	Counted  []string       `json:"counted"`
	Currency money.Currency `json:"currency"`
	Customer Party          `json:"customer"`
	// Deferred are amounts of closed periods that are in another currency: they are
	// left to an invoice in that.
	Deferred []Deferred `json:"deferred"`
	// Finalised is when it was closed, RFC 3339 in UTC with milliseconds; "" in a draft.
	Finalised string `json:"finalised"`
	// Fold is the version of the rules by which its records were made.
	Fold int `json:"fold"`
	// ID and Number are "" and 0 in a draft.
	ID     string `json:"id"`
	Issuer Party  `json:"issuer"`
	// Journals says up to which entry of each journal usage is counted.
	Journals map[string]uint64 `json:"journals"`
	// LeftOut is usage that is not charged, by permission of who closed it.
	LeftOut []LeftOut `json:"left_out"`
	Lines   []Line    `json:"lines"`
	// Note is the issuer's text below the total.
	Note   string `json:"note"`
	Number int64  `json:"number"`
	Period Period `json:"period"`
	// Projects are the names of the lines' projects, of those that have one.
	Projects map[string]string `json:"projects"`
	Rounding money.Rounding    `json:"rounding"`
	Sums     Sums              `json:"sums"`
	// Usage is what the lines were rated from.
	Usage  []Usage `json:"usage"`
	Format int     `json:"v"`
}

// Party is who issues or pays an invoice, as it was at the closing.
type Party struct {
	// Address may have several lines.
	Address string `json:"address"`
	Email   string `json:"email"`
	// ID is the customer's id, "" for the issuer.
	ID   string `json:"id"`
	Name string `json:"name"`
}

// BookRef names a version of the price book.
type BookRef struct {
	// Hash is the SHA-256 of the book's document in hex.
	Hash string `json:"hash"`
	// Version is 0 when there is no book.
	Version int64 `json:"version"`
}

// Price is the entry of a price book that a line used.
type Price struct {
	Book     int64         `json:"book"`
	Customer string        `json:"customer"` // as the entry names it, "" for all
	Entry    int           `json:"entry"`    // its index in the book, from 0
	From     Instant       `json:"from"`
	Model    string        `json:"model"` // as the entry names it, a glob maybe
	Per      int64         `json:"per"`
	Price    money.Decimal `json:"price"`
	To       Instant       `json:"to,omitzero"` // absent: open
}

// Line is a charge for one quantity of one model at one price.
type Line struct {
	// Amount is how much was used, in units of the quantity.
	Amount int64 `json:"amount"`
	// Charge is the exact amount of money.
	Charge money.Decimal `json:"charge"`
	Model  string        `json:"model"`
	// Number counts from 1 through lines and adjustments.
	Number int   `json:"number"`
	Price  Price `json:"price"`
	// Projects are the line's parts, exact; their sum is the line.
	Projects []Part `json:"projects"`
	Quantity string `json:"quantity"`
	// Total is Charge rounded.
	Total string `json:"total"`
}

// Part is one project's part of a line; "" is no project.
type Part struct {
	Amount  int64         `json:"amount"`
	Charge  money.Decimal `json:"charge"`
	Project string        `json:"project"`
}

// Adjustment is the difference between what a closed period comes to now, at
// the prices pinned by its final invoice, and what was billed for it.
type Adjustment struct {
	// Amount is AmountNow less AmountBilled.
	Amount       int64 `json:"amount"`
	AmountBilled int64 `json:"amount_billed"`
	AmountNow    int64 `json:"amount_now"`
	// ChargeNow is exact.
	ChargeNow money.Decimal `json:"charge_now"`
	// Invoice is the final invoice of the period, "" for the period of this one.
	Invoice  string `json:"invoice"`
	Model    string `json:"model"`
	Number   int    `json:"number"`
	Period   Period `json:"period"`
	Price    Price  `json:"price"`
	Quantity string `json:"quantity"`
	Reason   Reason `json:"reason"`
	// Total is TotalNow less TotalBilled.
	Total       string `json:"total"`
	TotalBilled string `json:"total_billed"`
	TotalNow    string `json:"total_now"`
}

// Reason says why there is an adjustment.
type Reason string

// The reasons.
const (
	// ReasonLate is usage that arrived when its period was closed.
	ReasonLate Reason = "late_usage"
	// ReasonLess is usage that was billed and then turned out to be less, or
	// another customer's.
	ReasonLess Reason = "less_usage"
	// ReasonVoid evens out what other invoices have billed for a period, or taken
	// off, when its final invoice, or one of them, became void.
	ReasonVoid Reason = "after_void"
	// ReasonFold is usage that newer rules count differently; it was accepted.
	ReasonFold Reason = "counted_by_new_rules"
)

// Deferred is an amount in another currency.
type Deferred struct {
	Currency string `json:"currency"`
	Invoice  string `json:"invoice"`
	Period   Period `json:"period"`
	Total    string `json:"total"`
}

// LeftOut is an amount of usage without a charge. It counts what was not left
// out before by another invoice of the customer that covers it.
type LeftOut struct {
	Amount   int64        `json:"amount"`
	Model    string       `json:"model"`
	Period   Period       `json:"period"`
	Quantity string       `json:"quantity"`
	Reason   LeaveOutRule `json:"reason"`
}

// LeaveOutRule says why usage is not charged.
type LeaveOutRule string

// Unattributed is usage that nobody is known to pay for. The other reasons are
// those of package rating: usage without a price.
const Unattributed LeaveOutRule = "unattributed"

// Sums of the totals.
type Sums struct {
	Adjustments string `json:"adjustments"`
	Lines       string `json:"lines"`
	// Total is what is to be paid; negative, it is a credit.
	Total string `json:"total"`
}

// Usage is a sum of usage from an instant on, up to the next at which a price
// changes, or the period's end.
type Usage struct {
	From       Instant          `json:"from"`
	Model      string           `json:"model"`
	Project    string           `json:"project"`
	Quantities map[string]int64 `json:"quantities"`
}

// ErrDocument says that a text is no document of an invoice, or not as
// Canonical writes it.
var ErrDocument = errors.New("not an invoice's document")

// Canonical is the invoice's document: the same bytes for the same invoice.
func (i *Invoice) Canonical() ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(i); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte{'\n'}), nil
}

// Parse reads a document and accepts nothing but what Canonical writes. It does
// not ask whether the amounts are right; see [Invoice.Check]. Errors wrap ErrDocument.
func Parse(document []byte) (*Invoice, error) {
	d := json.NewDecoder(bytes.NewReader(document))
	d.DisallowUnknownFields()
	var i Invoice
	if err := d.Decode(&i); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDocument, err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%w: more than one", ErrDocument)
	}
	if i.Format != Format {
		return nil, fmt.Errorf("%w: format %d, want %d", ErrDocument, i.Format, Format)
	}
	again, err := i.Canonical()
	if err != nil || !bytes.Equal(again, document) {
		return nil, fmt.Errorf("%w: not canonical", ErrDocument)
	}
	return &i, nil
}

// Draft tells whether the invoice is not closed.
func (i *Invoice) Draft() bool { return i.Number == 0 }

// Seal is what closing adds to a draft.
type Seal struct {
	ID         string
	Number     int64
	Finalised  time.Time
	Checkpoint string
}

// Sealed is the draft as it is closed.
func (i *Invoice) Sealed(s Seal) *Invoice {
	closed := *i
	closed.ID, closed.Number, closed.Checkpoint = s.ID, s.Number, s.Checkpoint
	closed.Finalised = s.Finalised.UTC().Format("2006-01-02T15:04:05.000Z")
	return &closed
}

// amount reads one of the invoice's texts of money.
func (i *Invoice) amount(text string) (money.Amount, error) {
	return money.ParseAmount(text, i.Currency)
}
