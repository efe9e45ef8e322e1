package tenant_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"github.com/tollkeeper/tollkeeper/internal/tenant"
)

// TestTagText computes the mac as an implementer of an edge would from the
// documentation, apart from our code.
func TestTagText(t *testing.T) {
	h := newHouse()
	mac := func(text string) string {
		m := hmac.New(sha256.New, h.secret.Value)
		m.Write([]byte(text))
		return base64.RawURLEncoding.EncodeToString(m.Sum(nil)[:16])
	}
	id := h.key.ID
	if got, want := sign(h.secret, tenant.Tag{Key: id}, ""), "tollkeeper=v1.-."+id+"."+mac("v1.-."+id); got != want {
		t.Errorf("without record: %s, want %s", got, want)
	}
	got := sign(h.secret, tenant.Tag{Key: id, Record: record}, trace)
	if want := "tollkeeper=v1." + record + "." + id + "." + mac("v1."+record+"."+id+"."+trace); got != want {
		t.Errorf("with record: %s, want %s", got, want)
	}
	if len(got) > 256 {
		t.Errorf("%d bytes, but a tracestate value has at most 256", len(got))
	}
}

func TestSignRefuses(t *testing.T) {
	h := newHouse()
	for name, c := range map[string]struct {
		tag   tenant.Tag
		trace string
	}{
		"no key":         {tenant.Tag{}, ""},
		"dot in key":     {tenant.Tag{Key: "key_a.b"}, ""},
		"record no ULID": {tenant.Tag{Key: h.key.ID, Record: "rec-1"}, trace},
		"no trace":       {tenant.Tag{Key: h.key.ID, Record: record}, ""},
		"zero trace":     {tenant.Tag{Key: h.key.ID, Record: record}, strings.Repeat("0", 32)},
		"upper trace":    {tenant.Tag{Key: h.key.ID, Record: record}, strings.ToUpper(trace)},
	} {
		if got, err := h.secret.Sign(c.tag, c.trace); err == nil {
			t.Errorf("%s: signed %q", name, got)
		}
	}
}

func TestJudge(t *testing.T) {
	h := newHouse()
	d := h.directory()
	stranger, err := tenant.NewSecret(chance(9), noon)
	if err != nil {
		t.Fatal(err)
	}
	static := sign(h.secret, tenant.Tag{Key: h.key.ID}, "")
	bound := sign(h.secret, tenant.Tag{Key: h.key.ID, Record: record}, trace)
	valid := tenant.Verdict{State: tenant.TagValid, Key: h.key.ID, Customer: "acme", Project: "chat"}
	validBound := valid
	validBound.Record = record
	invalid := func(r tenant.Reason) tenant.Verdict { return tenant.Verdict{State: tenant.TagInvalid, Reason: r} }
	otherTrace := strings.Repeat("a", 32)

	for name, c := range map[string]struct {
		tracestate, trace string
		at                time.Time
		want              tenant.Verdict
	}{
		"none":                       {"", trace, noon, tenant.Verdict{}},
		"only others":                {"vendor=1,a@b=2", trace, noon, tenant.Verdict{}},
		"others malformed":           {"Vendor=1", trace, noon, tenant.Verdict{}},
		"static":                     {static, trace, noon, valid},
		"static, any trace":          {static, otherTrace, noon, valid},
		"beside others":              {" a@b=2 ,, " + static + ",vendor=1", trace, noon, valid},
		"bound":                      {bound, trace, noon, validBound},
		"bound, replayed elsewhere":  {bound, otherTrace, noon, invalid(tenant.ReasonMac)},
		"bound, no trace":            {bound, "", noon, invalid(tenant.ReasonMac)},
		"older secret in overlap":    {sign(h.older, tenant.Tag{Key: h.key.ID}, ""), trace, noon, valid},
		"older secret at its end":    {sign(h.older, tenant.Tag{Key: h.key.ID}, ""), trace, noon.Add(time.Hour), invalid(tenant.ReasonMac)},
		"stranger":                   {sign(stranger, tenant.Tag{Key: h.key.ID}, ""), trace, noon, invalid(tenant.ReasonMac)},
		"unknown key":                {sign(h.secret, tenant.Tag{Key: "key_absent"}, ""), trace, noon, invalid(tenant.ReasonKey)},
		"operator's key":             {sign(h.secret, tenant.Tag{Key: h.operator.ID}, ""), trace, noon, invalid(tenant.ReasonOwner)},
		"doubled":                    {static + "," + static, trace, noon, invalid(tenant.ReasonTracestate)},
		"another doubled":            {static + ",a=1,a=2", trace, noon, invalid(tenant.ReasonTracestate)},
		"another malformed":          {static + ",=", trace, noon, invalid(tenant.ReasonTracestate)},
		"no version":                 {"tollkeeper=-." + h.key.ID, trace, noon, invalid(tenant.ReasonFormat)},
		"version of the future":      {strings.Replace(static, "v1", "v2", 1), trace, noon, invalid(tenant.ReasonFormat)},
		"no mac":                     {"tollkeeper=v1.-." + h.key.ID, trace, noon, invalid(tenant.ReasonFormat)},
		"mac too short":              {static[:len(static)-1], trace, noon, invalid(tenant.ReasonFormat)},
		"a part too many":            {static + ".x", trace, noon, invalid(tenant.ReasonFormat)},
		"empty record":               {strings.Replace(static, ".-.", "..", 1), trace, noon, invalid(tenant.ReasonFormat)},
		"record added":               {strings.Replace(static, ".-.", "."+record+".", 1), trace, noon, invalid(tenant.ReasonMac)},
		"record removed":             {strings.Replace(bound, record, "-", 1), trace, noon, invalid(tenant.ReasonMac)},
		"space at the end of a name": {"tollkeeper =x", trace, noon, invalid(tenant.ReasonTracestate)},
	} {
		if got := d.Judge(c.tracestate, c.trace, c.at); got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}

func TestJudgeArchived(t *testing.T) {
	h := newHouse()
	tag := sign(h.secret, tenant.Tag{Key: h.key.ID}, "")
	want := tenant.Verdict{State: tenant.TagInvalid, Reason: tenant.ReasonArchived}

	archivedKey := newHouse()
	archivedKey.key.Archived = noon
	if got := archivedKey.directory().Judge(tag, trace, noon); got != want {
		t.Errorf("archived key: %+v", got)
	}
	archivedCustomer := newHouse()
	archivedCustomer.customers[0].Archived = noon
	if got := archivedCustomer.directory().Judge(tag, trace, noon); got != want {
		t.Errorf("archived customer: %+v", got)
	}
}

// TestEveryChangedByteIsFound changes each byte of a bound tag's mac and text.
func TestEveryChangedByteIsFound(t *testing.T) {
	h := newHouse()
	d := h.directory()
	good := sign(h.secret, tenant.Tag{Key: h.key.ID, Record: record}, trace)
	for i := len("tollkeeper="); i < len(good); i++ {
		for _, c := range []byte("0aZ-_.9") {
			if good[i] == c {
				continue
			}
			bad := good[:i] + string(c) + good[i+1:]
			if v := d.Judge(bad, trace, noon); v.State != tenant.TagInvalid {
				t.Errorf("%s instead of %s: %+v", bad, good, v)
			}
		}
	}
}

func BenchmarkJudge(b *testing.B) {
	h := newHouse()
	d := h.directory()
	tag := sign(h.secret, tenant.Tag{Key: h.key.ID, Record: record}, trace)
	b.ReportAllocs()
	for b.Loop() {
		if v := d.Judge(tag, trace, noon); v.State != tenant.TagValid {
			b.Fatal(v)
		}
	}
}
