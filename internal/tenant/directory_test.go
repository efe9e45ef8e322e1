package tenant_test

import (
	"errors"
	"testing"

	"github.com/tollkeeper/tollkeeper/internal/tenant"
)

func TestAuthenticate(t *testing.T) {
	h := newHouse()
	k, err := h.directory().Authenticate(h.token)
	if err != nil || k.ID != h.key.ID {
		t.Errorf("%+v, %v", k, err)
	}
	other := "tk_0000000000000000000000000000000000000000000000000000"
	for _, token := range []string{"", "tk_", "Bearer " + h.token, h.token + "x", h.token[:len(h.token)-1], other} {
		if _, err := h.directory().Authenticate(token); !errors.Is(err, tenant.ErrUnauthenticated) {
			t.Errorf("%q: %v", token, err)
		}
	}
	h.key.Archived = noon
	if _, err := h.directory().Authenticate(h.token); !errors.Is(err, tenant.ErrUnauthenticated) {
		t.Errorf("an archived key: %v", err)
	}
	h = newHouse()
	h.customers[0].Archived = noon
	if _, err := h.directory().Authenticate(h.token); !errors.Is(err, tenant.ErrUnauthenticated) {
		t.Errorf("an archived customer's key: %v", err)
	}
}

func TestDirectorySignsWithTheNewest(t *testing.T) {
	h := newHouse()
	if s, ok := h.directory().Signer(); !ok || s.ID != h.secret.ID {
		t.Errorf("signs with %v", s)
	}
	if _, ok := tenant.NewDirectory(nil, nil, nil).Signer(); ok {
		t.Error("signs without a secret")
	}
}

func TestHasProducers(t *testing.T) {
	h := newHouse()
	if !h.directory().HasProducers() {
		t.Error("the operator's producer key is not seen")
	}
	h.operator.Archived = noon
	if h.directory().HasProducers() {
		t.Error("a caller key, or an archived one, may send usage")
	}
}
