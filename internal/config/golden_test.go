package config_test

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tollkeeper/tollkeeper/internal/config"
)

var update = flag.Bool("update", false, "write the golden files")

// TestGoldenErrors reads each file of testdata and compares what it is told.
func TestGoldenErrors(t *testing.T) {
	for dir, load := range map[string]func(string) error{
		"config": func(name string) error { _, _, err := config.Load(name, nil); return err },
		"prices": func(name string) error {
			_, odd, err := config.LoadPrices(name)
			if err == nil && len(odd) > 0 {
				return odd
			}
			return err
		},
	} {
		files, err := filepath.Glob(filepath.Join("testdata", dir, "*.yaml"))
		if err != nil || len(files) == 0 {
			t.Fatalf("%d files, %v", len(files), err)
		}
		for _, name := range files {
			got := "no error\n"
			if err := load(name); err != nil {
				got = strings.ReplaceAll(err.Error(), filepath.ToSlash(filepath.Dir(name))+"/", "") + "\n"
			}
			golden(t, strings.TrimSuffix(name, ".yaml")+".golden", got)
		}
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(name, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil || got != string(want) {
		t.Errorf("%s: %v; got\n%s", name, err, got)
	}
}
