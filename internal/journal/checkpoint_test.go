package journal_test

import (
	"encoding/base64"
	"errors"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/tollkeeper/tollkeeper/internal/journal"
)

// TestCheckpointText holds the text to C2SP tlog-checkpoint: three lines, a
// blank one, and the signature's.
func TestCheckpointText(t *testing.T) {
	t.Parallel()
	f := open(t, journal.Options{})
	if text, err := f.Checkpoint(t.Context()); err != nil || text != "" {
		t.Errorf("of an empty journal: %q, %v", text, err)
	}
	f.fill(t, 3)
	text, err := f.Checkpoint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := regexp.MustCompile(`^tollkeeper-journal-[0-9a-f]{16}\n3\n[A-Za-z0-9+/]{43}=\n\n— tollkeeper [A-Za-z0-9+/]{91}=\n$`)
	if !want.MatchString(text) {
		t.Errorf("%q", text)
	}
	c, err := journal.OpenCheckpoint(text, f.signer.Verifier())
	if err != nil || c.Origin != f.Origin() || c.Size != 3 || !strings.HasPrefix(text, c.Text()) {
		t.Errorf("%+v, %v", c, err)
	}
	// Any other reader of notes takes it.
	v, err := note.NewVerifier(f.signer.Verifier())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := note.Open([]byte(text), note.VerifierList(v)); err != nil {
		t.Error(err)
	}
}

// TestCheckpointsAreReadStrictly takes one text for one checkpoint, in the form
// of C2SP, whoever signed another.
func TestCheckpointsAreReadStrictly(t *testing.T) {
	t.Parallel()
	secret, verifier, err := note.GenerateKey(nil, "log")
	if err != nil {
		t.Fatal(err)
	}
	s, err := note.NewSigner(secret)
	if err != nil {
		t.Fatal(err)
	}
	root := base64.StdEncoding.EncodeToString(make([]byte, tlog.HashSize))
	for text, good := range map[string]bool{
		"o\n5\n" + root + "\n":                          true,
		"o\n0\n" + root + "\n":                          true,
		"o\n5\n" + root + "\nan extension\nanother\n":   true,
		"o\n5\n" + root + "\n\n":                        false,
		"o\n5\n" + root + "\n\nx\n":                     false,
		"\n5\n" + root + "\n":                           false,
		"o\n05\n" + root + "\n":                         false,
		"o\n+5\n" + root + "\n":                         false,
		"o\n-5\n" + root + "\n":                         false,
		"o\n\n" + root + "\n":                           false,
		"o\n5\n":                                        false,
		"o\n5\nAAAA\n":                                  false,
		"o\n5\n" + root[:42] + "B=\n":                   false, // bits behind the end
		"o\n5\n" + strings.TrimSuffix(root, "=") + "\n": false,
		"o\n9223372036854775808\n" + root + "\n":        false,
		"o\n4611686018427387904\n" + root + "\n":        false, // 2^62: no tree grows so far
	} {
		signed, err := note.Sign(&note.Note{Text: text}, s)
		if err != nil {
			t.Fatal(err)
		}
		c, err := journal.OpenCheckpoint(string(signed), verifier)
		if good != (err == nil) || err != nil && !errors.Is(err, journal.ErrCheckpoint) {
			t.Errorf("%q: %+v, %v", text, c, err)
		}
	}
}

func TestCheckpointKeys(t *testing.T) {
	t.Parallel()
	a, b := newSigner(t), newSigner(t)
	want := journal.Checkpoint{Origin: "o", Size: 7, Root: tlog.Hash{1, 2, 3}}
	text, err := a.Sign(want)
	if err != nil {
		t.Fatal(err)
	}
	if c, err := journal.OpenCheckpoint(text, b.Verifier(), " "+a.Verifier()+"\n"); err != nil || c != want {
		t.Errorf("one of two keys: %+v, %v", c, err)
	}
	for name, keys := range map[string][]string{"none": nil, "another": {b.Verifier()}, "no key at all": {"x"}, "empty": {""}} {
		if _, err := journal.OpenCheckpoint(text, keys...); !errors.Is(err, journal.ErrCheckpoint) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for i := range len(text) {
		for _, x := range []byte{1, 2, 4, 8, 16, 32, 64, 128} {
			changed := []byte(text)
			changed[i] ^= x
			if _, err := journal.OpenCheckpoint(string(changed), a.Verifier()); err == nil {
				t.Errorf("byte %d can change to %q", i, changed[i])
			}
		}
	}
}
