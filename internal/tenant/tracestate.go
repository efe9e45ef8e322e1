package tenant

import (
	"errors"
	"slices"
	"strings"
)

// MemberKey is tollkeeper's key in the tracestate header.
const MemberKey = "tollkeeper"

// Limits of a tracestate, from W3C Trace Context (level 1, section 3.3.1).
const (
	maxMembers     = 32
	maxMemberValue = 256
	maxMemberKey   = 256
	maxTenantKey   = 241 // before the @ of a multi-tenant key
	maxSystemKey   = 14  // behind it
)

// errTracestate says that a tracestate is malformed, so that all of it counts for nothing.
var errTracestate = errors.New("malformed tracestate")

// Member takes the value of tollkeeper's member out of a tracestate header.
// ok is false when there is none. A malformed or doubled member anywhere voids
// all of it, as the OpenTelemetry SDKs do: then err is set, and present says
// whether a tollkeeper member was there to be voided.
func Member(tracestate string) (value string, present bool, err error) {
	var few [4]string // most headers have one or two members: no allocation
	seen := few[:0]
	for rest, more := tracestate, tracestate != ""; more; {
		var member string
		member, rest, more = strings.Cut(rest, ",")
		member = strings.Trim(member, " \t")
		if member == "" {
			continue // empty members are allowed
		}
		key, text, ok := strings.Cut(member, "=")
		if !ok || !validMemberKey(key) || !validMemberValue(text) {
			return "", mentionsUs(tracestate), errTracestate
		}
		if slices.Contains(seen, key) {
			return "", mentionsUs(tracestate), errTracestate
		}
		if seen = append(seen, key); len(seen) > maxMembers {
			return "", mentionsUs(tracestate), errTracestate
		}
		if key == MemberKey {
			value, present = text, true
		}
	}
	return value, present, nil
}

// mentionsUs tells whether a tracestate that cannot be read may have held our
// member. Any trace of it counts: a client must not turn a bad tag into no tag.
func mentionsUs(tracestate string) bool { return strings.Contains(tracestate, MemberKey) }

func validMemberKey(key string) bool {
	if tenant, system, multi := strings.Cut(key, "@"); multi {
		return len(tenant) <= maxTenantKey && len(system) <= maxSystemKey &&
			tenant != "" && (isLower(tenant[0]) || isDigit(tenant[0])) && validKeyRest(tenant[1:]) &&
			system != "" && isLower(system[0]) && validKeyRest(system[1:])
	}
	return key != "" && len(key) <= maxMemberKey && isLower(key[0]) && validKeyRest(key[1:])
}

func validKeyRest(s string) bool {
	for i := range len(s) {
		if c := s[i]; !isLower(c) && !isDigit(c) && c != '_' && c != '-' && c != '*' && c != '/' {
			return false
		}
	}
	return true
}

func validMemberValue(v string) bool {
	if v == "" || len(v) > maxMemberValue || v[len(v)-1] == ' ' {
		return false
	}
	for i := range len(v) {
		if c := v[i]; c < ' ' || c > '~' || c == ',' || c == '=' {
			return false
		}
	}
	return true
}

func isLower(c byte) bool { return c >= 'a' && c <= 'z' }
func isDigit(c byte) bool { return c >= '0' && c <= '9' }
