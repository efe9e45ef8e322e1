package business_test

import (
	"bytes"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tollkeeper/tollkeeper/internal/store/business"
	"github.com/tollkeeper/tollkeeper/internal/tenant"
)

// TestEnsureTagSecret has several processes ask for the first secret at once.
func TestEnsureTagSecret(t *testing.T) {
	a := newHouse(t, "")
	b := newHouse(t, a.path)
	got := make(chan tenant.Secret, 6)
	var all sync.WaitGroup
	for w := range cap(got) {
		fresh, store := a.secret(), []*business.Store{a.store, b.store}[w%2]
		all.Go(func() {
			s, err := store.EnsureTagSecret(t.Context(), actor, fresh)
			if err != nil {
				t.Error(err)
			}
			got <- s
		})
	}
	all.Wait()
	kept, err := b.store.TagSecrets(t.Context())
	a.must(err)
	if len(kept) != 1 || !kept[0].Retires.IsZero() {
		t.Fatalf("%d secrets: %v", len(kept), kept)
	}
	for range cap(got) {
		if s := <-got; s.ID != kept[0].ID || !bytes.Equal(s.Value, kept[0].Value) || !s.Created.Equal(kept[0].Created) {
			t.Errorf("%v; kept is %v", s, kept[0])
		}
	}
}

func TestRotateTagSecret(t *testing.T) {
	h := newHouse(t, "")
	ctx := t.Context()
	first, err := h.store.EnsureTagSecret(ctx, actor, h.secret())
	h.must(err)
	second := h.secret()
	h.must(h.store.RotateTagSecret(ctx, actor, second, time.Hour))
	third := h.secret()
	h.must(h.store.RotateTagSecret(ctx, actor, third, 24*time.Hour))

	got, err := h.store.TagSecrets(ctx)
	h.must(err)
	if len(got) != 3 || got[0].ID != third.ID || got[1].ID != second.ID || got[2].ID != first.ID {
		t.Fatalf("%v", got)
	}
	if d := got[2].Retires.Sub(noon); d > 2*time.Hour {
		t.Errorf("the first retires after %s: a later rotation made it longer", d)
	}
	if d := got[1].Retires.Sub(noon); d < 24*time.Hour {
		t.Errorf("the second retires after %s", d)
	}
	h.ticks.Add(int64(2 * time.Hour / time.Second))
	if got, err = h.store.TagSecrets(ctx); err != nil || len(got) != 2 {
		t.Errorf("%v, %v: the first has retired", got, err)
	}
	leaked := h.secret()
	h.must(h.store.RotateTagSecret(ctx, actor, leaked, 0))
	if got, err = h.store.TagSecrets(ctx); err != nil || len(got) != 1 || got[0].ID != leaked.ID {
		t.Errorf("%v, %v: without overlap the others end at once", got, err)
	}
	h.clean()
}

func TestTagSecretRefusals(t *testing.T) {
	h := newHouse(t, "")
	ctx := t.Context()
	for name, bad := range map[string]tenant.Secret{"none": {}, "empty": {ID: "sec_x"}, "short": {ID: "sec_x", Value: []byte("guess me")}} {
		if s, err := h.store.EnsureTagSecret(ctx, actor, bad); !errors.Is(err, tenant.ErrInvalid) || s.ID != "" {
			t.Errorf("%s: %v, %v", name, s, err)
		}
		if err := h.store.RotateTagSecret(ctx, actor, bad, time.Hour); !errors.Is(err, tenant.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := h.store.RotateTagSecret(ctx, actor, h.secret(), -time.Second); !errors.Is(err, tenant.ErrInvalid) {
		t.Error(err)
	}
	var err error
	n := 0
	for ; err == nil && n < 20; n++ {
		err = h.store.RotateTagSecret(ctx, actor, h.secret(), time.Hour)
	}
	if !errors.Is(err, business.ErrState) || n != 9 {
		t.Errorf("rotation %d: %v; want a refusal of the 9th", n, err)
	}
	changes, err := h.store.Changes(ctx, business.ChangeFilter{})
	h.must(err)
	if len(changes) != 8 {
		t.Errorf("%d lines in the log", len(changes))
	}
	secrets, err := h.store.TagSecrets(ctx)
	h.must(err)
	for _, c := range changes {
		for _, s := range secrets {
			if strings.Contains(c.Detail, string(s.Value)) {
				t.Errorf("the log tells a secret: %s", c.Detail)
			}
		}
	}
}

// TestDirectoryOfTags judges by what another process rotated.
func TestDirectoryOfTags(t *testing.T) {
	h := newHouse(t, "")
	ctx := t.Context()
	h.customer("acme")
	k, _ := h.key(tenant.Key{Customer: "acme", Role: tenant.RoleCaller})
	h.must(h.store.AddKey(ctx, actor, k))
	first, err := h.store.EnsureTagSecret(ctx, actor, h.secret())
	h.must(err)
	tag, err := first.Sign(tenant.Tag{Key: k.ID}, "")
	h.must(err)
	server := newHouse(t, h.path)
	live, err := tenant.NewLive(ctx, server.store, time.Now)
	h.must(err)
	verdict := func() tenant.State {
		return live.Directory().Judge(tenant.MemberKey+"="+tag, "", noon.Add(time.Minute)).State
	}
	if got := verdict(); got != tenant.TagValid {
		t.Errorf("%q", got)
	}
	h.must(h.store.RotateTagSecret(ctx, actor, h.secret(), time.Hour))
	h.must(live.Refresh(ctx))
	if got := verdict(); got != tenant.TagValid {
		t.Errorf("in the overlap: %q", got)
	}
	h.must(h.store.RotateTagSecret(ctx, actor, h.secret(), 0))
	h.must(live.Refresh(ctx))
	if got := verdict(); got != tenant.TagInvalid {
		t.Errorf("after a leak: %q", got)
	}
}
