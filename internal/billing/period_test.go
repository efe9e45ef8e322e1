package billing_test

import (
	"errors"
	"testing"
	"time"
	_ "time/tzdata"

	"pgregory.net/rapid"

	"github.com/tollkeeper/tollkeeper/internal/billing"
	"github.com/tollkeeper/tollkeeper/internal/pricing"
)

func zone(t fataler, name string) *time.Location {
	l, err := time.LoadLocation(name)
	if err != nil {
		t.Fatalf("%v", err)
	}
	return l
}

func TestMonthsOfTimeZones(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ zone, month, start, end string }{
		{"UTC", "2026-11", "2026-11-01T00:00:00Z", "2026-12-01T00:00:00Z"},
		{"UTC", "2026-12", "2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z"},
		{"UTC", "2028-02", "2028-02-01T00:00:00Z", "2028-03-01T00:00:00Z"}, // 29 days
		// An hour less and an hour more where the clocks change within.
		{"Europe/Berlin", "2026-03", "2026-02-28T23:00:00Z", "2026-03-31T22:00:00Z"},
		{"Europe/Berlin", "2026-10", "2026-09-30T22:00:00Z", "2026-10-31T23:00:00Z"},
		{"America/New_York", "2026-11", "2026-11-01T04:00:00Z", "2026-12-01T05:00:00Z"},
		{"Australia/Lord_Howe", "2026-10", "2026-09-30T13:30:00Z", "2026-10-31T13:00:00Z"}, // half an hour
		{"Asia/Kathmandu", "2026-11", "2026-10-31T18:15:00Z", "2026-11-30T18:15:00Z"},
		{"Pacific/Kiritimati", "2026-11", "2026-10-31T10:00:00Z", "2026-11-30T10:00:00Z"},
		{"Pacific/Pago_Pago", "2026-11", "2026-11-01T11:00:00Z", "2026-12-01T11:00:00Z"},
		// The first midnight of the month does not exist: the clocks jump to one.
		{"America/Asuncion", "2017-10", "2017-10-01T04:00:00Z", "2017-11-01T03:00:00Z"},
		// It comes twice: the clocks go back from one to midnight; the first counts.
		{"America/Havana", "2015-11", "2015-11-01T04:00:00Z", "2015-12-01T05:00:00Z"},
		{"America/Havana", "2015-10", "2015-10-01T04:00:00Z", "2015-11-01T04:00:00Z"},
		// The clocks go back over midnight, a minute after it: the first counts.
		{"America/St_Johns", "2009-11", "2009-11-01T02:30:00Z", "2009-12-01T03:30:00Z"},
		// Off quarter hours (UTC+0:19:32) it starts with the next one.
		{"Europe/Amsterdam", "1930-03", "1930-02-28T23:45:00Z", "1930-03-31T23:45:00Z"},
		{"Europe/Berlin", "2040-12", "2040-11-30T23:00:00Z", "2040-12-31T23:00:00Z"},
		// A day of the calendar was left out.
		{"Pacific/Apia", "2011-12", "2011-12-01T10:00:00Z", "2011-12-31T10:00:00Z"},
	} {
		m, err := billing.ParseMonth(c.month)
		if err != nil {
			t.Fatal(err)
		}
		p := m.In(zone(t, c.zone))
		if p.Start.String() != c.start || p.End.String() != c.end || p.Zone != c.zone {
			t.Errorf("%s in %s: %s to %s (%s), want %s to %s", c.month, c.zone, p.Start, p.End, p.Zone, c.start, c.end)
		}
		if err := p.Check(); err != nil {
			t.Errorf("%s in %s: %v", c.month, c.zone, err)
		}
	}
}

// The months of any zone follow one another without a gap, and each instant of
// a month is in it by the calendar there.
func TestMonthsMeet(t *testing.T) {
	t.Parallel()
	zones := []string{
		"UTC", "Europe/Berlin", "America/New_York", "America/St_Johns", "Australia/Lord_Howe", "Asia/Kathmandu", "Pacific/Apia",
		"America/Asuncion", "America/Havana", "Africa/Cairo", "Asia/Tehran", "Pacific/Chatham", "Antarctica/Troll", "Asia/Gaza",
	}
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.SampledFrom(zones).Draw(t, "zone")
		m := billing.Month{Year: rapid.IntRange(1990, 2060).Draw(t, "year"), Month: time.Month(rapid.IntRange(1, 12).Draw(t, "month"))}
		l := zone(t, name)
		p := m.In(l)
		if next := m.Next().In(l); p.End != next.Start {
			t.Fatalf("%s ends at %s, %s begins at %s", m, p.End, m.Next(), next.Start)
		}
		if err := p.Check(); err != nil {
			t.Fatalf("%v", err)
		}
		i := billing.Instant(rapid.Int64Range(int64(p.Start), int64(p.End)-1).Draw(t, "instant"))
		got := billing.MonthOf(time.Unix(int64(i), 0), l)
		// St John's clocks went back over midnight until 2011: the hour after the
		// month began is shown as the last of the month before.
		if got != m && (got.Next() != m || i-p.Start > 3600) {
			t.Fatalf("%s is of %s, not of %s", i, got, m)
		}
	})
}

func TestMonthText(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"2026-11", "1999-01", "2026-02"} {
		if m, err := billing.ParseMonth(s); err != nil || m.String() != s {
			t.Errorf("%s reads as %s, %v", s, m, err)
		}
	}
	for _, s := range []string{"", "2026-13", "2026-00", "2026-1", "26-11", "2026-11-01", "November", "2026-11 ", "0000-01", "9999-12"} {
		if m, err := billing.ParseMonth(s); !errors.Is(err, billing.ErrMonth) {
			t.Errorf("%q reads as %s, %v", s, m, err)
		}
	}
}

func TestPeriodsThatNoInvoiceCovers(t *testing.T) {
	t.Parallel()
	for _, p := range []billing.Period{
		{Start: 900, End: 900}, {Start: 1800, End: 900}, {Start: 1, End: 900}, {Start: 0, End: 899},
	} {
		if p.Check() == nil {
			t.Errorf("%+v passes", p)
		}
	}
}

// A customer's time zone changed between two invoices: no hour is left out and
// none is in both.
func TestJoin(t *testing.T) {
	t.Parallel()
	november, december := billing.Month{Year: 2026, Month: time.November}, billing.Month{Year: 2026, Month: time.December}
	zones := []string{"UTC", "Europe/Berlin", "Pacific/Kiritimati", "Etc/GMT+12", "Asia/Kathmandu"}
	for _, before := range zones {
		for _, after := range zones {
			b := november.In(zone(t, before))
			if p := december.In(zone(t, after)).Join([]billing.Period{b}); p.Start != b.End || p.End != december.In(zone(t, after)).End || p.Zone != after {
				t.Errorf("from %s to %s: %+v follows %+v", before, after, p, b)
			}
			// Out of turn: the later month was closed first.
			d := december.In(zone(t, before))
			if p := november.In(zone(t, after)).Join([]billing.Period{d}); p.End != d.Start {
				t.Errorf("from %s to %s: %+v comes before %+v", before, after, p, d)
			}
		}
	}
	same := november.In(time.UTC)
	far := billing.Period{Start: same.Start - 90*86400, End: same.Start - 60*86400, Zone: "UTC"}
	if p := same.Join([]billing.Period{same, far}); p != same {
		t.Errorf("joined to itself or to what is far: %+v", p)
	}
}

func TestStretches(t *testing.T) {
	t.Parallel()
	p := month(t, "2026-11")
	cut, other := at(t, "2026-11-10T00:00:00Z"), at(t, "2026-11-20T06:15:00Z")
	b := book(1, "EUR", pricing.Entry{From: 0, To: cut}, pricing.Entry{From: cut, To: 0}, pricing.Entry{From: p.Start, To: p.End}, pricing.Entry{From: other, To: p.End + 900})
	var got []string
	for _, s := range b.Stretches(p) {
		got = append(got, s.Start.String())
		if s.Zone != p.Zone {
			t.Errorf("a stretch in %q", s.Zone)
		}
	}
	want := []string{p.Start.String(), cut.String(), other.String()}
	if len(got) != 3 || got[0] != want[0] || got[1] != want[1] || got[2] != want[2] {
		t.Errorf("stretches from %v, want %v", got, want)
	}
	if s := (billing.Book{}).Stretches(p); len(s) != 1 || s[0] != p {
		t.Errorf("without a book: %v", s)
	}
}
