package pricing

import (
	"testing"

	"pgregory.net/rapid"
)

func TestGlobs(t *testing.T) {
	for _, c := range []struct {
		model, name string
		want        bool
	}{
		{"facebook/opt-125m", "facebook/opt-125m", true},
		{"facebook/opt-125m", "facebook/opt-125m-x", false},
		{"*", "facebook/opt-125m", true},
		{"facebook/*", "facebook/opt-125m", true},
		{"facebook/*", "facebook/a/b", true},
		{"facebook/*", "facebook/", true},
		{"facebook/*", "facebook", false},
		{"*opt*", "facebook/opt-125m", true},
		{"*-125m", "facebook/opt-125m", true},
		{"*-125m", "facebook/opt-125m-125", false},
		{"opt-???m", "opt-125m", true},
		{"opt-???m", "opt-1250m", false},
		{"?", "é", true},
		{"?", "/", true},
		{"??", "é", false},
		{"a*b*c", "aXbXbXc", true},
		{"a*b*c", "aXcXb", false},
		{"[ab]", "a", false},
		{"[ab]", "[ab]", true},
		{`\*`, `\x`, true},
		{"**", "x", true},
		{"A*", "ab", false},
	} {
		if got := matches(c.model, c.name); got != c.want {
			t.Errorf("%q matches %q: %v", c.model, c.name, got)
		}
	}
}

// Letters are few, so that what is drawn meets often.
var (
	globTexts = rapid.StringMatching(`[ab*?é]{1,6}`)
	nameTexts = rapid.StringMatching(`[abxé]{1,6}`)
)

// TestCommonNameOfGlobs holds that common finds a name exactly where there is one.
func TestCommonNameOfGlobs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b, name := globTexts.Draw(t, "a"), globTexts.Draw(t, "b"), nameTexts.Draw(t, "name")
		found, ok := common(a, b)
		if ok && (!includes(a, found, false) || !includes(b, found, false) || found == "") {
			t.Fatalf("%q and %q do not both match %q", a, b, found)
		}
		if !ok && includes(a, name, false) && includes(b, name, false) {
			t.Fatalf("%q and %q both match %q", a, b, name)
		}
		if _, again := common(b, a); again != ok {
			t.Fatalf("%q and %q: the order matters", a, b)
		}
	})
}

// TestCoveringGlob holds that what is covered is matched.
func TestCoveringGlob(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b, name := globTexts.Draw(t, "a"), globTexts.Draw(t, "b"), nameTexts.Draw(t, "name")
		if covers(a, b) && matches(b, name) && !matches(a, name) {
			t.Fatalf("%q covers %q, but not %q", a, b, name)
		}
	})
	for _, c := range []struct {
		a, b string
		want bool
	}{{"*", "a*", true}, {"a*", "a?", true}, {"a*", "ab", true}, {"a?", "a*", false}, {"a*", "*", false}, {"a?c", "a?c", true}, {"a", "b", false}} {
		if got := covers(c.a, c.b); got != c.want {
			t.Errorf("covers(%q, %q) = %v", c.a, c.b, got)
		}
	}
}
