package usage

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
)

// The rules of the ladder: which rule said who pays.
const (
	RuleTag          = "tag"          // a valid signed tracestate tag
	RuleRequestID    = "request_id"   // a pattern on the request id, which the client can forge
	RuleResource     = "resource"     // resource attributes of the engine
	RuleUnattributed = "unattributed" // nobody is known to pay: kept and shown
)

// How the spans of a beam search fold; see Engine.
const (
	BeamsPlain = "plain"
	BeamsFold  = "fold"
)

// RolePrefill marks the prefill half of a P/D pair: what it computes is cost.
const RolePrefill = "prefill"

// Policy is the deciding part of the configuration. It is journalled when it
// changed and governs the entries behind it, so a replay needs no file.
type Policy struct {
	Engines    []Engine       `json:"engines,omitempty"`
	Order      []string       `json:"order,omitempty"`
	RequestIDs []string       `json:"request_id,omitempty"`
	Resources  []ResourceRule `json:"resource,omitempty"`
	V          int            `json:"v"`
}

// Engine says what is known about the engines whose resource matches: the
// model they serve, their role, and how their beam searches fold. Fold trusts
// the client, which chooses request ids; plain (the default) never makes a bill
// smaller than the sum of what the spans say.
type Engine struct {
	Beams string            `json:"beams,omitempty"`
	Match map[string]string `json:"match"`
	Model string            `json:"model,omitempty"`
	Role  string            `json:"role,omitempty"`
}

// ResourceRule names who pays for the engines whose resource matches.
type ResourceRule struct {
	Customer string            `json:"customer"`
	Match    map[string]string `json:"match"`
	Project  string            `json:"project,omitempty"`
}

// ErrPolicy says that a policy cannot be used; the message says why.
var ErrPolicy = errors.New("usage: bad policy")

// Canonical returns the policy's canonical JSON, for the journal.
func (p Policy) Canonical() ([]byte, error) {
	if _, err := p.Compile(); err != nil {
		return nil, err
	}
	b := []byte{'{'}
	b = appendList(b, "engines", p.Engines, func(b []byte, e Engine) []byte {
		b = append(b, '{')
		b = appendMember(b, "beams", e.Beams)
		b = appendMatch(b, e.Match)
		b = appendMember(b, "model", e.Model)
		b = appendMember(b, "role", e.Role)
		return append(b[:len(b)-1], '}')
	})
	b = appendList(b, "order", p.Order, appendString)
	b = appendList(b, "request_id", p.RequestIDs, appendString)
	b = appendList(b, "resource", p.Resources, func(b []byte, x ResourceRule) []byte {
		b = append(b, '{')
		b = appendMember(b, "customer", x.Customer)
		b = appendMatch(b, x.Match)
		b = appendMember(b, "project", x.Project)
		return append(b[:len(b)-1], '}')
	})
	b = append(b, `"v":`...)
	b = append(appendInt(b, Format), '}')
	if !ValidText(string(b)) {
		return nil, fmt.Errorf("%w: it holds invalid UTF-8", ErrPolicy)
	}
	return b, nil
}

// appendList appends `"key":[…],`, and nothing for an empty list.
func appendList[T any](b []byte, key string, list []T, one func([]byte, T) []byte) []byte {
	if len(list) == 0 {
		return b
	}
	b = append(appendString(b, key), `:[`...)
	for i, x := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = one(b, x)
	}
	return append(b, `],`...)
}

func appendMatch(b []byte, match map[string]string) []byte {
	list := make(Attributes, 0, len(match))
	for k, v := range match {
		list = append(list, Attribute{Key: k, Str: v})
	}
	b = append(b, `"match":`...)
	b = AppendAttributes(b, list.Sorted())
	return append(b, ',')
}

// ParsePolicy reads what Canonical wrote. Errors wrap ErrPolicy or
// ErrNewerFormat.
func ParsePolicy(b []byte) (*Rules, error) {
	var newer struct{ V int }
	if json.Unmarshal(b, &newer) == nil && newer.V > Format {
		return nil, ErrNewerFormat
	}
	var p Policy
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&p); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrPolicy, err)
	}
	r, err := p.Compile()
	if err != nil {
		return nil, err
	}
	if again, err := p.Canonical(); err != nil || !bytes.Equal(again, b) {
		return nil, fmt.Errorf("%w: it is not in canonical form", ErrPolicy)
	}
	return r, nil
}

// Rules is a policy ready to use. A nil *Rules knows nothing: every
// observation with a valid tag goes to its customer, every other is
// unattributed.
type Rules struct {
	policy   Policy
	order    []string
	patterns []*regexp.Regexp
}

// DefaultOrder is the ladder when the policy names none. request_id is not in
// it, since a client can forge it.
var DefaultOrder = []string{RuleTag, RuleResource}

// Compile checks the policy. Errors wrap ErrPolicy.
func (p Policy) Compile() (*Rules, error) {
	r := &Rules{policy: p, order: p.Order}
	if len(r.order) == 0 {
		r.order = DefaultOrder
	}
	known := []string{RuleTag, RuleRequestID, RuleResource}
	for i, rule := range r.order {
		if !slices.Contains(known, rule) {
			return nil, fmt.Errorf("%w: order: unknown rule %q (known: %v)", ErrPolicy, rule, known)
		}
		if slices.Contains(r.order[:i], rule) {
			return nil, fmt.Errorf("%w: order: %q stands twice", ErrPolicy, rule)
		}
	}
	for _, text := range p.RequestIDs {
		re, err := regexp.Compile(text)
		if err != nil {
			return nil, fmt.Errorf("%w: request_id: %w", ErrPolicy, err)
		}
		if re.SubexpIndex("customer") < 0 {
			return nil, fmt.Errorf("%w: request_id: %q has no group (?P<customer>…)", ErrPolicy, text)
		}
		r.patterns = append(r.patterns, re)
	}
	for _, e := range p.Engines {
		if len(e.Match) == 0 {
			return nil, fmt.Errorf("%w: an engine without match", ErrPolicy)
		}
		if e.Beams != "" && e.Beams != BeamsPlain && e.Beams != BeamsFold {
			return nil, fmt.Errorf("%w: beams: %q is neither fold nor plain", ErrPolicy, e.Beams)
		}
		if e.Role != "" && e.Role != RolePrefill {
			return nil, fmt.Errorf("%w: role: unknown %q (known: prefill)", ErrPolicy, e.Role)
		}
	}
	for _, x := range p.Resources {
		if len(x.Match) == 0 || x.Customer == "" {
			return nil, fmt.Errorf("%w: a resource rule without match or without customer", ErrPolicy)
		}
	}
	return r, nil
}

// Attribution is who pays, and which rule said so. Rank is the rule's place in
// the ladder: lower is better.
type Attribution struct {
	Customer, Project, Key string
	Rule                   string
	Rank                   int
}

// Attribute walks the ladder. A tag that is present but invalid falls through
// only to rules that a client cannot forge.
func (r *Rules) Attribute(o *Observation, s *Stamp) Attribution {
	order := DefaultOrder
	if r != nil {
		order = r.order
	}
	for rank, rule := range order {
		if s.Tag == TagInvalid && rule == RuleRequestID {
			continue
		}
		if a, ok := r.try(rule, o, s); ok {
			a.Rule, a.Rank = rule, rank
			return a
		}
	}
	return Attribution{Rule: RuleUnattributed, Rank: len(order)}
}

func (r *Rules) try(rule string, o *Observation, s *Stamp) (Attribution, bool) {
	switch {
	case rule == RuleTag:
		return Attribution{Customer: s.Customer, Project: s.Project, Key: s.Key}, s.Tag == TagValid && s.Customer != ""
	case r == nil:
		return Attribution{}, false
	case rule == RuleRequestID:
		return r.byRequestID(o.RequestID)
	default:
		return r.byResource(o.Resource)
	}
}

func (r *Rules) byRequestID(id string) (Attribution, bool) {
	for _, re := range r.patterns {
		m := re.FindStringSubmatch(id)
		if m == nil {
			continue
		}
		a := Attribution{Customer: m[re.SubexpIndex("customer")]}
		if i := re.SubexpIndex("project"); i >= 0 {
			a.Project = m[i]
		}
		if a.Customer != "" {
			return a, true
		}
	}
	return Attribution{}, false
}

func (r *Rules) byResource(resource Attributes) (Attribution, bool) {
	for _, rule := range r.policy.Resources {
		if matches(rule.Match, resource) {
			return Attribution{Customer: rule.Customer, Project: rule.Project}, true
		}
	}
	return Attribution{}, false
}

// engine returns the first engine of the policy that matches.
func (r *Rules) engine(resource Attributes) Engine {
	if r != nil {
		for _, e := range r.policy.Engines {
			if matches(e.Match, resource) {
				return e
			}
		}
	}
	return Engine{}
}

// Model is the resource's own gen_ai.request.model, else that of the policy's
// engine, else "": unknown.
func (r *Rules) Model(resource Attributes) string { return modelOf(resource, r.engine(resource)) }

func modelOf(resource Attributes, e Engine) string {
	if m := resource.Str("gen_ai.request.model"); m != "" {
		return m
	}
	return e.Model
}

// MatchedKeys lists the resource attributes that the policy looks at, sorted:
// the allow-list must let them in.
func (p Policy) MatchedKeys() []string {
	keys := map[string]bool{}
	for _, e := range p.Engines {
		for k := range e.Match {
			keys[k] = true
		}
	}
	for _, x := range p.Resources {
		for k := range x.Match {
			keys[k] = true
		}
	}
	return slices.Sorted(maps.Keys(keys))
}

func matches(match map[string]string, resource Attributes) bool {
	for k, v := range match {
		if x, found := resource.Get(k); !found || x.text() != v {
			return false
		}
	}
	return true
}
