package sqlite

import (
	"encoding/binary"
	"encoding/hex"

	"github.com/tollkeeper/tollkeeper/internal/usage"
)

// Where a fact stands in the index tables.

// anyHour stands for the hour of what has none of its own; see hourOf.
const anyHour = -1

// hourOf is the hour of the day in which the index looks for the fact and for
// its key: that of the time that the key fixes. The facts of a beam search, of
// which the key fixes the day, have none, nor have events.
func hourOf(f *usage.Fact) int64 {
	if f.Domain == usage.DomainEvent || (f.Shape == usage.ShapeBeam && f.RecordID() == "") {
		return anyHour
	}
	const hour = 3_600_000_000_000
	h := f.OwnTime() / hour % 24
	if h < 0 {
		h += 24
	}
	return h
}

// traceOf is the trace's place: its last eight bytes as a number, or those of
// the identity for what has no trace.
func traceOf(f *usage.Fact) int64 {
	if n, ok := traceNumber(f.Trace); ok {
		return n
	}
	return identityOf(f)
}

func traceNumber(trace string) (int64, bool) {
	var raw [16]byte
	if len(trace) != hex.EncodedLen(len(raw)) {
		return 0, false
	}
	if _, err := hex.Decode(raw[:], []byte(trace)); err != nil {
		return 0, false
	}
	return int64(binary.BigEndian.Uint64(raw[8:])), true
}

func identityOf(f *usage.Fact) int64 { return first8(f.Identity) }

func first8(h usage.Hash) int64 { return int64(binary.BigEndian.Uint64(h[:8])) }

// requestOf is the place of a request id.
func requestOf(id string) int64 { return placeOf(usage.BareRequestID(id)) }

func placeOf(bare string) int64 {
	o := usage.Observation{Domain: usage.DomainEvent, ID: bare}
	return first8(o.Identity())
}
