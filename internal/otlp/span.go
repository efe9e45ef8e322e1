package otlp

import (
	"math"
	"strings"

	"github.com/VictoriaMetrics/easyproto"

	"github.com/tollkeeper/tollkeeper/internal/usage"
)

// span is what is read of a Span message. Its text points into the body.
type span struct {
	trace, id, parent []byte
	tracestate, name  string
	start, end        uint64
	badTime           bool // a time that is no number of 64 bits: JSON only
	requestID         string
	prompt            keyValue
	completion        keyValue
	numbers           [len(numbers)]keyValue
	latencies         [len(latencies)]keyValue
	tellsUsage        bool // it has an attribute gen_ai.usage.*
	contradicts       bool // it has two values under one key of usage
}

func (s *span) read(b []byte) (err error) {
	var fc easyproto.FieldContext
	for len(b) > 0 {
		if b, err = next(&fc, b); err != nil {
			return err
		}
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
			var m []byte
			if m, ok = fc.MessageData(); ok {
				var kv keyValue
				if err := kv.read(m); err != nil {
					return err
				}
				s.add(&kv)
			}
		}
		if !ok {
			return errWire
		}
	}
	return nil
}

const usagePrefix = "gen_ai.usage."

// add takes an attribute, the last under a key; two values of a count are not
// chosen from.
func (s *span) add(kv *keyValue) {
	if strings.HasPrefix(kv.key, usagePrefix) {
		s.tellsUsage = true
	}
	switch kv.key {
	case attrRequestID:
		s.requestID = kv.str
	case attrPrompt:
		s.count(&s.prompt, kv)
	case attrCompletion:
		s.count(&s.completion, kv)
	default:
		if !strings.HasPrefix(kv.key, "gen_ai.") {
			return
		}
		for i := range latencies {
			if latencies[i] == kv.key {
				s.latencies[i] = *kv
				return
			}
		}
		for i := range numbers {
			if numbers[i] == kv.key {
				s.numbers[i] = *kv
				return
			}
		}
	}
}

func (s *span) count(to, kv *keyValue) {
	if to.key != "" {
		was, okWas := to.whole()
		is, okIs := kv.whole()
		s.contradicts = s.contradicts || okWas != okIs || was != is
	}
	*to = *kv
}

// valueKind is the case of AnyValue that is set.
type valueKind byte

const (
	kindNone valueKind = iota
	kindString
	kindInt
	kindDouble
	kindOther // bool, array, map, bytes; in JSON a number that is none
)

// keyValue is a KeyValue message whose text points into the body.
type keyValue struct {
	key    string
	kind   valueKind
	str    string // "" unless kind is kindString
	number int64
	double float64
}

func (kv *keyValue) read(b []byte) (err error) {
	var fc easyproto.FieldContext
	for len(b) > 0 {
		if b, err = next(&fc, b); err != nil {
			return err
		}
		ok := true
		switch fc.FieldNum {
		case 1:
			kv.key, ok = fc.String()
		case 2:
			var m []byte
			if m, ok = fc.MessageData(); ok {
				// A second value is merged into the first, as protobuf has it.
				if err := kv.readValue(m); err != nil {
					return err
				}
			}
		}
		if !ok {
			return errWire
		}
	}
	return nil
}

func (kv *keyValue) readValue(b []byte) (err error) {
	var fc easyproto.FieldContext
	for len(b) > 0 {
		if b, err = next(&fc, b); err != nil {
			return err
		}
		ok := true
		switch fc.FieldNum {
		case 1:
			var s string
			s, ok = fc.String()
			kv.setString(s)
		case 3:
			var n int64
			n, ok = fc.Int64()
			kv.setInt(n)
		case 4:
			var f float64
			f, ok = fc.Double()
			kv.setDouble(f)
		case 2, 5, 6, 7:
			kv.setOther()
		}
		if !ok {
			return errWire
		}
	}
	return nil
}

func (kv *keyValue) setString(s string)  { *kv = keyValue{key: kv.key, kind: kindString, str: s} }
func (kv *keyValue) setInt(n int64)      { *kv = keyValue{key: kv.key, kind: kindInt, number: n} }
func (kv *keyValue) setDouble(f float64) { *kv = keyValue{key: kv.key, kind: kindDouble, double: f} }
func (kv *keyValue) setOther()           { *kv = keyValue{key: kv.key, kind: kindOther} }

// attribute returns the value as it may be kept: text or a whole number.
func (kv *keyValue) attribute() (usage.Attribute, bool) {
	switch kv.kind {
	case kindString:
		return usage.Attribute{Key: kv.key, Str: kv.str}, true
	case kindInt:
		return usage.Attribute{Key: kv.key, Int: kv.number, IsInt: true}, true
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
