package usage

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Errors of ParseLine.
var (
	// ErrNewerFormat says that a newer tollkeeper wrote the observation.
	ErrNewerFormat = errors.New("usage: observation of a newer format: use the tollkeeper that wrote it, or a later one")
	// ErrMalformed says that a line is no observation.
	ErrMalformed = errors.New("usage: malformed observation")
)

// ParseLine reads what AppendLine wrote, and nothing else: another spelling of
// the same JSON is malformed, so a line and what it says belong to each other
// one to one. Errors wrap ErrMalformed or ErrNewerFormat.
func ParseLine(line []byte) (Observation, Stamp, error) {
	var p Parser
	return p.Line(line)
}

// Parser reads many lines. Observations of one resource share its attributes,
// which nobody changes. The zero value is ready; it is not safe for concurrent
// use.
type Parser struct {
	text string
	at   int

	resourceText string
	resource     Attributes
}

// Line is ParseLine.
func (p *Parser) Line(line []byte) (Observation, Stamp, error) {
	p.text, p.at = string(line), 0
	o, s, ok := p.line()
	if ok {
		return o, s, nil
	}
	if newerFormat(line) {
		return Observation{}, Stamp{}, ErrNewerFormat
	}
	return Observation{}, Stamp{}, fmt.Errorf("%w: at byte %d", ErrMalformed, p.at)
}

// newerFormat tells whether a line that cannot be read names a later version.
func newerFormat(line []byte) bool {
	var l struct {
		Observation struct{ V int } `json:"observation"`
	}
	return json.Unmarshal(line, &l) == nil && l.Observation.V > Format
}

func (p *Parser) line() (o Observation, s Stamp, ok bool) {
	ok = utf8.ValidString(p.text) &&
		p.skip(`{"observation":`) && p.observation(&o) && p.skip(`,"stamp":`) && p.stamp(&s) && p.skip(`}`) && p.at == len(p.text)
	return o, s, ok
}

func (p *Parser) observation(o *Observation) bool {
	ok := p.skip(`{`) &&
		p.attributesMember(`"attributes":`, &o.Attributes) &&
		p.member(`"domain":`, (*string)(&o.Domain)) &&
		p.timeMember(`"end":"`, &o.End) &&
		p.member(`"id":`, &o.ID) &&
		p.member(`"kind":`, (*string)(&o.Kind)) &&
		p.member(`"parent":`, &o.Parent) &&
		p.quantitiesMember(&o.Quantities) &&
		p.member(`"request_id":`, &o.RequestID) &&
		p.resourceMember(&o.Resource) &&
		p.member(`"source":`, &o.Source) &&
		p.member(`"span":`, &o.Span) &&
		p.timeMember(`"start":"`, &o.Start) &&
		p.member(`"tag":`, &o.Tag) &&
		p.member(`"trace":`, &o.Trace) &&
		p.skip(`"v":`+version+`}`)
	return ok && o.sound()
}

var version = itoa(Format)

// sound tells whether the observation has a kind, and the identity that its
// domain asks for.
func (o *Observation) sound() bool {
	switch o.Domain {
	case DomainSpan:
		return o.Kind == KindUsage && isHex(o.Trace, 32) && isHex(o.Span, 16) && (o.Parent == "" || isHex(o.Parent, 16)) && o.Source == "" && o.ID == ""
	case DomainEvent:
		return o.Kind == KindUsage && o.Source != "" && o.ID != ""
	case DomainGateway:
		return (o.Kind == KindUsage || o.Kind == KindOpening) && o.Source != "" && o.ID != ""
	default:
		return false
	}
}

func isHex(s string, n int) bool { return len(s) == n && strings.Trim(s, hexDigits) == "" }

func (p *Parser) stamp(s *Stamp) bool {
	if !p.skip(`{`) {
		return false
	}
	first := true
	for _, m := range [...]struct {
		key string
		to  *string
	}{
		{`"customer":`, &s.Customer},
		{`"key":`, &s.Key},
		{`"producer":`, &s.Producer},
		{`"project":`, &s.Project},
		{`"record":`, &s.Record},
		{`"tag":`, (*string)(&s.Tag)},
	} {
		start := p.at
		if !first && !p.skip(`,`) {
			break
		}
		if !p.skip(m.key) {
			p.at = start
			continue
		}
		if !p.value(m.to) {
			return false
		}
		first = false
	}
	return (s.Tag == "" || s.Tag == TagValid || s.Tag == TagInvalid) && p.skip(`}`)
}

// skip goes over the text that must stand here.
func (p *Parser) skip(text string) bool {
	if !strings.HasPrefix(p.text[p.at:], text) {
		return false
	}
	p.at += len(text)
	return true
}

// member reads `"key":"value",`, which is left out for an empty value.
func (p *Parser) member(key string, to *string) bool {
	return !p.skip(key) || (p.value(to) && p.skip(`,`))
}

// value reads a string that is not empty.
func (p *Parser) value(to *string) (ok bool) {
	*to, ok = p.str()
	return ok && *to != ""
}

// str reads a string, which has the one spelling that appendString gives it.
func (p *Parser) str() (string, bool) {
	if !p.skip(`"`) {
		return "", false
	}
	rest := p.text[p.at:]
	for i := range len(rest) {
		switch c := rest[i]; {
		case c == '"':
			p.at += i + 1
			return rest[:i], true
		case c == '\\':
			return p.escaped()
		case c < ' ':
			return "", false
		}
	}
	return "", false
}

// escaped reads the rest of a string that holds an escape.
func (p *Parser) escaped() (string, bool) {
	end := p.at
	for end < len(p.text) && p.text[end] != '"' {
		if p.text[end] == '\\' {
			end++
		}
		end++
	}
	if end >= len(p.text) {
		return "", false
	}
	quoted := p.text[p.at-1 : end+1]
	var s string
	if json.Unmarshal([]byte(quoted), &s) != nil || string(appendString(nil, s)) != quoted {
		return "", false
	}
	p.at = end + 1
	return s, true
}

// number reads a whole number in the spelling of strconv.
func (p *Parser) number() (int64, bool) {
	end := p.at
	for end < len(p.text) && (p.text[end] == '-' || (p.text[end] >= '0' && p.text[end] <= '9')) {
		end++
	}
	digits := p.text[p.at:end]
	n, err := strconv.ParseInt(digits, 10, 64)
	unsigned := strings.TrimPrefix(digits, "-")
	if err != nil || (unsigned[0] == '0' && digits != "0") {
		return 0, false
	}
	p.at = end
	return n, true
}

// timeMember reads `"key":"<ns>",`, of which key holds all before the number.
func (p *Parser) timeMember(key string, to *int64) (ok bool) {
	if !p.skip(key) {
		return false
	}
	*to, ok = p.number()
	return ok && p.skip(`",`)
}

func (p *Parser) quantitiesMember(to *Quantities) bool {
	if !p.skip(`"quantities":{`) {
		return true
	}
	list := make(Quantities, 0, 2)
	for {
		var q Quantity
		var ok bool
		if !p.value(&q.Name) || !p.skip(`:`) {
			return false
		}
		if q.Amount, ok = p.number(); !ok || q.Amount < 0 || q.Amount > MaxAmount {
			return false
		}
		if len(list) > 0 && list[len(list)-1].Name >= q.Name {
			return false
		}
		list = append(list, q)
		if p.skip(`},`) {
			*to = list
			return true
		}
		if !p.skip(`,`) {
			return false
		}
	}
}

func (p *Parser) attributesMember(key string, to *Attributes) (ok bool) {
	if !p.skip(key) {
		return true
	}
	*to, ok = p.attributes()
	return ok && p.skip(`,`)
}

// resourceMember reads the resource, which is most often that of the line
// before.
func (p *Parser) resourceMember(to *Attributes) (ok bool) {
	if !p.skip(`"resource":`) {
		return true
	}
	if p.resourceText != "" && p.skip(p.resourceText) {
		*to = p.resource
		return true
	}
	start := p.at
	*to, ok = p.attributes()
	if !ok || !p.skip(`,`) {
		return false
	}
	p.resource, p.resourceText = slices.Clip(*to), p.text[start:p.at]
	return true
}

// attributes reads an object that is not empty, its keys in order.
func (p *Parser) attributes() (list Attributes, ok bool) {
	if !p.skip(`{`) {
		return nil, false
	}
	for {
		var a Attribute
		if a.Key, ok = p.str(); !ok || !p.skip(`:`) {
			return nil, false
		}
		if a.IsInt = p.at < len(p.text) && p.text[p.at] != '"'; a.IsInt {
			a.Int, ok = p.number()
		} else {
			a.Str, ok = p.str()
		}
		if !ok || (len(list) > 0 && list[len(list)-1].Key >= a.Key) {
			return nil, false
		}
		list = append(list, a)
		if p.skip(`}`) {
			return list, true
		}
		if !p.skip(`,`) {
			return nil, false
		}
	}
}
