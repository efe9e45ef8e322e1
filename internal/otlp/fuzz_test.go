package otlp_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"testing"
	"unicode/utf8"

	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"

	"github.com/tollkeeper/tollkeeper/internal/otlp"
)

// FuzzProto compares the decoder with pdata, the Collector's: the same
// observations and counts, or both refuse.
func FuzzProto(f *testing.F) {
	for _, body := range recordedBodies(f) {
		f.Add(body)
	}
	for _, c := range spanCases {
		addSeed(f, c.body())
	}
	d := otlp.NewDecoder(nil)
	f.Fuzz(func(t *testing.T, body []byte) {
		got, err := d.Proto(body)
		part := readPart{ok: true}
		stripped := part.export(body)
		if part.groups {
			return // pdata passes over empty groups only; TestGroups has ours
		}
		if err != nil && !errors.Is(err, otlp.ErrUndecodable) {
			t.Fatalf("no refusal: %v", err)
		}
		req := ptraceotlp.NewExportRequest()
		pdataErr := req.UnmarshalProto(stripped)
		if part.ok && pdataErr != nil {
			t.Fatalf("pdata refuses what was encoded anew: %v", pdataErr)
		}
		if part.ok != (err == nil) {
			t.Fatalf("well-formed: %v, decoder: %v", part.ok, err)
		}
		if err != nil {
			if whole := ptraceotlp.NewExportRequest(); whole.UnmarshalProto(body) == nil && !oddVarint(body) {
				t.Fatalf("pdata takes it whole, the decoder says %v", err)
			}
			return
		}
		same(t, got, reference(req.Traces()))
		if !part.badText {
			throughJSON(t, d, req, got)
		}
	})
}

// oddVarint reports a varint of ten bytes, of which pdata drops the bits above
// the 64th, as it does of field numbers above the 31st; protobuf's own library
// refuses both, and so do we.
func oddVarint(body []byte) bool {
	run := 0
	for _, c := range body {
		if c < 0x80 {
			run = 0
			continue
		}
		if run++; run >= 4 {
			return true
		}
	}
	return false
}

// throughJSON writes the export as pdata does and reads it.
func throughJSON(t *testing.T, d *otlp.Decoder, req ptraceotlp.ExportRequest, want *otlp.Result) {
	t.Helper()
	body, err := req.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	got, err := d.JSON(body)
	if err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	same(t, got, want)
}

func same(t *testing.T, got, want *otlp.Result) {
	t.Helper()
	if len(got.Observations) != len(want.Observations) {
		t.Fatalf("%d observations, want %d", len(got.Observations), len(want.Observations))
	}
	for i := range got.Observations {
		if !reflect.DeepEqual(got.Observations[i], want.Observations[i]) || !bytes.Equal(got.Resources[i], want.Resources[i]) {
			t.Fatalf("observation %d:\n%+v %s\nwant\n%+v %s", i, got.Observations[i], got.Resources[i], want.Observations[i], want.Resources[i])
		}
	}
	if !reflect.DeepEqual(got.Counts, want.Counts) {
		t.Fatalf("counts %+v, want %+v", got.Counts, want.Counts)
	}
}

// emptyName is a member without a name, at which pdata's reader ends an object.
var emptyName = regexp.MustCompile(`""\s*:`)

// FuzzJSON compares with pdata: what it takes means the same to us. What it
// refuses we may take in part, since one bad value rejects its own span only.
func FuzzJSON(f *testing.F) {
	for _, body := range recordedBodies(f) {
		j, err := asPdata(f, body).MarshalJSON()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(j)
	}
	for _, c := range jsonCases {
		addSeed(f, []byte(c.body))
	}
	d := otlp.NewDecoder(nil)
	f.Fuzz(func(t *testing.T, body []byte) {
		got, err := d.JSON(body)
		if err != nil && !errors.Is(err, otlp.ErrUndecodable) {
			t.Fatalf("no refusal: %v", err)
		}
		req := ptraceotlp.NewExportRequest()
		if !json.Valid(body) || !utf8.Valid(body) || emptyName.Match(body) || req.UnmarshalJSON(body) != nil {
			return
		}
		if err != nil {
			t.Fatalf("pdata takes it, the decoder says %v", err)
		}
		same(t, got, reference(req.Traces()))
	})
}

// addSeed leaves out the long ones, which the fuzzer would mutate for minutes;
// the tables have them.
func addSeed(f *testing.F, body []byte) {
	if len(body) < 64<<10 {
		f.Add(body)
	}
}

// recordedBodies are what a real vLLM sent.
func recordedBodies(tb testing.TB) (list [][]byte) {
	tb.Helper()
	files, err := filepath.Glob(recordings + "/*/otlp-*.pb")
	if err != nil || len(files) == 0 {
		tb.Fatalf("no recordings: %v", err)
	}
	for _, file := range files {
		body, err := os.ReadFile(file)
		if err != nil {
			tb.Fatal(err)
		}
		list = append(list, body)
	}
	return list
}

func asPdata(tb testing.TB, body []byte) ptraceotlp.ExportRequest {
	tb.Helper()
	req := ptraceotlp.NewExportRequest()
	if err := req.UnmarshalProto(body); err != nil {
		tb.Fatal(err)
	}
	return req
}
