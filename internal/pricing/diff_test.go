package pricing_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/tollkeeper/tollkeeper/internal/pricing"
)

func TestDiff(t *testing.T) {
	old := book(
		entry("", "m", "2026-01-01", "input_tokens=0.10", "output_tokens=0.40"),
		entry("", "gone", "2026-01-01", "requests=1"),
		entry("acme", "m", "2026-01-01/2026-06-01", "output_tokens=0"),
		entry("", "twice", "2026-01-01", "requests=1"),
	)
	perUnit := entry("", "m", "2026-01-01/2026-03-01", "input_tokens=0.0000001", "output_tokens=0.0000004")
	perUnit.Per = 1
	next := book(
		perUnit, // the same money, written otherwise
		entry("", "m", "2026-03-01/2026-04-01", "input_tokens=0.10", "output_tokens=0.5"),
		entry("", "m", "2026-04-01", "input_tokens=0.10", "output_tokens=0.5"),
		entry("acme", "m", "2026-02-01/2026-06-01", "output_tokens=0.3"),
		entry("", "new/*", "2026-05-01", "gpu_ms=2"),
		entry("", "twice", "2026-01-01", "requests=2"),
		entry("", "twice", "2026-02-01", "requests=1"),
		entry("", "twice", "2026-03-01", "requests=2"),
	)
	var got []string
	for _, c := range pricing.Diff(old, next) {
		got = append(got, fmt.Sprintf("%s %q %s %s..%s: %s -> %s %s", c.Model, c.Customer, c.Quantity, day(c.From), day(c.To), price(c.Before), price(c.After), c.Percent()))
	}
	want := []string{
		`gone "" requests 2026-01-01..: 1 -> - `,
		`m "" output_tokens 2026-03-01..: 0.4 -> 0.5 +25%`,
		`new/* "" gpu_ms 2026-05-01..: - -> 2 `,
		`twice "" requests 2026-01-01..2026-02-01: 1 -> 2 +100%`,
		`twice "" requests 2026-03-01..: 1 -> 2 +100%`,
		`m "acme" output_tokens 2026-01-01..2026-02-01: 0 -> - `,
		`m "acme" output_tokens 2026-02-01..2026-06-01: 0 -> 0.3 `,
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	euro := *old
	euro.Currency = "EUR"
	if got := pricing.Diff(old, &euro); len(got) != 5 {
		t.Errorf("in another currency %d prices change, want all 5", len(got))
	}
}

func day(i pricing.Instant) string {
	if i == 0 {
		return ""
	}
	return i.String()[:len("2026-01-01")]
}

func price(r *pricing.Ref) string {
	if r == nil {
		return "-"
	}
	return r.Price.String()
}

// TestDiffIsWhatFindSays holds that a price differs in the stretches of the diff
// and nowhere else.
func TestDiffIsWhatFindSays(t *testing.T) {
	checks(t, "1000")
	named := books("output_tokens").Filter(func(b *pricing.Book) bool {
		return !slices.ContainsFunc(b.Check(), func(p pricing.Problem) bool { return p.Kind.Refuses() }) &&
			!slices.ContainsFunc(b.Entries, func(e pricing.Entry) bool { return e.Customer != "" || strings.ContainsAny(e.Model, "*?") })
	})
	rapid.Check(t, func(t *rapid.T) {
		a, b := named.Draw(t, "before"), named.Draw(t, "after")
		diff := pricing.Diff(a, b)
		for _, model := range []string{"a", "b", "ab"} {
			for _, at := range times() {
				x, hadOne, err := a.Find("", model, "output_tokens", at)
				y, hasOne, err2 := b.Find("", model, "output_tokens", at)
				if err != nil || err2 != nil {
					t.Fatal(err, err2)
				}
				per := func(r pricing.Ref) string {
					d, err := r.Price.MulInt(1000 / max(1, r.Per))
					return fmt.Sprint(d, err)
				}
				want := hadOne != hasOne || per(x) != per(y)
				got := slices.ContainsFunc(diff, func(c pricing.Change) bool {
					return c.Model == model && c.From <= at && (c.To == 0 || at < c.To)
				})
				if got != want {
					t.Fatalf("%s at %s: %v %+v, then %v %+v; the diff has it: %v", model, at, hadOne, x, hasOne, y, got)
				}
			}
		}
	})
}
