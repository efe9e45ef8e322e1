package billing

import (
	"errors"
	"fmt"
	"time"

	"github.com/tollkeeper/tollkeeper/internal/pricing"
)

// Instant is a point in time in whole seconds, as price books have it.
type Instant = pricing.Instant

// Period is the time that an invoice covers: from Start up to, not including,
// End. Both lie on quarter hours, as sums of usage do.
type Period struct {
	End   Instant `json:"end"`
	Start Instant `json:"start"`
	// Zone is the IANA time zone whose calendar the bounds were taken from.
	Zone string `json:"time_zone"`
}

// span is a period as a key: the same time is the same span in any zone.
type span struct{ start, end Instant }

func (p Period) span() span { return span{p.Start, p.End} }

// Check refuses a period that no invoice can cover.
func (p Period) Check() error {
	switch {
	case p.Start >= p.End:
		return fmt.Errorf("the period starts at %s and ends at %s", p.Start, p.End)
	case p.Start%pricing.QuarterHour != 0 || p.End%pricing.QuarterHour != 0:
		return fmt.Errorf("the period from %s to %s does not lie on quarter hours of UTC, by which usage is summed", p.Start, p.End)
	}
	return nil
}

// Month is a calendar month, of no particular time zone.
type Month struct {
	Year  int
	Month time.Month
}

// ErrMonth says that a text names no month.
var ErrMonth = errors.New("a month is written as 2026-11")

// Years of months. Their bounds have four digits in any time zone.
const firstYear, lastYear = 1, 9998

// ParseMonth reads a month such as "2026-11". Errors wrap ErrMonth.
func ParseMonth(s string) (Month, error) {
	t, err := time.Parse("2006-01", s)
	if err != nil || len(s) != len("2006-01") || t.Year() < firstYear || t.Year() > lastYear {
		return Month{}, fmt.Errorf("%q: %w", s, ErrMonth)
	}
	return Month{t.Year(), t.Month()}, nil
}

// MonthOf is the month of the calendar in zone that holds t.
func MonthOf(t time.Time, zone *time.Location) Month {
	t = t.In(zone)
	return Month{t.Year(), t.Month()}
}

// String writes the month as ParseMonth reads it.
func (m Month) String() string { return fmt.Sprintf("%04d-%02d", m.Year, m.Month) }

// Next is the month after m.
func (m Month) Next() Month {
	t := time.Date(m.Year, m.Month+1, 1, 0, 0, 0, 0, time.UTC)
	return Month{t.Year(), t.Month()}
}

// In is the period of the month in a time zone. It starts with the first quarter
// hour in which a calendar on the wall there shows the month: at midnight, the
// earlier one where the clocks show it twice, and after the gap where they leave
// it out.
func (m Month) In(zone *time.Location) Period {
	return Period{Start: m.start(zone), End: m.Next().start(zone), Zone: zone.String()}
}

// furthest is more than a time zone can be ahead of UTC: before, no clock shows
// the month.
const furthest = 26 * time.Hour

// start tries one quarter hour after the other. It does not ask time.ZoneBounds,
// which for the last day of leap years after 2037 answers with an end before the
// start.
func (m Month) start(zone *time.Location) Instant {
	t := time.Date(m.Year, m.Month, 1, 0, 0, 0, 0, time.UTC).Add(-furthest)
	for MonthOf(t, zone).before(m) {
		t = t.Add(pricing.QuarterHour * time.Second)
	}
	return Instant(t.Unix())
}

func (m Month) before(n Month) bool {
	return m.Year < n.Year || m.Year == n.Year && m.Month < n.Month
}

// seam is how far two time zones, and so the bounds of one month in them, can
// lie apart, in seconds: from UTC+14 to UTC-12.
const seam = 26 * 3600

// Join bends the bounds of a period to the periods beside it that have a final
// invoice already, so that a customer whose time zone changed pays no hour twice
// and none never.
func (p Period) Join(taken []Period) Period {
	joined := p
	for _, t := range taken {
		if near(t.End, p.Start) {
			joined.Start = t.End
		}
		if near(t.Start, p.End) {
			joined.End = t.Start
		}
	}
	return joined
}

func near(a, b Instant) bool { return a-b <= seam && b-a <= seam }

// Overlaps tells whether the periods share any time.
func (p Period) Overlaps(q Period) bool { return p.Start < q.End && q.Start < p.End }
