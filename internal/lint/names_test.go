package lint

import (
	"go/ast"
	"path"
	"slices"
	"testing"
)

// emptyNames say nothing about what a package does; a noun of the domain does.
var emptyNames = []string{"util", "utils", "common", "types", "models", "model", "service", "services", "manager", "pkg", "helpers", "misc", "base"}

// checkPackageName finds a file whose package, or whose directory, has an empty name.
func checkPackageName(f goFile) []string {
	if name := f.AST.Name.Name; slices.Contains(emptyNames, name) {
		return []string{f.Path + ": package " + name + ": name it after what it does"}
	}
	for dir := f.Dir(); dir != "."; dir = path.Dir(dir) {
		if slices.Contains(emptyNames, path.Base(dir)) {
			return []string{f.Path + ": directory " + dir + ": name it after what it holds"}
		}
	}
	return nil
}

// checkNoInit finds init functions: what happens at start is visible in cli.
func checkNoInit(f goFile) []string {
	if f.IsTest() {
		return nil
	}
	for _, d := range f.AST.Decls {
		if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
			return []string{f.Pos(fn) + ": func init: register in cli, where it is seen"}
		}
	}
	return nil
}

func TestPackageNames(t *testing.T) {
	for _, f := range goFiles(t) {
		report(t, checkPackageName(f))
		report(t, checkNoInit(f))
	}
}

func TestPackageNamesFindViolations(t *testing.T) {
	wantFindings(t, checkPackageName, "internal/x/y.go", []string{"package util", "package models", "package pkg"}, []string{"package money"})
	wantFindings(t, checkPackageName, "internal/common/money/y.go", []string{"package money"}, nil)
	wantFindings(t, checkNoInit, "internal/x/y.go", []string{"package x\nfunc init() {}"}, []string{"package x\nfunc (x) init() {}\ntype x int"})
}
