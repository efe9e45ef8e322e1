package usage_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/tollkeeper/tollkeeper/internal/usage"
)

// ladder is a policy with every rule of this version.
func ladder(t *testing.T, order ...string) *usage.Rules {
	t.Helper()
	return compile(t, usage.Policy{
		Order: order, RequestIDs: []string{`^(chat)?cmpl-(?P<customer>[a-z]+)-(?P<project>[a-z]+)-`, `^(chat)?cmpl-(?P<customer>[a-z]*)-`},
		Resources: []usage.ResourceRule{
			{Match: map[string]string{"service.name": "opt", "k8s.namespace.name": "lab"}, Customer: "lab", Project: "night"},
			{Match: map[string]string{"service.name": "opt"}, Customer: "house"},
		},
	})
}

func payer(r *usage.Record) string { return r.Rule + " " + r.Customer + "/" + r.Project }

func TestLadder(t *testing.T) {
	var m maker
	all := []string{usage.RuleTag, usage.RuleRequestID, usage.RuleResource}
	plain := func(id string) said { return m.span(id, noon, 1, 1) }
	elsewhere := func(s said) said { s.Resource = resource("service.name", "other"); return s }
	invalid := func(s said) said {
		s.Observation.Tag, s.Stamp.Tag = "v1.-.key_1.forged", usage.TagInvalid
		return s
	}
	lab := plain("chatcmpl-x")
	lab.Resource = resource("service.name", "opt", "k8s.namespace.name", "lab")
	withoutOwner := tagged(plain("chatcmpl-x"))
	withoutOwner.Customer = ""
	for name, c := range map[string]struct {
		said  said
		order []string
		want  string
	}{
		"a valid tag":                          {tagged(plain("chatcmpl-eve-")), all, "tag acme/chat"},
		"an order without the tag":             {tagged(plain("chatcmpl-eve-")), []string{usage.RuleRequestID}, "request_id eve/"},
		"the request id before the tag":        {tagged(plain("chatcmpl-eve-")), []string{usage.RuleRequestID, usage.RuleTag}, "request_id eve/"},
		"the request id":                       {plain("chatcmpl-eve-7"), all, "request_id eve/"},
		"the first pattern that matches":       {plain("chatcmpl-eve-web-7"), all, "request_id eve/web"},
		"a pattern that names nobody":          {plain("chatcmpl--7"), all, "resource house/"},
		"the resource":                         {plain("chatcmpl-7"), all, "resource house/"},
		"the first resource rule that matches": {lab, all, "resource lab/night"},
		"nobody":                               {elsewhere(plain("chatcmpl-7")), all, "unattributed /"},
		"a key without owner":                  {withoutOwner, all, "resource house/"},
		"the default order has no request id":  {plain("chatcmpl-eve-7"), nil, "resource house/"},
		// What a client can forge is closed to one who forged a tag.
		"an invalid tag skips the request id":       {invalid(plain("chatcmpl-eve-7")), all, "resource house/"},
		"an invalid tag, and nothing else to go by": {invalid(elsewhere(plain("chatcmpl-eve-7"))), all, "unattributed /"},
	} {
		t.Run(name, func(t *testing.T) {
			r := one(t, ladder(t, c.order...), c.said)
			if got := payer(&r); got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
			if forged := c.said.Stamp.Tag == usage.TagInvalid; forged != slices.Contains(r.Flags, usage.FlagTagInvalid) {
				t.Errorf("flags %v", r.Flags)
			}
		})
	}
	t.Run("without any policy", func(t *testing.T) {
		if r := one(t, nil, tagged(plain("chatcmpl-eve-"))); payer(&r) != "tag acme/chat" || r.Attribution.Key != "key_1" {
			t.Errorf("%+v", r.Attribution)
		}
		if r := one(t, nil, plain("chatcmpl-eve-")); payer(&r) != "unattributed /" || r.Model != "" {
			t.Errorf("%+v, model %q", r.Attribution, r.Model)
		}
	})
}

// TestPayersDisagree: the best rule of the ladder wins, among equals the
// smallest identity; never what came first.
func TestPayersDisagree(t *testing.T) {
	var m maker
	rules := ladder(t, usage.RuleTag, usage.RuleResource)
	choice := func(change func(*said)) said {
		s := m.span("chatcmpl-a", noon, 16, 5)
		change(&s)
		return s
	}
	tag := func(customer string) func(*said) {
		return func(s *said) { s.Stamp.Tag, s.Customer = usage.TagValid, customer }
	}
	check := func(t *testing.T, want string, flagged bool, list ...said) {
		t.Helper()
		for range 2 {
			r := one(t, rules, list...)
			if payer(&r) != want || slices.Contains(r.Flags, usage.FlagPayersDisagree) != flagged {
				t.Errorf("%s %v, want %s", payer(&r), r.Flags, want)
			}
			slices.Reverse(list)
		}
	}
	t.Run("the better rule", func(t *testing.T) {
		check(t, "tag acme/", true, choice(func(*said) {}), choice(tag("acme")), choice(func(*said) {}))
	})
	t.Run("among equals the smallest identity", func(t *testing.T) {
		a, b := choice(tag("acme")), choice(tag("globex"))
		want := "tag acme/"
		ia, ib := a.Identity(), b.Identity()
		if slices.Compare(ib[:], ia[:]) < 0 {
			want = "tag globex/"
		}
		check(t, want, true, a, b)
	})
	t.Run("who knows nobody does not disagree", func(t *testing.T) {
		check(t, "tag acme/", false, choice(tag("acme")), choice(func(s *said) {
			s.Resource = resource("service.instance.id", "i", "service.name", "other")
		}))
	})
}

func TestModel(t *testing.T) {
	rules := compile(t, usage.Policy{Engines: []usage.Engine{
		{Match: map[string]string{"service.name": "opt", "vllm.process_id": "7"}, Model: "seven"},
		{Match: map[string]string{"service.name": "opt"}, Model: "facebook/opt-125m"},
	}})
	for name, c := range map[string]struct {
		resource usage.Attributes
		want     string
	}{
		"the resource's own":             {resource("gen_ai.request.model", "own", "service.name", "opt"), "own"},
		"the first engine that matches":  {resource("service.name", "opt", "vllm.process_id", "7"), "seven"},
		"the engine":                     {resource("service.name", "opt"), "facebook/opt-125m"},
		"unknown":                        {resource("service.name", "other"), ""},
		"no resource":                    {nil, ""},
		"a number as text":               {usage.Attributes{{Key: "service.name", Str: "opt"}, {Key: "vllm.process_id", Int: 7, IsInt: true}}, "seven"},
		"an attribute that is not there": {resource("vllm.process_id", "7"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			if got := rules.Model(c.resource); got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

func TestPolicyErrors(t *testing.T) {
	match := map[string]string{"service.name": "x"}
	for name, p := range map[string]usage.Policy{
		"unknown rule":                 {Order: []string{"key"}},
		"a rule twice":                 {Order: []string{usage.RuleTag, usage.RuleTag}},
		"no regular expression":        {RequestIDs: []string{"("}},
		"a pattern without a customer": {RequestIDs: []string{"^a"}},
		"engine without match":         {Engines: []usage.Engine{{Model: "m"}}},
		"unknown beams":                {Engines: []usage.Engine{{Match: match, Beams: "maybe"}}},
		"unknown role":                 {Engines: []usage.Engine{{Match: match, Role: "decode"}}},
		"resource without customer":    {Resources: []usage.ResourceRule{{Match: match}}},
		"resource without match":       {Resources: []usage.ResourceRule{{Customer: "acme"}}},
		"invalid UTF-8":                {Resources: []usage.ResourceRule{{Match: match, Customer: "\xff"}}},
	} {
		t.Run(name, func(t *testing.T) {
			if b, err := p.Canonical(); !errors.Is(err, usage.ErrPolicy) {
				t.Errorf("%s, %v", b, err)
			}
		})
	}
}

func TestMatchedKeys(t *testing.T) {
	p := usage.Policy{
		Engines:   []usage.Engine{{Match: map[string]string{"b": "1", "a": "1"}}},
		Resources: []usage.ResourceRule{{Match: map[string]string{"c": "1", "b": "1"}, Customer: "x"}},
	}
	if got := p.MatchedKeys(); !slices.Equal(got, []string{"a", "b", "c"}) {
		t.Errorf("%v", got)
	}
}
