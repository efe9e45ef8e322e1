package lint

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// decimalModule is the one library that the pure packages may use.
const decimalModule = "github.com/cockroachdb/apd/v3"

// impureStd lists the standard packages (with all below them) that a pure
// package may not import: they reach the clock, chance, the machine or a log.
// time itself stays, for instants and calendars; purity_test.go forbids its clock.
var impureStd = []string{
	"context", "os", "net", "io/fs", "io/ioutil", "log", "syscall", "runtime", "unsafe", "plugin", "embed",
	"math/rand", "math/big", "math/cmplx", "crypto/rand", "database/sql", "testing", "expvar", "sync", "flag",
	"html/template", "text/template", "path/filepath", "archive", "debug", "go", "reflect",
}

// checkImports applies the import rules of the design to one file.
func checkImports(f goFile) []string {
	var out []string
	bad := func(imp, why string) {
		out = append(out, fmt.Sprintf("%s imports %s: %s", f.Path, imp, why))
	}
	for _, imp := range f.Imports() {
		room, ours := strings.CutPrefix(imp, modulePath+"/")
		switch {
		case ours && under(room, "internal/cli") && !under(f.Dir(), "internal/cli") && !under(f.Dir(), "cmd"):
			bad(imp, "nothing imports cli; only cli wires")
		case ours && under(room, "internal/store") && under(f.Dir(), "internal/store") && storeOf(room) != storeOf(f.Dir()) &&
			!(f.IsTest() && storeOf(room) == "storetest"):
			bad(imp, "stores never import one another; their tests may import storetest")
		}
		if f.PurePackage() == "" || f.IsTest() {
			continue
		}
		switch {
		case ours:
			if name, _ := strings.CutPrefix(room, "internal/"); !slices.Contains(pure, name) {
				bad(imp, "a pure package imports only pure packages, std and apd")
			}
		case strings.Contains(strings.Split(imp, "/")[0], "."):
			if imp != decimalModule {
				bad(imp, "a pure package imports only pure packages, std and apd")
			}
		case slices.ContainsFunc(impureStd, func(p string) bool { return under(imp, p) }):
			bad(imp, "a pure package has no context, clock, chance, I/O, goroutine or log")
		}
	}
	return out
}

// under tells whether path is dir or below it.
func under(path, dir string) bool { return path == dir || strings.HasPrefix(path, dir+"/") }

// storeOf is the store's name in "internal/store/NAME/…".
func storeOf(dir string) string {
	rest, _ := strings.CutPrefix(dir, "internal/store/")
	name, _, _ := strings.Cut(rest, "/")
	return name
}

func TestImportRules(t *testing.T) {
	for _, f := range goFiles(t) {
		report(t, checkImports(f))
	}
}

func TestImportRulesFindViolations(t *testing.T) {
	imports := func(paths ...string) string {
		return "package x\nimport (\n\"" + strings.Join(paths, "\"\n\"") + "\"\n)\n"
	}
	ours := modulePath + "/internal/"
	wantFindings(t, checkImports, "internal/usage/x.go",
		[]string{
			imports("os"), imports("net/url"), imports("context"), imports("log/slog"), imports("math/rand/v2"),
			imports("crypto/rand"), imports(ours + "journal"), imports("modernc.org/sqlite"), imports(ours + "cli"),
		},
		[]string{imports("fmt", "time", "strings", "crypto/sha256", "encoding/json", decimalModule, ours+"money")})
	wantFindings(t, checkImports, "internal/usage/x_test.go",
		[]string{imports(ours + "cli")},
		[]string{imports("os", "testing", "pgregory.net/rapid")})
	wantFindings(t, checkImports, "internal/store/sqlite/x.go",
		[]string{imports(ours + "store/clickhouse"), imports(ours + "store/storetest")},
		[]string{imports(ours+"usage", ours+"store/sqlite/internal/day")})
	wantFindings(t, checkImports, "internal/store/sqlite/x_test.go",
		[]string{imports(ours + "store/clickhouse")},
		[]string{imports(ours + "store/storetest")})
	wantFindings(t, checkImports, "internal/web/x.go", []string{imports(ours + "cli")}, nil)
	wantFindings(t, checkImports, "cmd/tollkeeper/main.go", nil, []string{imports(ours + "cli")})
}
