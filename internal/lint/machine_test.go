package lint

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// machinePath matches an absolute path of one machine. It is written in pieces
// so that this file passes its own rule.
var machinePath = regexp.MustCompile(`(^|[^\w.\-/])/(` + "root|work|farm|home/[a-z]+" + `)/`)

// registryHosts are package registries. A clone fetches through whatever its
// client is set to, so no tracked file names one. In pieces, as above.
var registryHosts = []string{
	"proxy.golang" + ".org", "sum.golang" + ".org", "registry.npmjs" + ".org", "registry.yarnpkg" + ".com", "pypi" + ".org",
	"pythonhosted" + ".org", "crates" + ".io", "repo1.maven" + ".org", "repo.maven" + ".apache.org", "deb.debian" + ".org",
	"rubygems" + ".org",
}

// checkMachine finds machine paths and registry hosts in one file's bytes.
func checkMachine(name string, content []byte) []string {
	var out []string
	for i, line := range bytes.Split(content, []byte("\n")) {
		if m := machinePath.Find(line); m != nil {
			out = append(out, fmt.Sprintf("%s:%d: path of one machine: %q", name, i+1, m))
		}
		for _, h := range registryHosts {
			if bytes.Contains(line, []byte(h)) {
				out = append(out, fmt.Sprintf("%s:%d: host of a registry: %s", name, i+1, h))
			}
		}
	}
	return out
}

func TestNothingOfOneMachine(t *testing.T) {
	root := repoRoot(t)
	for _, name := range trackedFiles(t) {
		// Recordings are what a real server sent, byte for byte.
		if strings.HasPrefix(name, "testdata/recordings/") {
			continue
		}
		content, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		report(t, checkMachine(name, content))
	}
}

func TestMachineFindsViolations(t *testing.T) {
	for _, bad := range []string{"cd /" + "root/x", "\"/" + "work/main\"", "a\nsee /" + "farm/y", "https://" + registryHosts[0] + "/x", "/" + "home/jo/x"} {
		if len(checkMachine("x", []byte(bad))) == 0 {
			t.Errorf("nothing found in %q", bad)
		}
	}
	for _, good := range []string{"docs/work/x", "the work/life", "/var/lib/tollkeeper/journal.db", "https://example.com/work/x"} {
		if got := checkMachine("x", []byte(good)); len(got) != 0 {
			t.Errorf("found %q in %q", got, good)
		}
	}
}
