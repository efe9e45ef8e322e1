package lint

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/modfile"
)

// maxDirectDependencies is the design's bound: each one is read, watched and
// updated by a person.
const maxDirectDependencies = 30

// directProjects lists the projects that non-test files import, given the
// modules of go.mod: an import belongs to the longest module path above it.
// Tests' and tools' modules do not count, siblings of one project count once.
func directProjects(files []goFile, modules []string) (projects, unknown []string) {
	for _, f := range files {
		if f.IsTest() || under(f.Dir(), "test") {
			continue
		}
		for _, imp := range f.Imports() {
			host, _, _ := strings.Cut(imp, "/")
			if !strings.Contains(host, ".") || under(imp, modulePath) {
				continue
			}
			best := ""
			for _, m := range modules {
				if under(imp, m) && len(m) > len(best) {
					best = m
				}
			}
			if best == "" {
				unknown = append(unknown, f.Path+" imports "+imp+", which go.mod does not name")
				continue
			}
			projects = append(projects, project(best))
		}
	}
	slices.Sort(projects)
	return slices.Compact(projects), unknown
}

// project is what a module is a part of: owner/repository on a code host,
// golang.org/x/NAME, else the host's first element (go.opentelemetry.io/otel).
func project(module string) string {
	parts := strings.Split(module, "/")
	n := 2
	switch parts[0] {
	case "github.com", "gitlab.com", "codeberg.org", "golang.org":
		n = 3
	case "modernc.org":
		n = 1
	}
	return strings.Join(parts[:min(n, len(parts))], "/")
}

func TestDirectDependencies(t *testing.T) {
	raw, err := os.ReadFile(filepath.Join(repoRoot(t), "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	mod, err := modfile.Parse("go.mod", raw, nil)
	if err != nil {
		t.Fatal(err)
	}
	var modules []string
	for _, r := range mod.Require {
		modules = append(modules, r.Mod.Path)
	}
	projects, unknown := directProjects(goFiles(t), modules)
	report(t, unknown)
	t.Logf("%d of at most %d direct dependencies: %s", len(projects), maxDirectDependencies, strings.Join(projects, " "))
	if len(projects) > maxDirectDependencies {
		t.Errorf("%d direct dependencies, at most %d", len(projects), maxDirectDependencies)
	}
}

func TestDirectProjectsCountSiblingsOnce(t *testing.T) {
	src := func(path string, imports ...string) goFile {
		return parseGo(t, path, "package x\nimport (\n\""+strings.Join(imports, "\"\n\"")+"\"\n)\n")
	}
	got, unknown := directProjects([]goFile{
		src("a/a.go", "fmt", "github.com/o/r/v2/x", "github.com/o/r/yaml", "go.opentelemetry.io/otel/trace", "go.opentelemetry.io/otel"),
		src("a/a_test.go", "pgregory.net/rapid"),
		src("test/load/main.go", "github.com/load/only"),
		src("b/b.go", "golang.org/x/mod/sumdb/tlog", modulePath+"/internal/money", "example.org/absent"),
	}, []string{
		"github.com/o/r/v2", "github.com/o/r/yaml", "go.opentelemetry.io/otel", "go.opentelemetry.io/otel/trace", "pgregory.net/rapid",
		"golang.org/x/mod",
	})
	want := []string{"github.com/o/r", "go.opentelemetry.io/otel", "golang.org/x/mod"}
	if !slices.Equal(got, want) {
		t.Errorf("projects %q, want %q", got, want)
	}
	if len(unknown) != 1 {
		t.Errorf("unknown %q, want the one import that no module has", unknown)
	}
}
