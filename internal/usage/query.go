package usage

import "strings"

// Batch is what a projection takes at a time: the facts of whole consecutive
// journal entries of one origin, and what those entries refused or passed over.
type Batch struct {
	Origin string
	// Through is the highest entry covered. A store skips what it already has.
	Through uint64
	Facts   []Fact // in journal order
	Counts  []EntryCount
	// Policy is the canonical JSON of the newest policy entry in the batch, nil
	// when there is none.
	Policy []byte
}

// EntryCount counts what one entry refused (Verdict "rejected") or passed over
// ("ignored"), by reason.
type EntryCount struct {
	Seq              uint64
	Producer         string
	Verdict, Reason  string
	Amount, Received int64
}

// The verdicts of EntryCount.
const (
	Rejected = "rejected"
	Ignored  = "ignored"
)

// Range is a half-open range of record times in ns; a zero bound is open.
type Range struct{ From, To int64 }

// TotalsQuery asks for sums of records. Its bounds lie on quarter hours.
type TotalsQuery struct {
	Range
	// Step is the seconds of UTC that are summed, a multiple of BucketSeconds;
	// 0: the whole range, and Bucket 0.
	Step     int64
	Customer *string // only this customer's
}

// RecordFilter selects records. Zero fields do not select.
type RecordFilter struct {
	Range
	ID        string // "rec_…"
	Trace     string // 32 hex digits
	RequestID string // as the API answered it, or the client's own X-Request-Id
	Customer  *string
	Limit     int // 0: DefaultLimit
}

// DefaultLimit bounds a list of records that names no limit.
const DefaultLimit = 1000

// Tally counts items of one producer by verdict: for every producer
// sent = accepted + duplicate + conflict + rejected.
type Tally struct {
	Origin, Producer, Verdict, Reason string
	Amount                            int64
}

// ConflictPair is an observation that was kept out, and the place of the one
// with the same identity that stays: KeptRecord is its record (of a gateway's
// record with more span groups than attempts, the first).
type ConflictPair struct {
	Fact       Fact
	KeptRecord string
	Kept       Position
}

// BareRequestID is the id that the client chose or saw: without the prefix
// that vLLM puts before an X-Request-Id and without the index of the prompt,
// so that "cmpl-x-0", "cmpl-x" and "x" find the same request.
func BareRequestID(id string) string {
	for _, prefix := range requestPrefixes {
		rest, ok := strings.CutPrefix(id, prefix)
		if !ok {
			continue
		}
		if prefix == "resp_" {
			if i := strings.LastIndexByte(rest, '_'); i >= 0 {
				rest = rest[:i]
			}
			return rest
		}
		if prefix == "chatcmpl-" {
			return rest
		}
		base, _, _ := cutIndex(rest)
		return base
	}
	return id
}

// BareForms are what an id that somebody asks for may mean: "cmpl-x-1" is prompt 1
// of the client's "x", or what the API answered to the client's "x-1".
func BareForms(id string) []string {
	forms := []string{BareRequestID(id)}
	if whole := BareRequestID(id + "-0"); whole != forms[0] && strings.HasSuffix(id, "-"+whole) {
		forms = append(forms, whole)
	}
	return forms
}

var requestPrefixes = []string{"cmpl-", "chatcmpl-", "resp_", "embd-", "pooling-", "score-", "classify-"}

// Compare orders positions: (received, origin, seq, index).
func (p Position) Compare(q Position) int { return p.compare(q) }

// DecidingAttributes are the span attributes that the fold reads.
var DecidingAttributes = []string{"gen_ai.request.max_tokens", "tollkeeper.attempts", "tollkeeper.grade"}
