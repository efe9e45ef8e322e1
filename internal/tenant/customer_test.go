package tenant_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/tollkeeper/tollkeeper/internal/tenant"
)

func TestCustomerRules(t *testing.T) {
	for _, good := range []tenant.Customer{
		{ID: "acme"},
		{ID: "A.b-c_1@example.com", TimeZone: "Europe/Berlin", Currency: "EUR"},
		{ID: strings.Repeat("a", 63), TimeZone: "UTC"},
		{ID: "acme", Name: "Größe 漢 & Söhne", Address: "Hafenstraße 7\n20457 Hamburg", Email: "billing@acme.example"},
	} {
		if err := good.Check(); err != nil {
			t.Error(err)
		}
	}
	for _, bad := range []tenant.Customer{
		{},
		{ID: "-acme"},
		{ID: "a b"},
		{ID: "a/b"},
		{ID: "größe"},
		{ID: strings.Repeat("a", 64)},
		{ID: "acme", TimeZone: "Mars/Olympus"},
		{ID: "acme", TimeZone: "Local"},
		{ID: "acme", Currency: "euro"},
		{ID: "acme", Name: "a\x1b[31mb"},
		{ID: "acme", Name: "Acme\nLtd"},
		{ID: "acme", Name: "Acm\xe9"},
		{ID: "acme", Name: strings.Repeat("x", 1001)},
		{ID: "acme", Address: "Hafenstraße 7\r\x00"},
		{ID: "acme", Email: "a@b\u0085"},
	} {
		if err := bad.Check(); !errors.Is(err, tenant.ErrInvalid) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
	if err := (tenant.Project{Customer: "acme", ID: "chat"}).Check(); err != nil {
		t.Error(err)
	}
	if err := (tenant.Project{Customer: "acme", ID: ""}).Check(); !errors.Is(err, tenant.ErrInvalid) {
		t.Error(err)
	}
}
