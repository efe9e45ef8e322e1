package config_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/tollkeeper/tollkeeper/internal/config"
)

// TestProvenance prints where each value came from, as `tollkeeper config` does.
func TestProvenance(t *testing.T) {
	t.Parallel()
	path := file(t, "tollkeeper.yaml", `# what an operator wrote
listen:
  api: ":8080"
engines:
  - { match: { service.name: opt-125m }, model: facebook/opt-125m }
attribution:
  order:
    - tag
    - request_id
  request_id: [ '^(chat)?cmpl-(?P<customer>[a-z]+)-' ]
signing_key: keys/signing
invoice: { currency: EUR, issuer: { name: "Inference & Co", address: "1 Quay\nHamburg" } }
`)
	_, p := load(t, path, "TOLLKEEPER_INVOICE_CURRENCY=CHF", "TOLLKEEPER_DATA=relative/data")
	var out strings.Builder
	for _, s := range p.Settings {
		out.WriteString(s.Key + " = " + s.Text() + "    " + s.From + "\n")
	}
	golden(t, filepath.Join("testdata", "provenance.golden"), strings.ReplaceAll(out.String(), filepath.Dir(path), "/etc/tollkeeper"))
	if from := p.From("invoice.colour"); from != "" {
		t.Errorf("a key that there is not comes from %q", from)
	}
}

// TestProblemsAreInOrder has those of the file first, by line, then those of the
// environment.
func TestProblemsAreInOrder(t *testing.T) {
	t.Parallel()
	path := file(t, "tollkeeper.yaml", "b: 1\na: { x: 1 }\nlisten: { y: 1, api: z }\n")
	var last config.Problem
	problems := refused(t, path, "TOLLKEEPER_Z=1", "TOLLKEEPER_A=1")
	for _, p := range problems {
		if p.Variable < last.Variable || p.Line < last.Line && p.Variable == "" {
			t.Errorf("%s\nstands behind\n%s", p, last)
		}
		if (p.File == "") == (p.Variable == "") {
			t.Errorf("%+v is of a file or of a variable", p)
		}
		last = p
	}
	if len(problems) != 6 {
		t.Errorf("%d problems:\n%s", len(problems), problems)
	}
}
