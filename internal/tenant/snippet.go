package tenant

import (
	"embed"
	"fmt"
	"slices"
	"strings"
	"text/template"
)

// Edges lists what Snippet can configure.
var Edges = []string{"nginx", "envoy", "litellm"}

//go:embed edge/*.tmpl
var edgeFiles embed.FS

var edgeTemplates = template.Must(template.ParseFS(edgeFiles, "edge/*.tmpl"))

// Snippet prints what an edge must set so that all that passes it is billed to
// the owner of k. The edge replaces tracestate, so that no client's tag passes,
// and ensures a valid traceparent ending in -01: without one vLLM ignores
// tracestate, and with -00 it makes no span. The tag names no record, so it is
// good until s retires. Errors wrap ErrInvalid.
func Snippet(edge string, k Key, s Secret) (string, error) {
	if !slices.Contains(Edges, edge) {
		return "", fmt.Errorf("%w edge %q: one of %s", ErrInvalid, edge, strings.Join(Edges, ", "))
	}
	if k.Customer == "" {
		return "", fmt.Errorf("%w key %s: a tag says who pays, and this key has no customer", ErrInvalid, k.ID)
	}
	tag, err := s.Sign(Tag{Key: k.ID}, "")
	if err != nil {
		return "", err
	}
	var b strings.Builder
	err = edgeTemplates.ExecuteTemplate(&b, edge+".tmpl", struct{ Customer, Key, Member string }{k.Customer, k.ID, MemberKey + "=" + tag})
	return b.String(), err
}
