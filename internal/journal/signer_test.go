package journal_test

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/tollkeeper/tollkeeper/internal/journal"
)

func TestSignerMakesAKeyOnce(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "keys", "signing.key")
	first, err := journal.LoadSigner(path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key's mode is %v, %v", info.Mode(), err)
	}
	again, err := journal.LoadSigner(path)
	if err != nil || again.Verifier() != first.Verifier() {
		t.Errorf("another key on the second load, %v", err)
	}
	pub, err := os.ReadFile(path + ".pub")
	if err != nil || strings.TrimSpace(string(pub)) != first.Verifier() {
		t.Errorf("the verifier key beside it is %q, %v", pub, err)
	}
	left, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(left) != 2 {
		t.Errorf("files: %v, %v", left, err)
	}
}

// TestSignersAtOnce gives all that start at the same time the same key.
func TestSignersAtOnce(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "signing.key")
	got := make([]string, 8)
	var wg sync.WaitGroup
	for i := range got {
		wg.Go(func() {
			s, err := journal.LoadSigner(path)
			if err != nil {
				t.Error(err)
				return
			}
			got[i] = s.Verifier()
		})
	}
	wg.Wait()
	for _, v := range got {
		if v != got[0] {
			t.Errorf("keys %q", got)
		}
	}
}

func TestSignerFiles(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "signing.key")
	s, err := journal.LoadSigner(path)
	if err != nil {
		t.Fatal(err)
	}
	// A key that was mounted alone is enough.
	if err := os.Remove(path + ".pub"); err != nil {
		t.Fatal(err)
	}
	if again, err := journal.LoadSigner(path); err != nil || again.Verifier() != s.Verifier() {
		t.Errorf("without the verifier key: %v", err)
	}
	if _, err := os.Stat(path + ".pub"); err != nil {
		t.Errorf("the verifier key was not written again: %v", err)
	}
	if err := os.WriteFile(path+".pub", []byte(newSigner(t).Verifier()), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := journal.LoadSigner(path); err == nil || !strings.Contains(err.Error(), path+".pub") {
		t.Errorf("beside another's verifier key: %v", err)
	}
	for _, text := range []string{"", "x", s.Verifier(), "PRIVATE+KEY+tollkeeper+00000000+AAAA"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := journal.LoadSigner(path); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("a key file of %q: %v", text, err)
		}
	}
}
