// Package dockerfiles reads the repository's Dockerfiles as BuildKit does. It
// is a module of its own, so that the product does not depend on BuildKit.
package dockerfiles

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

const root = "../.."

// stages parses a Dockerfile into its stages and the arguments before them.
func stages(t *testing.T, name string) ([]instructions.Stage, []instructions.ArgCommand) {
	t.Helper()
	f, err := os.Open(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := parser.Parse(f)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	for _, w := range r.Warnings {
		t.Errorf("%s: %s", name, w.Short)
	}
	s, args, err := instructions.Parse(r.AST, nil)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return s, args
}

// of returns the commands of one kind, in their order.
func of[C instructions.Command](s *instructions.Stage) (out []C) {
	for _, c := range s.Commands {
		if c, ok := c.(C); ok {
			out = append(out, c)
		}
	}
	return out
}

// TestOurImage is scratch with one program, for a user that is not root.
func TestOurImage(t *testing.T) {
	all, _ := stages(t, "Dockerfile")
	if len(all) != 2 {
		t.Fatalf("%d stages, want one that builds and one that runs", len(all))
	}
	build, run := &all[0], &all[1]
	if !regexp.MustCompile(`^golang:\d+\.\d+\.\d+-`).MatchString(build.BaseName) {
		t.Errorf("it is built by %s: name the version of Go", build.BaseName)
	}
	if run.BaseName != "scratch" {
		t.Errorf("it runs on %s, not on nothing", run.BaseName)
	}
	if u := of[*instructions.UserCommand](run); len(u) != 1 || u[0].User != "65532:65532" {
		t.Errorf("users: %v", u)
	}
	if e := of[*instructions.EntrypointCommand](run); len(e) != 1 || !slices.Equal(e[0].CmdLine, []string{"/tollkeeper"}) || e[0].PrependShell {
		t.Errorf("entrypoints: %v", e)
	}
	env := map[string]string{}
	for _, c := range of[*instructions.EnvCommand](run) {
		for _, pair := range c.Env {
			env[pair.Key] = pair.Value
		}
	}
	if env["PATH"] != "/" || env["TOLLKEEPER_DATA"] != "/data" {
		t.Errorf("environment %v: `kubectl exec … -- tollkeeper` has to find the program and its data", env)
	}
	if r := of[*instructions.RunCommand](run); len(r) > 0 {
		t.Error("a program runs in scratch")
	}
	made := strings.Join(of[*instructions.RunCommand](build)[1].CmdLine, " ")
	for _, want := range []string{"CGO_ENABLED=0", "-trimpath", "/out/tollkeeper", "chown 65532:65532 /out/data"} {
		if !strings.Contains(made, want) {
			t.Errorf("%q is not in %s", want, made)
		}
	}
	ignored, err := os.ReadFile(filepath.Join(root, ".dockerignore"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range of[*instructions.CopyCommand](build) {
		for _, source := range c.SourcePaths {
			if _, err := os.Stat(filepath.Join(root, source)); err != nil {
				t.Errorf("it copies what is not there: %v", err)
			}
			if !strings.Contains(string(ignored), "\n!"+source+"\n") {
				t.Errorf(".dockerignore keeps %s from it", source)
			}
		}
	}
}

// TestInstrumentedVLLM adds pinned packages to the official image, and changes
// nothing about how that starts.
func TestInstrumentedVLLM(t *testing.T) {
	all, args := stages(t, "deploy/vllm-instrumented/Dockerfile")
	if len(all) != 1 || all[0].BaseName != "${VLLM}" || len(args) != 1 || args[0].Args[0].Key != "VLLM" {
		t.Fatalf("stages %v, arguments %v: want one on ${VLLM}", all, args)
	}
	base := *args[0].Args[0].Value
	if !regexp.MustCompile(`^docker\.io/vllm/vllm-openai:v\d+\.\d+\.\d+$`).MatchString(base) {
		t.Errorf("it is built on %s", base)
	}
	for _, c := range all[0].Commands {
		run, ok := c.(*instructions.RunCommand)
		if !ok {
			t.Errorf("%s: entrypoint, user and all else are vLLM's own", c.Name())
			continue
		}
		packages := regexp.MustCompile(`opentelemetry-[a-z-]+\S*`).FindAllString(strings.Join(run.CmdLine, " "), -1)
		pinned := 0
		for _, p := range packages {
			if regexp.MustCompile(`^opentelemetry-[a-z-]+==[0-9.b]+$`).MatchString(p) {
				pinned++
			} else if p != "opentelemetry-instrument" {
				t.Errorf("%s has no version", p)
			}
		}
		if pinned < 3 {
			t.Errorf("%d packages: %q", pinned, packages)
		}
	}
}
