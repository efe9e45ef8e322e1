package oteltraces

import (
	"fmt"
	"strconv"
)

// TTL is how long spans are kept. The zero TTL says nothing: for ever in a table
// that is made, and whatever holds in one that is there.
type TTL struct {
	n    int
	unit byte
}

// units are ClickHouse's and people's words for those of a TTL.
var units = map[byte]struct{ function, name string }{
	's': {"toIntervalSecond", "second"}, 'm': {"toIntervalMinute", "minute"}, 'h': {"toIntervalHour", "hour"}, 'd': {"toIntervalDay", "day"},
}

// maxTTL is about three thousand years of days, and keeps a mistake from overflowing a DateTime64 unseen.
const maxTTL = 1_000_000

// ParseTTL reads 30d, 72h, 90m or 60s; "" and "0" are no TTL.
func ParseTTL(s string) (TTL, error) {
	if s == "" || s == "0" {
		return TTL{}, nil
	}
	unit := s[len(s)-1]
	n, err := strconv.Atoi(s[:len(s)-1])
	if _, ok := units[unit]; !ok || err != nil || n < 1 || n > maxTTL {
		return TTL{}, fmt.Errorf("%q is not how long spans are kept: a whole number of days, hours, minutes or seconds, such as 30d or 72h", s)
	}
	return TTL{n, unit}.plain(), nil
}

// plain uses the longest unit that fits, as the exporter does: 72h are 3 days.
func (t TTL) plain() TTL {
	for _, up := range []struct {
		from, to byte
		n        int
	}{{'s', 'm', 60}, {'m', 'h', 60}, {'h', 'd', 24}} {
		if t.unit == up.from && t.n%up.n == 0 {
			t = TTL{t.n / up.n, up.to}
		}
	}
	return t
}

// String is as people say it, "30 days".
func (t TTL) String() string {
	s := fmt.Sprintf("%d %s", t.n, units[t.unit].name)
	if t.n != 1 {
		s += "s"
	}
	return s
}

// expression is the TTL as ClickHouse has it, "" for none.
func (t TTL) expression(at string) string {
	if t.n == 0 {
		return ""
	}
	return fmt.Sprintf("%s + %s(%d)", at, units[t.unit].function, t.n)
}
