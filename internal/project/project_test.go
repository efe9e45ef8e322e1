package project_test

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tollkeeper/tollkeeper/internal/journal"
	"github.com/tollkeeper/tollkeeper/internal/otlp"
	"github.com/tollkeeper/tollkeeper/internal/project"
	"github.com/tollkeeper/tollkeeper/internal/store/sqlite"
	"github.com/tollkeeper/tollkeeper/internal/usage"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const recordings = "../../testdata/recordings/vllm-0.32.0"

// fixture is a journal that holds everything a real vLLM was recorded to say,
// under a policy that changes half-way.
type fixture struct {
	*journal.Journal
	dir string
}

func record(t *testing.T) *fixture {
	t.Helper()
	dir := t.TempDir()
	j, err := journal.Open(t.Context(), filepath.Join(dir, "journal.db"), journal.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = j.Close() })
	f := &fixture{j, dir}
	f.policy(t, usage.Policy{Resources: []usage.ResourceRule{{Match: map[string]string{"service.name": "opt-125m"}, Customer: "early"}}})
	bodies, err := filepath.Glob(recordings + "/*/otlp-*.pb")
	if err != nil || len(bodies) < 30 {
		t.Fatalf("%d bodies: %v", len(bodies), err)
	}
	for i, name := range bodies {
		if i == len(bodies)/2 {
			f.policy(t, usage.Policy{
				Engines:   []usage.Engine{{Match: map[string]string{"service.name": "opt-125m"}, Model: "facebook/opt-125m"}},
				Resources: []usage.ResourceRule{{Match: map[string]string{"service.name": "opt-125m"}, Customer: "late"}},
			})
		}
		f.body(t, name)
	}
	return f
}

func (f *fixture) policy(t *testing.T, p usage.Policy) {
	t.Helper()
	b, err := p.Canonical()
	if err != nil {
		t.Fatal(err)
	}
	f.append(t, journal.Batch{Producer: "config", Kind: project.KindPolicy, Received: time.Unix(1_790_000_000, 0), Items: [][]byte{b}})
}

func (f *fixture) body(t *testing.T, name string) {
	t.Helper()
	body, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	r, err := otlp.NewDecoder(nil).Proto(body)
	if err != nil {
		t.Fatal(err)
	}
	b := journal.Batch{Producer: "p", Kind: project.KindTraces, Received: time.Unix(1_790_000_000, 0), Rejected: r.Rejected, Ignored: r.Ignored}
	for i := range r.Observations {
		b.Items = append(b.Items, usage.AppendLine(nil, &r.Observations[i], &usage.Stamp{Producer: "p"}, nil))
	}
	f.append(t, b)
}

func (f *fixture) append(t *testing.T, b journal.Batch) {
	t.Helper()
	if _, err := f.Append(t.Context(), b); err != nil {
		t.Fatal(err)
	}
}

// projected is a projection in a directory of its own.
func (f *fixture) projected(t *testing.T, dir string) (*project.Projector, *sqlite.Store) {
	t.Helper()
	s, err := sqlite.Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	p, err := project.New(t.Context(), f, s)
	if err != nil {
		t.Fatal(err)
	}
	return p, s
}

func (f *fixture) catchUp(t *testing.T, p *project.Projector, through uint64) {
	t.Helper()
	if err := p.CatchUp(t.Context(), through, nil); err != nil {
		t.Fatal(err)
	}
}

func (f *fixture) size(t *testing.T) uint64 {
	t.Helper()
	n, err := f.Size(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func allRecords(t *testing.T, r project.Reader) []usage.Record {
	t.Helper()
	list, err := r.Records(t.Context(), usage.RecordFilter{Limit: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestPolicyGovernsWhatComesBehindIt(t *testing.T) {
	f := record(t)
	p, s := f.projected(t, t.TempDir())
	f.catchUp(t, p, f.size(t))
	seen := map[string]int{}
	for _, r := range allRecords(t, s) {
		seen[r.Customer]++
		if want := map[string]string{"early": "", "late": "facebook/opt-125m"}[r.Customer]; r.Model != want {
			t.Errorf("record of %q has model %q, want %q", r.Customer, r.Model, want)
		}
	}
	if seen["early"] == 0 || seen["late"] == 0 || len(seen) != 2 {
		t.Errorf("records by customer: %v", seen)
	}
}

// TestAnyStopsGiveTheSame closes and reopens the projection after every few
// entries: where it stops must not show, and neither must the policy that was
// in force there.
func TestAnyStopsGiveTheSame(t *testing.T) {
	f := record(t)
	whole, s := f.projected(t, t.TempDir())
	f.catchUp(t, whole, f.size(t))
	want := allRecords(t, s)
	dir := t.TempDir()
	for through := uint64(1); ; through += 7 {
		through = min(through, f.size(t))
		s, err := sqlite.Open(t.Context(), dir)
		if err != nil {
			t.Fatal(err)
		}
		p, err := project.New(t.Context(), f, s)
		if err != nil {
			t.Fatal(err)
		}
		f.catchUp(t, p, through)
		if p.Position() != through {
			t.Fatalf("stopped at %d, not %d", p.Position(), through)
		}
		if through == f.size(t) {
			if got := allRecords(t, s); !reflect.DeepEqual(got, want) {
				t.Errorf("%d records, want %d, or they differ", len(got), len(want))
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if through == f.size(t) {
			return
		}
	}
}

// follow waits until the projector has entry n.
func follow(t *testing.T, p *project.Projector, n uint64) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); p.Position() < n; <-time.After(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("at entry %d, want %d", p.Position(), n)
		}
	}
}

func TestRunFollows(t *testing.T) {
	f := record(t)
	p, s := f.projected(t, t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	follow(t, p, f.size(t))
	before := len(allRecords(t, s))
	f.body(t, recordings+"/seed/otlp-1.pb") // again: a duplicate
	follow(t, p, f.size(t))
	cancel()
	if err := <-done; err != context.Canceled { //nolint:errorlint // exactly that
		t.Error(err)
	}
	if after := len(allRecords(t, s)); after != before {
		t.Errorf("a duplicate made %d records of %d", after, before)
	}
}

// compare compares a whole hour at a time, and a record at a time: that must tell
// the same.
func compare(t *testing.T, f *fixture, got project.Reader) *project.Comparison {
	t.Helper()
	p, want := f.projected(t, t.TempDir())
	hours := &project.Comparison{Journal: p, Want: want, Got: got}
	single := &project.Comparison{Journal: p, Want: want, Got: got, AtOnce: 1}
	for _, c := range []*project.Comparison{hours, single} {
		if err := c.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if hours.Records != single.Records || !reflect.DeepEqual(hours.Differences, single.Differences) {
		t.Errorf("at once: %d records, %v\none by one: %d, %v", hours.Records, hours.Differences, single.Records, single.Differences)
	}
	return hours
}

func TestComparison(t *testing.T) {
	f := record(t)
	dir := t.TempDir()
	p, s := f.projected(t, dir)
	f.catchUp(t, p, f.size(t)-3) // behind the journal: not a difference
	if c := compare(t, f, s); len(c.Differences) > 0 || c.Records != int64(len(allRecords(t, s))) {
		t.Fatalf("%d records, %v", c.Records, c.Differences)
	}
	for _, edit := range []string{
		"UPDATE totals SET input_tokens = input_tokens + 1 WHERE (bucket, dim) IN (SELECT bucket, dim FROM totals LIMIT 1)",
		"UPDATE day_totals SET requests = requests + 1 WHERE (bucket, dim) IN (SELECT bucket, dim FROM day_totals LIMIT 1)",
		"DELETE FROM records WHERE id = (SELECT min(id) FROM records)",
		"DELETE FROM verdicts WHERE verdict = 'accepted'",
		"UPDATE verdicts SET verdict = 'conflict'",
	} {
		t.Run(edit, func(t *testing.T) { edited(t, f, dir, edit) })
	}
}

// edited changes one day's file and wants to hear of it, then puts it back.
func edited(t *testing.T, f *fixture, dir, edit string) {
	t.Helper()
	copied := t.TempDir()
	if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	days, err := filepath.Glob(copied + "/20*.db")
	if err != nil || len(days) == 0 {
		t.Fatal(days, err)
	}
	db, err := sql.Open("sqlite", days[0])
	if err != nil {
		t.Fatal(err)
	}
	if res, err := db.ExecContext(t.Context(), edit); err != nil {
		t.Fatal(err)
	} else if n, err := res.RowsAffected(); err != nil || n != 1 {
		t.Fatalf("%d rows, %v", n, err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	r, err := sqlite.OpenReader(t.Context(), copied)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	c := compare(t, f, r)
	if len(c.Differences) == 0 {
		t.Error("the edit was not found")
	}
}

// cut is a journal without its last entries.
type cut struct {
	*fixture
	last uint64
}

func (c cut) Read(ctx context.Context, from uint64, fn func(journal.Entry) error) error {
	err := c.fixture.Read(ctx, from, func(e journal.Entry) error {
		if e.Header.Seq > c.last {
			return errCut
		}
		return fn(e)
	})
	if errors.Is(err, errCut) {
		return nil
	}
	return err
}

var errCut = errors.New("cut off here")

// TestComparisonWithTheWrongJournal says what the projection is, rather than that
// each record of it is wrong.
func TestComparisonWithTheWrongJournal(t *testing.T) {
	t.Parallel()
	f, other := record(t), record(t)
	dir := t.TempDir()
	p, s := f.projected(t, dir)
	f.catchUp(t, p, f.size(t))
	if c := compare(t, other, s); len(c.Differences) != 1 || c.Differences[0].Kind != project.OtherJournals || c.Differences[0].Place != f.Origin() {
		t.Errorf("with another journal: %+v", c.Differences)
	}
	want, err := sqlite.Open(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = want.Close() })
	shorter, err := project.New(t.Context(), cut{f, f.size(t) - 2}, want)
	if err != nil {
		t.Fatal(err)
	}
	f.catchUp(t, shorter, f.size(t)-2)
	c := project.Comparison{Journal: shorter, Want: want, Got: s}
	if err := c.Run(t.Context()); err != nil || len(c.Differences) != 1 || c.Differences[0].Kind != project.AheadOfJournal {
		t.Errorf("without the last entries: %v, %+v", err, c.Differences)
	}
}
