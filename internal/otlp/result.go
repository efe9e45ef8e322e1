package otlp

import (
	"bytes"
	"slices"
	"strings"

	"github.com/tollkeeper/tollkeeper/internal/usage"
)

// Result is what one export said, whole. It holds no part of the body.
type Result struct {
	Observations []usage.Observation
	// Resources holds the canonical JSON of each observation's resource.
	Resources [][]byte
	Counts
}

// Proto decodes the protobuf encoding: EachProto for who wants a list.
func (d *Decoder) Proto(body []byte) (*Result, error) { return collect(body, d.EachProto) }

// JSON decodes the OTLP/JSON encoding: EachJSON for who wants a list.
func (d *Decoder) JSON(body []byte) (*Result, error) { return collect(body, d.EachJSON) }

func collect(body []byte, each func([]byte, Visit) (Counts, error)) (*Result, error) {
	r := &Result{}
	var err error
	r.Counts, err = each(body, func(o *usage.Observation, resource []byte) error {
		r.Observations = append(r.Observations, keep(o))
		r.Resources = append(r.Resources, bytes.Clone(resource))
		return nil
	})
	if err != nil {
		return nil, err
	}
	return r, nil
}

// keep returns a copy that holds no part of the body. Trace and Span are made
// for each observation, and what is not copied is constant.
func keep(o *usage.Observation) usage.Observation {
	c := *o
	c.RequestID, c.Tag = strings.Clone(o.RequestID), strings.Clone(o.Tag)
	c.Quantities = slices.Clone(o.Quantities)
	c.Attributes, c.Resource = keepAttributes(o.Attributes), keepAttributes(o.Resource)
	return c
}

func keepAttributes(list usage.Attributes) usage.Attributes {
	if len(list) == 0 {
		return nil
	}
	c := slices.Clone(list)
	for i := range c {
		c[i].Key, c[i].Str = strings.Clone(c[i].Key), strings.Clone(c[i].Str)
	}
	return c
}
