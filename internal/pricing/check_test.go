package pricing_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/tollkeeper/tollkeeper/internal/pricing"
)

// TestCheck compares all that is said about a book: "KIND entry: text".
func TestCheck(t *testing.T) {
	per := func(e pricing.Entry, n int64) pricing.Entry { e.Per = n; return e }
	line := func(e pricing.Entry, n int) pricing.Entry { e.Line = n; return e }
	m := func(period string, prices ...string) pricing.Entry { return entry("", "m", period, prices...) }
	for name, c := range map[string]struct {
		book *pricing.Book
		want []string
	}{
		"good": {book(
			m("2026-01-01/2026-02-01", "input_tokens=0.1", "output_tokens=0.4"),
			m("2026-02-01", "input_tokens=0.1", "output_tokens=0.4"),
			entry("acme", "m", "2026-01-15", "output_tokens=0"),
			entry("", "qwen/*", "2026-01-15", "output_tokens=1"),
			entry("", "glm/*", "2026-01-15", "output_tokens=1"),
			entry("acme", "*", "2026-01-15", "gpu_ms=1"),
			entry("", "*", "2026-01-15", "gpu_ms=1"),
		), nil},
		"empty": {book(), []string{"empty -1: there is no entry, so all usage would be unpriced"}},
		"currency": {&pricing.Book{Currency: "usd", Entries: []pricing.Entry{m("2026-01-01", "requests=1")}},
			[]string{`value -1: the currency "usd" is no code of three letters, as in ISO 4217`}},
		"no model":   {book(entry("", "", "2026-01-01", "requests=1")), []string{`value 0: model is empty: name one, or "*" for all`}},
		"long model": {book(entry("", strings.Repeat("m", 513), "2026-01-01", "requests=1")), []string{"value 0: model is longer than 512 bytes"}},
		"no text":    {book(entry("\xff", "m", "2026-01-01", "requests=1")), []string{"value 0: model or customer is no UTF-8"}},
		"no period": {book(m("2026-01-01/2026-01-01", "requests=1")),
			[]string{"value 0: to, 2026-01-01T00:00:00Z, is not after from, 2026-01-01T00:00:00Z"}},
		"no price": {book(m("2026-01-01")), []string{"value 0: there is no price: name a quantity, such as input_tokens"}},
		"quantity": {book(m("2026-01-01", "Requests=1")),
			[]string{`value 0: "Requests" is no name of a quantity: a-z, 0-9 and _, a letter first, at most 63`}},
		"quantity twice": {book(m("2026-01-01", "requests=1", "requests=2")), []string{"value 0: requests stands twice, or out of order"}},
		"negative":       {book(m("2026-01-01", "requests=-0.01")), []string{"value 0: the price of requests is negative: -0.01"}},
		"places": {book(m("2026-01-01", "input_tokens=0.0000000000001", "requests=0.000000000001")),
			[]string{"value 0: the price of input_tokens has 13 decimal places, at most 12 are possible"}},
		"large": {book(m("2026-01-01", "input_tokens=1000000000000000000", "requests=999999999999999999.9")),
			[]string{"value 0: the price of input_tokens has more than 18 digits before the point"}},
		"per 0": {book(per(m("2026-01-01", "requests=1"), 0)), []string{"value 0: per is 0, want 1 to 1000000000000"}},
		"per too large": {book(per(m("2026-01-01", "requests=1"), 10_000_000_000_000)),
			[]string{"value 0: per is 10000000000000, want 1 to 1000000000000"}},
		"per 3": {book(per(m("2026-01-01", "requests=1"), 3), per(m("2027-01-01", "output_tokens=1"), 1024)),
			[]string{"inexact 0: per is 3: prices are exact only per a product of 2s and 5s, such as 1, 1000 or 1000000"}},
		"quarter hours": {book(m("2026-01-01T00:10:00Z/2026-01-01T00:15:01Z", "requests=1")), []string{
			"quarter_hour 0: from is 2026-01-01T00:10:00Z: prices change on quarter hours only, at :00, :15, :30 and :45",
			"quarter_hour 0: to is 2026-01-01T00:15:01Z: prices change on quarter hours only, at :00, :15, :30 and :45",
		}},
		"overlap, said once for all quantities": {book(
			line(m("2026-02-01", "input_tokens=1", "output_tokens=1"), 4), line(m("2026-01-01/2026-03-01", "input_tokens=1", "output_tokens=1"), 9)),
			[]string{`overlap 1: input_tokens of "m" has another price at 2026-02-01T00:00:00Z, in line 4: end one where the other begins`}},
		"overlap behind a short period": {book(
			m("2026-01-01/2026-05-01", "requests=1"), m("2026-02-01/2026-03-01", "gpu_ms=1"), m("2026-04-01", "requests=1")),
			[]string{`overlap 2: requests of "m" has another price at 2026-04-01T00:00:00Z, in entry 0: end one where the other begins`}},
		"overlap of a long one with each of two": {book(
			m("2026-01-01/2026-12-01", "requests=1"), m("2026-02-01/2026-03-01", "requests=2"), m("2026-04-01/2026-05-01", "requests=3")),
			[]string{
				`overlap 1: requests of "m" has another price at 2026-02-01T00:00:00Z, in entry 0: end one where the other begins`,
				`overlap 2: requests of "m" has another price at 2026-04-01T00:00:00Z, in entry 0: end one where the other begins`,
			}},
		"overlap of two that begin together": {book(m("2026-01-01", "requests=1"), m("2026-01-01", "requests=2")),
			[]string{`overlap 1: requests of "m" has another price at 2026-01-01T00:00:00Z, in entry 0: end one where the other begins`}},
		"an open end lasts until the next begins": {book(m("2026-01-01", "requests=1"), m("2026-03-01", "requests=3"), m("2026-02-01", "requests=2")), nil},
		"a gap behind one that ended an open end": {book(m("2026-01-01", "requests=1"), m("2026-02-01/2026-03-01", "requests=2"), m("2026-04-01", "requests=3")),
			[]string{`gap 2: requests of "m" has no price from 2026-03-01T00:00:00Z to 2026-04-01T00:00:00Z`}},
		"globs that an end keeps apart": {book(
			entry("", "a*", "2026-01-01", "requests=1"), entry("", "a*", "2026-02-01/2026-03-01", "requests=1"), entry("", "*b", "2026-03-01", "requests=1")), nil},
		"other quantities do not overlap": {book(m("2026-01-01", "requests=1"), m("2026-01-01", "gpu_ms=1")), nil},
		"globs meet": {book(
			line(entry("", "a*", "2026-01-01", "gpu_ms=1", "requests=1"), 2), line(entry("", "*b", "2026-02-01", "requests=1"), 6)),
			[]string{`ambiguous 1: "*b" and "a*" (line 2) both match a model such as "ab", and both have a price of requests at 2026-02-01T00:00:00Z: none of them is better; write narrower globs, or name the models`}},
		"globs at other times":     {book(entry("", "a*", "2026-01-01/2026-02-01", "requests=1"), entry("", "*b", "2026-02-01", "requests=1")), nil},
		"globs of other customers": {book(entry("x", "a*", "2026-01-01", "requests=1"), entry("y", "*b", "2026-01-01", "requests=1")), nil},
		"gap": {book(m("2026-01-01/2026-02-01", "output_tokens=1", "reasoning_tokens=1"), m("2026-03-01", "output_tokens=1", "reasoning_tokens=1")),
			[]string{`gap 1: output_tokens of "m" has no price from 2026-02-01T00:00:00Z to 2026-03-01T00:00:00Z`}},
		"gap of a part, which the whole fills": {book(
			m("2026-01-01", "output_tokens=1"), m("2026-01-01/2026-02-01", "reasoning_tokens=1"), m("2026-03-01", "reasoning_tokens=1")), nil},
		"gap that a glob fills in part": {book(
			m("2026-01-01/2026-02-01", "requests=1"), m("2026-03-01", "requests=1"), entry("", "*", "2026-02-01/2026-02-10", "requests=1")),
			[]string{`gap 1: requests of "m" has no price from 2026-02-10T00:00:00Z to 2026-03-01T00:00:00Z`}},
		"gap of a customer, which prices for all fill": {book(
			entry("acme", "m", "2026-01-01/2026-02-01", "requests=1"), entry("acme", "m", "2026-03-01", "requests=1"), m("2026-01-01", "requests=1")), nil},
		"gap that prices of another customer do not fill": {book(
			entry("acme", "m", "2026-01-01/2026-02-01", "requests=1"), entry("acme", "m", "2026-03-01", "requests=1"), entry("other", "m", "2026-01-01", "requests=1")),
			[]string{`gap 1: requests of "m" has no price from 2026-02-01T00:00:00Z to 2026-03-01T00:00:00Z`}},
	} {
		var got []string
		for _, p := range c.book.Check() {
			got = append(got, fmt.Sprintf("%s %d: %s", p.Kind, p.Entry, p.Text))
			if p.Entry >= 0 && p.Line != c.book.Entries[p.Entry].Line {
				t.Errorf("%s: line %d", name, p.Line)
			}
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s:\n got %s\nwant %s", name, strings.Join(got, "\n     "), strings.Join(c.want, "\n     "))
		}
	}
}

func TestCheckBoundsItsWork(t *testing.T) {
	many := book(make([]pricing.Entry, pricing.MaxEntries+1)...)
	if got := many.Check(); len(got) != 1 || !strings.Contains(got[0].Text, "at most 100000") {
		t.Errorf("too many entries: %d problems, %+v", len(got), got[:1])
	}
	var globs []pricing.Entry
	for i := range pricing.MaxGlobs + 1 {
		globs = append(globs, entry("", fmt.Sprintf("m%d/*", i), "2026-01-01", "requests=1"))
	}
	if got := book(globs...).Check(); len(got) != 1 || !got[0].Kind.Refuses() {
		t.Errorf("too many globs: %+v", got)
	}
	if got := book(globs[1:]...).Check(); len(got) != 0 {
		t.Errorf("the most globs: %+v", got)
	}
}
