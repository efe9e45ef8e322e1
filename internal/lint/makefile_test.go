package lint

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

var (
	makeTarget = regexp.MustCompile(`(?m)^([a-z][a-z0-9-]*):`)
	makeHelped = regexp.MustCompile(`(?m)^([a-z][a-z0-9-]*):.*## \S`)
)

// TestMakeHelpListsEveryTarget holds `make help` to its word: it prints the
// targets that carry a "## " comment, so each target carries one.
func TestMakeHelpListsEveryTarget(t *testing.T) {
	raw, err := os.ReadFile(filepath.Join(repoRoot(t), "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	helped := map[string]bool{}
	for _, m := range makeHelped.FindAllSubmatch(raw, -1) {
		helped[string(m[1])] = true
	}
	targets := makeTarget.FindAllSubmatch(raw, -1)
	if len(targets) == 0 {
		t.Fatal("the Makefile has no target")
	}
	for _, m := range targets {
		if !helped[string(m[1])] {
			t.Errorf("make %s is not explained by a \"## \" comment", m[1])
		}
	}
}
