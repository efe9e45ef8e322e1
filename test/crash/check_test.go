package main

import (
	"path/filepath"
	"testing"
	"time"
)

// TestCheckFindsEachKind damages records in each way that the crash test is
// there to find.
func TestCheckFindsEachKind(t *testing.T) {
	t.Parallel()
	base := time.Unix(1_790_000_000, 0)
	tests := []struct {
		name   string
		damage func(sent []remembered, records []record) ([]remembered, []record)
		want   string // "" for none
	}{
		{"nothing", func(s []remembered, r []record) ([]remembered, []record) { return s, r }, ""},
		{"not acknowledged and not there", func(s []remembered, r []record) ([]remembered, []record) {
			s[0].acked = false
			return s, r[len(s[0].requests):]
		}, ""},
		{"acknowledged and not there", func(s []remembered, r []record) ([]remembered, []record) { return s, r[1:] }, kindMissing},
		{"a part of an export", func(s []remembered, r []record) ([]remembered, []record) {
			s[0].acked = false
			return s, r[1:]
		}, kindTorn},
		{"a record twice", func(s []remembered, r []record) ([]remembered, []record) { return s, append(r, r[0]) }, kindTwice},
		{"never sent", func(s []remembered, r []record) ([]remembered, []record) { return s[1:], r }, kindInvented},
		{"another customer", func(s []remembered, r []record) ([]remembered, []record) {
			r[0].Customer = "else"
			return s, r
		}, kindWrong},
		{"another amount", func(s []remembered, r []record) ([]remembered, []record) {
			r[0].Observations[0].Quantities["output_tokens"]++
			return s, r
		}, kindWrong},
		{"a record that says more than its observations", func(s []remembered, r []record) ([]remembered, []record) {
			r[0].Quantities["input_tokens"]++
			return s, r
		}, kindWrong},
	}
	for _, x := range tests {
		t.Run(x.name, func(t *testing.T) {
			t.Parallel()
			sent := severalRequests(base)
			s, r := x.damage(sent, perfect(sent))
			found := check(s, r)
			if x.want == "" && len(found.findings) > 0 {
				t.Errorf("found %v", found.findings)
			}
			for _, f := range found.findings {
				if f.kind == x.want {
					return
				}
			}
			if x.want != "" {
				t.Errorf("want %s, found %v", x.want, found.findings)
			}
		})
	}
}

// severalRequests are exports of which the first has more than one request.
func severalRequests(base time.Time) []remembered {
	var sent []remembered
	for n := 0; len(sent) < 20; n++ {
		if e := newExport(1, 2, n, base); len(sent) > 0 || len(e.requests) > 1 {
			sent = append(sent, remembered{name: "export", acked: true, export: e})
		}
	}
	return sent
}

// perfect are the records that the exports must become.
func perfect(sent []remembered) []record {
	var out []record
	for _, e := range sent {
		for i := range e.requests {
			q := &e.requests[i]
			r := record{ID: "rec_" + q.spans[0].span, Customer: q.customer, Quantities: map[string]int64{"requests": 1, "input_tokens": q.input, "output_tokens": q.output}}
			for _, s := range q.spans {
				r.Observations = append(r.Observations, observation{s.trace, s.span, s.id, map[string]int64{"input_tokens": s.input, "output_tokens": s.output}})
			}
			out = append(out, r)
		}
	}
	return out
}

func TestSumsAreChecked(t *testing.T) {
	t.Parallel()
	sent := severalRequests(time.Unix(1_790_000_000, 0))
	r := check(sent, perfect(sent))
	var u usage
	u.Total.Requests, u.Total.Input, u.Total.Output = int64(r.records), r.input, r.output
	if r.sums(&u); len(r.findings) > 0 {
		t.Errorf("found %v", r.findings)
	}
	u.Total.Output++
	if r.sums(&u); len(r.findings) != 1 {
		t.Errorf("found %v", r.findings)
	}
}

func TestLedgerRemembers(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "client.txt")
	for range 2 { // goes on with the file of an earlier round
		l, err := openLedger(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, write := range []error{l.sent(1), l.acked(1), l.sent(2), l.sent(1), l.close()} {
			if write != nil {
				t.Fatal(write)
			}
		}
	}
	got, err := readLedger(path)
	if err != nil || len(got) != 2 || !got[1] || got[2] {
		t.Errorf("%v %v", got, err)
	}
}

func TestExportsFollowFromTheirNumber(t *testing.T) {
	t.Parallel()
	base := time.Unix(1_790_000_000, 0)
	body := func(seed uint64, client, n int) string {
		r, err := newExport(seed, client, n, base).otlp()
		if err != nil {
			t.Fatal(err)
		}
		b, err := r.MarshalProto()
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	one := body(1, 2, 3)
	if one != body(1, 2, 3) {
		t.Error("the same export differs")
	}
	for _, other := range []string{body(2, 2, 3), body(1, 3, 3), body(1, 2, 4)} {
		if one == other {
			t.Error("two exports are the same")
		}
	}
}
