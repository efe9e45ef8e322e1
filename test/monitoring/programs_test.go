package monitoring

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// wanted says that nothing may be skipped.
const wanted = "TOLLKEEPER_MONITORING"

// chart is the chart's folder, seen from this one.
var chart = filepath.Join("..", "..", "charts", "llm-inference-app")

// program finds a program by the variable that names it, else by its own name.
func program(t *testing.T, variable, name string) string {
	t.Helper()
	path := os.Getenv(variable)
	if path == "" {
		path = name
	}
	path, err := exec.LookPath(path)
	switch {
	case err == nil:
		return path
	case os.Getenv(wanted) != "":
		t.Fatalf("no %s: set %s to its path (%v)", name, variable, err)
	default:
		t.Skipf("NOT TESTED: no %s here: `make monitoring` brings it, or set %s to its path", name, variable)
	}
	return ""
}

// run runs a program to its end, and wants that it ends well.
func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", filepath.Base(name), args, err, out)
	}
	return string(out)
}
