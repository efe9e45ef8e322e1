package tenant_test

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tollkeeper/tollkeeper/internal/tenant"
)

var update = flag.Bool("update", false, "write the golden files")

func TestSnippets(t *testing.T) {
	h := newHouse()
	for _, edge := range tenant.Edges {
		got, err := tenant.Snippet(edge, h.key, h.secret)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join("testdata", edge+".golden")
		if *update {
			if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) {
			t.Errorf("%s differs (go test -update writes it):\n%s", path, got)
		}
		// What is printed is what Judge accepts.
		_, rest, _ := strings.Cut(got, "tollkeeper=v1")
		tag, _, _ := strings.Cut(rest, `"`)
		if v := h.directory().Judge("tollkeeper=v1"+tag, trace, noon); v.Customer != "acme" {
			t.Errorf("%s sets a tag with the verdict %+v", edge, v)
		}
	}
}

func TestSnippetRefuses(t *testing.T) {
	h := newHouse()
	for name, err := range map[string]error{
		"edge":     second(tenant.Snippet("apache", h.key, h.secret)),
		"operator": second(tenant.Snippet("nginx", h.operator, h.secret)),
	} {
		if !errors.Is(err, tenant.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func second[A, B any](_ A, b B) B { return b }
