package otlp

import (
	"math"
	"slices"

	"github.com/VictoriaMetrics/easyproto"

	"github.com/tollkeeper/tollkeeper/internal/usage"
)

// span is a Span message, its attributes still in place.
type span struct {
	trace, id, parent []byte
	tracestate, name  string
	start, end        uint64
	attributes        []keyValue
}

func (s *span) reset() { *s = span{attributes: s.attributes[:0]} }

func (s *span) read(b []byte) error {
	return eachField(b, func(fc *easyproto.FieldContext) error {
		ok := true
		switch fc.FieldNum {
		case 1:
			s.trace, ok = fc.Bytes()
		case 2:
			s.id, ok = fc.Bytes()
		case 3:
			s.tracestate, ok = fc.String()
		case 4:
			s.parent, ok = fc.Bytes()
		case 5:
			s.name, ok = fc.String()
		case 7:
			s.start, ok = fc.Fixed64()
		case 8:
			s.end, ok = fc.Fixed64()
		case 9:
			return message(fc, func(b []byte) error {
				kv, err := readKeyValue(b)
				s.attributes = append(s.attributes, kv)
				return err
			})
		}
		if !ok {
			return errWire
		}
		return nil
	})
}

// get returns the last attribute under key.
func (s *span) get(key string) (keyValue, bool) {
	for _, a := range slices.Backward(s.attributes) {
		if a.key == key {
			return a, true
		}
	}
	return keyValue{}, false
}

// valueKind is the case of AnyValue that is set.
type valueKind byte

const (
	kindNone valueKind = iota
	kindString
	kindInt
	kindDouble
	kindOther // bool, array, map, bytes
)

// keyValue is a KeyValue message whose strings still point into the body.
type keyValue struct {
	key    string
	kind   valueKind
	str    string
	number int64
	double float64
}

func readKeyValue(b []byte) (kv keyValue, err error) {
	err = eachField(b, func(fc *easyproto.FieldContext) error {
		switch fc.FieldNum {
		case 1:
			var ok bool
			if kv.key, ok = fc.String(); !ok {
				return errWire
			}
		case 2:
			return message(fc, kv.readValue)
		}
		return nil
	})
	return kv, err
}

func (kv *keyValue) readValue(b []byte) error {
	kv.kind = kindNone
	return eachField(b, func(fc *easyproto.FieldContext) error {
		ok := true
		switch fc.FieldNum {
		case 1:
			kv.kind = kindString
			kv.str, ok = fc.String()
		case 3:
			kv.kind = kindInt
			kv.number, ok = fc.Int64()
		case 4:
			kv.kind = kindDouble
			kv.double, ok = fc.Double()
		case 2, 5, 6, 7:
			kv.kind = kindOther
		}
		if !ok {
			return errWire
		}
		return nil
	})
}

// attribute returns the value as it may be kept: text or a whole number.
func (kv *keyValue) attribute() (usage.Attribute, bool) {
	switch kv.kind {
	case kindString:
		return usage.Attribute{Key: clone(kv.key), Str: clone(kv.str)}, true
	case kindInt:
		return usage.Attribute{Key: clone(kv.key), Int: kv.number, IsInt: true}, true
	default:
		return usage.Attribute{}, false
	}
}

// whole returns the value as a whole number: an int, or a double without a
// fraction, which some pipelines make of one.
func (kv *keyValue) whole() (int64, bool) {
	switch kv.kind {
	case kindInt:
		return kv.number, true
	case kindDouble:
		// The comparison refuses NaN and infinities too.
		if kv.double == math.Trunc(kv.double) && math.Abs(kv.double) <= 1<<53 {
			return int64(kv.double), true
		}
	}
	return 0, false
}
