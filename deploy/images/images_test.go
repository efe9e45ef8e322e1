package main

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestMain works at the root of the repository, as the program does.
func TestMain(m *testing.M) {
	if err := os.Chdir("../.."); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// TestChartNames are those that a walk-through by the chart's defaults needs.
func TestChartNames(t *testing.T) {
	refs, err := chartRefs()
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"vllm": "docker.io/vllm/vllm-openai:v", "tollkeeper": "docker.io/tollkeeper/tollkeeper:", "clickhouse": "docker.io/clickhouse/clickhouse-server:",
		"collector": "docker.io/otel/opentelemetry-collector-contrib:", "prometheus": "docker.io/prom/prometheus:v",
	} {
		if len(refs[name]) == 0 || !strings.HasPrefix(refs[name][0], want) || strings.HasSuffix(refs[name][0], ":") {
			t.Errorf("%s: %q, want %s…", name, refs[name], want)
		}
	}
	dockerfile, err := os.ReadFile("deploy/vllm-instrumented/Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(dockerfile), "ARG VLLM="+refs["vllm"][0]+"\n") {
		t.Errorf("deploy/vllm-instrumented is not made from the chart's %s", refs["vllm"][0])
	}
}

// fakes puts programs on PATH that write what they are asked to the file calls.
func fakes(t *testing.T, programs map[string]string) (path, calls string) {
	t.Helper()
	dir := t.TempDir()
	calls = filepath.Join(dir, "calls")
	for name, body := range programs {
		script := "#!/bin/sh\necho \"" + name + " $*\" >>" + calls + "\n" + body + "\n"
		if err := os.WriteFile(filepath.Join(dir, name), []byte(script), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	// What the recipe uses besides, and neither a minikube nor a docker of this machine.
	for _, name := range []string{"bash", "env", "sed", "dirname", "make"} {
		program, err := exec.LookPath(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(program, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	return dir, calls
}

// TestBuildMinikube runs the recipe with programs in the place of minikube and
// docker.
func TestBuildMinikube(t *testing.T) {
	t.Parallel()
	const (
		minikube = `[ "$1" = docker-env ] && echo 'export DOCKER_HOST=tcp://192.0.2.1:2376'`
		docker   = `[ "$DOCKER_HOST" = tcp://192.0.2.1:2376 ] || exit 1`
	)
	refs, err := chartRefs()
	if err != nil {
		t.Fatal(err)
	}
	version, _ := strings.CutPrefix(refs["tollkeeper"][0], "docker.io/tollkeeper/tollkeeper:")
	for name, c := range map[string]struct {
		programs map[string]string
		code     int
		says     string
		calls    []string
	}{
		"all there": {
			map[string]string{"minikube": minikube, "docker": docker}, 0, "minikube has tollkeeper/tollkeeper:" + version,
			[]string{
				"minikube docker-env --shell bash", "docker info",
				"docker build --build-arg VERSION=" + version + " --tag " + refs["tollkeeper"][0] + " .",
				"docker build --tag " + refs["vllm"][1] + " deploy/vllm-instrumented",
			},
		},
		"no minikube": {map[string]string{"docker": docker}, 2, "there is no minikube on PATH", nil},
		"no docker":   {map[string]string{"minikube": minikube}, 2, "there is no docker on PATH", nil},
		"not started": {map[string]string{"minikube": "echo not running >&2; exit 85", "docker": docker}, 2, "minikube has no Docker engine to build in", []string{"minikube docker-env --shell bash"}},
		"no daemon":   {map[string]string{"minikube": minikube, "docker": "exit 1"}, 2, "minikube's Docker engine does not answer", []string{"minikube docker-env --shell bash", "docker info"}},
		"build fails": {
			map[string]string{"minikube": minikube, "docker": `[ "$1" = build ] && exit 7; exit 0`}, 2, "", // make's own code
			[]string{"minikube docker-env --shell bash", "docker info", "docker build --build-arg VERSION=" + version + " --tag " + refs["tollkeeper"][0] + " ."},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path, calls := fakes(t, c.programs)
			run := exec.Command(filepath.Join(path, "make"), "build-minikube")
			run.Env = []string{"PATH=" + path, "HOME=" + path}
			var out bytes.Buffer
			run.Stdout, run.Stderr = &out, &out
			err := run.Run()
			if exit, ok := errors.AsType[*exec.ExitError](err); ok != (c.code != 0) || ok && exit.ExitCode() != c.code {
				t.Errorf("%v, want exit code %d; it says\n%s", err, c.code, &out)
			}
			if !strings.Contains(out.String(), c.says) || c.code != 0 && c.says != "" && !strings.Contains(out.String(), "`make images`") {
				t.Errorf("it says\n%s\nwant %q", &out, c.says)
			}
			did, err := os.ReadFile(calls)
			if err != nil && len(c.calls) > 0 {
				t.Fatal(err)
			}
			if got := strings.Split(strings.TrimSpace(string(did)), "\n"); len(c.calls) > 0 && !slices.Equal(got, c.calls) {
				t.Errorf("it ran\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(c.calls, "\n"))
			}
		})
	}
}

// TestDockerfileHasAllThatItBuilds compiles what .dockerignore lets into a build,
// and nothing else.
func TestDockerfileHasAllThatItBuilds(t *testing.T) {
	t.Parallel()
	context := t.TempDir()
	for _, name := range []string{"go.mod", "go.sum", "cmd", "internal"} {
		err := filepath.WalkDir(name, func(path string, d fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case d.IsDir() && d.Name() == "testdata":
				return fs.SkipDir
			case d.IsDir():
				return os.MkdirAll(filepath.Join(context, path), 0o700)
			case strings.HasSuffix(path, "_test.go"):
				return nil
			}
			b, err := os.ReadFile(path)
			return errors.Join(err, os.WriteFile(filepath.Join(context, path), b, 0o600))
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	build := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-o", os.DevNull, "./cmd/tollkeeper")
	build.Dir, build.Env = context, append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
	if out, err := build.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestAddNames keeps all of an archive but the names in its manifest.
func TestAddNames(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "image.tar")
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range [][2]string{{"layer", "bytes"}, {"manifest.json", `[{"Config":"c","RepoTags":["a:1"],"Layers":["layer"]}]`}} {
		if err := w.WriteHeader(&tar.Header{Name: f[0], Mode: 0o644, Size: int64(len(f[1]))}); err != nil {
			t.Fatal(err)
		}
		io.WriteString(w, f[1])
	}
	w.Close()
	if err := os.WriteFile(name, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := addNames(name, []string{"b:1", "c:1"}); err != nil {
		t.Fatal(err)
	}
	files := unpack(t, name, t.TempDir())
	var manifest []struct{ RepoTags, Layers []string }
	if err := json.Unmarshal([]byte(files["manifest.json"]), &manifest); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(manifest[0].RepoTags, []string{"a:1", "b:1", "c:1"}) || !slices.Equal(manifest[0].Layers, []string{"layer"}) || files["layer"] != "bytes" {
		t.Errorf("%q", files)
	}
}

// unpack writes what a tar holds to dir, and returns the files.
func unpack(t *testing.T, name, dir string) map[string]string {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	files := map[string]string{}
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		to := filepath.Join(dir, h.Name)
		if h.Typeflag == tar.TypeDir {
			if err := errors.Join(os.MkdirAll(to, 0o700), os.Chmod(to, h.FileInfo().Mode())); err != nil {
				t.Fatal(err)
			}
			continue
		}
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		files[h.Name] = string(b)
		if err := errors.Join(os.MkdirAll(filepath.Dir(to), 0o700), os.WriteFile(to, b, h.FileInfo().Mode().Perm())); err != nil {
			t.Fatal(err)
		}
	}
}

// TestOurImageRuns writes the image and runs it as an engine would: nothing but
// its files, as its user, who can write to its two volumes and nowhere else.
func TestOurImageRuns(t *testing.T) {
	shared := os.Getenv("SHARED")
	if shared == "" {
		shared = "../shared"
	}
	if os.Getuid() != 0 || !exists(filepath.Join(shared, "cluster", "bin", "mkimage.xz")) {
		t.Skip("needs root, to change the root, and ../shared/cluster, to write an image")
	}
	w := &writer{out: t.TempDir(), shared: shared, tools: t.TempDir()}
	if err := w.write([]string{"tollkeeper"}); err != nil {
		t.Fatal(err)
	}
	image := filepath.Join(w.out, "tollkeeper.tar")
	files := unpack(t, image, t.TempDir())
	var manifest []struct{ Config, RepoTags, Layers any }
	if err := json.Unmarshal([]byte(files["manifest.json"]), &manifest); err != nil {
		t.Fatal(err)
	}
	var config struct {
		Config struct {
			User            string
			Entrypoint, Env []string
		} `json:"config"`
	}
	if err := json.Unmarshal([]byte(files[manifest[0].Config.(string)]), &config); err != nil {
		t.Fatal(err)
	}
	c := config.Config
	if c.User != "65532:65532" || !slices.Equal(c.Entrypoint, []string{"/tollkeeper"}) {
		t.Fatalf("%+v", c)
	}
	if i := slices.IndexFunc(c.Env, func(s string) bool { return strings.HasPrefix(s, "PATH=") }); i < 0 || !slices.Contains(strings.Split(c.Env[i][len("PATH="):], ":"), "/") {
		t.Errorf("`kubectl exec … -- tollkeeper` does not find the program by %q", c.Env)
	}
	// The layer is a gzipped tar.
	root := t.TempDir()
	if err := os.Chmod(root, 0o755); err != nil {
		t.Fatal(err)
	}
	layer := filepath.Join(t.TempDir(), "layer")
	if err := os.WriteFile(layer, []byte(files[manifest[0].Layers.([]any)[0].(string)]), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("tar", "-C", root, "-xzf", layer).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	inside := func(args ...string) *exec.Cmd {
		run := exec.Command("/tollkeeper", args...)
		run.Dir, run.Env = "/", c.Env
		run.SysProcAttr = &syscall.SysProcAttr{Chroot: root, Credential: &syscall.Credential{Uid: 65532, Gid: 65532}}
		return run
	}
	// Time zones are in the program, since the image has none.
	if out, err := inside("customer", "add", "acme", "--time-zone", "Europe/Berlin").CombinedOutput(); err != nil {
		t.Errorf("customer add: %v: %s", err, out)
	}
	version, err := chartVersion()
	if err != nil {
		t.Fatal(err)
	}
	if out, err := inside("version").CombinedOutput(); err != nil || !strings.HasPrefix(string(out), "tollkeeper "+version+",") {
		t.Errorf("version: %v: %s, want %s", err, out, version)
	}
	serve := inside("serve", "--otlp-grpc", "127.0.0.1:0", "--otlp-http", "127.0.0.1:0", "--api", "127.0.0.1:0")
	log := filepath.Join(t.TempDir(), "log")
	to, err := os.Create(log)
	if err != nil {
		t.Fatal(err)
	}
	defer to.Close()
	serve.Stderr = to
	if err := serve.Start(); err != nil {
		t.Fatal(err)
	}
	ready := func() bool { b, _ := os.ReadFile(log); return bytes.Contains(b, []byte(`"msg":"ready"`)) }
	for end := time.Now().Add(20 * time.Second); !ready() && time.Now().Before(end); <-time.After(20 * time.Millisecond) {
	}
	if !ready() {
		b, _ := os.ReadFile(log)
		t.Errorf("not ready:\n%s", b)
	}
	if err := errors.Join(serve.Process.Signal(syscall.SIGTERM), serve.Wait()); err != nil {
		t.Errorf("serve ended by %v", err)
	}
	for _, name := range []string{"data/journal.db", "data/business.db", "config/tollkeeper/signing.key"} {
		if !exists(filepath.Join(root, name)) {
			t.Errorf("there is no /%s", name)
		}
	}
}
