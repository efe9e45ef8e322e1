package keyfile_test

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tollkeeper/tollkeeper/internal/keyfile"
	"github.com/tollkeeper/tollkeeper/internal/tenant"
)

const (
	old   = "collector-key-of-january"
	young = "collector-key-of-february"
)

// mount is a folder as Kubernetes mounts a Secret: the files are links through
// ..data, which is swapped as a whole.
type mount struct {
	t       *testing.T
	dir     string
	version int
}

func newMount(t *testing.T, files map[string]string) *mount {
	t.Helper()
	m := &mount{t: t, dir: t.TempDir()}
	for _, name := range []string{"current", "previous"} {
		m.must(os.Symlink(filepath.Join("..data", name), m.path(name)))
	}
	m.swap(files)
	return m
}

func (m *mount) path(name string) string { return filepath.Join(m.dir, name) }

func (m *mount) must(err error) {
	m.t.Helper()
	if err != nil {
		m.t.Fatal(err)
	}
}

// swap puts other files in the place of all, at once.
func (m *mount) swap(files map[string]string) {
	m.t.Helper()
	m.version++
	data := filepath.Join(m.dir, "..v"+strings.Repeat("i", m.version))
	m.must(os.Mkdir(data, 0o700))
	for name, text := range files {
		m.must(os.WriteFile(filepath.Join(data, name), []byte(text), 0o600))
	}
	m.must(os.Symlink(filepath.Base(data), m.path("..next")))
	m.must(os.Rename(m.path("..next"), m.path("..data")))
}

func (m *mount) key() keyfile.Key {
	return keyfile.Key{Name: "collector", Role: tenant.RoleProducer, Files: []string{m.path("current"), m.path("previous")}}
}

// log keeps what was told; it must not hold a token.
type log struct{ bytes.Buffer }

func (l *log) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

func (l *log) check(t *testing.T, warnings int) {
	t.Helper()
	if n := strings.Count(l.String(), "level=WARN"); n != warnings {
		t.Errorf("%d warnings, want %d:\n%s", n, warnings, l)
	}
	if strings.Contains(l.String(), "-key-of-") {
		t.Errorf("a token was logged:\n%s", l)
	}
}

func good(s *keyfile.Set, token string) bool {
	k, ok := s.Find(token)
	return ok && k.ID == "collector" && k.Role == tenant.RoleProducer
}

// TestRotation replaces a token as a cluster does: first both are good, then
// only the new one.
func TestRotation(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var told log
		m := newMount(t, map[string]string{"current": old + "\n", "previous": ""})
		s, err := keyfile.Open([]keyfile.Key{m.key()}, time.Now, told.logger())
		if err != nil {
			t.Fatal(err)
		}
		check := func(when string, oldGood, youngGood bool) {
			t.Helper()
			if good(s, old) != oldGood || good(s, young) != youngGood {
				t.Errorf("%s: the old one is good: %v, the new one: %v", when, good(s, old), good(s, young))
			}
		}
		check("at first", true, false)
		told.check(t, 0) // previous is empty, as between two rotations
		m.swap(map[string]string{"current": young, "previous": old})
		time.Sleep(time.Second) //nolint:forbidigo // virtual
		check("both", true, true)
		m.swap(map[string]string{"current": young})
		time.Sleep(time.Second) //nolint:forbidigo // virtual
		check("afterwards", false, true)
		for range 5 {
			time.Sleep(time.Second) //nolint:forbidigo // virtual
			check("later", false, true)
		}
		told.check(t, 1) // previous is not there: told once, not each second
		m.swap(map[string]string{"current": "", "previous": young})
		time.Sleep(time.Second) //nolint:forbidigo // virtual
		check("the wrong one is empty", false, true)
		told.check(t, 2)
	})
}

// TestLostMountKeepsTheKeys is a mount that is broken for a moment, and comes
// back with another token.
func TestLostMountKeepsTheKeys(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var told log
		m := newMount(t, map[string]string{"current": old, "previous": old})
		s, err := keyfile.Open([]keyfile.Key{m.key()}, time.Now, told.logger())
		if err != nil {
			t.Fatal(err)
		}
		for _, files := range []map[string]string{{}, {"current": "two words-key-of-"}, {"current": strings.Repeat("x", 5000)}} {
			m.swap(files)
			time.Sleep(time.Second) //nolint:forbidigo // virtual
			if !good(s, old) {
				t.Errorf("with %v the token that was good is refused", files)
			}
		}
		if n := strings.Count(told.String(), "the keys that were in force stay"); n != 3 {
			t.Errorf("told %d times, want each of the 3 once:\n%s", n, &told)
		}
		told.check(t, 2) // both are missing; that previous still is, is no news
		m.swap(map[string]string{"current": young})
		time.Sleep(time.Second) //nolint:forbidigo // virtual
		if good(s, old) || !good(s, young) {
			t.Error("the token of the mended mount does not hold alone")
		}
	})
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		files map[string]string
		want  string
	}{
		"nothing":   {nil, `key "collector": none of its files holds a token: `},
		"empty":     {map[string]string{"current": "\n", "previous": ""}, "none of its files holds a token"},
		"two words": {map[string]string{"current": old + " " + young}, "a token is one word"},
		"not ASCII": {map[string]string{"current": "schl\u00fcssel-key-of-"}, "a token is one word"},
		"a book":    {map[string]string{"current": strings.Repeat(old, 200)}, "larger than 4096 bytes"},
	} {
		var told log
		_, err := keyfile.Open([]keyfile.Key{newMount(t, c.files).key()}, time.Now, told.logger())
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "-key-of-") {
			t.Errorf("%s: %v, want %q and no token", name, err, c.want)
		}
	}
	var told log
	a, b := newMount(t, map[string]string{"current": old}).key(), newMount(t, map[string]string{"current": old}).key()
	b.Name = "edge"
	if _, err := keyfile.Open([]keyfile.Key{a, b}, time.Now, told.logger()); err == nil || !strings.Contains(err.Error(), `"collector" and "edge" hold the same token`) {
		t.Errorf("one token of two: %v", err)
	}
}

func TestShortTokenIsWarnedOf(t *testing.T) {
	t.Parallel()
	var told log
	s, err := keyfile.Open([]keyfile.Key{newMount(t, map[string]string{"current": "short", "previous": old}).key()}, time.Now, told.logger())
	if err != nil || !good(s, "short") {
		t.Errorf("refused, %v", err)
	}
	told.check(t, 1)
}

func TestNobodyHasNoKey(t *testing.T) {
	t.Parallel()
	s, err := keyfile.Open(nil, time.Now, slog.New(slog.DiscardHandler))
	if err != nil || !s.Empty() {
		t.Fatal(err)
	}
	if _, ok := s.Find(""); ok {
		t.Error("no token opens something")
	}
}

// TestManyAskWhileFilesChange is for the race detector.
func TestManyAskWhileFilesChange(t *testing.T) {
	t.Parallel()
	m := newMount(t, map[string]string{"current": young, "previous": old})
	var clock sync.Mutex
	now := time.Now()
	s, err := keyfile.Open([]keyfile.Key{m.key()}, func() time.Time {
		clock.Lock()
		defer clock.Unlock()
		now = now.Add(time.Second)
		return now
	}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	var wait sync.WaitGroup
	for range 8 {
		wait.Go(func() {
			for range 100 {
				if !good(s, young) {
					t.Error("a token that all versions hold was refused")
					return
				}
			}
		})
	}
	for range 20 {
		m.swap(map[string]string{"current": young})
		m.swap(map[string]string{"current": young, "previous": old})
	}
	wait.Wait()
}
