package tenant

import "time"

// State is what became of a tag.
type State string

// The states. An observation without a tag has none ("").
const (
	TagAbsent  State = ""
	TagValid   State = "valid"
	TagInvalid State = "invalid"
)

// Reason says why a tag is invalid; a small fixed set, so that it can be a
// metric's label.
type Reason string

// The reasons.
const (
	ReasonTracestate Reason = "tracestate" // the header is malformed or names us twice
	ReasonFormat     Reason = "format"     // the member is not of the tag's form
	ReasonKey        Reason = "key"        // no such key
	ReasonArchived   Reason = "archived"   // the key or its customer is archived
	ReasonOwner      Reason = "owner"      // the key belongs to the operator: nobody pays
	ReasonMac        Reason = "mac"        // no current secret signed this
)

// Verdict is the judgement of one tracestate: the part of an observation's stamp
// that needs secrets. It is kept with the observation and never recomputed.
type Verdict struct {
	State  State
	Reason Reason // set when State is TagInvalid
	// What a valid tag says; empty otherwise.
	Record, Key, Customer, Project string
}

// Judge verifies the tollkeeper member of a span's tracestate. trace is the
// span's trace id in 32 lower-case hex digits; at is when the span arrived.
//
// An invalid verdict by ReasonKey or ReasonMac may mean that the snapshot is
// older than the key or secret; [Batch.Judge] asks again.
func (d *Directory) Judge(tracestate, trace string, at time.Time) Verdict {
	if tracestate == "" {
		return Verdict{}
	}
	value, present, err := Member(tracestate)
	switch {
	case !present:
		return Verdict{}
	case err != nil:
		return Verdict{State: TagInvalid, Reason: ReasonTracestate}
	}
	t, mac, ok := parseTag(value)
	if !ok {
		return Verdict{State: TagInvalid, Reason: ReasonFormat}
	}
	// The mac comes first: one who cannot sign learns nothing about which keys there are.
	if !d.signed(t, trace, mac, at) {
		return Verdict{State: TagInvalid, Reason: ReasonMac}
	}
	k, ok := d.keys[t.Key]
	switch {
	case !ok:
		return Verdict{State: TagInvalid, Reason: ReasonKey}
	case k.Customer == "":
		return Verdict{State: TagInvalid, Reason: ReasonOwner}
	case !d.usable(k):
		return Verdict{State: TagInvalid, Reason: ReasonArchived}
	}
	return Verdict{State: TagValid, Record: t.Record, Key: k.ID, Customer: k.Customer, Project: k.Project}
}

// signed tells whether a secret that counts at the time made the mac. Every
// secret is tried, and each compared in constant time: how long it takes tells
// nothing about which one fits, or how far.
func (d *Directory) signed(t Tag, trace string, mac []byte, at time.Time) bool {
	if t.Record != "" && !validTrace(trace) {
		return false
	}
	text, found := []byte(t.text(trace)), false
	for _, v := range d.secrets {
		if v.VerifiesAt(at) {
			found = v.made(mac, text) || found
		}
	}
	return found
}
