package config

import (
	"encoding/json"
	"fmt"
	"strings"
)

// Provenance lists the effective values, each with where it came from.
type Provenance struct {
	// Settings are in the order of the documentation; a key that nobody set and
	// that has no default has an empty value.
	Settings []Setting `json:"settings"`
}

// Setting is one key with its effective value.
type Setting struct {
	Key string `json:"key"`
	// Value is a string, or a list.
	Value any `json:"value"`
	// From is "default", "FILE:LINE" or "env TOLLKEEPER_…".
	From string `json:"from"`
}

// Text is the value in one line, for a table: a line of text as it is, else JSON.
func (s Setting) Text() string {
	if text, ok := s.Value.(string); ok && !strings.ContainsAny(text, "\n\r\t") {
		return text
	}
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false) // patterns are full of < and >
	if err := e.Encode(s.Value); err != nil {
		return fmt.Sprint(s.Value)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// From says where a key's value came from, "" for an unknown key.
func (p *Provenance) From(key string) string {
	for _, s := range p.Settings {
		if s.Key == key {
			return s.From
		}
	}
	return ""
}

func (l *loading) provenance() *Provenance {
	p := &Provenance{}
	for _, k := range Keys() {
		s := Setting{Key: k.Name, Value: l.merged.Get(k.Name), From: "default"}
		if s.Value == nil {
			s.Value = ""
		}
		at, inFile := l.file.places[k.Name]
		switch {
		case l.env.sets(k.Name):
			s.From = "env " + k.Variable
		case inFile:
			s.From = fmt.Sprintf("%s:%d", l.path, at.line)
		}
		p.Settings = append(p.Settings, s)
	}
	return p
}

// defaultValue is the default as it would be read from a file; nil is none.
func (k Key) defaultValue() any {
	if k.Default == "" {
		return nil
	}
	if _, ok := k.shape.(list); !ok {
		return k.Default
	}
	var out []any
	for word := range strings.SplitSeq(k.Default, ",") {
		out = append(out, word)
	}
	return out
}
