package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// shape is what the value of a key has to look like.
type shape interface {
	// read tells r what is wrong with n, which stands at key, and gives the value as
	// plain Go; nil when it cannot be used.
	read(r *reader, n *yaml.Node, key string) any
}

// reader collects what is found in one file, or in one environment variable.
type reader struct {
	file, variable string
	problems       Problems
	places         map[string]place
	// known are the full names of all keys, for those that stand in a wrong place.
	known []string
}

// place is where a key stands in its file.
type place struct{ line, column int }

func (r *reader) bad(n *yaml.Node, key, format string, args ...any) {
	p := Problem{File: r.file, Variable: r.variable, Key: key, Text: fmt.Sprintf(format, args...)}
	if n != nil && r.variable == "" {
		p.Line, p.Column = n.Line, n.Column
	}
	r.problems = append(r.problems, p)
}

// readFile reads a whole YAML file of a shape. Its value is nil when the file
// is empty or not usable at all.
func (r *reader) readFile(top shape, limit int64) any {
	b, err := readLimited(r.file, limit)
	if err != nil {
		r.bad(nil, "", "%s", err)
		return nil
	}
	n := r.parse(b)
	if n == nil {
		return nil
	}
	return top.read(r, n, "")
}

func readLimited(name string, limit int64) (_ []byte, err error) {
	defer func() {
		// The path stands in front of the text already.
		if path := (*os.PathError)(nil); errors.As(err, &path) {
			err = path.Err
		}
	}()
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("larger than %d bytes: is it the right file?", limit)
	}
	return b, err
}

// parse gives the top node of a text of one YAML document, nil if it has none
// or is no YAML.
func (r *reader) parse(b []byte) *yaml.Node {
	if !r.isText(b) {
		return nil
	}
	d := yaml.NewDecoder(bytes.NewReader(b))
	var document, second yaml.Node
	if err := d.Decode(&document); err != nil {
		if !errors.Is(err, io.EOF) {
			r.badYAML(err)
		}
		return nil
	}
	switch err := d.Decode(&second); {
	case errors.Is(err, io.EOF):
	case err != nil:
		r.badYAML(err)
		return nil
	default:
		r.bad(&second, "", "a second document begins here: only one is read")
	}
	if len(document.Content) == 0 || absent(document.Content[0]) {
		return nil
	}
	return document.Content[0]
}

// isText refuses bytes that are no text, since the parser would not say where.
func (r *reader) isText(b []byte) bool {
	at, wrong := noText(string(b))
	if wrong == "" {
		return true
	}
	before := b[:at]
	start := bytes.LastIndexByte(before, '\n') + 1
	n := &yaml.Node{Line: 1 + bytes.Count(before, []byte{'\n'}), Column: 1 + utf8.RuneCount(before[start:])}
	r.bad(n, "", "%s", wrong)
	return false
}

// noText finds what is no text, and says what is wrong with it, "" for nothing.
func noText(s string) (at int, wrong string) {
	for i, c := range s {
		switch _, size := utf8.DecodeRuneInString(s[i:]); {
		case c == utf8.RuneError && size == 1:
			return i, fmt.Sprintf("the byte %#x is no UTF-8", s[i])
		case unicode.IsControl(c) && c != '\n' && c != '\r' && c != '\t':
			return i, fmt.Sprintf("the control character %U is no text", c)
		}
	}
	return 0, ""
}

// badYAML reports what the parser says, with the line that it names; it names
// none when it is the first.
func (r *reader) badYAML(err error) {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	n := &yaml.Node{Line: 1, Column: 1}
	if rest, ok := strings.CutPrefix(text, "line "); ok {
		number, after, _ := strings.Cut(rest, ": ")
		if line, err := strconv.Atoi(number); err == nil {
			n.Line, text = line, after
		}
	}
	r.bad(n, "", "not YAML: %s", text)
}

// absent tells whether a value stands for none. `key:` with nothing behind it
// leaves the default.
func absent(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!null" }

// isAlias refuses an alias: it may be a short text for endless work, and it
// hides in which line a value stands.
func (r *reader) isAlias(n *yaml.Node, key string) bool {
	if n.Kind != yaml.AliasNode {
		return false
	}
	r.bad(n, key, "aliases (*%s) are not read here: write the value out", n.Value)
	return true
}

// whatIs names a node's kind for people.
func whatIs(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.MappingNode:
		return "a map"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case n.Kind == yaml.AliasNode:
		return "an alias"
	case n.Tag == "!!int", n.Tag == "!!float":
		return "the number " + n.Value
	case n.Tag == "!!bool":
		return "the truth value " + n.Value
	case n.Tag == "!!null":
		return "nothing"
	}
	return strconv.Quote(n.Value)
}

// group is a map with known keys.
type group struct {
	fields []field
	// rest is the shape of keys that are not among the fields; nil allows none.
	rest *rest
}

// rest is what other keys of a group may be.
type rest struct {
	shape shape
	// check refuses a name; near are the names it may have meant.
	check func(name string) error
	near  []string
}

// field is one key of a group.
type field struct {
	name     string
	shape    shape
	required bool
	// def is the value when nothing is said; meaning is for the documentation.
	def, meaning string
	// path marks the name of a file, which is relative to the file that names it.
	path bool
}

func (g *group) read(r *reader, n *yaml.Node, key string) any {
	if r.isAlias(n, key) {
		return nil
	}
	if n.Kind != yaml.MappingNode {
		r.bad(n, key, "want a map of %s, found %s", strings.Join(g.names(), ", "), whatIs(n))
		return nil
	}
	out, seen := map[string]any{}, map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		name, value := n.Content[i], n.Content[i+1]
		if !r.isKey(name, key, seen) {
			continue
		}
		s := g.shapeOf(r, name, key)
		if s == nil || absent(value) {
			continue
		}
		full := join(key, name.Value)
		r.places[full] = place{name.Line, name.Column}
		if v := s.read(r, value, full); v != nil {
			out[name.Value] = v
		}
	}
	for _, f := range g.fields {
		if _, ok := r.places[join(key, f.name)]; f.required && !ok {
			r.bad(n, join(key, f.name), "is missing")
		}
	}
	return out
}

// isKey refuses a key that is no word, and one that stood before: one of the
// two would not count.
func (r *reader) isKey(name *yaml.Node, key string, seen map[string]int) bool {
	if _, wrong := noText(name.Value); name.Kind != yaml.ScalarNode || wrong != "" || strings.ContainsAny(name.Value, "\n\r\t") {
		r.bad(name, key, "a key has to be a word, found %s", whatIs(name))
		return false
	}
	if line, ok := seen[name.Value]; ok {
		r.bad(name, join(key, name.Value), "stands here for the second time, first in line %d", line)
		return false
	}
	seen[name.Value] = name.Line
	return true
}

func (g *group) names() []string {
	var out []string
	for _, f := range g.fields {
		out = append(out, f.name)
	}
	return out
}

// shapeOf finds the shape of a key, or reports that there is no such key.
func (g *group) shapeOf(r *reader, name *yaml.Node, key string) shape {
	for _, f := range g.fields {
		if f.name == name.Value {
			return f.shape
		}
	}
	if g.rest == nil {
		r.bad(name, join(key, name.Value), "unknown key%s", g.hint(r, name.Value))
		return nil
	}
	if err := g.rest.check(name.Value); err != nil {
		r.bad(name, join(key, name.Value), "%s%s", err, didYouMean(name.Value, g.rest.near))
		return nil
	}
	return g.rest.shape
}

// hint says what an unknown key may have meant: a neighbour, else a key of the
// same name elsewhere, else any of those that there are.
func (g *group) hint(r *reader, name string) string {
	if near := didYouMean(name, g.names()); near != "" {
		return near
	}
	for _, k := range r.known {
		if strings.HasSuffix(k, "."+name) {
			return "; did you mean " + k + "?"
		}
	}
	return "; known are " + strings.Join(g.names(), ", ")
}

// text is one word or line.
type text struct {
	// check refuses a value; nil takes any.
	check func(string) error
	// literal also takes what YAML reads as a number or a date, as it is written.
	literal bool
}

func (t text) read(r *reader, n *yaml.Node, key string) any {
	if r.isAlias(n, key) {
		return nil
	}
	if n.Kind != yaml.ScalarNode {
		r.bad(n, key, "want one value, found %s", whatIs(n))
		return nil
	}
	if !t.literal && n.Tag != "!!str" {
		r.bad(n, key, "want text, found %s: put it in quotes if it is meant", whatIs(n))
		return nil
	}
	// In quotes, and in a variable, there can be what no file may hold.
	if _, wrong := noText(n.Value); wrong != "" {
		r.bad(n, key, "%s", wrong)
		return nil
	}
	if t.check != nil {
		if err := t.check(n.Value); err != nil {
			r.bad(n, key, "%s", err)
			return nil
		}
	}
	return n.Value
}

// list is a list of values of one shape.
type list struct {
	of shape
	// commas lets an environment variable separate the values by commas.
	commas bool
	// check refuses the whole list; nil takes any.
	check func([]any) error
}

func (l list) read(r *reader, n *yaml.Node, key string) any {
	if r.isAlias(n, key) {
		return nil
	}
	if n.Kind != yaml.SequenceNode {
		r.bad(n, key, "want a list, found %s", whatIs(n))
		return nil
	}
	before := len(r.problems)
	out := make([]any, 0, len(n.Content))
	for i, x := range n.Content {
		at := fmt.Sprintf("%s[%d]", key, i)
		r.places[at] = place{x.Line, x.Column}
		if v := l.of.read(r, x, at); v != nil {
			out = append(out, v)
		}
	}
	if l.check != nil && len(r.problems) == before {
		if err := l.check(out); err != nil {
			r.bad(n, key, "%s", err)
		}
	}
	return out
}

// attributes is a map of names that others choose to values of text.
type attributes struct{}

func (attributes) read(r *reader, n *yaml.Node, key string) any {
	if r.isAlias(n, key) {
		return nil
	}
	if n.Kind != yaml.MappingNode || len(n.Content) == 0 {
		r.bad(n, key, "want a map of attributes and their values, such as service.name: opt-125m")
		return nil
	}
	out, seen := map[string]any{}, map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		name, value := n.Content[i], n.Content[i+1]
		at := join(key, name.Value)
		if !r.isKey(name, key, seen) {
			continue
		}
		if absent(value) {
			r.bad(value, at, "has no value to compare with")
			continue
		}
		if v := (text{literal: true}).read(r, value, at); v != nil {
			out[name.Value] = v
		}
	}
	return out
}

func join(key, name string) string {
	if key == "" {
		return name
	}
	return key + "." + name
}
