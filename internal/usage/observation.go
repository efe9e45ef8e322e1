package usage

import (
	"slices"
	"strings"
)

// Format is the version of an observation's canonical JSON that this program
// writes. A reader refuses a higher one.
const Format = 1

// Kind says what an observation is about.
type Kind string

// The kinds of observation.
const (
	KindUsage   Kind = "usage"   // work that was done
	KindOpening Kind = "opening" // the gateway admitted a request
	KindContext Kind = "context" // attribution only
)

// Domain says which fields identify an observation.
type Domain string

// The domains of identity.
const (
	DomainSpan    Domain = "span"    // (trace, span)
	DomainEvent   Domain = "event"   // (source, id)
	DomainGateway Domain = "gateway" // (node, ULID, and what of it: usage or opening)
)

// Attribute is an allow-listed attribute. Its value is Int when IsInt, else
// Str; there are no others (latencies are whole microseconds).
type Attribute struct {
	Key   string
	Str   string
	Int   int64
	IsInt bool
}

// Attributes is a list sorted by key, each key once.
type Attributes []Attribute

// Get returns the attribute under key.
func (a Attributes) Get(key string) (Attribute, bool) {
	i, found := slices.BinarySearchFunc(a, key, func(x Attribute, k string) int { return strings.Compare(x.Key, k) })
	if !found {
		return Attribute{}, false
	}
	return a[i], true
}

// Str returns the string under key, and "" when there is none.
func (a Attributes) Str(key string) string {
	x, _ := a.Get(key)
	return x.Str
}

// Int returns the whole number under key.
func (a Attributes) Int(key string) (int64, bool) {
	x, found := a.Get(key)
	return x.Int, found && x.IsInt
}

// Sorted returns the list in order, the last of several equal keys kept, as
// OTLP maps are read (opentelemetry-proto, common.proto: keys must be unique).
func (a Attributes) Sorted() Attributes {
	slices.SortStableFunc(a, func(x, y Attribute) int { return strings.Compare(x.Key, y.Key) })
	out := a[:0]
	for i, x := range a {
		if i+1 < len(a) && a[i+1].Key == x.Key {
			continue
		}
		out = append(out, x)
	}
	return out
}

// Observation is what one source said about one piece of work. It never
// changes. Times are nanoseconds since 1970 UTC.
type Observation struct {
	Kind   Kind
	Domain Domain

	// A span: lower-case hex of 32, 16 and 16 digits; Parent is "" for a root.
	Trace, Span, Parent string
	// An event: CloudEvents source and id. A gateway record: node and ULID.
	Source, ID string

	Start, End int64
	// RequestID is the engine's id of the request, e.g. "cmpl-<id>-0". The
	// client chooses a part of it.
	RequestID string
	// Tag is the value of the tracestate member "tollkeeper" as it came, ""
	// when there is none. The client may forge it: see Stamp.
	Tag        string
	Quantities Quantities
	Attributes Attributes
	Resource   Attributes
}

// TagVerdict says what became of an observation's tag when it arrived.
type TagVerdict string

// The verdicts. An observation without a tag has none ("").
const (
	TagValid   TagVerdict = "valid"
	TagInvalid TagVerdict = "invalid"
)

// Stamp is what had to be decided when an observation arrived because it needs
// a secret or the state of the key store. It is kept and never recomputed.
type Stamp struct {
	Tag TagVerdict
	// Record is the record id that a valid tag named, "" when it named none.
	Record string
	// Key, Customer, Project are those of the valid tag.
	Key, Customer, Project string
	// Producer is the credential that sent the observation.
	Producer string
}

// Instance identifies the engine process that did the work: the SDK's
// service.instance.id with vLLM's process id, else namespace, name and host.
// Attributes that a Collector adds take no part.
func (o *Observation) Instance() []string {
	if id := o.Resource.Str("service.instance.id"); id != "" {
		return []string{"instance", id, o.Resource.value("vllm.process_id")}
	}
	return []string{"service", o.Resource.Str("service.namespace"), o.Resource.Str("service.name"), o.Resource.Str("host.name")}
}

// value returns the text of an attribute whatever its type.
func (a Attributes) value(key string) string {
	x, _ := a.Get(key)
	return x.text()
}

func (a Attribute) text() string {
	if a.IsInt {
		return itoa(a.Int)
	}
	return a.Str
}
