package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/tollkeeper/tollkeeper/internal/config"
)

// TestSlipsAreUnderstood makes one slip in the name of a key or of a variable: a
// letter too many, too few, another or two swapped. The suggestion is the name.
func TestSlipsAreUnderstood(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "tollkeeper.yaml")
	rapid.Check(t, func(t *rapid.T) {
		k := rapid.SampledFrom(config.Keys()).Draw(t, "key")
		parts := strings.Split(k.Name, ".")
		at := rapid.IntRange(0, len(parts)-1).Draw(t, "part")
		meant := parts[at]
		parts[at] = slip(t, meant)
		var text strings.Builder
		for depth, part := range parts {
			text.WriteString(strings.Repeat("  ", depth) + part + ":\n")
		}
		if err := os.WriteFile(path, []byte(text.String()), 0o600); err != nil {
			t.Fatalf("%v", err)
		}
		_, _, err := config.Load(path, nil)
		if err == nil || !strings.HasSuffix(err.Error(), "unknown key; did you mean "+meant+"?") {
			t.Fatalf("%s: %v", parts[at], err)
		}
		name := slip(t, k.Variable[len("TOLLKEEPER_"):])
		_, _, err = config.Load("", []string{"TOLLKEEPER_" + name + "=1"})
		if err == nil || !strings.HasSuffix(err.Error(), "no such variable; did you mean "+k.Variable+"?") {
			t.Fatalf("%s: %v", name, err)
		}
	})
}

// slip makes another word by one slip of the keyboard.
func slip(t *rapid.T, word string) string {
	i := rapid.IntRange(0, len(word)-1).Draw(t, "at")
	out := word
	switch rapid.IntRange(0, 3).Draw(t, "slip") {
	case 0:
		out = word[:i] + "q" + word[i:]
	case 1:
		out = word[:i] + word[i+1:]
	case 2:
		out = word[:i] + "q" + word[i+1:]
	case 3:
		if i+1 < len(word) {
			out = word[:i] + word[i+1:i+2] + word[i:i+1] + word[i+2:]
		}
	}
	if out == word {
		return word + "q"
	}
	return out
}

// TestWordsThatNobodyMeant get no suggestion, however long they are.
func TestWordsThatNobodyMeant(t *testing.T) {
	t.Parallel()
	for _, word := range []string{"x", "colour", "größe", strings.Repeat("listen", 150)} {
		p := refused(t, file(t, "tollkeeper.yaml", word+": 1\n"))
		if len(p) != 1 || strings.Contains(p[0].Text, "did you mean") || !strings.Contains(p[0].Text, "known are data, listen") {
			t.Errorf("%.20s: %.200s", word, p)
		}
	}
}
