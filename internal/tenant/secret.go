package tenant

import (
	"fmt"
	"io"
	"log/slog"
	"time"
)

// DefaultOverlap is how long an old secret still verifies after a rotation. An
// edge whose configuration holds a signed tag is deployed by people, and a
// Collector's queue may hold spans for days.
const DefaultOverlap = 7 * 24 * time.Hour

// secretBytes is the length of a signing secret: that of the hash (RFC 2104, section 3).
const secretBytes = 32

// Secret signs tags (the newest one) and verifies them (each until it retires).
type Secret struct {
	// ID names the secret openly: "sec_…".
	ID string
	// Value is the key of the HMAC, 32 bytes. It never enters a log: see LogValue.
	Value   []byte
	Created time.Time
	// Retires is when it stops verifying; zero while it is the newest.
	Retires time.Time
}

// NewSecret draws a secret from chance, crypto/rand.Reader but in tests.
func NewSecret(chance io.Reader, now time.Time) (Secret, error) {
	id, err := randomText(chance, keyIDBytes)
	if err != nil {
		return Secret{}, err
	}
	value := make([]byte, secretBytes)
	if _, err := io.ReadFull(chance, value); err != nil {
		return Secret{}, fmt.Errorf("reading random bytes: %w", err)
	}
	return Secret{ID: "sec_" + id, Value: value, Created: now}, nil
}

// VerifiesAt tells whether tags signed by s count at the time.
func (s Secret) VerifiesAt(at time.Time) bool { return s.Retires.IsZero() || at.Before(s.Retires) }

// String names the secret without telling it.
func (s Secret) String() string { return s.ID }

// GoString is String, so that %#v does not tell it either.
func (s Secret) GoString() string { return s.ID }

// LogValue is the secret's id, whatever a log is told to print.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.ID) }
