package journal_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/tollkeeper/tollkeeper/internal/journal"
)

// fixture is a journal in a directory of its own.
type fixture struct {
	*journal.Journal
	path   string
	signer *journal.Signer
}

func open(t *testing.T, o journal.Options) *fixture {
	t.Helper()
	dir := t.TempDir()
	signer, err := journal.LoadSigner(filepath.Join(t.TempDir(), "key"))
	if err != nil {
		t.Fatal(err)
	}
	o.Signer = signer
	f := &fixture{path: filepath.Join(dir, "journal.db"), signer: signer}
	f.Journal, err = journal.Open(t.Context(), f.path, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

func batch(n, items int) journal.Batch {
	b := journal.Batch{Producer: "p", Kind: "otlp.traces", Received: time.Unix(1_790_000_000, int64(n))}
	for i := range items {
		b.Items = append(b.Items, fmt.Appendf(nil, `{"n":%d,"i":%d,"pad":"%064d"}`, n, i, n))
	}
	return b
}

func (f *fixture) fill(t *testing.T, entries int) {
	t.Helper()
	for n := range entries {
		b := batch(n, n%7)
		b.Rejected = map[string]int64{"bad_count": int64(n)}
		if seq, err := f.Append(t.Context(), b); err != nil || seq != uint64(n+1) {
			t.Fatalf("entry %d: seq %d, %v", n+1, seq, err)
		}
	}
}

func verify(t *testing.T, path string, o journal.VerifyOptions) *journal.Report {
	t.Helper()
	r, err := journal.OpenReader(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	report, err := r.Verify(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

func TestAppendReadVerify(t *testing.T) {
	f := open(t, journal.Options{})
	f.fill(t, 100)
	n := 0
	if err := f.Read(t.Context(), 1, func(e journal.Entry) error {
		want := batch(n, n%7)
		n++
		if e.Header.Seq != uint64(n) || e.Header.Count != int64(len(want.Items)) || e.Header.Rejected["bad_count"] != int64(n-1) {
			t.Errorf("entry %d: %+v", n, e.Header)
		}
		if !slices.EqualFunc(e.Items, want.Items, func(a, b []byte) bool { return string(a) == string(b) }) {
			t.Errorf("entry %d holds %q", n, e.Items)
		}
		return nil
	}); err != nil || n != 100 {
		t.Fatalf("%d entries, %v", n, err)
	}
	if r := verify(t, f.path, journal.VerifyOptions{}); len(r.Defects) > 0 || r.Entries != 100 {
		t.Errorf("%+v", r)
	}
}

func TestReopenContinues(t *testing.T) {
	f := open(t, journal.Options{})
	f.fill(t, 10)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Append(t.Context(), batch(1, 1)); !errors.Is(err, journal.ErrStopping) {
		t.Errorf("append after close: %v", err)
	}
	again, err := journal.Open(t.Context(), f.path, journal.Options{Signer: f.signer})
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	early := batch(1, 1)
	early.Received = time.Unix(5, 0) // the clock was stepped back
	if seq, err := again.Append(t.Context(), early); err != nil || seq != 11 {
		t.Fatalf("seq %d, %v", seq, err)
	}
	if r := verify(t, f.path, journal.VerifyOptions{}); len(r.Defects) > 0 || r.Entries != 11 {
		t.Errorf("%+v", r)
	}
}

func TestManyAppendersShareCommits(t *testing.T) {
	f := open(t, journal.Options{})
	var wg sync.WaitGroup
	var mu sync.Mutex
	seen := map[uint64]bool{}
	for w := range 8 {
		wg.Go(func() {
			for i := range 50 {
				seq, err := f.Append(context.Background(), batch(w*1000+i, 3))
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				if seen[seq] {
					t.Errorf("seq %d twice", seq)
				}
				seen[seq] = true
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if r := verify(t, f.path, journal.VerifyOptions{}); len(r.Defects) > 0 || r.Entries != 400 || r.Items != 1200 {
		t.Errorf("%+v", r)
	}
}

func TestOneWriter(t *testing.T) {
	f := open(t, journal.Options{})
	if _, err := journal.Open(t.Context(), f.path, journal.Options{}); !errors.Is(err, journal.ErrLocked) {
		t.Errorf("second writer: %v", err)
	}
}

func TestWaitWakes(t *testing.T) {
	f := open(t, journal.Options{})
	done := make(chan error, 1)
	go func() { done <- f.Wait(context.Background(), 1) }()
	f.fill(t, 1)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := f.Wait(ctx, 99); !errors.Is(err, context.Canceled) {
		t.Errorf("wait: %v", err)
	}
}

func TestBusy(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	var once sync.Once
	f := open(t, journal.Options{QueueBytes: 1, Fault: func() error {
		once.Do(func() { close(entered); <-leave })
		return nil
	}})
	first := make(chan error, 1)
	go func() {
		_, err := f.Append(context.Background(), batch(1, 1))
		first <- err
	}()
	<-entered
	if _, err := f.Append(t.Context(), batch(2, 1)); !errors.Is(err, journal.ErrBusy) || !journal.Retryable(err) {
		t.Errorf("full queue: %v", err)
	}
	close(leave)
	if err := <-first; err != nil {
		t.Error(err)
	}
}

func TestFullDiskRecovers(t *testing.T) {
	var full bool
	now := time.Unix(0, 0)
	f := open(t, journal.Options{Now: func() time.Time { return now }, Fault: func() error {
		if full {
			return syscall.ENOSPC
		}
		return nil
	}})
	f.fill(t, 3)
	full = true
	if _, err := f.Append(t.Context(), batch(1, 1)); !errors.Is(err, journal.ErrFull) || !journal.Retryable(err) {
		t.Fatalf("full disk: %v", err)
	}
	if r := verify(t, f.path, journal.VerifyOptions{}); len(r.Defects) > 0 || r.Entries != 3 {
		t.Errorf("verify on a full disk: %+v", r)
	}
	full = false
	if _, err := f.Append(t.Context(), batch(1, 1)); !errors.Is(err, journal.ErrFull) {
		t.Errorf("before the pause is over: %v", err)
	}
	now = now.Add(time.Minute)
	if seq, err := f.Append(t.Context(), batch(1, 1)); err != nil || seq != 4 {
		t.Fatalf("after space returned: seq %d, %v", seq, err)
	}
	if r := verify(t, f.path, journal.VerifyOptions{}); len(r.Defects) > 0 || r.Entries != 4 {
		t.Errorf("%+v", r)
	}
}

func TestFailedDiskStops(t *testing.T) {
	fail := false
	f := open(t, journal.Options{Fault: func() error {
		if fail {
			return syscall.EIO
		}
		return nil
	}})
	f.fill(t, 2)
	fail = true
	if _, err := f.Append(t.Context(), batch(1, 1)); !errors.Is(err, journal.ErrFailed) || journal.Retryable(err) {
		t.Fatalf("failed disk: %v", err)
	}
	if err := <-f.Fatal(); !errors.Is(err, journal.ErrFailed) {
		t.Errorf("fatal: %v", err)
	}
	if _, err := f.Append(t.Context(), batch(1, 1)); err == nil {
		t.Error("append after the disk failed")
	}
	if r := verify(t, f.path, journal.VerifyOptions{}); len(r.Defects) > 0 || r.Entries != 2 {
		t.Errorf("%+v", r)
	}
}

// TestTampering changes the file as one without the key could, and expects the
// kind and the place.
func TestTampering(t *testing.T) {
	tests := []struct {
		name, sql, kind string
		seq             uint64
	}{
		{"body edited", "UPDATE bodies SET body = replace(CAST(body AS TEXT), '\"n\":5', '\"n\":6') WHERE seq = 6", journal.DefectItems, 6},
		{"bodies swapped", "UPDATE bodies SET seq = -seq WHERE seq IN (3, 10); UPDATE bodies SET seq = 13 + seq WHERE seq < 0", journal.DefectItems, 3},
		{"body removed", "DELETE FROM bodies WHERE seq = 4", journal.DefectBody, 4},
		{"body unreadable", "UPDATE bodies SET encoding = 1, body = x'00' WHERE seq = 4", journal.DefectBody, 4},
		{"header edited", `UPDATE entries SET header = replace(CAST(header AS TEXT), '"producer":"p"', '"producer":"q"') WHERE seq = 7`, journal.DefectTree, 7},
		{"header unreadable", "UPDATE entries SET header = x'7b' WHERE seq = 7", journal.DefectHeader, 7},
		{"root edited", "UPDATE entries SET root = zeroblob(32) WHERE seq = 8", journal.DefectItems, 8},
		{"entry removed", "DELETE FROM entries WHERE seq = 9", journal.DefectGap, 9},
		{"entry inserted", "INSERT INTO entries SELECT 21, header, root FROM entries WHERE seq = 20", journal.DefectHeader, 21},
		{"hash edited", "UPDATE hashes SET hash = zeroblob(32) WHERE id = 0", journal.DefectTree, 1},
		{"hash added", "INSERT INTO hashes VALUES (999, zeroblob(32))", journal.DefectExtra, 0},
		{"body added", "INSERT INTO bodies VALUES (999, 0, x'')", journal.DefectExtra, 0},
		{"checkpoint removed", "DELETE FROM checkpoint", journal.DefectUnsigned, 1},
		{"checkpoint edited", "UPDATE checkpoint SET note = replace(note, char(10) || '20' || char(10), char(10) || '19' || char(10))", journal.DefectSignature, 0},
		{"tail cut", "DELETE FROM entries WHERE seq > 15; DELETE FROM bodies WHERE seq > 15", journal.DefectCut, 16},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := open(t, journal.Options{})
			f.fill(t, 20)
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
			tamper(t, f.path, tt.sql)
			r := verify(t, f.path, journal.VerifyOptions{})
			if !slices.ContainsFunc(r.Defects, func(d journal.Defect) bool { return d.Kind == tt.kind && d.Seq == tt.seq }) {
				t.Errorf("want %s at %d, found %+v", tt.kind, tt.seq, r.Defects)
			}
		})
	}
}

func tamper(t *testing.T, path, query string) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(t.Context(), query); err != nil {
		t.Fatal(err)
	}
}

// TestCheckpointKeptElsewhere finds what one with the key did: an older copy
// put back, and a journal written anew.
func TestCheckpointKeptElsewhere(t *testing.T) {
	f := open(t, journal.Options{})
	f.fill(t, 10)
	old, err := f.Checkpoint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for n := 10; n < 20; n++ {
		if _, err := f.Append(t.Context(), batch(n, 2)); err != nil {
			t.Fatal(err)
		}
	}
	kept, err := f.Checkpoint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	o := journal.VerifyOptions{Verifiers: []string{f.signer.Verifier()}, Checkpoints: []string{kept}}
	if r := verify(t, f.path, o); len(r.Defects) > 0 {
		t.Fatalf("%+v", r)
	}
	tamper(t, f.path, `DELETE FROM entries WHERE seq > 10; DELETE FROM bodies WHERE seq > 10; DELETE FROM hashes WHERE id >= 18`)
	if _, err := journal.Open(t.Context(), f.path, journal.Options{Signer: f.signer}); !errors.Is(err, journal.ErrCorrupt) {
		t.Fatalf("a writer goes on behind a tail that was cut off: %v", err)
	}
	tamper(t, f.path, "UPDATE checkpoint SET note = '"+old+"'")
	again, err := journal.Open(t.Context(), f.path, journal.Options{Signer: f.signer})
	if err != nil {
		t.Fatal(err)
	}
	for n := 10; n < 25; n++ {
		if _, err := again.Append(t.Context(), batch(n+1000, 2)); err != nil {
			t.Fatal(err)
		}
	}
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
	if r := verify(t, f.path, journal.VerifyOptions{}); len(r.Defects) > 0 {
		t.Errorf("one with the key leaves no trace in the journal itself: %+v", r)
	}
	r := verify(t, f.path, o)
	if len(r.Defects) != 1 || r.Defects[0].Kind != journal.DefectCheckpoint {
		t.Errorf("%+v", r.Defects)
	}
}

func TestProofs(t *testing.T) {
	f := open(t, journal.Options{})
	f.fill(t, 33)
	for seq := uint64(1); seq <= 33; seq++ {
		for i := range int(seq-1) % 7 {
			p, err := f.Prove(t.Context(), []journal.Place{{Seq: seq, Index: i}})
			if err != nil {
				t.Fatal(err)
			}
			text, err := json.Marshal(p)
			if err != nil {
				t.Fatal(err)
			}
			proven, err := journal.VerifyProof(text, f.signer.Verifier())
			if err != nil || proven.Items[0].Header.Seq != seq || string(proven.Items[0].Item) != string(batch(int(seq)-1, 7).Items[i]) {
				t.Fatalf("entry %d item %d: %v", seq, i, err)
			}
			p.Items[0].Item += " "
			bad, _ := json.Marshal(p)
			if _, err := journal.VerifyProof(bad, f.signer.Verifier()); !errors.Is(err, journal.ErrProof) {
				t.Fatalf("a changed item is proven: %v", err)
			}
		}
	}
	if _, err := f.Prove(t.Context(), []journal.Place{{Seq: 34}}); err == nil {
		t.Error("proved an entry that is not there")
	}
	other, err := journal.LoadSigner(filepath.Join(t.TempDir(), "key"))
	if err != nil {
		t.Fatal(err)
	}
	p, _ := f.Prove(t.Context(), []journal.Place{{Seq: 2}})
	text, _ := json.Marshal(p)
	if _, err := journal.VerifyProof(text, other.Verifier()); !errors.Is(err, journal.ErrCheckpoint) {
		t.Errorf("another key's proof: %v", err)
	}
}

func FuzzVerifyProof(f *testing.F) {
	f.Add([]byte(`{"v":1,"checkpoint":"a\n1\nAAAA\n","items":[{"item":"x"}]}`))
	const verifier = "tollkeeper+b5f6d2a4+AaOYNhaRUkZcZYMLQnZOQHzuWHGTwUZgNBbD5dRkfC5N"
	f.Fuzz(func(t *testing.T, b []byte) {
		if p, err := journal.VerifyProof(b, verifier); err == nil {
			t.Errorf("proved %+v", p)
		}
	})
}
