package otlp

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// EachJSON walks the OTLP/JSON encoding (OTLP specification 1.9, "JSON Protobuf
// Encoding": lower camel case, ids in hex; the names of the .proto files too, as
// the Collector takes them). It treats a span's values one by one, so that an id
// or a number that is none rejects its own span only. Errors wrap ErrUndecodable
// or are visit's.
func (d *Decoder) EachJSON(body []byte, visit Visit) (Counts, error) {
	// Valid bounds the nesting too; the reader below rests on it.
	if !json.Valid(body) {
		return Counts{}, fmt.Errorf("%w: no JSON", ErrUndecodable)
	}
	w := d.walker(visit)
	defer w.free()
	err := jsonValue(body).members(func(name string, v jsonValue) error {
		if name == "resourceSpans" || name == "resource_spans" {
			return v.elements(w.jsonResourceSpans)
		}
		return nil
	})
	return w.counts, err
}

func (w *walker) jsonResourceSpans(v jsonValue) error {
	w.resource = w.resource[:0]
	if err := v.members(func(name string, v jsonValue) error {
		if name != "resource" {
			return nil
		}
		return v.attributes(w.addResource)
	}); err != nil {
		return err
	}
	w.closeResource()
	return v.members(func(name string, v jsonValue) error {
		if name == "scopeSpans" || name == "scope_spans" {
			return v.elements(w.jsonScopeSpans)
		}
		return nil
	})
}

func (w *walker) jsonScopeSpans(v jsonValue) error {
	return v.members(func(name string, v jsonValue) error {
		if name != "spans" {
			return nil
		}
		return v.elements(func(v jsonValue) error {
			w.span = span{}
			if err := w.span.readJSON(v); err != nil {
				return err
			}
			return w.vllm(&w.span)
		})
	})
}

func (s *span) readJSON(v jsonValue) error {
	if err := v.attributes(s.add); err != nil {
		return err
	}
	return v.members(func(name string, v jsonValue) error {
		switch name {
		case "traceId", "trace_id":
			s.trace = v.id()
		case "spanId", "span_id":
			s.id = v.id()
		case "parentSpanId", "parent_span_id":
			s.parent = v.id()
		case "traceState", "trace_state":
			s.tracestate = v.text()
		case "name":
			s.name = v.text()
		case "startTimeUnixNano", "start_time_unix_nano":
			s.start = s.time(v)
		case "endTimeUnixNano", "end_time_unix_nano":
			s.end = s.time(v)
		}
		return nil
	})
}

func (s *span) time(v jsonValue) uint64 {
	ns, err := strconv.ParseUint(v.number(), 10, 64)
	s.badTime = s.badTime || err != nil
	return ns
}

// attributes calls fn for each KeyValue of the member "attributes".
func (v jsonValue) attributes(fn func(*keyValue)) error {
	return v.members(func(name string, v jsonValue) error {
		if name != "attributes" {
			return nil
		}
		return v.elements(func(v jsonValue) error {
			var kv keyValue
			err := v.members(func(name string, v jsonValue) error {
				switch name {
				case "key":
					kv.key = v.text()
				case "value":
					return v.members(kv.readJSON)
				}
				return nil
			})
			if err == nil {
				fn(&kv)
			}
			return err
		})
	})
}

func (kv *keyValue) readJSON(name string, v jsonValue) error {
	switch name {
	case "stringValue", "string_value":
		kv.setString(v.text())
	case "intValue", "int_value", "doubleValue", "double_value":
		kv.setNumber(v.number(), name[0] == 'i')
	case "boolValue", "bool_value", "arrayValue", "array_value", "kvlistValue", "kvlist_value", "bytesValue", "bytes_value":
		kv.setOther()
	}
	return nil
}

// setNumber takes an int, a double where an int has a fraction or an exponent
// (which JSON allows), or neither.
func (kv *keyValue) setNumber(text string, whole bool) {
	if n, err := strconv.ParseInt(text, 10, 64); whole && err == nil {
		kv.setInt(n)
		return
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil {
		kv.setOther()
		return
	}
	kv.setDouble(f)
}

// jsonValue is a value of JSON that is known to be valid, white space around it
// allowed.
type jsonValue []byte

// members calls fn for each member of an object; null has none.
func (v jsonValue) members(fn func(name string, v jsonValue) error) error {
	return v.parts('{', "object", func(rest jsonValue) (jsonValue, error) {
		name, rest := rest.cut()
		value, rest := rest[bytes.IndexByte(rest, ':')+1:].cut()
		return rest, fn(name.text(), value)
	})
}

// elements calls fn for each element of an array; null has none.
func (v jsonValue) elements(fn func(jsonValue) error) error {
	return v.parts('[', "array", func(rest jsonValue) (jsonValue, error) {
		value, rest := rest.cut()
		return rest, fn(value)
	})
}

// parts calls fn at each part of an object or array until there are no more;
// fn returns what is behind the part.
func (v jsonValue) parts(open byte, kind string, fn func(jsonValue) (jsonValue, error)) (err error) {
	v = v.trim()
	if v[0] == 'n' {
		return nil
	}
	if v[0] != open {
		return fmt.Errorf("%w: JSON: an %s is missing", ErrUndecodable, kind)
	}
	for v = v[1:].trim(); v[0] != open+2; v = v.trim() { // '}' and ']' stand two behind '{' and '['
		if v[0] == ',' {
			v = v[1:]
			continue
		}
		if v, err = fn(v); err != nil {
			return err
		}
	}
	return nil
}

func (v jsonValue) trim() jsonValue {
	for len(v) > 0 && (v[0] == ' ' || v[0] == '\n' || v[0] == '\r' || v[0] == '\t') {
		v = v[1:]
	}
	return v
}

// cut splits the value that comes first from what is behind it.
func (v jsonValue) cut() (first, rest jsonValue) {
	v = v.trim()
	depth := 0
	for i := 0; i < len(v); i++ {
		switch v[i] {
		case '"':
			i += v[i:].stringLength() - 1
		case '{', '[':
			depth++
			continue
		case '}', ']':
			depth--
		default:
			if depth == 0 && !ends(v[i:]) {
				continue
			}
		}
		if depth == 0 {
			return v[:i+1], v[i+1:]
		}
	}
	return v, nil
}

// ends reports whether the first byte is the last of a number or a word.
func ends(v jsonValue) bool { return len(v) == 1 || strings.IndexByte(" \n\r\t,}]:", v[1]) >= 0 }

// stringLength is that of the string that comes first, quotes included.
func (v jsonValue) stringLength() int {
	for i := 1; i < len(v); i++ {
		switch v[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(v)
}

// text is the text of a string, "" of anything else. Text that is not UTF-8 is
// returned as it is.
func (v jsonValue) text() string {
	v = v.trim()
	if v[0] != '"' {
		return ""
	}
	raw := v[1 : v.stringLength()-1]
	if bytes.IndexByte(raw, '\\') < 0 || !utf8.Valid(raw) {
		return string(raw)
	}
	var s string
	if err := json.Unmarshal(v, &s); err != nil {
		return string(raw)
	}
	return s
}

// number is the text of a number, which may stand in quotes.
func (v jsonValue) number() string {
	if v = v.trim(); v[0] == '"' {
		return v.text()
	}
	return string(bytes.TrimRight(v, " \n\r\t"))
}

// id is an id in hex, nil when it is none.
func (v jsonValue) id() []byte {
	b, err := hex.DecodeString(v.text())
	if err != nil {
		return nil
	}
	return b
}
