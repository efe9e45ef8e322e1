// Package chart tests what charts/llm-inference-app renders. It needs a helm in
// $HELM: test/chart/run builds Helm 4 and 3 and runs it with each.
package chart

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

var update = flag.Bool("update", false, "write the golden files")

const chart = "../../charts/llm-inference-app"

// helm runs it, with what it said when it refused.
func helm(t *testing.T, args ...string) (stdout, refusal string) {
	t.Helper()
	program := os.Getenv("HELM")
	if program == "" {
		t.Skip("no $HELM: make chart builds it and runs this")
	}
	var out, problem bytes.Buffer
	c := exec.Command(program, args...)
	c.Stdout, c.Stderr = &out, &problem
	// Nothing of the user's: no cluster, no repositories, no plugins.
	home := t.TempDir()
	c.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + home, "HELM_CONFIG_HOME=" + home, "HELM_CACHE_HOME=" + home, "HELM_DATA_HOME=" + home}
	err := c.Run()
	if _, failed := errors.AsType[*exec.ExitError](err); err != nil && !failed {
		t.Fatal(err)
	}
	if err != nil {
		return "", problem.String()
	}
	return out.String(), ""
}

// render is the command; without a cluster Helm 3 thinks of Kubernetes 1.20.
var render = []string{"template", "vllm", chart, "--namespace", "llm", "--kube-version", "1.34.0"}

// template renders the chart as release vllm in namespace llm.
func template(t *testing.T, args ...string) string {
	t.Helper()
	out, refusal := helm(t, slices.Concat(render, args)...)
	if refusal != "" {
		t.Fatalf("helm template %s: %s", strings.Join(args, " "), refusal)
	}
	return out
}

// refused renders the chart and returns why it was not.
func refused(t *testing.T, args ...string) string {
	t.Helper()
	out, refusal := helm(t, slices.Concat(render, args)...)
	if refusal == "" {
		t.Fatalf("helm template %s was not refused, and rendered %d bytes", strings.Join(args, " "), len(out))
	}
	return refusal
}

// values writes a values file and returns the arguments that name it.
func values(t *testing.T, text string) []string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "values.yaml")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return []string{"-f", name}
}

// object is a rendered resource.
type object map[string]any

// objects parses what was rendered.
func objects(t *testing.T, rendered string) []object {
	t.Helper()
	var all []object
	d := yaml.NewDecoder(strings.NewReader(rendered))
	for {
		var o object
		err := d.Decode(&o)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatalf("what was rendered is no YAML: %v", err)
		}
		if o != nil {
			all = append(all, o)
		}
	}
}

// find returns one resource by "Kind/name".
func find(t *testing.T, all []object, id string) object {
	t.Helper()
	for _, o := range all {
		if o.id() == id {
			return o
		}
	}
	t.Fatalf("there is no %s", id)
	return nil
}

func (o object) id() string { return fmt.Sprintf("%v/%v", o["kind"], o.at("metadata", "name")) }

// at walks down maps by names and lists by index, and is nil where there is nothing.
func (o object) at(path ...any) any { return at(map[string]any(o), path...) }

func at(x any, path ...any) any {
	for _, step := range path {
		switch s := step.(type) {
		case string:
			x = mapping(x)[s]
		case int:
			list, _ := x.([]any)
			if s >= len(list) {
				return nil
			}
			x = list[s]
		}
	}
	return x
}

func mapping(x any) map[string]any {
	switch m := x.(type) {
	case map[string]any:
		return m
	case object:
		return m
	}
	return nil
}

func list(x any) []any {
	l, _ := x.([]any)
	return l
}

// podSpec is the specification of the Pods that a workload makes, or nil.
func (o object) podSpec() map[string]any {
	if o["kind"] == "Pod" {
		return mapping(o["spec"])
	}
	return mapping(o.at("spec", "template", "spec"))
}

// container is the first container of a workload.
func (o object) container(t *testing.T) map[string]any {
	t.Helper()
	c := mapping(at(o.podSpec(), "containers", 0))
	if c == nil {
		t.Fatalf("%s has no container", o.id())
	}
	return c
}

// env are the variables of a container that have a value.
func env(container map[string]any) map[string]string {
	out := map[string]string{}
	for _, e := range list(container["env"]) {
		if v, ok := at(e, "value").(string); ok {
			out[at(e, "name").(string)] = v
		}
	}
	return out
}

func args(container map[string]any) []string {
	var out []string
	for _, a := range list(container["args"]) {
		out = append(out, fmt.Sprint(a))
	}
	return out
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	name = filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if got == string(want) {
		return
	}
	g, w := strings.Split(got, "\n"), strings.Split(string(want), "\n")
	for i := range max(len(g), len(w)) {
		if i >= len(g) || i >= len(w) || g[i] != w[i] {
			t.Fatalf("%s: line %d differs (make chart shows nothing else; test/chart/run TOOLS -update writes it anew)\ngot  %s\nwant %s",
				name, i+1, line(g, i), line(w, i))
		}
	}
}

func line(lines []string, i int) string {
	if i < len(lines) {
		return lines[i]
	}
	return "(nothing)"
}
