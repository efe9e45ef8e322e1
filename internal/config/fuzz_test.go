package config_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"unicode"

	"github.com/tollkeeper/tollkeeper/internal/config"
	"github.com/tollkeeper/tollkeeper/internal/pricing"
)

// FuzzLoad holds that whatever stands in a file, it is read, and makes a policy
// and a whole list of where things came from; or the errors name file and line.
// The same text as a variable names the variable.
func FuzzLoad(f *testing.F) {
	addFiles(f, "config")
	f.Add([]byte(whole))
	f.Fuzz(func(t *testing.T, text []byte) {
		path := filepath.Join(t.TempDir(), "tollkeeper.yaml")
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		c, p, err := config.Load(path, nil)
		if err != nil {
			wantPlaces(t, err, path, text)
		} else if _, bad := c.Policy().Compile(); bad != nil || len(p.Settings) != len(config.Keys()) {
			t.Fatalf("accepted, but %v, %d settings", bad, len(p.Settings))
		}
		if again, _, same := config.Load(path, nil); !reflect.DeepEqual(c, again) || fmt.Sprint(err) != fmt.Sprint(same) {
			t.Fatalf("read twice it differs: %v, %v", err, same)
		}
		for _, name := range []string{"TOLLKEEPER_ENGINES", "TOLLKEEPER_ATTRIBUTION_ORDER", "TOLLKEEPER_INVOICE_NOTE", "TOLLKEEPER_INVOICE_GRACE"} {
			_, _, err := config.Load("", []string{name + "=" + string(text)})
			var problems config.Problems
			if err != nil && !errors.As(err, &problems) {
				t.Fatalf("%v are no problems", err)
			}
			for _, p := range problems {
				if p.Variable != name || p.File != "" || p.Text == "" {
					t.Fatalf("%+v does not name %s", p, name)
				}
			}
		}
	})
}

// FuzzLoadPrices holds that whatever stands in a file of prices, it is a book
// that the store takes and reads back as it was, or the errors name file and line.
func FuzzLoadPrices(f *testing.F) {
	addFiles(f, "prices")
	f.Fuzz(func(t *testing.T, text []byte) {
		path := filepath.Join(t.TempDir(), "prices.yaml")
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		book, odd, err := config.LoadPrices(path)
		if err != nil {
			wantPlaces(t, err, path, text)
			return
		}
		if len(odd) > 0 {
			wantPlaces(t, odd, path, text)
		}
		document, err := book.Canonical()
		if err != nil {
			t.Fatal(err)
		}
		kept, err := pricing.Parse(document)
		if err != nil {
			t.Fatalf("the store would not take it: %v\n%s", err, document)
		}
		if again, err := kept.Canonical(); err != nil || !bytes.Equal(again, document) {
			t.Fatalf("%v\n%s\n%s", err, document, again)
		}
	})
}

func addFiles(f *testing.F, dir string) {
	f.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", dir, "*.yaml"))
	if err != nil || len(files) == 0 {
		f.Fatal(files, err)
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
}

// wantPlaces wants each problem to name the file and a line of it; that it is
// empty or too large has none.
func wantPlaces(t *testing.T, err error, path string, text []byte) {
	t.Helper()
	var problems config.Problems
	if !errors.As(err, &problems) || len(problems) == 0 {
		t.Fatalf("%v are no problems", err)
	}
	lines := bytes.Count(text, []byte("\n")) + bytes.Count(text, []byte("\r")) + bytes.Count(text, []byte("\u0085")) +
		bytes.Count(text, []byte("\u2028")) + bytes.Count(text, []byte("\u2029")) + 1
	for _, p := range problems {
		if p.File != path || p.Variable != "" || p.Text == "" {
			t.Fatalf("%+v does not name the file or what is wrong", p)
		}
		whole := p.Line == 0 && (strings.HasPrefix(p.Text, "is empty") || strings.HasPrefix(p.Text, "larger than"))
		if !whole && (p.Line < 1 || p.Line > lines || p.Column < 1) {
			t.Fatalf("%+v is in none of %d lines", p, lines)
		}
		if strings.ContainsFunc(p.String(), unicode.IsControl) {
			t.Fatalf("%q is not one line of text", p.String())
		}
	}
}
