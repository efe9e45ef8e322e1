package business_test

import (
	"crypto/sha256"
	"database/sql"
	"flag"
	"math/rand/v2"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tollkeeper/tollkeeper/internal/store/business"
	"github.com/tollkeeper/tollkeeper/internal/tenant"
)

const actor = "cli:test"

// noon is when these tests begin. The clock of a house moves on by a second
// with each look at it.
var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// house is a store, and short ways to fill it.
type house struct {
	t      *testing.T
	path   string
	store  *business.Store
	ticks  *atomic.Int64
	chance *rand.ChaCha8
}

// newHouse opens the file at path, or a new one with "".
func newHouse(t *testing.T, path string) *house {
	t.Helper()
	if path == "" {
		path = filepath.Join(t.TempDir(), "business.db")
	}
	h := &house{t: t, path: path, ticks: new(atomic.Int64), chance: rand.NewChaCha8(sha256.Sum256([]byte(t.Name())))}
	now := func() time.Time { return noon.Add(time.Duration(h.ticks.Add(1)) * time.Second) }
	s, err := business.Open(t.Context(), path, business.Options{Now: now})
	if err != nil {
		t.Fatal(err)
	}
	h.store = s
	t.Cleanup(h.close)
	return h
}

func (h *house) close() {
	if err := h.store.Close(); err != nil {
		h.t.Error(err)
	}
}

func (h *house) must(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) customer(id string) tenant.Customer {
	h.t.Helper()
	c, err := h.store.AddCustomer(h.t.Context(), actor, tenant.Customer{ID: id})
	h.must(err)
	return c
}

// key makes a key without adding it.
func (h *house) key(spec tenant.Key) (tenant.Key, string) {
	h.t.Helper()
	k, token, err := tenant.NewKey(spec, h.chance, noon)
	h.must(err)
	return k, token
}

func (h *house) secret() tenant.Secret {
	h.t.Helper()
	s, err := tenant.NewSecret(h.chance, noon)
	h.must(err)
	return s
}

// month is the period of a month of 2026.
func month(n int) (start, end time.Time) {
	start = time.Date(2026, time.Month(n), 1, 0, 0, 0, 0, time.UTC)
	return start, start.AddDate(0, 1, 0)
}

// closing is an invoice of a customer for a month of 2026, decided on as of now.
func (h *house) closing(customer string, m int) business.Closing {
	h.t.Helper()
	revision, err := h.store.InvoiceRevision(h.t.Context(), customer)
	h.must(err)
	start, end := month(m)
	return business.Closing{Customer: customer, Start: start, End: end, Revision: revision}
}

// document is the least that an invoice may say.
func document(n business.Numbered) ([]byte, error) { return []byte(`{"id":"` + n.ID + `"}`), nil }

func (h *house) finalise(customer string, m int) business.Invoice {
	h.t.Helper()
	i, err := h.store.FinaliseInvoice(h.t.Context(), actor, h.closing(customer, m), document)
	h.must(err)
	return i
}

// tamper changes the file as another program would.
func tamper(t *testing.T, path, statement string) {
	t.Helper()
	if err := try(path, statement); err != nil {
		t.Fatal(err)
	}
}

// try is tamper that may be refused.
func try(path, statement string) error {
	db, err := sql.Open("sqlite", path)
	if err != nil {
		return err
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	_, err = db.Exec(statement)
	return err
}

// checks makes the properties of a test try n random cases: what waits for the
// disk is no work for a hundred. The flag is the process's, so the test is not a
// parallel one.
func checks(t *testing.T, n string) {
	t.Helper()
	before := flag.Lookup("rapid.checks").Value.String()
	if err := flag.Set("rapid.checks", n); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = flag.Set("rapid.checks", before) })
}
