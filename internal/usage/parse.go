package usage

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Errors of ParseLine.
var (
	// ErrNewerFormat says that a newer tollkeeper wrote the observation.
	ErrNewerFormat = errors.New("usage: observation of a newer format: use the tollkeeper that wrote it, or a later one")
	// ErrMalformed says that a line is no observation.
	ErrMalformed = errors.New("usage: malformed observation")
)

type jsonLine struct {
	Observation *jsonObservation `json:"observation"`
	Stamp       *jsonStamp       `json:"stamp"`
}

type jsonObservation struct {
	Attributes map[string]json.RawMessage `json:"attributes"`
	Domain     Domain                     `json:"domain"`
	End        string                     `json:"end"`
	ID         string                     `json:"id"`
	Kind       Kind                       `json:"kind"`
	Parent     string                     `json:"parent"`
	Quantities map[string]int64           `json:"quantities"`
	RequestID  string                     `json:"request_id"`
	Resource   map[string]json.RawMessage `json:"resource"`
	Source     string                     `json:"source"`
	Span       string                     `json:"span"`
	Start      string                     `json:"start"`
	Tag        string                     `json:"tag"`
	Trace      string                     `json:"trace"`
	V          int                        `json:"v"`
}

type jsonStamp struct {
	Customer string     `json:"customer"`
	Key      string     `json:"key"`
	Producer string     `json:"producer"`
	Project  string     `json:"project"`
	Record   string     `json:"record"`
	Tag      TagVerdict `json:"tag"`
}

// ParseLine reads what AppendLine wrote. Errors wrap ErrMalformed or
// ErrNewerFormat.
func ParseLine(line []byte) (Observation, Stamp, error) {
	var l jsonLine
	if err := json.Unmarshal(line, &l); err != nil {
		return Observation{}, Stamp{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if l.Observation == nil || l.Stamp == nil {
		return Observation{}, Stamp{}, fmt.Errorf("%w: it has no observation or no stamp", ErrMalformed)
	}
	o, err := l.Observation.observation()
	if err != nil {
		return Observation{}, Stamp{}, err
	}
	return o, l.Stamp.stamp(), nil
}

func (j *jsonStamp) stamp() Stamp {
	return Stamp{Tag: j.Tag, Record: j.Record, Key: j.Key, Customer: j.Customer, Project: j.Project, Producer: j.Producer}
}

func (j *jsonObservation) observation() (o Observation, err error) {
	if j.V > Format {
		return o, fmt.Errorf("%w (%d)", ErrNewerFormat, j.V)
	}
	o = Observation{
		Kind: j.Kind, Domain: j.Domain, Trace: j.Trace, Span: j.Span, Parent: j.Parent,
		Source: j.Source, ID: j.ID, RequestID: j.RequestID, Tag: j.Tag,
	}
	if o.Start, err = parseTime("start", j.Start); err != nil {
		return o, err
	}
	if o.End, err = parseTime("end", j.End); err != nil {
		return o, err
	}
	for _, name := range slices.Sorted(maps.Keys(j.Quantities)) {
		o.Quantities = append(o.Quantities, Quantity{Name: name, Amount: j.Quantities[name]})
	}
	if o.Attributes, err = parseAttributes(j.Attributes); err != nil {
		return o, err
	}
	o.Resource, err = parseAttributes(j.Resource)
	return o, err
}

func parseTime(name, s string) (int64, error) {
	ns, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%w: %s: %w", ErrMalformed, name, err)
	}
	return ns, nil
}

func parseAttributes(m map[string]json.RawMessage) (Attributes, error) {
	if len(m) == 0 {
		return nil, nil
	}
	list := make(Attributes, 0, len(m))
	for key, raw := range m {
		a := Attribute{Key: key, IsInt: len(raw) > 0 && raw[0] != '"'}
		var err error
		if a.IsInt {
			a.Int, err = strconv.ParseInt(string(raw), 10, 64)
		} else {
			err = json.Unmarshal(raw, &a.Str)
		}
		if err != nil {
			return nil, fmt.Errorf("%w: attribute %q: %w", ErrMalformed, key, err)
		}
		list = append(list, a)
	}
	slices.SortFunc(list, func(x, y Attribute) int { return strings.Compare(x.Key, y.Key) })
	return list, nil
}
