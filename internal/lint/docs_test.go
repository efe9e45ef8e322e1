package lint

import (
	"go/ast"
	"testing"
)

// checkDocumented finds exported names of a pure package without a comment.
// A comment on a group of constants or variables serves all of the group.
func checkDocumented(f goFile) []string {
	if f.PurePackage() == "" || f.IsTest() {
		return nil
	}
	var out []string
	missing := func(n *ast.Ident) { out = append(out, f.Pos(n)+": "+n.Name+" is exported and has no comment") }
	for _, d := range f.AST.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if d.Name.IsExported() && d.Doc == nil && (d.Recv == nil || ast.IsExported(receiver(d))) {
				missing(d.Name)
			}
		case *ast.GenDecl:
			for _, s := range d.Specs {
				switch s := s.(type) {
				case *ast.TypeSpec:
					if s.Name.IsExported() && s.Doc == nil && d.Doc == nil {
						missing(s.Name)
					}
				case *ast.ValueSpec:
					for _, n := range s.Names {
						if n.IsExported() && s.Doc == nil && s.Comment == nil && d.Doc == nil {
							missing(n)
						}
					}
				}
			}
		}
	}
	return out
}

// receiver is the name of the type that a method belongs to.
func receiver(d *ast.FuncDecl) string {
	x := d.Recv.List[0].Type
	for {
		switch t := x.(type) {
		case *ast.StarExpr:
			x = t.X
		case *ast.IndexExpr:
			x = t.X
		case *ast.IndexListExpr:
			x = t.X
		case *ast.Ident:
			return t.Name
		default:
			return ""
		}
	}
}

func TestExportedNamesAreDocumented(t *testing.T) {
	packageDoc := map[string]bool{}
	for _, f := range goFiles(t) {
		report(t, checkDocumented(f))
		if p := f.PurePackage(); p != "" && !f.IsTest() {
			packageDoc[p] = packageDoc[p] || f.AST.Doc != nil
		}
	}
	for p, ok := range packageDoc {
		if !ok {
			t.Errorf("package %s has no package comment", p)
		}
	}
}

func TestDocumentedFindsViolations(t *testing.T) {
	wantFindings(t, checkDocumented, "internal/rating/x.go",
		[]string{
			"package rating\nfunc F() {}", "package rating\ntype T int", "package rating\nconst C = 1", "package rating\nvar V, w = 1, 2",
			"package rating\n// T is.\ntype T int\nfunc (t *T) M() {}", "package rating\n// T is.\ntype T[A any] int\nfunc (t T[A]) M() {}",
		},
		[]string{
			"package rating\nfunc f() {}\ntype t int\nfunc (t) M() {}",
			"package rating\n// Kinds.\nconst (\nA = 1\nB = 2\n)\nconst (\nD = 1 // d\n)",
		})
	wantFindings(t, checkDocumented, "internal/journal/x.go", nil, []string{"package journal\nfunc F() {}"})
}
