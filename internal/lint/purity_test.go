package lint

import (
	"fmt"
	"go/ast"
	"go/token"
	"slices"
	"strings"
	"testing"
)

// clockCalls are the names of package time that read the machine's clock or its
// zone files, or wait.
var clockCalls = []string{
	"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker", "Local", "LoadLocation",
}

// floatMethods are methods of std and apd values that give or take a float.
var floatMethods = []string{"Float64", "Float32", "SetFloat64", "Seconds", "Minutes", "Hours"}

// checkPurity finds clocks, floats and goroutines in a file of a pure package.
// It works on syntax alone, so a float that only a type checker could see (the
// result of a foreign function) is caught by the imports rule or not at all.
func checkPurity(f goFile) []string {
	if f.PurePackage() == "" || f.IsTest() {
		return nil
	}
	var out []string
	bad := func(n ast.Node, format string, args ...any) {
		out = append(out, f.Pos(n)+": "+fmt.Sprintf(format, args...)+" in pure package "+f.PurePackage())
	}
	ast.Inspect(f.AST, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			bad(n, "goroutine")
		case *ast.SelectStmt, *ast.SendStmt, *ast.ChanType:
			bad(n, "channel")
		case *ast.BasicLit:
			if n.Kind == token.FLOAT || n.Kind == token.IMAG {
				bad(n, "float literal %s", n.Value)
			}
		case *ast.Ident:
			if slices.Contains([]string{"float32", "float64", "complex64", "complex128"}, n.Name) {
				bad(n, "%s", n.Name)
			}
			if n.Name == "println" || n.Name == "print" {
				bad(n, "%s", n.Name)
			}
		case *ast.SelectorExpr:
			pkg, isIdent := n.X.(*ast.Ident)
			name := n.Sel.Name
			switch {
			case isIdent && pkg.Name == "time" && slices.Contains(clockCalls, name):
				bad(n, "time.%s", name)
			case isIdent && pkg.Name == "strconv" && strings.HasSuffix(name, "Float"):
				bad(n, "strconv.%s", name)
			case isIdent && pkg.Name == "math" && !strings.HasPrefix(name, "MaxInt") && !strings.HasPrefix(name, "MinInt") &&
				!strings.HasPrefix(name, "MaxUint"):
				bad(n, "math.%s", name)
			case isIdent && pkg.Name == "fmt" && strings.HasPrefix(name, "Print"):
				bad(n, "fmt.%s", name)
			case slices.Contains(floatMethods, name):
				bad(n, "method %s, a float", name)
			}
		}
		return true
	})
	return out
}

func TestPurePackagesArePure(t *testing.T) {
	for _, f := range goFiles(t) {
		report(t, checkPurity(f))
	}
}

func TestPurityFindsViolations(t *testing.T) {
	wantFindings(t, checkPurity, "internal/money/x.go",
		[]string{
			"package money\nimport \"time\"\nvar x = time.Now()",
			"package money\nimport \"time\"\nfunc f(d time.Time) any { return time.Since(d) }",
			"package money\nimport \"time\"\nfunc f(d time.Duration) any { return d.Seconds() }",
			"package money\nimport \"time\"\nfunc f() any { x, _ := time.LoadLocation(\"UTC\"); return x }",
			"package money\nvar x float64",
			"package money\nvar x = 1.5",
			"package money\nvar x = 1e3",
			"package money\nimport \"math\"\nvar x = math.Round(3)",
			"package money\nimport \"strconv\"\nvar x, _ = strconv.ParseFloat(\"1\", 64)",
			"package money\nfunc f() { go f() }",
			"package money\nfunc f() { println(1) }",
			"package money\nimport \"fmt\"\nfunc f() { fmt.Println(1) }",
			"package money\nfunc f(c chan int) {}",
		},
		[]string{
			"package money\nimport (\"math\"; \"time\")\nvar x = math.MaxInt64\nvar d = 15 * time.Minute\nfunc f(t time.Time) int { return t.Hour() }",
		})
	wantFindings(t, checkPurity, "internal/journal/x.go", nil, []string{"package journal\nvar x = 1.5\nfunc f() { go f() }"})
}
