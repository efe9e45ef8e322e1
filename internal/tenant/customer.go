package tenant

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Customer is who pays. A rule of the attribution ladder may name a customer
// that was never added: its usage is kept under that id, but only a known
// customer gets a final invoice.
type Customer struct {
	// ID never changes: usage, keys and invoices name it. See CheckID.
	ID string `json:"id"`
	// Name, Address and Email stand on the invoice. Address may have several lines.
	Name    string `json:"name,omitempty"`
	Address string `json:"address,omitempty"`
	Email   string `json:"email,omitempty"`
	// TimeZone is the IANA zone whose calendar months are invoiced; "" means
	// that of the configuration.
	TimeZone string `json:"time_zone,omitempty"`
	// Currency is the ISO 4217 code of the invoices; "" means that of the
	// configuration.
	Currency string `json:"currency,omitempty"`
	// Created is when it was added, Archived when it was put away, zero if not.
	// An archived customer's keys and tags no longer count; its usage and
	// invoices stay, and it can be restored.
	Created  time.Time `json:"created"`
	Archived time.Time `json:"archived,omitzero"`
}

// TestCustomer is reserved for requests that only try whether all works, such as
// those of `helm test`: its usage is metered, priced and shown like anybody's,
// and never invoiced.
const TestCustomer = "helm-test"

// Active tells whether the customer is not archived.
func (c Customer) Active() bool { return c.Archived.IsZero() }

var currencyPattern = regexp.MustCompile(`^[A-Z]{3}$`)

// maxText is how long a name, an address or a note may be, in bytes: it stands on
// an invoice and in lists.
const maxText = 1000

// checkText refuses what no invoice can show: text that is too long, is no UTF-8
// or steers a terminal. Lines says whether it may have several.
func checkText(what, text string, lines bool) error {
	control := func(r rune) bool { return unicode.IsControl(r) && (r != '\n' || !lines) }
	if len(text) > maxText || !utf8.ValidString(text) || strings.ContainsFunc(text, control) {
		return fmt.Errorf("%w %s: at most %d bytes of UTF-8, without control characters", ErrInvalid, what, maxText)
	}
	return nil
}

// Check refuses a customer with a bad id, text, currency or time zone. Errors wrap ErrInvalid.
func (c Customer) Check() error {
	if err := CheckID("customer", c.ID); err != nil {
		return err
	}
	if err := errors.Join(checkText("name of customer "+c.ID, c.Name, false), checkText("address of customer "+c.ID, c.Address, true), checkText("email of customer "+c.ID, c.Email, false)); err != nil {
		return err
	}
	if c.Currency != "" && !currencyPattern.MatchString(c.Currency) {
		return fmt.Errorf("%w currency %q of customer %s: three letters as in ISO 4217, such as EUR", ErrInvalid, c.Currency, c.ID)
	}
	if c.TimeZone == "Local" {
		return fmt.Errorf("%w time zone %q of customer %s: it differs by machine; name one, such as Europe/Berlin", ErrInvalid, c.TimeZone, c.ID)
	}
	if _, err := time.LoadLocation(c.TimeZone); err != nil {
		return fmt.Errorf("%w time zone %q of customer %s: an IANA name such as Europe/Berlin or UTC", ErrInvalid, c.TimeZone, c.ID)
	}
	return nil
}

// Project is a part of one customer, such as a team or an application.
type Project struct {
	Customer string `json:"customer"`
	// ID is unique within the customer and never changes. See CheckID.
	ID       string    `json:"id"`
	Name     string    `json:"name,omitempty"`
	Created  time.Time `json:"created"`
	Archived time.Time `json:"archived,omitzero"`
}

// Active tells whether the project is not archived.
func (p Project) Active() bool { return p.Archived.IsZero() }

// Check refuses a project with a bad id or name. Errors wrap ErrInvalid.
func (p Project) Check() error {
	if err := CheckID("customer", p.Customer); err != nil {
		return err
	}
	if err := CheckID("project", p.ID); err != nil {
		return err
	}
	return checkText("name of project "+p.ID, p.Name, false)
}
