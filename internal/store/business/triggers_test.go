package business_test

import (
	"strings"
	"testing"

	"github.com/tollkeeper/tollkeeper/internal/tenant"
)

// fill puts one of each thing into the file.
func (h *house) fill() {
	h.t.Helper()
	ctx := h.t.Context()
	h.customer("acme")
	h.customer("zeta")
	h.must(second(h.store.AddProject(ctx, actor, tenant.Project{Customer: "acme", ID: "chat"})))
	k, _ := h.key(tenant.Key{Customer: "acme", Project: "chat", Role: tenant.RoleCaller})
	h.must(h.store.AddKey(ctx, actor, k))
	h.must(h.store.ArchiveKey(ctx, actor, k.ID))
	h.must(second(h.store.EnsureTagSecret(ctx, actor, h.secret())))
	h.must(h.store.RotateTagSecret(ctx, actor, h.secret(), tenant.DefaultOverlap))
	for _, book := range []string{`{"v":1}`, `{"v":2}`} {
		_, _, err := h.store.ApplyPriceBook(ctx, actor, []byte(book))
		h.must(err)
	}
	h.finalise("acme", 1)
	h.finalise("acme", 2)
	h.finalise("acme", 3)
	h.must(h.store.VoidInvoice(ctx, actor, "acme-0002", "a test"))
	h.clean()
}

// TestTriggers tries, as another program would, to change what never changes.
func TestTriggers(t *testing.T) {
	h := newHouse(t, "")
	h.fill()
	for statement, says := range map[string]string{
		"DELETE FROM customers":                                                                                              "archived, not deleted",
		"UPDATE customers SET id = 'b' WHERE id = 'acme'":                                                                    "keeps its id",
		"DELETE FROM projects":                                                                                               "archived, not deleted",
		"UPDATE projects SET customer = 'zeta'":                                                                              "keeps its customer",
		"DELETE FROM keys":                                                                                                   "archived, not deleted",
		"UPDATE keys SET customer = 'zeta', project = NULL":                                                                  "never changes owner",
		"UPDATE keys SET hash = zeroblob(32)":                                                                                "never changes owner",
		"UPDATE keys SET archived = 0":                                                                                       "stays archived",
		"DELETE FROM tag_secrets":                                                                                            "retire",
		"UPDATE tag_secrets SET value = zeroblob(32)":                                                                        "keeps its value",
		"UPDATE tag_secrets SET retires = retires + 1":                                                                       "retires once",
		"UPDATE tag_secrets SET retires = 0":                                                                                 "retires once",
		"DELETE FROM price_books WHERE version = 2":                                                                          "price books stay",
		"UPDATE price_books SET document = x'7b7d'":                                                                          "never changes",
		"DELETE FROM invoices WHERE number = 3":                                                                              "voided, not deleted",
		"UPDATE invoices SET document = x'7b7d'":                                                                             "never changes",
		"UPDATE invoices SET period_end = period_end - 3600":                                                                 "never changes",
		"UPDATE invoices SET state = 'final'":                                                                                "once",
		"UPDATE invoices SET void_reason = 'better'":                                                                         "once",
		"DELETE FROM audit WHERE seq = 1":                                                                                    "append-only",
		"UPDATE audit SET actor = 'cli:nobody'":                                                                              "append-only",
		"INSERT INTO audit VALUES (99, 0, 'x', '', '', '{}')":                                                                "no gap",
		"INSERT OR REPLACE INTO audit VALUES (1, 0, 'x', '', '', '{}')":                                                      "no gap",
		"INSERT OR REPLACE INTO customers SELECT id, 'other', '', '', '', '', 0, 0 FROM customers":                           "there already",
		"INSERT OR REPLACE INTO projects SELECT customer, id, 'other', 0, 0 FROM projects":                                   "there already",
		"INSERT OR REPLACE INTO keys SELECT id, 'zeta', NULL, role, note, hint, hash, 0, 0 FROM keys":                        "there already",
		"INSERT OR REPLACE INTO keys SELECT 'key_x', 'zeta', NULL, role, note, hint, hash, 0, 0 FROM keys":                   "there already",
		"INSERT OR REPLACE INTO tag_secrets VALUES ('sec_x', zeroblob(32), 0, 0)":                                            "another one signs",
		"INSERT OR REPLACE INTO tag_secrets SELECT id, zeroblob(32), created, 1 FROM tag_secrets":                            "there already",
		"UPDATE OR REPLACE tag_secrets SET retires = 0 WHERE retires <> 0":                                                   "retires once",
		"INSERT OR REPLACE INTO price_books SELECT 1, hash, source, applied, actor, x'7b7d' FROM price_books":                "no gap",
		"INSERT INTO price_books SELECT 7, hash, source, applied, actor, document FROM price_books":                          "no gap",
		invoiceLike("'acme-0003', account, 3, kind, customer, period_start + 9999999, period_end + 9999999", "number = 3"):   "no gap",
		invoiceLike("'acme-0007', account, 7, kind, customer, period_start, period_end", "number = 2"):                       "no gap",
		invoiceLike("'acme-0004', account, 4, kind, customer, period_start + 5, period_end + 5", "number = 3"):               "invoiced already",
		invoiceLike("'acme-4', account, 4, kind, customer, period_start + 9999999, period_end + 9999999", "number = 3"):      "CHECK constraint",
		invoiceLike("'group-0001', 'group', 1, kind, 'absent', period_start + 9999999, period_end + 9999999", "number = 3"):  "FOREIGN KEY",
		invoiceLike("'zeta-0001', 'zeta', 1, 'receipt', 'zeta', period_start + 9999999, period_end + 9999999", "number = 3"): "CHECK constraint",
		"INSERT INTO keys VALUES ('key_y', 'zeta', 'chat', 'caller', '', '', zeroblob(32), 0, 0)":                            "FOREIGN KEY",
		"INSERT INTO customers VALUES ('new', '', '', '', '', '', 'yesterday', 0)":                                           "cannot store TEXT",
		"INSERT INTO audit SELECT max(seq) + 1, 0, '', 'customer.add', 'customer/x', '{}' FROM audit":                        "CHECK constraint",
	} {
		err := try(h.path, "PRAGMA foreign_keys = 1; "+statement)
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v; want %q", statement, err, says)
		}
	}
	h.clean()
}

// invoiceLike inserts an invoice like an existing one, with other columns in front.
func invoiceLike(columns, where string) string {
	return "INSERT OR REPLACE INTO invoices SELECT " + columns +
		", book, refers, 'final', hash, finalised, 0, '', document FROM invoices WHERE " + where
}
