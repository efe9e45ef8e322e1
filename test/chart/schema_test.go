package chart

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// schema is a values.schema.json, or a part of one.
type schema struct {
	t    *testing.T
	root map[string]any
	node map[string]any
}

func openSchema(t *testing.T, folder string) schema {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(folder, "values.schema.json"))
	if err != nil {
		t.Fatal(err)
	}
	var root map[string]any
	if err := json.Unmarshal(b, &root); err != nil {
		t.Fatal(err)
	}
	return schema{t, root, root}
}

// property is the schema of a key, its own or the definition that it refers to.
func (s schema) property(key string) (schema, bool) {
	p := mapping(at(s.node, "properties", key))
	if ref, ok := p["$ref"].(string); ok {
		p = mapping(at(s.root, "definitions", strings.TrimPrefix(ref, "#/definitions/")))
	}
	return schema{s.t, s.root, p}, p != nil
}

func (s schema) requires(key string) bool { return slices.Contains(list(s.node["required"]), any(key)) }

// value is a key of a values.yaml with what the schema says of it.
type value struct {
	path   string
	schema schema
	documented,
	required bool
}

// allValues reads each key of a chart's values.yaml, and wants the schema to know
// it, and to let no other beside it.
func allValues(t *testing.T, folder string) (all []value) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(folder, "values.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var document yaml.Node
	if err := yaml.Unmarshal(b, &document); err != nil {
		t.Fatal(err)
	}
	var read func(prefix string, node *yaml.Node, s schema, documented bool)
	read = func(prefix string, node *yaml.Node, s schema, documented bool) {
		if s.node["additionalProperties"] != false && prefix != "tollkeeper.config." {
			t.Errorf("%s: below %q the schema takes any key: a typo would be nothing", folder, prefix)
		}
		var keys []string
		for i := 0; i < len(node.Content); i += 2 {
			key, content := node.Content[i], node.Content[i+1]
			keys = append(keys, key.Value)
			p, ok := s.property(key.Value)
			if !ok {
				t.Errorf("%s: values.schema.json does not know %s%s", folder, prefix, key.Value)
				continue
			}
			v := value{prefix + key.Value, p, documented || strings.Contains(key.HeadComment, "# -- "), s.requires(key.Value)}
			if content.Kind == yaml.MappingNode && len(content.Content) > 0 && p.node["properties"] != nil && key.Value != "resources" {
				read(v.path+".", content, p, v.documented)
				v.documented = true // by what is in it
			}
			all = append(all, v)
		}
		for key := range mapping(s.node["properties"]) {
			if !slices.Contains(keys, key) && (prefix != "" || key != "enabled" && key != "global") { // Helm gives these to a sub-chart
				t.Errorf("%s: values.schema.json knows %s%s, and values.yaml does not", folder, prefix, key)
			}
		}
	}
	read("", document.Content[0], openSchema(t, folder), false)
	return all
}

// TestEveryValueIsKnownAndDescribed: each key of values.yaml has its place in the
// schema, which has no other, and a description that helm-docs puts into the README.
func TestEveryValueIsKnownAndDescribed(t *testing.T) {
	t.Parallel()
	for _, folder := range []string{chart, chart + "/charts/prometheus"} {
		all := allValues(t, folder)
		if len(all) < 30 {
			t.Errorf("%s: %d values", folder, len(all))
		}
		for _, v := range all {
			if !v.documented && v.path != "prometheus" {
				t.Errorf("%s: %s has no description: write a comment `# -- …` above it", folder, v.path)
			}
		}
	}
}

// TestNull: Helm takes a key with null for one that is not there. The schema
// refuses that of what templates need, and of anything else it is like the default.
func TestNull(t *testing.T) {
	t.Parallel()
	nothing := map[string]any{}
	for folder, prefix := range map[string]string{chart: "", chart + "/charts/prometheus": "prometheus."} {
		for _, v := range allValues(t, folder) {
			if v.required || strings.HasSuffix(v.path, "resources") || v.path == "prometheus" {
				continue // without its requests a part is another
			}
			in, steps := nothing, strings.Split(prefix+v.path, ".")
			for _, step := range steps[:len(steps)-1] {
				below, ok := in[step].(map[string]any)
				if !ok {
					below = map[string]any{}
					in[step] = below
				}
				in = below
			}
			in[steps[len(steps)-1]] = nil
		}
	}
	text, err := yaml.Marshal(nothing)
	if err != nil {
		t.Fatal(err)
	}
	// The Job's name has a sum over values.
	job := regexp.MustCompile(`vllm-schema-1-[0-9a-f]{6}`)
	if got, want := job.ReplaceAllString(template(t, values(t, string(text))...), "job"), job.ReplaceAllString(template(t), "job"); got != want {
		t.Errorf("with\n%s\nit renders\n%s", text, got)
	}
	for set, want := range map[string]string{"vllm.gpu=null": "/vllm': missing property 'gpu'", "mode=null": "missing property 'mode'", "tollkeeper.persistence.size=null": "/tollkeeper/persistence': missing property 'size'"} {
		if got := refused(t, "--set", set); !strings.Contains(got, want) {
			t.Errorf("%s: it says\n%s\nwithout %q", set, got, want)
		}
	}
}
