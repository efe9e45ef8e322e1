package tenant_test

import (
	"strings"
	"testing"

	"github.com/tollkeeper/tollkeeper/internal/tenant"
)

// FuzzJudge holds that no tracestate is valid but one that a secret signed for
// that trace, however it is spelled, and that nothing panics.
func FuzzJudge(f *testing.F) {
	h := newHouse()
	d := h.directory()
	static := sign(h.secret, tenant.Tag{Key: h.key.ID}, "")
	bound := sign(h.secret, tenant.Tag{Key: h.key.ID, Record: record}, trace)
	for _, s := range []string{"", static, bound, "a=1," + static, static + "," + bound, "tollkeeper=v1.-.", "tollkeeper", "=,=", "\x00\xff"} {
		f.Add(s, trace)
	}
	f.Fuzz(func(t *testing.T, tracestate, trace string) {
		v := d.Judge(tracestate, trace, noon)
		value, present, err := tenant.Member(tracestate)
		switch v.State {
		case tenant.TagAbsent:
			if present && tracestate != "" {
				t.Fatalf("%q has our member and no verdict", tracestate)
			}
			if v != (tenant.Verdict{}) {
				t.Fatalf("%q has no tag, and the verdict %+v", tracestate, v)
			}
		case tenant.TagInvalid:
			if v.Reason == "" || v.Customer != "" || v.Key != "" || v.Record != "" {
				t.Fatalf("invalid, and %+v", v)
			}
		case tenant.TagValid:
			// The only texts that anyone signed here, for this trace.
			again := []string{sign(h.secret, tenant.Tag{Key: h.key.ID}, ""), sign(h.older, tenant.Tag{Key: h.key.ID}, "")}
			if text, err := h.secret.Sign(tenant.Tag{Key: h.key.ID, Record: v.Record}, trace); err == nil {
				again = append(again, "tollkeeper="+text)
			}
			if err != nil || !strings.Contains(strings.Join(again, "\n")+"\n", "tollkeeper="+value+"\n") {
				t.Fatalf("%q is valid, and nobody signed it", tracestate)
			}
		default:
			t.Fatalf("state %q", v.State)
		}
	})
}
