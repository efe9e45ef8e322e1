package tenant

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"hash"
	"strings"
	"sync"
)

// The tag, tollkeeper's member of tracestate:
//
//	tollkeeper=v1.<record or ->.<key id>.<mac>
//
//	record  the ULID of the gateway's record, or "-": any work that the key may do
//	key id  such as "key_…": its owner pays
//	mac     base64url without padding (22 characters) of the first 16 bytes of
//	        HMAC-SHA256(secret, text), where text is "v1.-.<key id>", or
//	        "v1.<record>.<key id>.<trace id>" when a record is named, the trace
//	        id in 32 lower-case hex digits
//
// The parts hold no ".", so no two tags have the same text. A tag with a record
// is good in its one trace only; one without is good in any, like a bearer
// token, and therefore only as secret as the edge that sets it.
const (
	tagVersion = "v1"
	noRecord   = "-"
	macBytes   = 16
	traceHex   = 32
	ulidLength = 26
)

// macLength is the length of a mac as text.
var macLength = base64.RawURLEncoding.EncodedLen(macBytes)

// Tag is what a tag says.
type Tag struct {
	// Record is the ULID of the gateway's record; "" stands for "-".
	Record string
	// Key is the id of the key whose owner pays.
	Key string
}

// text is what the mac covers; trace is read only when a record is named.
func (t Tag) text(trace string) string {
	if t.Record == "" {
		return tagVersion + "." + noRecord + "." + t.Key
	}
	return tagVersion + "." + t.Record + "." + t.Key + "." + trace
}

// Sign writes the value of the tollkeeper member of tracestate for t. trace is
// the trace id that the request will carry, 32 lower-case hex digits; it counts
// only when t names a record. Errors wrap ErrInvalid.
func (s Secret) Sign(t Tag, trace string) (string, error) {
	switch {
	case !validKeyID(t.Key):
		return "", fmt.Errorf("%w key id %q", ErrInvalid, t.Key)
	case t.Record != "" && !validULID(t.Record):
		return "", fmt.Errorf("%w record %q: a ULID", ErrInvalid, t.Record)
	case t.Record != "" && !validTrace(trace):
		return "", fmt.Errorf("%w trace id %q: 32 lower-case hex digits, not all 0", ErrInvalid, trace)
	case len(s.Value) != secretBytes:
		return "", fmt.Errorf("%w secret %s: %d bytes, want %d", ErrInvalid, s.ID, len(s.Value), secretBytes)
	}
	record := t.Record
	if record == "" {
		record = noRecord
	}
	mac := base64.RawURLEncoding.EncodeToString(s.mac(t.text(trace)))
	return tagVersion + "." + record + "." + t.Key + "." + mac, nil
}

// mac is HMAC-SHA256 of text, cut to 16 bytes.
func (s Secret) mac(text string) []byte {
	h := hmac.New(sha256.New, s.Value)
	h.Write([]byte(text))
	return h.Sum(nil)[:macBytes]
}

// verifier is a secret with HMAC states at hand: keying one costs as much as
// the mac itself, and ingest verifies a tag a span.
type verifier struct {
	Secret
	states *sync.Pool // of hash.Hash, keyed
}

func newVerifier(s Secret) verifier {
	return verifier{s, &sync.Pool{New: func() any { return hmac.New(sha256.New, s.Value) }}}
}

// made tells, in constant time, whether mac is that of text.
func (v verifier) made(mac, text []byte) bool {
	h, ok := v.states.Get().(hash.Hash)
	if !ok {
		panic("the pool holds nothing but hashes")
	}
	defer v.states.Put(h)
	h.Reset()
	h.Write(text)
	var sum [sha256.Size]byte
	return hmac.Equal(h.Sum(sum[:0])[:macBytes], mac)
}

// parseTag reads the value of a tollkeeper member. ok is false when it is not
// of the form above; the mac is not checked.
func parseTag(value string) (t Tag, mac []byte, ok bool) {
	version, rest, _ := strings.Cut(value, ".")
	record, rest, _ := strings.Cut(rest, ".")
	key, text, _ := strings.Cut(rest, ".")
	if version != tagVersion || !validKeyID(key) || len(text) != macLength {
		return Tag{}, nil, false
	}
	if record == noRecord {
		record = ""
	} else if !validULID(record) {
		return Tag{}, nil, false
	}
	// Strict: each mac has one spelling, or a changed last bit would still verify.
	mac, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(mac) != macBytes {
		return Tag{}, nil, false
	}
	return Tag{Record: record, Key: key}, mac, true
}

// validULID tells whether s is a ULID in its canonical spelling: 26 of
// Crockford's upper-case base32, the first at most 7 (128 bits).
func validULID(s string) bool {
	if len(s) != ulidLength || s[0] > '7' {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if !isDigit(c) && (c < 'A' || c > 'Z' || c == 'I' || c == 'L' || c == 'O' || c == 'U') {
			return false
		}
	}
	return true
}

// validTrace tells whether s is a trace id of W3C Trace Context.
func validTrace(s string) bool {
	if len(s) != traceHex || strings.Trim(s, "0") == "" {
		return false
	}
	for i := range len(s) {
		if c := s[i]; !isDigit(c) && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
