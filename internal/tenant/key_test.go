package tenant_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"testing"

	"github.com/tollkeeper/tollkeeper/internal/tenant"
)

func TestKeyIsShownOnce(t *testing.T) {
	k, token, err := tenant.NewKey(tenant.Key{Customer: "acme", Role: tenant.RoleCaller}, chance(1), noon)
	if err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`^tk_[0-9a-z]{52}$`).MatchString(token) {
		t.Errorf("token %q", token)
	}
	if !regexp.MustCompile(`^key_[0-9a-z]{16}$`).MatchString(k.ID) {
		t.Errorf("id %q", k.ID)
	}
	if k.Hash != tenant.HashToken(token) || !strings.HasPrefix(token, k.Hint) {
		t.Errorf("key %+v does not belong to its token", k)
	}
	asJSON, err := json.Marshal(k)
	if err != nil {
		t.Fatal(err)
	}
	for _, shown := range []string{string(asJSON), fmt.Sprintf("%#v", k)} {
		if strings.Contains(shown, token) {
			t.Errorf("the token is in %s", shown)
		}
	}
}

func TestKeyRules(t *testing.T) {
	for _, c := range []struct {
		spec tenant.Key
		ok   bool
	}{
		{tenant.Key{Role: tenant.RoleAdmin}, true},
		{tenant.Key{Role: tenant.RoleProducer}, true},
		{tenant.Key{Role: tenant.RoleProducer, Customer: "acme"}, true},
		{tenant.Key{Role: tenant.RoleReader, Customer: "acme", Project: "chat"}, true},
		{tenant.Key{Role: tenant.RoleCaller, Customer: "acme"}, true},
		{tenant.Key{Role: tenant.RoleCaller}, false},
		{tenant.Key{Role: tenant.RoleAdmin, Customer: "acme"}, false},
		{tenant.Key{Role: tenant.RoleReader, Project: "chat"}, false},
		{tenant.Key{Role: "root"}, false},
		{tenant.Key{}, false},
		{tenant.Key{Role: tenant.RoleReader, Customer: "a/b"}, false},
	} {
		_, _, err := tenant.NewKey(c.spec, chance(1), noon)
		if (err == nil) != c.ok || err != nil && !errors.Is(err, tenant.ErrInvalid) {
			t.Errorf("%+v: %v", c.spec, err)
		}
	}
}

func TestRolesAllow(t *testing.T) {
	for _, c := range []struct {
		has, need tenant.Role
		want      bool
	}{
		{tenant.RoleAdmin, tenant.RoleReader, true},
		{tenant.RoleAdmin, tenant.RoleProducer, true},
		{tenant.RoleAdmin, tenant.RoleCaller, false}, // an admin key says nothing about who pays
		{tenant.RoleReader, tenant.RoleProducer, false},
		{tenant.RoleProducer, tenant.RoleReader, false},
		{tenant.RoleCaller, tenant.RoleReader, false},
		{tenant.RoleReader, tenant.RoleReader, true},
	} {
		if got := c.has.Allows(c.need); got != c.want {
			t.Errorf("%s allows %s: %v", c.has, c.need, got)
		}
	}
}

func TestSecretIsNeverPrinted(t *testing.T) {
	s := newHouse().secret
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("rotated", "secret", s)
	for _, out := range []string{fmt.Sprint(s), fmt.Sprintf("%+v", s), fmt.Sprintf("%#v", s), log.String()} {
		if strings.Contains(out, fmt.Sprintf("%d", s.Value)) || strings.Contains(out, string(s.Value)) || !strings.Contains(out, s.ID) {
			t.Errorf("printed as %q", out)
		}
	}
}
