// Command images writes the images of the chart as tars, without a container
// engine or a registry: tollkeeper's own, and what stands in for those from
// elsewhere, each under the name that the chart has for it. What has not changed
// is not written again. It prints a line for each, the tar and the image's names.
//
//	images [-o DIR] [-shared DIR] [-tools DIR] [NAME…]      all of them unless named
package main

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

func main() {
	tools := flag.String("tools", filepath.Join(os.TempDir(), "tollkeeper-tools"), "where what is built for it is kept")
	out := flag.String("o", "", "the folder to write to (default: images, below -tools)")
	shared := flag.String("shared", "../shared", "the equipment: cluster/bin/mkimage.xz, and what stands in for other images")
	flag.Parse()
	w := &writer{out: cmp.Or(*out, filepath.Join(*tools, "images")), shared: *shared, tools: *tools}
	if err := w.write(flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "images:", err)
		os.Exit(1)
	}
}

// image is one tar.
type image struct {
	name string
	// from are the files and folders that the image is made by, none for our own:
	// it is made of its program.
	from []string
	// make writes the tar of an image of that name.
	make func(tar, ref string) error
}

type writer struct{ out, shared, tools string }

func (w *writer) images() []image {
	equipment := func(name, dir, script string) image {
		from := filepath.Join(w.shared, dir)
		return image{name, []string{from}, func(tar, ref string) error { return w.run(filepath.Join(from, script), tar, ref) }}
	}
	return []image{
		{"tollkeeper", nil, w.tollkeeper},
		equipment("vllm", "vllm", "image"),
		equipment("clickhouse", "clickhouse", "image"),
		equipment("collector", "images", "collector"),
		// Debian's, which the equipment has, cannot find Pods.
		{"prometheus", []string{"tools/prometheus", ".ci/prometheus", "test/monitoring/image"}, func(tar, ref string) error {
			return w.run("test/monitoring/image", w.tools, tar, ref)
		}},
	}
}

func (w *writer) write(names []string) error {
	refs, err := chartRefs()
	if err != nil {
		return err
	}
	for _, n := range names {
		if !slices.ContainsFunc(w.images(), func(i image) bool { return i.name == n }) {
			return fmt.Errorf("no image is called %q", n)
		}
	}
	if err := os.MkdirAll(w.out, 0o750); err != nil {
		return err
	}
	for _, i := range w.images() {
		wanted := slices.Contains(names, i.name)
		switch ref := refs[i.name]; {
		case len(names) > 0 && !wanted:
		case len(ref) == 0 && !wanted: // the chart has no such image yet
		case len(ref) == 0:
			return fmt.Errorf("the chart names no image for %s", i.name)
		case len(i.from) > 0 && !wanted && !exists(i.from[0]):
			fmt.Fprintf(os.Stderr, "images: %s skipped: there is no %s to make it from; with an engine, pull %s\n", i.name, i.from[0], ref[0])
		default:
			if err := w.one(i, ref); err != nil {
				return fmt.Errorf("%s: %w", i.name, err)
			}
		}
	}
	return nil
}

// one writes an image, unless its tar is of the same inputs.
func (w *writer) one(i image, refs []string) error {
	tar := filepath.Join(w.out, i.name+".tar")
	key, err := w.key(i, refs)
	if err != nil {
		return err
	}
	if have, err := os.ReadFile(tar + ".key"); err != nil || string(have) != key || !exists(tar) {
		if err := errors.Join(removed(tar+".key"), i.make(tar, refs[0])); err != nil {
			return err
		}
		if err := addNames(tar, refs[1:]); err != nil {
			return err
		}
		if err := os.WriteFile(tar+".key", []byte(key), 0o600); err != nil {
			return err
		}
	}
	_, err = fmt.Fprintln(os.Stdout, tar, strings.Join(refs, " "))
	return err
}

func removed(name string) error {
	if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// key is the hash of all that an image is made of.
func (w *writer) key(i image, refs []string) (string, error) {
	h := sha256.New()
	fmt.Fprintln(h, i.name, refs)
	inputs := []string{filepath.Join(w.shared, "cluster", "bin", "mkimage.xz")}
	if len(i.from) == 0 {
		program, err := w.build()
		if err != nil {
			return "", err
		}
		inputs = append(inputs, program)
	} else {
		inputs = append(inputs, i.from...)
	}
	for _, root := range inputs {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			b, err := os.ReadFile(path) //nolint:gosec // the folders are read-only equipment
			fmt.Fprintf(h, "%s %x\n", d.Name(), sha256.Sum256(b))
			return err
		})
		if err != nil {
			return "", err
		}
	}
	return fmt.Sprintf("%x\n", h.Sum(nil)), nil
}

// build compiles tollkeeper as Dockerfile does.
func (w *writer) build() (string, error) {
	version, err := chartVersion()
	if err != nil {
		return "", err
	}
	program := filepath.Join(w.out, "tollkeeper")
	c := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w -X github.com/tollkeeper/tollkeeper/internal/cli.release="+version, "-o", program, "./cmd/tollkeeper")
	c.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
	c.Stderr = os.Stderr
	return program, c.Run()
}

// authorities is where Debian and Alpine keep those that the system trusts.
const authorities = "/etc/ssl/certs/ca-certificates.crt"

// tollkeeper writes our own image: what Dockerfile describes.
func (w *writer) tollkeeper(tar, ref string) error {
	mkimage, err := w.mkimage()
	if err != nil {
		return err
	}
	root, err := os.MkdirTemp("", "image")
	if err != nil {
		return err
	}
	defer os.RemoveAll(root)
	for _, dir := range []string{"data", "config"} {
		// A tar of mkimage has no owners but root, so what is written to is open to all.
		if err := errors.Join(os.Mkdir(filepath.Join(root, dir), 0o700), os.Chmod(filepath.Join(root, dir), 0o777)); err != nil {
			return err
		}
	}
	args := []string{
		"-o", tar, "-t", ref, "-user", "65532:65532", "-entrypoint", "/tollkeeper",
		"-env", "TOLLKEEPER_DATA=/data", "-env", "XDG_CONFIG_HOME=/config",
		root + ":/", filepath.Join(w.out, "tollkeeper") + ":/tollkeeper",
	}
	if exists(authorities) {
		args = append(args, authorities+":"+authorities)
	}
	return w.run(mkimage, args...)
}

// mkimage unpacks the equipment's writer of images.
func (w *writer) mkimage() (string, error) {
	packed := filepath.Join(w.shared, "cluster", "bin", "mkimage.xz")
	var program, problem bytes.Buffer
	c := exec.Command("xz", "-dc", packed)
	c.Stdout, c.Stderr = &program, &problem
	if err := c.Run(); err != nil {
		return "", fmt.Errorf("unpacking %s: %w: %s", packed, err, problem.String())
	}
	name := filepath.Join(w.out, "mkimage")
	return name, os.WriteFile(name, program.Bytes(), 0o700)
}

// run runs a program whose words are for whoever waits.
func (w *writer) run(name string, args ...string) error {
	c := exec.Command(name, args...)
	c.Env = append(os.Environ(), "SHARED="+w.shared)
	c.Stdout, c.Stderr = io.Discard, os.Stderr
	if err := c.Run(); err != nil {
		return fmt.Errorf("%s: %w", filepath.Base(name), err)
	}
	return nil
}

func exists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}
