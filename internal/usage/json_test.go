package usage_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/tollkeeper/tollkeeper/internal/usage"
)

var update = flag.Bool("update", false, "write the golden files")

// golden compares what is written with the file of that name.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s: %v\n got %s\nwant %s", path, err, got, want)
	}
}

// TestCanonicalGolden pins the bytes: the journal's hashes are over them.
func TestCanonicalGolden(t *testing.T) {
	var m maker
	span := m.span("chatcmpl-a\u2028\"<é>", noon, 16, 0)
	span.Attributes = usage.Attributes{{Key: "gen_ai.latency.e2e_us", Int: 66124, IsInt: true}, {Key: "gen_ai.request.max_tokens", Int: 16, IsInt: true}}
	event := said{usage.Observation{
		Kind: usage.KindUsage, Domain: usage.DomainEvent, Source: "/gpu", ID: "7", Start: -1, End: 1 << 62, Quantities: amounts("gpu_ms", 1_000_000_000_000),
	}, usage.Stamp{}}
	forged := m.span("", 1, 0, 0)
	forged.Parent, forged.Stamp.Tag, forged.Resource = "", usage.TagInvalid, nil
	var out []byte
	for _, s := range []said{span, tagged(m.span("cmpl-a-0", noon, 1, 2)), forged, m.gateway("opening", 1, 0, 0), m.gateway("final", 2, 3, 4), event} {
		out = append(usage.AppendLine(out, &s.Observation, &s.Stamp, nil), '\n')
	}
	golden(t, "observations.golden", out)
	for line := range bytes.Lines(out) {
		var compact bytes.Buffer
		if err := json.Compact(&compact, line); err != nil || compact.String() != strings.TrimSpace(string(line)) {
			t.Errorf("not compact JSON: %s: %v", line, err)
		}
	}
}

func TestPolicyGolden(t *testing.T) {
	p := usage.Policy{
		Engines: []usage.Engine{
			{Match: map[string]string{"service.name": "opt", "host.name": "<a&b>"}, Model: "facebook/opt-125m", Role: usage.RolePrefill, Beams: usage.BeamsFold},
			{Match: map[string]string{"service.name": "other"}},
		},
		Order: []string{usage.RuleTag, usage.RuleRequestID}, RequestIDs: []string{`^cmpl-(?P<customer>[a-z]+)-`},
		Resources: []usage.ResourceRule{{Match: map[string]string{"service.name": "opt"}, Customer: "acme", Project: "é"}},
	}
	full, err := p.Canonical()
	if err != nil {
		t.Fatal(err)
	}
	empty, err := usage.Policy{}.Canonical()
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "policies.golden", bytes.Join([][]byte{full, empty, nil}, []byte("\n")))
	for _, b := range [][]byte{full, empty} {
		if _, err := usage.ParsePolicy(b); err != nil {
			t.Errorf("%s: %v", b, err)
		}
	}
}

// TestStrings are the rules of RFC 8785, section 3.2.2.2: the shortest escapes,
// in lower case, and all else as it is.
func TestStrings(t *testing.T) {
	for in, want := range map[string]string{
		"\b\t\n\f\r":             `\b\t\n\f\r`,
		"\x00\x01\x0b\x1f":       `\u0000\u0001\u000b\u001f`,
		`"\/`:                    `\"\\/`,
		"\x7f\u0080\u2028\u20ac": "\x7f\u0080\u2028\u20ac",
		"<>&'":                   "<>&'",
		"\ufffd\U0001f600":       "\ufffd\U0001f600",
		"":                       "",
	} {
		got := string(usage.AppendAttributes(nil, usage.Attributes{{Key: "k", Str: in}}))
		if got != `{"k":"`+want+`"}` {
			t.Errorf("%q is written %s", in, got)
		}
		var back map[string]string
		if err := json.Unmarshal([]byte(got), &back); err != nil || back["k"] != in {
			t.Errorf("%q comes back as %q, %v", in, back["k"], err)
		}
	}
	for s, want := range map[string]bool{"é": true, "\xc3\x28": false, "\xed\xa0\x80": false, "": true} {
		if usage.ValidText(s) != want {
			t.Errorf("%q: valid %v", s, !want)
		}
	}
}

// TestEscapeAnywhere: text is looked at eight bytes at a time, so each byte must
// be found at each place of the eight, also behind one that is no ASCII.
func TestEscapeAnywhere(t *testing.T) {
	for c := range rune(0x80) {
		for at := range 17 {
			for _, pad := range []string{"a", " ", "~", "!", "#", "[", "]", "\x7f", "\u00ff"} {
				in := strings.Repeat(pad, at) + string(c) + strings.Repeat(pad, 16-at)
				got := usage.AppendAttributes(nil, usage.Attributes{{Key: "k", Str: in}})
				var back map[string]string
				if err := json.Unmarshal(got, &back); err != nil || back["k"] != in {
					t.Fatalf("%q is written %s: %v", in, got, err)
				}
				if plain := `{"k":"` + in + `"}`; c >= 0x20 && c != '"' && c != '\\' && string(got) != plain {
					t.Fatalf("%q is written %s", in, got)
				}
			}
		}
	}
}

func TestLineRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := anySaid().Draw(t, "said")
		line := usage.AppendLine(nil, &s.Observation, &s.Stamp, nil)
		o, stamp, err := usage.ParseLine(line)
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if !reflect.DeepEqual(o, s.Observation) || stamp != s.Stamp {
			t.Fatalf("%s\n got %+v %+v\nwant %+v %+v", line, o, stamp, s.Observation, s.Stamp)
		}
		if !json.Valid(line) {
			t.Fatalf("no JSON: %s", line)
		}
		encoded := usage.AppendAttributes(nil, s.Resource)
		if with := usage.AppendLine(nil, &s.Observation, &s.Stamp, encoded); !bytes.Equal(with, line) {
			t.Fatalf("with the resource at hand: %s", with)
		}
	})
}

// anySaid draws observations with every field, text of any kind and numbers at
// their bounds.
func anySaid() *rapid.Generator[said] {
	text := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"", "\"", "\\", "\x00", "é\u2028", "}", `","`}))
	named := rapid.OneOf(rapid.StringN(1, 8, -1), rapid.SampledFrom([]string{"a", "b", "\n"}))
	number := rapid.OneOf(rapid.Int64(), rapid.SampledFrom([]int64{0, -1, 1 << 53}))
	attributes := rapid.Custom(func(t *rapid.T) usage.Attributes {
		var list usage.Attributes
		for _, k := range rapid.SliceOfN(text, 0, 4).Draw(t, "keys") {
			if rapid.Bool().Draw(t, "int") {
				list = append(list, usage.Attribute{Key: k, Int: number.Draw(t, "n"), IsInt: true})
			} else {
				list = append(list, usage.Attribute{Key: k, Str: text.Draw(t, "s")})
			}
		}
		if len(list) == 0 {
			return nil
		}
		return list.Sorted()
	})
	return rapid.Custom(func(t *rapid.T) (s said) {
		s.Kind, s.Domain = usage.KindUsage, rapid.SampledFrom([]usage.Domain{usage.DomainSpan, usage.DomainEvent, usage.DomainGateway}).Draw(t, "domain")
		if s.Domain == usage.DomainSpan {
			s.Trace, s.Span = rapid.StringMatching(`[0-9a-f]{32}`).Draw(t, "trace"), rapid.StringMatching(`[0-9a-f]{16}`).Draw(t, "span")
			s.Parent = rapid.StringMatching(`([0-9a-f]{16})?`).Draw(t, "parent")
		} else {
			s.Source, s.ID = named.Draw(t, "source"), named.Draw(t, "id")
		}
		if s.Domain == usage.DomainGateway && rapid.Bool().Draw(t, "opening") {
			s.Kind = usage.KindOpening
		}
		s.Start, s.End = number.Draw(t, "start"), number.Draw(t, "end")
		s.RequestID, s.Observation.Tag = text.Draw(t, "request id"), text.Draw(t, "tag")
		for _, name := range rapid.SliceOfNDistinct(named, 0, 3, rapid.ID[string]).Draw(t, "quantities") {
			s.Quantities = append(s.Quantities, usage.Quantity{Name: name, Amount: rapid.Int64Range(0, usage.MaxAmount).Draw(t, "amount")})
		}
		if len(s.Quantities) > 0 {
			s.Quantities = usage.NewQuantities(s.Quantities...)
		}
		s.Attributes, s.Resource = attributes.Draw(t, "attributes"), attributes.Draw(t, "resource")
		s.Stamp = usage.Stamp{
			Tag:    rapid.SampledFrom([]usage.TagVerdict{"", usage.TagValid, usage.TagInvalid}).Draw(t, "verdict"),
			Record: text.Draw(t, "record"), Key: text.Draw(t, "key"), Customer: text.Draw(t, "customer"), Project: text.Draw(t, "project"), Producer: text.Draw(t, "producer"),
		}
		return s
	})
}

// goodLines are lines to break and to begin fuzzing with.
func goodLines(t testing.TB) [][]byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", "observations.golden"))
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Split(bytes.TrimSpace(b), []byte("\n"))
}

func TestParseLineRefuses(t *testing.T) {
	good := string(goodLines(t)[0])
	for name, change := range map[string][2]string{
		"white space":            {`"stamp":{`, `"stamp": {`},
		"another order":          {`"domain":"span","end":"1795608001000000000",`, `"end":"1795608001000000000","domain":"span",`},
		"a longer escape":        {`\"`, `\u0022`},
		"an escape without need": {`chat`, `ch\u0061t`},
		"an empty member":        {`"kind"`, `"id":"","kind"`},
		"an unknown member":      {`"kind"`, `"keen":"x","kind"`},
		"an unknown kind":        {`"kind":"usage"`, `"kind":"context"`},
		"an opening of a span":   {`"kind":"usage"`, `"kind":"opening"`},
		"an unknown domain":      {`"domain":"span"`, `"domain":"trace"`},
		"upper-case hex":         {`00000000aa`, `00000000AA`},
		"a short trace":          {`000003e9`, `3e9`},
		"no end":                 {`"end":"1795608001000000000",`, ``},
		"a time with a plus":     {`"end":"1`, `"end":"+1`},
		"a time out of range":    {`"end":"1`, `"end":"91`},
		"a leading zero":         {`"input_tokens":16`, `"input_tokens":016`},
		"a fraction":             {`"input_tokens":16`, `"input_tokens":16.0`},
		"a negative amount":      {`"input_tokens":16`, `"input_tokens":-16`},
		"a huge amount":          {`"input_tokens":16`, `"input_tokens":1000000000001`},
		"minus zero":             {`"output_tokens":0`, `"output_tokens":-0`},
		"a quantity twice":       {`"output_tokens":0`, `"input_tokens":0`},
		"an empty quantity":      {`"input_tokens"`, `""`},
		"attributes unsorted":    {`gen_ai.latency`, `z`},
		"an attribute of null":   {`66124`, `null`},
		"no attributes":          {`{"gen_ai.latency.e2e_us":66124,"gen_ai.request.max_tokens":16}`, `{}`},
		"an unknown verdict":     {`"stamp":{"producer":"p"}`, `"stamp":{"producer":"p","tag":"maybe"}`},
		"a stamp in disorder":    {`"stamp":{"producer":"p"}`, `"stamp":{"producer":"p","key":"k"}`},
		"a stamp with a comma":   {`"stamp":{"producer":"p"}`, `"stamp":{"producer":"p",}`},
		"an older version":       {`"v":1`, `"v":0`},
		"invalid UTF-8":          {`chat`, "ch\xfft"},
		"a control character":    {`chat`, "ch\x01t"},
	} {
		t.Run(name, func(t *testing.T) {
			line := strings.Replace(good, change[0], change[1], 1)
			if line == good {
				t.Fatalf("%s is not in %s", change[0], good)
			}
			if _, _, err := usage.ParseLine([]byte(line)); !errors.Is(err, usage.ErrMalformed) {
				t.Errorf("%s: %v", line, err)
			}
		})
	}
	for i := range len(good) {
		if _, _, err := usage.ParseLine([]byte(good[:i])); !errors.Is(err, usage.ErrMalformed) {
			t.Fatalf("cut after %d bytes: %v", i, err)
		}
	}
	if _, _, err := usage.ParseLine([]byte(good + "\n")); !errors.Is(err, usage.ErrMalformed) {
		t.Errorf("a newline: %v", err)
	}
	newer := strings.Replace(good, `"v":1`, `"v":2`, 1)
	if _, _, err := usage.ParseLine([]byte(newer)); !errors.Is(err, usage.ErrNewerFormat) {
		t.Errorf("a newer version: %v", err)
	}
}

// TestParserSharesTheResource: and gives each line its own.
func TestParserSharesTheResource(t *testing.T) {
	var p usage.Parser
	var m maker
	for _, r := range []usage.Attributes{resource("a", "1"), resource("a", "1"), resource("a", "2"), resource("a", "2", "b", "3"), nil, resource("a", "2"), resource("a", "2")} {
		s := m.span("x", noon, 1, 1)
		s.Resource = r
		o, _, err := p.Line(usage.AppendLine(nil, &s.Observation, &s.Stamp, nil))
		if err != nil || !reflect.DeepEqual(o.Resource, r) {
			t.Errorf("%v, %v, want %v", o.Resource, err, r)
		}
	}
}

// FuzzParseLine: what is read has one spelling.
func FuzzParseLine(f *testing.F) {
	for _, line := range goodLines(f) {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		o, s, err := usage.ParseLine(line)
		if err != nil {
			if !errors.Is(err, usage.ErrMalformed) && !errors.Is(err, usage.ErrNewerFormat) {
				t.Fatal(err)
			}
			return
		}
		if again := usage.AppendLine(nil, &o, &s, nil); !bytes.Equal(again, line) {
			t.Fatalf("read   %s\nwrites %s", line, again)
		}
		usage.Fold([]usage.Fact{usage.NewFact(o, s, usage.Position{}, nil)})
	})
}

// FuzzParsePolicy: what is read compiles and has one spelling.
func FuzzParsePolicy(f *testing.F) {
	b, err := os.ReadFile(filepath.Join("testdata", "policies.golden"))
	if err != nil {
		f.Fatal(err)
	}
	for line := range bytes.Lines(b) {
		f.Add(bytes.TrimSpace(line))
	}
	f.Add([]byte(`{"v":2}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		rules, err := usage.ParsePolicy(b)
		if err != nil {
			if !errors.Is(err, usage.ErrPolicy) && !errors.Is(err, usage.ErrNewerFormat) {
				t.Fatal(err)
			}
			return
		}
		var p usage.Policy
		if err := json.Unmarshal(b, &p); err != nil {
			t.Fatal(err)
		}
		if again, err := p.Canonical(); err != nil || !bytes.Equal(again, b) {
			t.Fatalf("read   %s\nwrites %s, %v", b, again, err)
		}
		var m maker
		s := m.span("cmpl-a-0", noon, 1, 1)
		usage.NewFact(s.Observation, s.Stamp, usage.Position{}, rules)
	})
}

func TestParsePolicyRefuses(t *testing.T) {
	for _, text := range []string{``, `{}`, `null`, `{"v":0}`, `{"v":1} `, ` {"v":1}`, `{"v":1,"V":1}`, `{"v":1}{"v":1}`, `{"order":[],"v":1}`, `{"engine":[],"v":1}`, `{"order":["nothing"],"v":1}`} {
		if _, err := usage.ParsePolicy([]byte(text)); !errors.Is(err, usage.ErrPolicy) {
			t.Errorf("%q: %v", text, err)
		}
	}
	if _, err := usage.ParsePolicy([]byte(`{"v":2,"what":"new"}`)); !errors.Is(err, usage.ErrNewerFormat) {
		t.Errorf("a newer version: %v", err)
	}
}
