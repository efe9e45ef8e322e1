package usage

import (
	"math"
	"regexp"
	"strings"
)

// Position is where an observation stands: in which journal, in which entry,
// at which place of it. Across journals the order is (received, origin, seq,
// index).
type Position struct {
	Received int64 // ns, the entry's
	Origin   string
	Seq      uint64
	Index    int
}

// Before reports whether p stands before q.
func (p Position) Before(q Position) bool { return p.compare(q) < 0 }

// Fact is an observation with all that follows from it, its stamp, its
// position and the policy that governs it. Facts are what a store takes.
type Fact struct {
	Observation
	Stamp
	Position

	Key         Hash
	Shape       Shape
	Identity    Hash
	Content     Hash
	Time        int64 // ns: decides period, bucket and price
	Replaced    bool  // Time is the entry's, the observation's was implausible
	Attribution Attribution
	Model       string
}

// Shape says how the facts of one key fold.
type Shape string

// The shapes.
const (
	ShapeGeneration Shape = "generation"
	ShapePooling    Shape = "pooling"
	ShapeBeam       Shape = "beam"
	ShapePrefill    Shape = "prefill"
	ShapeEvent      Shape = "event"
	ShapeGateway    Shape = "gateway"
)

// Bounds of times.
const (
	// earliest is 2020-01-01 UTC, before the first vLLM: what says it happened
	// earlier has no clock.
	earliest = 1_577_836_800_000_000_000
	// ahead is how far a source's clock may be before ours: one hour.
	ahead = 3_600_000_000_000
	day   = 24 * ahead
	// latest is 2100-01-01 UTC. All that says it happens later has one home, so
	// that broken clocks cannot make a day for each of their spans.
	latest = 4_102_444_800_000_000_000
)

// NewFact derives all that follows from an observation. Its key comes from the
// observation, its stamp and the policy alone, so order never matters.
func NewFact(o Observation, s Stamp, p Position, r *Rules) Fact {
	f := Fact{Observation: o, Stamp: s, Position: p, Identity: o.Identity(), Content: o.Content()}
	engine := r.engine(o.Resource)
	f.Model = modelOf(o.Resource, engine)
	f.Attribution = r.Attribute(&f.Observation, &f.Stamp)
	f.Shape = shapeOf(&f.Observation, engine)
	f.Key = f.key()
	f.Time = f.OwnTime()
	if f.Time < earliest || f.Time > saturatingAdd(p.Received, ahead) {
		f.Time, f.Replaced = p.Received, true
	}
	return f
}

func saturatingAdd(a, b int64) int64 {
	if a > math.MaxInt64-b {
		return math.MaxInt64
	}
	return a + b
}

// OwnTime is the time that the key fixes, plausible or not: the ULID's of the
// tagged record, else the start. The spans of a beam search start one after
// another, all in the UTC day that their key names.
func (f *Fact) OwnTime() int64 {
	if ns, ok := ulidTime(f.RecordID()); ok {
		return ns
	}
	return f.Start
}

// Home is the UTC day to which the fact belongs, whatever arrived when: that of
// its own time, with one home for all that lies before 2020 and one for all
// after 2100. An identity is looked up among the facts of one home. An event
// has none, since its sender may give it another time when it sends it again.
func (f *Fact) Home() (day int64, ok bool) {
	if f.Domain == DomainEvent {
		return 0, false
	}
	return DayOf(min(max(f.OwnTime(), earliest-1), latest)), true
}

// RecordID is the record, a ULID, that a valid tag names, or that the gateway
// says this is; "" when there is none. What is no ULID names none.
func (f *Fact) RecordID() string {
	id := ""
	switch {
	case f.Domain == DomainGateway:
		id = f.ID
	case f.Domain == DomainSpan && f.Stamp.Tag == TagValid && f.Shape != ShapePrefill:
		id = f.Stamp.Record
	}
	if !validULID(id) {
		return ""
	}
	return id
}

var poolingPrefixes = []string{"embd-", "pooling-", "score-", "classify-"}

// isPooling tells the span of an embedding, a score or a class: they complete
// nothing. A client of the responses API chooses the whole beginning of its id,
// so the id alone says too little.
func isPooling(o *Observation) bool {
	for _, prefix := range poolingPrefixes {
		if strings.HasPrefix(o.RequestID, prefix) {
			return o.Quantities.Get(OutputTokens) == 0
		}
	}
	return false
}

// A step of a beam search: <request id>-<the step's uuid>-beam-<i>, vLLM's
// entrypoints/generate/beam_search/online.py.
var beamID = regexp.MustCompile(`^((?:chat)?cmpl-.+)-([0-9a-f]{16,32})-beam-([0-9]{1,9})$`)

func shapeOf(o *Observation, e Engine) Shape {
	switch {
	case o.Domain == DomainEvent:
		return ShapeEvent
	case o.Domain == DomainGateway:
		return ShapeGateway
	case e.Role == RolePrefill:
		return ShapePrefill
	case isPooling(o):
		return ShapePooling
	case e.Beams == BeamsFold && beamID.MatchString(o.RequestID):
		return ShapeBeam
	default:
		return ShapeGeneration
	}
}

func (f *Fact) key() Hash {
	if id := f.RecordID(); id != "" {
		return hashFields("record", id)
	}
	return f.groupKey()
}

// groupKey is the key that the fact has by its shape alone.
func (f *Fact) groupKey() Hash {
	switch f.Shape {
	case ShapeGeneration:
		if f.RequestID == "" { // nothing says what belongs together
			return hashFields("span", string(f.Identity[:]))
		}
		fields := append(f.Instance(), itoa(f.Start), stripIndex(f.RequestID))
		return hashFields("generation", fields...)
	case ShapeBeam:
		trace := ""
		if f.Parent != "" {
			trace = f.Trace
		}
		prefix := beamID.FindStringSubmatch(f.RequestID)[1]
		fields := append(f.Instance(), trace, prefix, itoa(floorDiv(f.Start, day)))
		return hashFields("beam", fields...)
	default:
		return hashFields(string(f.Shape), string(f.Identity[:]))
	}
}

// stripIndex takes the index of the prompt off a completions id:
// "cmpl-<id>-0". No other id has one, and what looks like one elsewhere is the
// client's own.
func stripIndex(id string) string {
	if !strings.HasPrefix(id, "cmpl-") {
		return id
	}
	base, _, ok := cutIndex(id)
	if !ok {
		return id
	}
	return base
}

// cutIndex cuts "-<digits>" off the end of id.
func cutIndex(id string) (base, index string, ok bool) {
	i := strings.LastIndexByte(id, '-')
	if i < 0 || i == len(id)-1 {
		return id, "", false
	}
	for _, c := range []byte(id[i+1:]) {
		if c < '0' || c > '9' {
			return id, "", false
		}
	}
	return id[:i], id[i+1:], true
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

// DayOf is the number of the UTC day since 1970 that holds the time, in ns.
func DayOf(ns int64) int64 { return floorDiv(ns, day) }

// BucketSeconds is the span of one total: a quarter hour of UTC.
const BucketSeconds = 900

// BucketOf is the start, in seconds since 1970, of the UTC quarter hour that
// holds the time, in ns.
func BucketOf(ns int64) int64 {
	const quarter = ahead / 4
	return floorDiv(ns, quarter) * BucketSeconds
}

// ulidAlphabet is Crockford's base 32 (github.com/ulid/spec).
const ulidAlphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

// validULID tells whether id is a ULID in its canonical spelling.
func validULID(id string) bool {
	return len(id) == 26 && id[0] <= '7' && strings.Trim(id, ulidAlphabet) == ""
}

// ulidTime reads the time of a valid ULID: 48 bits of milliseconds in its first
// ten characters. What nanoseconds cannot say (after the year 2262) is the
// latest time that they can.
func ulidTime(id string) (int64, bool) {
	if id == "" {
		return 0, false
	}
	var ms int64
	for i := range 10 {
		ms = ms<<5 | int64(strings.IndexByte(ulidAlphabet, id[i]))
	}
	if ms > math.MaxInt64/1_000_000 {
		return math.MaxInt64, true
	}
	return ms * 1_000_000, true
}
