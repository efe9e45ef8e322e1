package business_test

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/tollkeeper/tollkeeper/internal/store/business"
)

// TestCheckFindsTampering changes the file as one who takes the triggers away.
func TestCheckFindsTampering(t *testing.T) {
	for name, c := range map[string]struct {
		statement string
		want      []string // kind and place
	}{
		"a price":             {"UPDATE price_books SET document = x'7b7d' WHERE version = 2", []string{"price_book_hash price_book/2"}},
		"a price and hash":    {"UPDATE price_books SET document = x'7b7d', hash = '" + emptyHash + "' WHERE version = 2", []string{"differs price_book/2"}},
		"a book removed":      {"DELETE FROM price_books WHERE version = 1", []string{"missing price_book/1", "price_book_gap price_book/2"}},
		"an amount":           {"UPDATE invoices SET document = x'7b7d' WHERE number = 1", []string{"invoice_hash invoice/acme-0001"}},
		"an amount and hash":  {"UPDATE invoices SET document = x'7b7d', hash = '" + emptyHash + "' WHERE number = 1", []string{"differs invoice/acme-0001"}},
		"a customer's":        {"UPDATE invoices SET customer = 'zeta' WHERE number = 1", []string{"differs invoice/acme-0001"}},
		"a period":            {"UPDATE invoices SET period_start = period_start - 1 WHERE number = 1", []string{"differs invoice/acme-0001"}},
		"an invoice removed":  {"DELETE FROM invoices WHERE number = 1", []string{"invoice_gap invoice/acme-0002", "missing invoice/acme-0001"}},
		"the last removed":    {"DELETE FROM invoices WHERE number = 3", []string{"missing invoice/acme-0003"}},
		"no longer void":      {"UPDATE invoices SET state = 'final', voided = 0 WHERE number = 2", []string{"missing invoice/acme-0002"}},
		"void by hand":        {"UPDATE invoices SET state = 'void', voided = 1 WHERE number = 1", []string{"unlogged invoice/acme-0001"}},
		"an invoice added":    {invoiceLike("'acme-0004', account, 4, kind, customer, period_start + 9999999, period_end + 9999999", "number = 3"), []string{"unlogged invoice/acme-0004"}},
		"a key added":         {"INSERT INTO keys VALUES ('key_x', 'zeta', NULL, 'caller', '', '', zeroblob(32), 0, 0)", []string{"unlogged key/key_x"}},
		"a secret added":      {"INSERT INTO tag_secrets VALUES ('sec_x', zeroblob(32), 0, 1)", []string{"unlogged tag_secret/sec_x"}},
		"a customer removed":  {"DELETE FROM customers WHERE id = 'zeta'", []string{"missing customer/zeta"}},
		"an owner removed":    {"DELETE FROM projects", []string{"missing project/acme/chat", "reference keys"}},
		"the log's start cut": {"DELETE FROM audit WHERE seq = 1", []string{"audit_gap audit", "unlogged customer/acme"}},
		"a line removed":      {"DELETE FROM audit WHERE action = 'key.archive'", []string{"audit_gap audit"}},
		"lines renumbered":    {"UPDATE audit SET seq = -seq WHERE seq = 1", []string{"audit_gap audit"}},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t, "")
			h.fill()
			tamper(t, h.path, withoutTriggers(t, h)+c.statement)
			if got := h.found(); !slices.Equal(got, c.want) {
				t.Errorf("found %q; want %q", got, c.want)
			}
		})
	}
}

const emptyHash = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a" // SHA-256 of {}

// found lists what Check finds, sorted.
func (h *house) found() []string {
	h.t.Helper()
	problems, err := h.store.Check(h.t.Context())
	h.must(err)
	var out []string
	for _, p := range problems {
		if p.Found == "" {
			h.t.Errorf("%+v says nothing", p)
		}
		out = append(out, p.Kind+" "+p.Place)
	}
	slices.Sort(out)
	return out
}

// withoutTriggers are the statements that drop all triggers.
func withoutTriggers(t *testing.T, h *house) string {
	t.Helper()
	var out strings.Builder
	for _, name := range h.store.Triggers(t) {
		out.WriteString("DROP TRIGGER " + name + "; ")
	}
	if out.Len() == 0 {
		t.Fatal("no trigger: the test proves nothing")
	}
	return out.String()
}

// TestCheckFindsDamage overwrites pages in the middle of the file.
func TestCheckFindsDamage(t *testing.T) {
	h := newHouse(t, "")
	h.fill()
	h.close()
	b, err := os.ReadFile(h.path)
	h.must(err)
	const page = 4096
	for at := 2 * page; at+page <= len(b); at += page {
		bad := slices.Clone(b)
		copy(bad[at:], strings.Repeat("rust", page/4))
		h.must(os.WriteFile(h.path, bad, 0o600))
		checkDamaged(t, h.path, at/page+1)
	}
}

func checkDamaged(t *testing.T, path string, page int) {
	t.Helper()
	s, err := business.Open(t.Context(), path, business.Options{})
	if errors.Is(err, business.ErrNotOurs) {
		return // the schema itself
	}
	if err != nil {
		t.Errorf("page %d: %v", page, err)
		return
	}
	defer s.Close()
	found, err := s.Check(t.Context())
	if err != nil || len(found) == 0 || found[0].Kind != "damaged" {
		t.Errorf("page %d: found %+v, %v", page, found, err)
	}
}
