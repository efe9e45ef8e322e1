package journal

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"golang.org/x/mod/sumdb/tlog"
)

// Format is the version of headers that this program writes.
const Format = 1

// Batch is what one request brings: its items and the count of what it refused
// or passed over. A batch without items is an empty entry.
type Batch struct {
	Producer string
	Kind     string // "otlp.traces", "policy", …
	Received time.Time
	// Items are lines of canonical JSON without a newline.
	Items             [][]byte
	Rejected, Ignored map[string]int64 // by reason
	// Mark lets Newest find the entry by its kind.
	Mark bool
}

// Header says what an entry is. Its canonical JSON is hashed into the tree.
type Header struct {
	Format   int
	Seq      uint64 // 1, 2, 3, … without a gap
	Received int64  // ns since 1970 UTC, never below the entry's before
	Origin   string // this journal
	Producer string
	Kind     string
	Count    int64 // items
	Rejected map[string]int64
	Ignored  map[string]int64
}

// Entry is what Append made of a batch.
type Entry struct {
	Header Header
	Root   tlog.Hash
	Items  [][]byte
	// RawHeader is the canonical JSON that was hashed.
	RawHeader []byte
}

type jsonHeader struct {
	Count    int64            `json:"count"`
	Ignored  map[string]int64 `json:"ignored,omitempty"`
	Kind     string           `json:"kind"`
	Origin   string           `json:"origin"`
	Producer string           `json:"producer"`
	Received string           `json:"received"`
	Rejected map[string]int64 `json:"rejected,omitempty"`
	Seq      uint64           `json:"seq"`
	V        int              `json:"v"`
}

// canonical returns the header's canonical JSON: keys in byte order (the fields
// of jsonHeader are), strings and whole numbers only.
func (h *Header) canonical() ([]byte, error) {
	return json.Marshal(jsonHeader{
		Count: h.Count, Ignored: h.Ignored, Kind: h.Kind, Origin: h.Origin, Producer: h.Producer,
		Received: strconv.FormatInt(h.Received, 10), Rejected: h.Rejected, Seq: h.Seq, V: h.Format,
	})
}

// Errors of reading and opening.
var (
	// ErrNewerFormat says that a newer tollkeeper wrote the journal.
	ErrNewerFormat = errors.New("the journal was written by a newer tollkeeper: use that one, or a later one")
	// ErrCorrupt says that the journal does not hold what was written.
	ErrCorrupt = errors.New("the journal is damaged: run `tollkeeper verify`")
)

// parseHeader reads what canonical wrote.
func parseHeader(b []byte) (Header, error) {
	var j jsonHeader
	if err := json.Unmarshal(b, &j); err != nil {
		return Header{}, fmt.Errorf("%w: header: %w", ErrCorrupt, err)
	}
	if j.V > Format {
		return Header{}, ErrNewerFormat
	}
	if j.V < 1 {
		return Header{}, fmt.Errorf("%w: header: format %d", ErrCorrupt, j.V)
	}
	received, err := strconv.ParseInt(j.Received, 10, 64)
	if err != nil {
		return Header{}, fmt.Errorf("%w: header: received: %w", ErrCorrupt, err)
	}
	return Header{
		Format: j.V, Seq: j.Seq, Received: received, Origin: j.Origin, Producer: j.Producer,
		Kind: j.Kind, Count: j.Count, Rejected: j.Rejected, Ignored: j.Ignored,
	}, nil
}
