package monitoring

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// alert is a rule as Prometheus reads it.
type alert struct {
	Alert       string
	Expr        string
	For         string
	Labels      map[string]string
	Annotations map[string]string
}

// alerts reads the chart's rules.
func alerts(t *testing.T) (list []alert) {
	t.Helper()
	for _, name := range files(t, chart, "rules", "*.yaml") {
		var f struct{ Groups []struct{ Rules []alert } }
		readYAML(t, name, &f)
		for _, g := range f.Groups {
			list = append(list, g.Rules...)
		}
	}
	return list
}

func files(t *testing.T, pattern ...string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(pattern...))
	if err != nil || len(names) == 0 {
		t.Fatalf("nothing is %s: %v", filepath.Join(pattern...), err)
	}
	return names
}

func readYAML(t *testing.T, name string, into any) {
	t.Helper()
	b, err := os.ReadFile(name)
	if err == nil {
		err = yaml.Unmarshal(b, into)
	}
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

// TestRules: each alert fires and rests where rules/*.yaml says so.
func TestRules(t *testing.T) {
	promtool := program(t, "PROMTOOL", "promtool")
	run(t, promtool, append([]string{"check", "rules", "--lint=all", "--lint-fatal"}, files(t, chart, "rules", "*.yaml")...)...)
	run(t, promtool, append([]string{"test", "rules"}, files(t, "rules", "*.yaml")...)...)
}

// TestEveryAlertIsTested: there is a moment in the tests at which it fires, and
// one at which it does not.
func TestEveryAlertIsTested(t *testing.T) {
	fires, rests := map[string]bool{}, map[string]bool{}
	for _, name := range files(t, "rules", "*.yaml") {
		var f struct {
			Tests []struct {
				Moments []struct {
					Name string      `yaml:"alertname"`
					Want []yaml.Node `yaml:"exp_alerts"`
				} `yaml:"alert_rule_test"`
			}
		}
		readYAML(t, name, &f)
		for _, test := range f.Tests {
			for _, m := range test.Moments {
				if len(m.Want) > 0 {
					fires[m.Name] = true
				} else {
					rests[m.Name] = true
				}
			}
		}
	}
	for _, a := range alerts(t) {
		if !fires[a.Alert] || !rests[a.Alert] {
			t.Errorf("%s: a test fires it: %v, a test keeps it quiet: %v", a.Alert, fires[a.Alert], rests[a.Alert])
		}
	}
}

// TestEveryAlertIsExplained: who is woken finds a heading of docs/ops/alerts.md by
// the alert's link, and no heading is about an alert that there is not.
func TestEveryAlertIsExplained(t *testing.T) {
	const page = "https://github.com/tollkeeper/tollkeeper/blob/main/docs/ops/alerts.md#"
	b, err := os.ReadFile(filepath.Join("..", "..", "docs", "ops", "alerts.md"))
	if err != nil {
		t.Fatal(err)
	}
	var explained, named []string
	for line := range strings.Lines(string(b)) {
		if h, ok := strings.CutPrefix(line, "### "); ok {
			explained = append(explained, strings.TrimSpace(h))
		}
	}
	for _, a := range alerts(t) {
		named = append(named, a.Alert)
		if want := page + strings.ToLower(a.Alert); a.Annotations["runbook_url"] != want {
			t.Errorf("%s: runbook_url is %q, want %q", a.Alert, a.Annotations["runbook_url"], want)
		}
		if s := a.Labels["severity"]; s != "critical" && s != "warning" {
			t.Errorf("%s: severity %q", a.Alert, s)
		}
		if a.Annotations["summary"] == "" || a.Annotations["description"] == "" {
			t.Errorf("%s: no summary, or no description", a.Alert)
		}
	}
	slices.Sort(explained)
	slices.Sort(named)
	if !slices.Equal(explained, named) {
		t.Errorf("docs/ops/alerts.md explains\n%q, the rules have\n%q", explained, named)
	}
}
