package config_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tollkeeper/tollkeeper/internal/config"
)

// TestKeysAreDocumented compares the table of docs/ops/configuration.md with the
// schema; -update writes it anew.
func TestKeysAreDocumented(t *testing.T) {
	const begin, end = "<!-- keys: made by go test ./internal/config -update -->\n", "<!-- end of keys -->\n"
	page := filepath.Join("..", "..", "docs", "ops", "configuration.md")
	b, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(b), begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s: the marks of the table are not there", page)
	}
	var table strings.Builder
	table.WriteString("| key | default | meaning | variable |\n|---|---|---|---|\n")
	for _, k := range config.Keys() {
		value := ""
		if k.Default != "" {
			value = "`" + k.Default + "`"
		}
		fmt.Fprintf(&table, "| `%s` | %s | %s | `%s` |\n", k.Name, value, k.Meaning, k.Variable)
	}
	want := before + begin + table.String() + end + after
	if *update {
		if err := os.WriteFile(page, []byte(want), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if want != string(b) {
		t.Errorf("%s is not what the schema says: go test ./internal/config -update", page)
	}
}

// TestDocumentedPrices reads the price file that docs/ops/prices.md shows.
func TestDocumentedPrices(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "ops", "prices.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(page), "```yaml\n")
	text, _, ok := strings.Cut(rest, "```")
	if !ok {
		t.Fatal("the page shows no file")
	}
	name := filepath.Join(t.TempDir(), "prices.yaml")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	book, odd, err := config.LoadPrices(name)
	if err != nil || len(odd) > 0 || len(book.Entries) != 4 {
		t.Errorf("%v, %v: %+v", err, odd, book)
	}
}
