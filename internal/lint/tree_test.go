package lint

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// modulePath is the import path prefix of everything in this repository.
const modulePath = "github.com/tollkeeper/tollkeeper"

// pure names the packages that do nothing but compute: same input, same answer.
var pure = []string{"money", "usage", "pricing", "rating", "ledger", "billing"}

// goFile is one parsed Go source file of the repository.
type goFile struct {
	Path string // slash-separated, relative to the repository root
	AST  *ast.File
	Fset *token.FileSet
}

// parseGo parses src as the file at path.
func parseGo(t *testing.T, path string, src any) goFile {
	t.Helper()
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, path, src, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	return goFile{Path: path, AST: f, Fset: fset}
}

// Dir is the slash-separated directory of the file.
func (f goFile) Dir() string { return path.Dir(f.Path) }

// IsTest tells whether only `go test` compiles the file.
func (f goFile) IsTest() bool { return strings.HasSuffix(f.Path, "_test.go") }

// Pos gives "path:line" of a node.
func (f goFile) Pos(n ast.Node) string {
	return f.Path + ":" + strconv.Itoa(f.Fset.Position(n.Pos()).Line)
}

// Imports lists the import paths of the file.
func (f goFile) Imports() []string {
	var out []string
	for _, s := range f.AST.Imports {
		p, err := strconv.Unquote(s.Path.Value)
		if err != nil {
			panic(err) // the parser accepted it as a string literal
		}
		out = append(out, p)
	}
	return out
}

// PurePackage is the name of the pure package that the file belongs to, or "".
func (f goFile) PurePackage() string {
	name, ok := strings.CutPrefix(f.Dir(), "internal/")
	if ok && slices.Contains(pure, name) {
		return name
	}
	return ""
}

// repoRoot is the directory that holds go.mod.
func repoRoot(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		up := filepath.Dir(dir)
		if up == dir {
			t.Fatal("no go.mod above the test's directory")
		}
		dir = up
	}
}

// trackedFiles lists what git tracks, slash-separated and relative to the root.
// Outside a checkout (a source archive) it is every file of the tree.
func trackedFiles(t *testing.T) []string {
	t.Helper()
	root := repoRoot(t)
	out, err := exec.Command("git", "-C", root, "ls-files", "-z").Output()
	if err != nil {
		t.Logf("git ls-files: %v; walking the tree instead", err)
		return walkTree(t, root)
	}
	var files []string
	for name := range strings.SplitSeq(string(out), "\x00") {
		if name == "" {
			continue
		}
		if _, err := os.Stat(filepath.Join(root, name)); err != nil {
			continue // deleted in the work tree, not yet in the index
		}
		files = append(files, name)
	}
	return files
}

func walkTree(t *testing.T, root string) []string {
	t.Helper()
	var files []string
	err := fs.WalkDir(os.DirFS(root), ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && slices.Contains([]string{".git", ".build", "bin", "dist", "node_modules"}, d.Name()) {
			return fs.SkipDir
		}
		if d.Type().IsRegular() {
			files = append(files, p)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// goFiles parses every tracked Go file outside testdata.
func goFiles(t *testing.T) []goFile {
	t.Helper()
	root := repoRoot(t)
	var out []goFile
	for _, name := range trackedFiles(t) {
		if !strings.HasSuffix(name, ".go") || strings.Contains("/"+name, "/testdata/") {
			continue
		}
		src, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, parseGo(t, name, src))
	}
	if len(out) == 0 {
		t.Fatal("found no Go file: the lint tests would prove nothing")
	}
	return out
}

// report fails the test with one line a finding.
func report(t *testing.T, findings []string) {
	t.Helper()
	for _, f := range findings {
		t.Error(f)
	}
}

// wantFindings checks that a check finds at least one thing in each bad source
// and nothing in each good one.
func wantFindings(t *testing.T, check func(goFile) []string, path string, bad, good []string) {
	t.Helper()
	for _, src := range bad {
		if len(check(parseGo(t, path, src))) == 0 {
			t.Errorf("nothing found in %s:\n%s", path, src)
		}
	}
	for _, src := range good {
		if got := check(parseGo(t, path, src)); len(got) != 0 {
			t.Errorf("found %q in %s:\n%s", got, path, src)
		}
	}
}
