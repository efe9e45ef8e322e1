package usage

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
)

// Hash is the first 16 bytes of a SHA-256 over a domain and length-prefixed
// fields. 128 bits: an accident needs 2^64 observations, and a forged
// collision shows up as a conflict.
type Hash [16]byte

// String returns the hash as 32 lower-case hex digits.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// ParseHash reads what String wrote.
func ParseHash(s string) (Hash, bool) {
	var h Hash
	if len(s) != 2*len(h) {
		return h, false
	}
	_, err := hex.Decode(h[:], []byte(s))
	return h, err == nil
}

// hashFields hashes the fields, each behind its length, so that ("ab","c") and
// ("a","bc") differ.
func hashFields(domain string, fields ...string) Hash {
	var space [256]byte
	b := appendField(space[:0], domain)
	for _, f := range fields {
		b = appendField(b, f)
	}
	sum := sha256.Sum256(b)
	return Hash(sum[:16])
}

func appendField(b []byte, f string) []byte {
	b = binary.BigEndian.AppendUint64(b, uint64(len(f)))
	return append(b, f...)
}

// Identity says which observation this is, whoever sent it.
func (o *Observation) Identity() Hash {
	switch o.Domain {
	case DomainEvent:
		return hashFields("event", o.Source, o.ID)
	case DomainGateway:
		return hashFields("gateway", o.Source, o.ID, string(o.Kind))
	default:
		return hashFields("span", o.Trace, o.Span)
	}
}

// Content says whether two observations of one identity say the same: kind,
// start, end, quantities, request id and tag. Other attributes may differ, as
// when a Collector adds one.
func (o *Observation) Content() Hash {
	fields := make([]string, 0, 5+2*len(o.Quantities))
	fields = append(fields, string(o.Kind), itoa(o.Start), itoa(o.End), o.RequestID, o.Tag)
	for _, q := range o.Quantities {
		fields = append(fields, q.Name, itoa(q.Amount))
	}
	return hashFields("content", fields...)
}
