package usage

import (
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
	Time        int64 // ns: decides day, bucket and price
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

// Bounds of a plausible time.
const (
	// earliest is 2020-01-01 UTC, before the first vLLM.
	earliest = 1_577_836_800_000_000_000
	// ahead is how far a source's clock may be before ours: one hour.
	ahead = 3_600_000_000_000
	day   = 24 * ahead
)

// NewFact derives all that follows from an observation. Its key comes from the
// observation, its stamp and the policy alone, so order never matters.
func NewFact(o Observation, s Stamp, p Position, r *Rules) Fact {
	f := Fact{Observation: o, Stamp: s, Position: p, Identity: o.Identity(), Content: o.Content(), Model: r.Model(o.Resource)}
	f.Attribution = r.Attribute(&o, &s)
	f.Shape = shapeOf(&o, r)
	f.Key = f.key()
	f.Time = f.ownTime()
	if f.Time < earliest || f.Time > p.Received+ahead {
		f.Time, f.Replaced = p.Received, true
	}
	return f
}

// ownTime is the time that the key fixes: the ULID's of the tagged record, else
// the start. The spans of a beam search start one after another, all in the UTC
// day that their key names.
func (f *Fact) ownTime() int64 {
	if ns, ok := ulidTime(f.Stamp.Record); ok {
		return ns
	}
	if f.Domain == DomainGateway {
		if ns, ok := ulidTime(f.ID); ok {
			return ns
		}
	}
	return f.Start
}

var (
	poolingID = regexp.MustCompile(`^(embd|pooling|score|classify)-`)
	// A step of a beam search: <request id>-<the step's uuid>-beam-<i>, vLLM's
	// entrypoints/openai/serving_engine.py beam_search.
	beamID = regexp.MustCompile(`^((?:chat)?cmpl-.+)-[0-9a-f]{16,32}-beam-[0-9]+$`)
)

func shapeOf(o *Observation, r *Rules) Shape {
	if o.Domain == DomainEvent {
		return ShapeEvent
	}
	if o.Domain == DomainGateway {
		return ShapeGateway
	}
	e := r.engine(o.Resource)
	switch {
	case e.Role == RolePrefill:
		return ShapePrefill
	case poolingID.MatchString(o.RequestID):
		return ShapePooling
	case e.Beams == BeamsFold && beamID.MatchString(o.RequestID):
		return ShapeBeam
	default:
		return ShapeGeneration
	}
}

func (f *Fact) key() Hash {
	if _, ok := ulidTime(f.Stamp.Record); ok && f.Shape != ShapePrefill {
		return hashFields("record", f.Stamp.Record)
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

// ulidTime reads the time of a ULID (github.com/ulid/spec): 48 bits of
// milliseconds in the first ten characters of Crockford's base 32.
func ulidTime(id string) (int64, bool) {
	const alphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
	if len(id) != 26 || id[0] > '7' {
		return 0, false
	}
	var ms int64
	for i := range 10 {
		v := strings.IndexByte(alphabet, id[i])
		if v < 0 {
			return 0, false
		}
		ms = ms<<5 | int64(v)
	}
	const latest = 1<<63/1_000_000 - 1
	if ms > latest {
		return 0, false
	}
	return ms * 1_000_000, true
}
