package sqlite_test

import (
	"fmt"
	"testing"

	"github.com/tollkeeper/tollkeeper/internal/store/sqlite"
	"github.com/tollkeeper/tollkeeper/internal/store/storetest"
	"github.com/tollkeeper/tollkeeper/internal/usage"
)

// TestQuietHoursAreRemembered lets an hour rest for so long that its filter goes
// into the file, adds to it again, and has the process die: what was there is
// known, whichever way it is read next.
func TestQuietHoursAreRemembered(t *testing.T) {
	t.Parallel()
	const hour = day / 24
	dir := t.TempDir()
	s := open(t, dir)
	var all []usage.Fact
	say := func(s *sqlite.Store, at int64, id string) {
		t.Helper()
		all = append(all, span(uint64(len(all))+1, at, id))
		apply(t, s, all[len(all)-1])
	}
	rest := func(s *sqlite.Store, from int) {
		t.Helper()
		for i := range 80 { // transactions of another hour
			say(s, noon+3*hour, fmt.Sprintf("%x", from+i))
		}
	}
	say(s, noon, "a")
	say(s, noon, "b")
	rest(s, 0x1000)
	if sealed := count(t, dir, "SELECT count(*) FROM filters WHERE hour = 12"); sealed != 1 {
		t.Fatalf("%d filters of the quiet hour are in the file: the test proves nothing", sealed)
	}
	say(s, noon, "a") // again: a duplicate
	say(s, noon, "c")
	if sealed := count(t, dir, "SELECT count(*) FROM filters WHERE hour = 12"); sealed != 0 {
		t.Fatal("the filter in the file is kept although it does not know the newest")
	}
	storetest.Compare(t, s, all)

	died := copyOf(t, dir)
	s = open(t, died)
	for _, id := range []string{"a", "b", "c", "1000"} {
		say(s, noon, id)
	}
	rest(s, 0x2000)
	storetest.Compare(t, s, all)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, died) // and now from the filters that closing kept
	for _, id := range []string{"a", "b", "c", "1000", "2000"} {
		say(s, noon, id)
	}
	storetest.Compare(t, s, all)
}

// count asks the file of noon's day.
func count(t *testing.T, dir, query string) (n int) {
	t.Helper()
	db := raw(t, dir, "2026-09-21.db")
	if err := db.QueryRowContext(t.Context(), query).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// TestTextsThatRepeatAreKeptOnce looks at what makes a day's file small, and
// reads on from there after a restart.
func TestTextsThatRepeatAreKeptOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir)
	var all []usage.Fact
	for i := range uint64(200) {
		if i%50 == 49 { // closed and opened
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s = open(t, dir)
		}
		all = append(all, span(i+1, noon, fmt.Sprintf("%x", 0x100+i)))
		apply(t, s, all[i])
	}
	storetest.Compare(t, s, all)
	if n, different := count(t, dir, "SELECT count(*) FROM texts"), count(t, dir, "SELECT count(DISTINCT text) FROM texts"); n != different || n > 40 {
		t.Errorf("%d texts, %d different, of 200 requests alike", n, different)
	}
}
