package chart

import (
	"maps"
	"strings"
	"testing"
)

// renders are the ways to install the chart that people read in review: one a
// mode, and one for each part that can be somebody else's.
var renders = map[string][]string{
	"demo":                {"-f", chart + "/ci/demo-values.yaml"},
	"production":          {"-f", chart + "/values-production.yaml", "-f", chart + "/ci/production-values.yaml"},
	"simulator":           {"-f", chart + "/ci/simulator-values.yaml"},
	"external-clickhouse": {"-f", chart + "/ci/external-clickhouse-values.yaml"},
	"external-collector":  {"-f", chart + "/ci/external-collector-values.yaml"},
	"external-prometheus": {"-f", chart + "/ci/external-prometheus-values.yaml"},
	"every-knob":          {"-f", chart + "/ci/every-knob-values.yaml"},
}

func TestGoldenRenders(t *testing.T) {
	t.Parallel()
	for name, args := range renders {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			first, second := template(t, args...), template(t, args...)
			if first != second {
				t.Error("rendered twice, it is not the same: an upgrade would restart Pods for nothing")
			}
			golden(t, name+".yaml", tidy(first))
		})
	}
}

// tidy takes out what Helm 3 and 4 write differently: empty lines and blanks at
// the end of lines.
func tidy(rendered string) string {
	var out strings.Builder
	for l := range strings.Lines(rendered) {
		if l = strings.TrimRight(l, " \n"); l != "" {
			out.WriteString(l + "\n")
		}
	}
	return out.String()
}

// TestNotes: what a person reads after the install. Helm 3 cannot render them
// without a cluster.
func TestNotes(t *testing.T) {
	t.Parallel()
	version, _ := helm(t, "version", "--short")
	if strings.HasPrefix(version, "v3") {
		t.Skip("Helm 3")
	}
	all := maps.Clone(renders)
	delete(all, "every-knob")
	all["lora"] = []string{"--set-json", `vllm.lora.modules=[{"name":"sql-lora","path":"/models/sql-lora"}]`}
	for name, args := range all {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out, refusal := helm(t, append([]string{"install", "vllm", chart, "--namespace", "llm", "--dry-run=client"}, args...)...)
			_, notes, found := strings.Cut(out, "\nNOTES:\n")
			if !found {
				t.Fatal(refusal)
			}
			golden(t, "notes/"+name+".txt", notes)
		})
	}
}
