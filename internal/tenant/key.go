package tenant

import (
	"crypto/sha256"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// Role says what a key opens. A key has one.
type Role string

// The roles.
const (
	// RoleProducer may send usage.
	RoleProducer Role = "producer"
	// RoleReader may read: all of it, or its own customer's when it has an owner.
	RoleReader Role = "reader"
	// RoleAdmin may do everything. It belongs to the operator, never to a customer.
	RoleAdmin Role = "admin"
	// RoleCaller opens nothing of tollkeeper: it says who calls the models. Tags
	// name such keys, and so do the calls that pass the gateway.
	RoleCaller Role = "caller"
)

// Roles lists the roles, for help texts and completion.
var Roles = []Role{RoleProducer, RoleReader, RoleAdmin, RoleCaller}

// Allows tells whether a key of role r may do what need asks for.
func (r Role) Allows(need Role) bool {
	return r == need || r == RoleAdmin && need != RoleCaller
}

// Key is a credential. Its token is shown once, when it is made; what is kept
// is a hash. Owner and role never change, and an archived key stays archived:
// make a new one instead.
type Key struct {
	// ID names the key openly, in tags, logs and records: "key_…".
	ID string `json:"id"`
	// Customer owns the key; "" is the operator. Project may narrow it.
	Customer string `json:"customer,omitempty"`
	Project  string `json:"project,omitempty"`
	Role     Role   `json:"role"`
	// Note says what the key is for, in the words of who made it.
	Note string `json:"note,omitempty"`
	// Hint is the start of the token ("tk_ab12"), to recognise it in a list.
	Hint string `json:"hint"`
	// Hash is HashToken of the token. It is no secret, but nobody needs it.
	Hash     [sha256.Size]byte `json:"-"`
	Created  time.Time         `json:"created"`
	Archived time.Time         `json:"archived,omitzero"`
}

// Active tells whether the key is not archived.
func (k Key) Active() bool { return k.Archived.IsZero() }

const (
	keyIDPrefix = "key_"
	keyIDBytes  = 10 // 80 bits: no two alike in any store
	tokenPrefix = "tk_"
	tokenBytes  = 32 // 256 bits: cannot be guessed, so a fast hash keeps it safe
	hintLength  = len(tokenPrefix) + 4
)

var tokenLength = len(tokenPrefix) + crockford.EncodedLen(tokenBytes)

// NewKey makes a key from spec (Customer, Project, Role and Note are read) and
// the token that opens it. The token is not kept: show it once. chance is
// crypto/rand.Reader but in tests. Errors wrap ErrInvalid, or are chance's.
func NewKey(spec Key, chance io.Reader, now time.Time) (k Key, token string, err error) {
	id, err := randomText(chance, keyIDBytes)
	if err != nil {
		return Key{}, "", err
	}
	secret, err := randomText(chance, tokenBytes)
	if err != nil {
		return Key{}, "", err
	}
	token = tokenPrefix + secret
	k = Key{
		ID: keyIDPrefix + id, Customer: spec.Customer, Project: spec.Project, Role: spec.Role, Note: spec.Note,
		Hint: token[:hintLength], Hash: HashToken(token), Created: now,
	}
	return k, token, k.Check()
}

// Check refuses a key whose parts do not fit together. Errors wrap ErrInvalid.
func (k Key) Check() error {
	if !validKeyID(k.ID) {
		return fmt.Errorf("%w key id %q: key_ and letters or digits", ErrInvalid, k.ID)
	}
	if !slices.Contains(Roles, k.Role) {
		return fmt.Errorf("%w role %q: one of producer, reader, admin, caller", ErrInvalid, k.Role)
	}
	if k.Customer != "" {
		if err := CheckID("customer", k.Customer); err != nil {
			return err
		}
	}
	if err := checkText("note of key "+k.ID, k.Note, false); err != nil {
		return err
	}
	switch {
	case k.Role == RoleAdmin && k.Customer != "":
		return fmt.Errorf("%w key: an admin key belongs to the operator, not to customer %s", ErrInvalid, k.Customer)
	case k.Role == RoleCaller && k.Customer == "":
		return fmt.Errorf("%w key: a caller key says who pays: name a customer", ErrInvalid)
	case k.Project != "" && k.Customer == "":
		return fmt.Errorf("%w key: project %q without a customer", ErrInvalid, k.Project)
	}
	return nil
}

// HashToken is what is kept of a token: its SHA-256.
func HashToken(token string) [sha256.Size]byte { return sha256.Sum256([]byte(token)) }

// looksLikeToken tells whether text has the form of a token, so that noise is
// refused without a hash or a question to the store.
func looksLikeToken(text string) bool {
	return len(text) == tokenLength && strings.HasPrefix(text, tokenPrefix)
}

// validKeyID tells whether id can stand in a tag: key_ and 1 to 60 lower-case
// letters or digits.
func validKeyID(id string) bool {
	rest, ok := strings.CutPrefix(id, keyIDPrefix)
	if !ok || rest == "" || len(rest) > 60 {
		return false
	}
	for i := range len(rest) {
		if c := rest[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return false
		}
	}
	return true
}
