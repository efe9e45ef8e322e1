// Package keyfile authenticates by keys that lie in files, such as those of a
// mounted Kubernetes Secret, and follows the files while others change them.
package keyfile

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tollkeeper/tollkeeper/internal/tenant"
)

// Key names who holds any of the tokens in the files: while a token is replaced
// there are two, the current and the previous one.
type Key struct {
	// Name is what the journal and the audit log call the holder.
	Name  string
	Role  tenant.Role
	Files []string
}

const (
	// readEvery is how often the files are read: from then on a token that was
	// added is good and one that was removed is not. They are small, and reading
	// them needs no luck with times and links as comparing these would.
	readEvery = time.Second
	// maxBytes bounds a file that was named by mistake.
	maxBytes = 4 << 10
	// shortToken is where a token gets a warning: it could be guessed.
	shortToken = 16
)

// Set authenticates. Its methods may be called by many goroutines.
type Set struct {
	keys    []Key
	now     func() time.Time
	log     *slog.Logger
	current atomic.Pointer[snapshot]

	mu   sync.Mutex // held by who reads
	told map[string]bool
}

type snapshot struct {
	entries []entry
	read    time.Time
}

// entry is one token, by its hash.
type entry struct {
	hash [sha256.Size]byte
	key  tenant.Key
}

// Open reads the files. A file that is missing or empty is skipped as long as
// another one of its key holds a token: with a warning, but for an empty one that
// is not the first, which is how the previous token is between two rotations.
func Open(keys []Key, now func() time.Time, log *slog.Logger) (*Set, error) {
	s := &Set{keys: keys, now: now, log: log, told: map[string]bool{}}
	if err := s.read(); err != nil {
		return nil, err
	}
	return s, nil
}

// Empty tells whether there are no keys.
func (s *Set) Empty() bool { return len(s.keys) == 0 }

// Find returns the key that a token opens. All hashes are compared, each in
// constant time: how long it takes tells nothing about which one fits, or how
// far.
func (s *Set) Find(token string) (tenant.Key, bool) {
	if s.Empty() || token == "" {
		return tenant.Key{}, false
	}
	hash, at := tenant.HashToken(token), -1
	entries := s.fresh()
	for i := range entries {
		at = subtle.ConstantTimeSelect(subtle.ConstantTimeCompare(hash[:], entries[i].hash[:]), i, at)
	}
	if at < 0 {
		return tenant.Key{}, false
	}
	return entries[at].key, true
}

// fresh reads the files again when it is time. What cannot be used leaves the
// tokens in force that were: a mount that is gone for a moment must not turn
// everybody away.
func (s *Set) fresh() []entry {
	now := s.current.Load()
	if s.now().Sub(now.read) < readEvery || !s.mu.TryLock() {
		return now.entries
	}
	defer s.mu.Unlock()
	if err := s.read(); err != nil {
		s.once(slog.LevelError, "the key files cannot be used as they are; the keys that were in force stay", "error", err.Error())
		s.current.Store(&snapshot{entries: now.entries, read: s.now()})
	}
	return s.current.Load().entries
}

// read takes all tokens from the files.
func (s *Set) read() error {
	next, tellAgain := &snapshot{read: s.now()}, maps.Clone(s.told)
	for _, k := range s.keys {
		entries, err := s.tokens(k, tellAgain)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if i := slices.IndexFunc(next.entries, func(x entry) bool { return x.hash == e.hash }); i < 0 {
				next.entries = append(next.entries, e)
			} else if other := next.entries[i].key.ID; other != k.Name {
				return fmt.Errorf("the keys %q and %q hold the same token: give each its own", other, k.Name)
			}
		}
	}
	for text := range tellAgain {
		delete(s.told, text)
	}
	if before := s.current.Load(); before != nil && !slices.Equal(before.entries, next.entries) {
		s.log.Info("the key files changed", "tokens", len(next.entries))
	}
	s.current.Store(next)
	return nil
}

// tokens are those of one key. What is warned of is taken out of tellAgain.
func (s *Set) tokens(k Key, tellAgain map[string]bool) (out []entry, err error) {
	warn := func(text, file string) {
		delete(tellAgain, s.once(slog.LevelWarn, text, "key", k.Name, "file", file))
	}
	for i, name := range k.Files {
		token, err := readToken(name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			warn("a key file is not there and was skipped", name)
			continue
		case errors.Is(err, errEmpty):
			if i == 0 {
				warn("a key file is empty and was skipped", name)
			}
			continue
		case err != nil:
			return nil, fmt.Errorf("key %q: %w", k.Name, err)
		case len(token) < shortToken:
			warn(fmt.Sprintf("a key is shorter than %d characters: it could be guessed", shortToken), name)
		}
		out = append(out, entry{hash: tenant.HashToken(token), key: tenant.Key{ID: k.Name, Role: k.Role}})
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("key %q: none of its files holds a token: %s", k.Name, strings.Join(k.Files, ", "))
	}
	return out, nil
}

// once tells a text that it did not tell before, and returns it.
func (s *Set) once(level slog.Level, text string, args ...any) string {
	mark := fmt.Sprint(text, args)
	if !s.told[mark] {
		s.told[mark] = true
		s.log.Log(context.Background(), level, text, args...)
	}
	return mark
}

// errEmpty says that a file holds no token.
var errEmpty = errors.New("empty")

// readToken reads one token, which may stand in one line. Errors never show it.
func readToken(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxBytes+1))
	if err != nil {
		return "", err
	}
	token := strings.TrimSpace(string(b))
	switch {
	case token == "":
		return "", errEmpty
	case len(b) > maxBytes:
		return "", fmt.Errorf("%s is larger than %d bytes: it should hold one token and nothing else", name, maxBytes)
	case strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }):
		return "", fmt.Errorf("%s: a token is one word of ASCII characters: they go into an HTTP header", name)
	}
	return token, nil
}
