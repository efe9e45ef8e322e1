package main

import (
	"bytes"
	"regexp"
	"strings"
	"testing"

	"github.com/tollkeeper/tollkeeper/internal/otlp"
	"github.com/tollkeeper/tollkeeper/internal/usage"
)

// TestFoldsWhatItSays folds few records; run itself wants each of them there once.
func TestFoldsWhatItSays(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	var out bytes.Buffer
	b := &bench{out: &out, records: leastRecords, days: 2}
	if err := b.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`(?m)^ +5000 +\d+ +\d+ +[\d.]+`, `folded at \d+ records/s over all`, `there: each record once`, `usage: \d+ MB, \d{3} bytes a record`} {
		if !regexp.MustCompile(want).MatchString(out.String()) {
			t.Errorf("the report lacks %s:\n%s", want, out.String())
		}
	}
}

// TestExportIsUsage decodes an export and compares it with what was meant.
func TestExportIsUsage(t *testing.T) {
	body, last, err := export(7, 107, 1000)
	if err != nil {
		t.Fatal(err)
	}
	r, err := otlp.NewDecoder(policy().MatchedKeys()).Proto(body)
	if err != nil || len(r.Observations) != 100 || len(r.Rejected)+len(r.Ignored) > 0 {
		t.Fatalf("%d observations, %v", len(r.Observations), err)
	}
	rules, err := policy().Compile()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for i := range r.Observations {
		f := usage.NewFact(r.Observations[i], usage.Stamp{}, usage.Position{Received: last.UnixNano()}, rules)
		seen[f.Trace] = true
		if !strings.Contains(f.RequestID, "-"+f.Attribution.Customer+"-") || f.Model == "" || f.Replaced {
			t.Errorf("%+v", f)
		}
	}
	for i := 7; i < 107; i++ {
		if q := requestOf(i); !seen[q.trace.String()] {
			t.Errorf("record %d is not there", i)
		}
	}
}

func TestRefusesWhatIsNoMonth(t *testing.T) {
	for _, b := range []bench{{records: 1, days: 1}, {records: leastRecords, days: 0}, {records: leastRecords, days: 32}} {
		if err := b.run(t.Context()); err == nil {
			t.Errorf("%d records, %d days: no error", b.records, b.days)
		}
	}
}
