package config

import (
	"regexp"
	"slices"
	"strings"

	"github.com/knadh/koanf/providers/env/v2"
	"github.com/knadh/koanf/v2"
	"go.yaml.in/yaml/v3"
)

// commandVariables are read by commands, not here.
var commandVariables = []string{"TOLLKEEPER_SERVER", "TOLLKEEPER_TOKEN"}

// serviceVariable is what Kubernetes gives to each container for a Service named
// tollkeeper or tollkeeper-…: nobody wrote it, so it is no mistake.
var serviceVariable = regexp.MustCompile(`^TOLLKEEPER(_.*)?_(SERVICE_HOST|SERVICE_PORT(_.+)?|PORT|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)$`)

// environment is what the variables say about keys.
type environment struct {
	values   map[string]any // by key
	problems Problems
}

// readEnviron checks our variables. An empty one says nothing: that is what
// templates of containers make of a value that is not given.
func readEnviron(environ []string) *environment {
	e := &environment{values: map[string]any{}}
	for _, pair := range environ {
		name, value, ok := strings.Cut(pair, "=")
		if !ok || value == "" || !strings.HasPrefix(name, variablePrefix) || slices.Contains(commandVariables, name) {
			continue
		}
		if i := slices.IndexFunc(Keys(), func(k Key) bool { return k.Variable == name }); i >= 0 {
			e.read(Keys()[i], value)
		} else if !serviceVariable.MatchString(name) {
			e.unknown(name)
		}
	}
	return e
}

func (e *environment) unknown(name string) {
	candidates := slices.Clone(commandVariables)
	for _, k := range Keys() {
		candidates = append(candidates, k.Variable)
	}
	e.problems = append(e.problems, Problem{
		Variable: name,
		Text:     "no such variable" + didYouMean(name, candidates),
	})
}

// read reads the value of one key. One value is its text as it is; a list is YAML
// in one line, as in the file.
func (e *environment) read(k Key, value string) {
	r := &reader{variable: k.Variable, places: map[string]place{}}
	n := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: value}
	if l, ok := k.shape.(list); ok {
		n = r.parseList(l, value)
	}
	if n != nil && len(r.problems) == 0 {
		if v := k.shape.read(r, n, k.Name); v != nil {
			e.values[k.Name] = v
		}
	}
	e.problems = append(e.problems, r.problems...)
}

// parseList reads "[a, b]", and "a,b" where no value can hold a comma.
func (r *reader) parseList(l list, value string) *yaml.Node {
	if !l.commas || strings.HasPrefix(strings.TrimSpace(value), "[") {
		return r.parse([]byte(value))
	}
	n := &yaml.Node{Kind: yaml.SequenceNode}
	for word := range strings.SplitSeq(value, ",") {
		n.Content = append(n.Content, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: strings.TrimSpace(word)})
	}
	return n
}

// sets tells whether a variable says what a key is.
func (e *environment) sets(key string) bool {
	_, ok := e.values[key]
	return ok
}

// provider gives the values to koanf, as they were checked.
func (e *environment) provider() koanf.Provider {
	var pairs []string
	for _, k := range Keys() {
		if e.sets(k.Name) {
			pairs = append(pairs, k.Variable+"="+k.Name)
		}
	}
	return env.Provider(".", env.Opt{
		EnvironFunc:   func() []string { return pairs },
		TransformFunc: func(_, key string) (string, any) { return key, e.values[key] },
	})
}
