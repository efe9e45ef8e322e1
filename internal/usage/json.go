package usage

import (
	"strconv"
	"unicode/utf8"
)

// AppendLine appends the canonical JSON of an observation and its stamp: keys
// in byte order, no white space, strings and whole numbers only, nanoseconds
// as decimal strings, and no newline. It is the one function that writes an
// observation; its bytes are what the journal hashes and keeps.
//
// resource is the result of AppendAttributes for the observation's resource
// when the caller has it (all spans of one resource share it), or nil.
// Strings must be valid UTF-8; see ValidText.
func AppendLine(b []byte, o *Observation, s *Stamp, resource []byte) []byte {
	b = append(b, `{"observation":`...)
	b = appendObservation(b, o, resource)
	b = append(b, `,"stamp":`...)
	b = appendStamp(b, s)
	return append(b, '}')
}

func appendObservation(b []byte, o *Observation, resource []byte) []byte {
	b = append(b, '{')
	if len(o.Attributes) > 0 {
		b = append(b, `"attributes":`...)
		b = AppendAttributes(b, o.Attributes)
		b = append(b, ',')
	}
	b = appendMember(b, "domain", string(o.Domain))
	b = appendTime(b, "end", o.End)
	b = appendMember(b, "id", o.ID)
	b = appendMember(b, "kind", string(o.Kind))
	b = appendMember(b, "parent", o.Parent)
	if len(o.Quantities) > 0 {
		b = append(b, `"quantities":{`...)
		for i, q := range o.Quantities {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendString(b, q.Name)
			b = append(b, ':')
			b = appendInt(b, q.Amount)
		}
		b = append(b, `},`...)
	}
	b = appendMember(b, "request_id", o.RequestID)
	if len(o.Resource) > 0 {
		b = append(b, `"resource":`...)
		if resource != nil {
			b = append(b, resource...)
		} else {
			b = AppendAttributes(b, o.Resource)
		}
		b = append(b, ',')
	}
	b = appendMember(b, "source", o.Source)
	b = appendMember(b, "span", o.Span)
	b = appendTime(b, "start", o.Start)
	b = appendMember(b, "tag", o.Tag)
	b = appendMember(b, "trace", o.Trace)
	b = append(b, `"v":`...)
	b = appendInt(b, Format)
	return append(b, '}')
}

func appendStamp(b []byte, s *Stamp) []byte {
	b = append(b, '{')
	n := len(b)
	b = appendMember(b, "customer", s.Customer)
	b = appendMember(b, "key", s.Key)
	b = appendMember(b, "producer", s.Producer)
	b = appendMember(b, "project", s.Project)
	b = appendMember(b, "record", s.Record)
	b = appendMember(b, "tag", string(s.Tag))
	if len(b) > n {
		b = b[:len(b)-1]
	}
	return append(b, '}')
}

// AppendAttributes appends the canonical JSON object of the attributes.
func AppendAttributes(b []byte, list Attributes) []byte {
	b = append(b, '{')
	for i, a := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendString(b, a.Key)
		b = append(b, ':')
		if a.IsInt {
			b = appendInt(b, a.Int)
		} else {
			b = appendString(b, a.Str)
		}
	}
	return append(b, '}')
}

// appendMember appends `"key":"value",`, and nothing for an empty value.
func appendMember(b []byte, key, value string) []byte {
	if value == "" {
		return b
	}
	b = append(b, '"')
	b = append(b, key...)
	b = append(b, `":`...)
	b = appendString(b, value)
	return append(b, ',')
}

func appendTime(b []byte, key string, ns int64) []byte {
	b = append(b, '"')
	b = append(b, key...)
	b = append(b, `":"`...)
	b = appendInt(b, ns)
	return append(b, `",`...)
}

const hexDigits = "0123456789abcdef"

// appendString appends a JSON string with the fewest escapes, as RFC 8785
// (JCS), section 3.2.2.2, writes it.
func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	plain := 0
	for i := plainBytes(s); i < len(s); i++ {
		c := s[i]
		if c >= 0x20 && c != '"' && c != '\\' {
			continue
		}
		b = append(b, s[plain:i]...)
		b = appendEscape(b, c)
		plain = i + 1
	}
	b = append(b, s[plain:]...)
	return append(b, '"')
}

// plainBytes counts bytes at the start of s, in steps of eight, that need no
// escape. Most text needs none, and a line is mostly text.
func plainBytes(s string) (n int) {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	// A byte below k borrows from its high bit; one that had it set is no ASCII
	// and left to the caller, as is a false alarm beside a hit.
	for ; n+8 <= len(s); n += 8 {
		x := uint64(s[n]) | uint64(s[n+1])<<8 | uint64(s[n+2])<<16 | uint64(s[n+3])<<24 |
			uint64(s[n+4])<<32 | uint64(s[n+5])<<40 | uint64(s[n+6])<<48 | uint64(s[n+7])<<56
		control := x - ones*0x20
		quote := (x ^ ones*'"') - ones
		backslash := (x ^ ones*'\\') - ones
		if (x|control|quote|backslash)&highs != 0 {
			break
		}
	}
	return n
}

func appendEscape(b []byte, c byte) []byte {
	switch c {
	case '"', '\\':
		return append(b, '\\', c)
	case '\b':
		return append(b, `\b`...)
	case '\f':
		return append(b, `\f`...)
	case '\n':
		return append(b, `\n`...)
	case '\r':
		return append(b, `\r`...)
	case '\t':
		return append(b, `\t`...)
	default:
		return append(b, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
	}
}

func appendInt(b []byte, n int64) []byte { return strconv.AppendInt(b, n, 10) }

func itoa(n int64) string { return strconv.FormatInt(n, 10) }

// ValidText reports whether s can stand in canonical JSON: valid UTF-8.
func ValidText(s string) bool { return utf8.ValidString(s) }
