package main

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"go.yaml.in/yaml/v3"
)

const chart = "charts/llm-inference-app"

// reference is an image in the chart's values.
type reference struct {
	Registry, Repository, Tag string
}

func (r reference) String() string {
	if r.Repository == "" {
		return ""
	}
	return r.Registry + "/" + r.Repository + ":" + r.Tag
}

// component is a part of the chart that has an image.
type component struct{ Image reference }

// chartRefs are the names that the chart has for each image.
func chartRefs() (map[string][]string, error) {
	var values struct {
		VLLM struct {
			Image           reference
			Instrumentation component
		}
		Tollkeeper, Collector, ClickHouse component
	}
	var prometheus struct{ Image reference }
	if err := readYAML(filepath.Join(chart, "values.yaml"), &values); err != nil {
		return nil, err
	}
	if err := readYAML(filepath.Join(chart, "charts", "prometheus", "values.yaml"), &prometheus); err != nil {
		return nil, err
	}
	for folder, tag := range map[string]*string{"": &values.Tollkeeper.Image.Tag, "charts/prometheus": &prometheus.Image.Tag} {
		if *tag != "" {
			continue
		}
		var err error
		if *tag, err = appVersion(folder); err != nil {
			return nil, err
		}
	}
	out := map[string][]string{}
	for name, r := range map[string]reference{
		"vllm": values.VLLM.Image, "tollkeeper": values.Tollkeeper.Image, "collector": values.Collector.Image, "clickhouse": values.ClickHouse.Image, "prometheus": prometheus.Image,
	} {
		if ref := r.String(); ref != "" {
			out[name] = []string{ref}
		}
	}
	// The equipment's vLLM has the instrumentation already: one image, two names.
	instrumented := values.VLLM.Image
	instrumented.Repository = values.VLLM.Instrumentation.Image.Repository
	out["vllm"] = append(out["vllm"], instrumented.String())
	return out, nil
}

// chartVersion is the version of tollkeeper that the chart installs.
func chartVersion() (string, error) { return appVersion("") }

// appVersion is that of the chart, or of a chart in a folder below.
func appVersion(folder string) (string, error) {
	var c struct {
		AppVersion string `yaml:"appVersion"`
	}
	err := readYAML(filepath.Join(chart, folder, "Chart.yaml"), &c)
	return c.AppVersion, err
}

func readYAML(name string, to any) error {
	b, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	if err := yaml.Unmarshal(b, to); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// addNames gives the image of a docker-archive more names.
func addNames(name string, refs []string) error {
	if len(refs) == 0 {
		return nil
	}
	in, err := os.Open(name)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(name + ".new")
	if err != nil {
		return err
	}
	if err := errors.Join(copyNamed(tar.NewWriter(out), tar.NewReader(in), refs), out.Close()); err != nil {
		return errors.Join(err, os.Remove(name+".new"))
	}
	return os.Rename(name+".new", name)
}

// copyNamed copies an archive, with more names in its manifest.
func copyNamed(w *tar.Writer, r *tar.Reader, refs []string) error {
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return w.Close()
		}
		if err != nil {
			return err
		}
		content := io.Reader(r)
		if h.Name == "manifest.json" {
			b, err := named(r, refs)
			if err != nil {
				return err
			}
			content, h.Size = bytes.NewReader(b), int64(len(b))
		}
		if err := w.WriteHeader(h); err != nil {
			return err
		}
		if _, err := io.Copy(w, content); err != nil {
			return err
		}
	}
}

// named is a manifest with more names for its images.
func named(r io.Reader, refs []string) ([]byte, error) {
	var manifest []map[string]any
	if err := json.NewDecoder(r).Decode(&manifest); err != nil {
		return nil, fmt.Errorf("manifest.json: %w", err)
	}
	for _, m := range manifest {
		tags, _ := m["RepoTags"].([]any) // none is none
		for _, ref := range refs {
			tags = append(tags, ref)
		}
		m["RepoTags"] = tags
	}
	return json.Marshal(manifest)
}
