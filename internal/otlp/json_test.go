package otlp_test

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/tollkeeper/tollkeeper/internal/otlp"
	"github.com/tollkeeper/tollkeeper/internal/usage"
)

// jsonSpan is a good span; the first use of each old text is replaced.
func jsonSpan(replace ...string) string {
	s := `{"traceId":"0af7651916cd43dd8448eb211c80319c","spanId":"b7ad6b7169203331","name":"llm_request","kind":2,
		"startTimeUnixNano":"1790000000000000000","endTimeUnixNano":"1790000001000000000","attributes":[
		{"key":"gen_ai.usage.prompt_tokens","value":{"intValue":"16"}},{"key":"gen_ai.usage.completion_tokens","value":{"intValue":48}},
		{"key":"gen_ai.request.id","value":{"stringValue":"cmpl-a\u00e9\"-0"}},{"key":"gen_ai.latency.e2e","value":{"doubleValue":1.5}}]}`
	for i := 0; i < len(replace); i += 2 {
		if !strings.Contains(s, replace[i]) {
			panic("no " + replace[i])
		}
		s = strings.Replace(s, replace[i], replace[i+1], 1)
	}
	return s
}

func jsonExport(spans ...string) string {
	return `{"resourceSpans":[{"scopeSpans":[{"scope":{"name":"x"},"spans":[` + strings.Join(spans, ",") + `]}],
		"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"opt-125m"}},{"key":"dropped","value":{"arrayValue":{"values":[{"stringValue":"]}"}]}}}]}}]}`
}

// jsonCases: undecodable bodies have kept < 0.
var jsonCases = []struct {
	name     string
	body     string
	kept     int
	rejected string
}{
	{"usual", jsonExport(jsonSpan()), 1, ""},
	{"names of the proto files", strings.NewReplacer("resourceSpans", "resource_spans", "scopeSpans", "scope_spans", "traceId", "trace_id", "spanId", "span_id",
		"startTimeUnixNano", "start_time_unix_nano", "endTimeUnixNano", "end_time_unix_nano", "intValue", "int_value", "stringValue", "string_value").Replace(jsonExport(jsonSpan())), 1, ""},
	{"upper-case hex", jsonExport(jsonSpan("0af7651916cd43dd8448eb211c80319c", "0AF7651916CD43DD8448EB211C80319C")), 1, ""},
	{"times as numbers", jsonExport(jsonSpan(`"1790000000000000000"`, `1790000000000000000`)), 1, ""},
	{"whole double", jsonExport(jsonSpan(`{"intValue":48}`, `{"doubleValue":48}`)), 1, ""},
	{"int with an exponent", jsonExport(jsonSpan(`{"intValue":48}`, `{"intValue":4.8e1}`)), 1, ""},
	{"unknown members", jsonExport(jsonSpan(`"kind":2`, `"kind":2,"new":{"a":[1,{"b":"]"}]},"flags":257`)), 1, ""},
	{"nulls", jsonExport(jsonSpan(`"kind":2`, `"parentSpanId":null,"traceState":null`)), 1, ""},
	{"white space", " \t\r\n" + strings.NewReplacer("{", " { ", "[", "\n[ ", ":", " : ", "]", " ] ", ",", " , ", "}", "\n}\t").Replace(`{"resourceSpans":[{"resource":{},"scopeSpans":[]}]}`) + "\n", 0, ""},
	{"empty object", `{}`, 0, ""},
	{"null lists", `{"resourceSpans":[{"resource":null,"scopeSpans":[{"spans":null}]},{"scopeSpans":null}]}`, 0, ""},

	{"trace id no hex", jsonExport(jsonSpan(), jsonSpan("0af7651916cd43dd8448eb211c80319c", "zzf7651916cd43dd8448eb211c80319c"), jsonSpan()), 2, otlp.RejectTraceID},
	{"trace id of 16 letters", jsonExport(jsonSpan(), jsonSpan("0af7651916cd43dd8448eb211c80319c", "zzzzzzzzzzzzzzzz")), 1, otlp.RejectTraceID},
	{"trace id in base64", jsonExport(jsonSpan(), jsonSpan("0af7651916cd43dd8448eb211c80319c", "CvdlGRbNQ92ESOshHIAxnA==")), 1, otlp.RejectTraceID},
	{"trace id a number", jsonExport(jsonSpan(), jsonSpan(`"0af7651916cd43dd8448eb211c80319c"`, "7")), 1, otlp.RejectTraceID},
	{"span id empty", jsonExport(jsonSpan(), jsonSpan("b7ad6b7169203331", "")), 1, otlp.RejectSpanID},
	{"count as text", jsonExport(jsonSpan(), jsonSpan(`"intValue":"16"`, `"intValue":"many"`)), 1, otlp.RejectCount},
	{"count above 64 bits", jsonExport(jsonSpan(), jsonSpan(`"intValue":"16"`, `"intValue":99999999999999999999`)), 1, otlp.RejectCount},
	{"count above a double", jsonExport(jsonSpan(), jsonSpan(`"intValue":"16"`, `"intValue":1e999`)), 1, otlp.RejectCount},
	{"count negative", jsonExport(jsonSpan(), jsonSpan(`"intValue":"16"`, `"intValue":"-1"`)), 1, otlp.RejectCount},
	{"count NaN", jsonExport(jsonSpan(), jsonSpan(`"intValue":"16"`, `"doubleValue":"NaN"`)), 1, otlp.RejectCount},
	{"count infinite", jsonExport(jsonSpan(), jsonSpan(`"intValue":"16"`, `"doubleValue":"-Infinity"`)), 1, otlp.RejectCount},
	{"count too large", jsonExport(jsonSpan(), jsonSpan(`"intValue":"16"`, `"intValue":"1000000000001"`)), 1, otlp.RejectTooLarge},
	{"count null", jsonExport(jsonSpan(), jsonSpan(`{"intValue":"16"}`, `null`)), 1, otlp.RejectCount},
	{"start as text", jsonExport(jsonSpan(), jsonSpan("1790000000000000000", "yesterday")), 1, otlp.RejectTime},
	{"start negative", jsonExport(jsonSpan(), jsonSpan("1790000000000000000", "-1")), 1, otlp.RejectTime},
	{"end above 64 bits", jsonExport(jsonSpan(), jsonSpan("1790000001000000000", "18446744073709551616")), 1, otlp.RejectTime},
	{"start missing", jsonExport(jsonSpan(), jsonSpan(`"startTimeUnixNano":"1790000000000000000",`, "")), 1, otlp.RejectStart},
	{"request id no UTF-8", jsonExport(jsonSpan(), jsonSpan("cmpl-a", "cmpl-\xff")), 1, otlp.RejectText},

	{"nothing", ``, -1, ""},
	{"white space only", " \n", -1, ""},
	{"cut", jsonExport(jsonSpan())[:200], -1, ""},
	{"two values", `{}{}`, -1, ""},
	{"an array", `[]`, -1, ""},
	{"a number", `5`, -1, ""},
	{"a string", `"resourceSpans"`, -1, ""},
	{"spans no array", `{"resourceSpans":{"a":1}}`, -1, ""},
	{"a span no object", jsonExport(jsonSpan(), `7`), -1, ""},
	{"attributes no array", jsonExport(jsonSpan(), `{"attributes":true}`), -1, ""},
	{"nested without end", `{"resourceSpans":` + strings.Repeat("[", 1<<20), -1, ""},
	{"nested too deep", `{"x":` + strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000) + `}`, -1, ""},
}

func TestJSON(t *testing.T) {
	d := otlp.NewDecoder(nil)
	for _, c := range jsonCases {
		t.Run(c.name, func(t *testing.T) {
			r, err := d.JSON([]byte(c.body))
			if c.kept < 0 {
				if !errors.Is(err, otlp.ErrUndecodable) {
					t.Errorf("%+v, %v", r, err)
				}
				return
			}
			if err != nil || len(r.Observations) != c.kept {
				t.Fatalf("%+v, %v", r, err)
			}
			if want := map[string]int64{c.rejected: 1}; c.rejected != "" && !maps.Equal(r.Rejected, want) || c.rejected == "" && len(r.Rejected) > 0 {
				t.Errorf("rejected %v, want %v", r.Rejected, want)
			}
			for i, o := range r.Observations {
				got := fmt.Sprintln(o.Trace, o.Span, o.Start, o.End, o.RequestID, o.Quantities.Get(usage.InputTokens), o.Quantities.Get(usage.OutputTokens), string(r.Resources[i]))
				want := `0af7651916cd43dd8448eb211c80319c b7ad6b7169203331 1790000000000000000 1790000001000000000 cmpl-aé"-0 16 48 {"service.name":"opt-125m"}` + "\n"
				if got != want {
					t.Errorf("kept %s want %s", got, want)
				}
			}
		})
	}
}

// TestRecordingsInJSON: what vLLM sent in protobuf says the same in JSON.
func TestRecordingsInJSON(t *testing.T) {
	d := otlp.NewDecoder(nil)
	for _, body := range recordedBodies(t) {
		want, err := d.Proto(body)
		if err != nil {
			t.Fatal(err)
		}
		req := asPdata(t, body)
		throughJSON(t, d, req, want)
		same(t, want, reference(req.Traces()))
	}
}
