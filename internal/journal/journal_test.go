package journal_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
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
	return openAt(t, filepath.Join(t.TempDir(), "journal.db"), o)
}

func openAt(t *testing.T, path string, o journal.Options) *fixture {
	t.Helper()
	if o.Signer == nil {
		o.Signer = newSigner(t)
	}
	f := &fixture{path: path, signer: o.Signer}
	var err error
	if f.Journal, err = journal.Open(t.Context(), f.path, o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

func newSigner(t *testing.T) *journal.Signer {
	t.Helper()
	s, err := journal.LoadSigner(filepath.Join(t.TempDir(), "signing.key"))
	if err != nil {
		t.Fatal(err)
	}
	return s
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

// noise is a line that does not compress.
func noise(seed byte, length int) []byte {
	b := make([]byte, length)
	rand.NewChaCha8([32]byte{seed}).Read(b)
	return bytes.ReplaceAll(b, []byte{'\n'}, []byte{'.'})
}
