package tenant

import (
	"crypto/sha256"
	"fmt"
	"slices"
)

// Directory is a snapshot of keys and secrets. It is immutable, so any number
// of goroutines may ask it without a lock.
type Directory struct {
	keys     map[string]Key
	byHash   map[[sha256.Size]byte]string // key ids
	archived map[string]bool              // customers
	secrets  []verifier                   // newest first
}

// NewDirectory makes a snapshot. customers and keys include archived ones.
func NewDirectory(customers []Customer, keys []Key, secrets []Secret) *Directory {
	d := &Directory{
		keys: make(map[string]Key, len(keys)), byHash: make(map[[sha256.Size]byte]string, len(keys)),
		archived: map[string]bool{},
	}
	for _, c := range customers {
		if !c.Active() {
			d.archived[c.ID] = true
		}
	}
	for _, k := range keys {
		d.keys[k.ID] = k
		d.byHash[k.Hash] = k.ID
	}
	for _, s := range secrets {
		d.secrets = append(d.secrets, newVerifier(s))
	}
	slices.SortStableFunc(d.secrets, func(a, b verifier) int { return b.Created.Compare(a.Created) })
	return d
}

// usable tells whether the key and its customer are not archived.
func (d *Directory) usable(k Key) bool { return k.Active() && !d.archived[k.Customer] }

// Key finds a key by its id, archived ones too.
func (d *Directory) Key(id string) (Key, bool) {
	k, ok := d.keys[id]
	return k, ok
}

// Authenticate finds the key that a token opens. Errors wrap ErrUnauthenticated.
// A token is looked up by its hash, which nobody can choose, so the look-up's
// timing tells nothing.
func (d *Directory) Authenticate(token string) (Key, error) {
	if !looksLikeToken(token) {
		return Key{}, fmt.Errorf("%w: not a token: want tk_…", ErrUnauthenticated)
	}
	k, ok := d.keys[d.byHash[HashToken(token)]]
	if !ok {
		return Key{}, fmt.Errorf("%w: unknown token", ErrUnauthenticated)
	}
	if !d.usable(k) {
		return Key{}, fmt.Errorf("%w: %s is archived", ErrUnauthenticated, k.ID)
	}
	return k, nil
}

// HasProducers tells whether any key may send usage. Without one only loopback may listen.
func (d *Directory) HasProducers() bool {
	for _, k := range d.keys {
		if d.usable(k) && k.Role.Allows(RoleProducer) {
			return true
		}
	}
	return false
}

// Signer is the secret that signs: the newest, which has no end yet. ok is
// false when none was made.
func (d *Directory) Signer() (s Secret, ok bool) {
	for _, v := range d.secrets {
		if v.Retires.IsZero() {
			return v.Secret, true
		}
	}
	return Secret{}, false
}
