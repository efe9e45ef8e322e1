package otlp_test

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tollkeeper/tollkeeper/internal/otlp"
	"github.com/tollkeeper/tollkeeper/internal/usage"
)

const recordings = "../../testdata/recordings/vllm-0.32.0"

// unbilled are the cases whose requests the API may have answered without an
// engine span that we could hold: testdata/recordings/README.md says why.
var unbilled = map[string]string{
	"unsampled-caller": "the caller switched its record off",
}

// TestRecordingsEqualTheAnswers folds what a real vLLM sent and compares it
// with what its API answered, case by case.
func TestRecordingsEqualTheAnswers(t *testing.T) {
	cases, err := filepath.Glob(recordings + "/*")
	if err != nil || len(cases) < 40 {
		t.Fatalf("%d recordings: %v", len(cases), err)
	}
	for _, dir := range cases {
		name := filepath.Base(dir)
		t.Run(name, func(t *testing.T) {
			records := fold(t, dir)
			var got sums
			for _, r := range records {
				got.add(r.Quantities.Get(usage.InputTokens), r.Quantities.Get(usage.OutputTokens))
				got.requests += r.Quantities.Get(usage.Requests)
				if r.Shape == usage.ShapeBeam && r.Grade != usage.GradeDerived {
					t.Errorf("beam search graded %s, flags %v", r.Grade, r.Flags)
				}
			}
			want, told := answered(t, dir)
			if reason, ok := unbilled[name]; ok {
				if len(records) != 0 {
					t.Errorf("%d records although %s", len(records), reason)
				}
				return
			}
			if got.requests != want.requests {
				t.Errorf("requests: %d, answered %d", got.requests, want.requests)
			}
			if told && got != want {
				t.Errorf("records %+v, the API answered %+v", got, want)
			}
		})
	}
}

type sums struct{ requests, input, output int64 }

func (s *sums) add(input, output int64) { s.input += input; s.output += output }

// rules folds beam searches, as the truth table of the recordings does.
func rules(t *testing.T) *usage.Rules {
	t.Helper()
	r, err := usage.Policy{Engines: []usage.Engine{{
		Match: map[string]string{"service.name": "opt-125m"}, Model: "facebook/opt-125m", Beams: usage.BeamsFold,
	}}}.Compile()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func fold(t *testing.T, dir string) []usage.Record {
	t.Helper()
	files, err := filepath.Glob(dir + "/otlp-*.pb")
	if err != nil {
		t.Fatal(err)
	}
	decoder, policy := otlp.NewDecoder(nil), rules(t)
	var facts []usage.Fact
	for seq, file := range files {
		body, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		result, err := decoder.Proto(body)
		if err != nil {
			t.Fatal(err)
		}
		if len(result.Rejected) > 0 {
			t.Errorf("rejected: %v", result.Rejected)
		}
		for i, o := range result.Observations {
			p := usage.Position{Received: o.End, Origin: "test", Seq: uint64(seq + 1), Index: i}
			facts = append(facts, usage.NewFact(roundTrip(t, o, result.Resources[i]), usage.Stamp{}, p, policy))
		}
	}
	return usage.Fold(facts).Records
}

// roundTrip sends the observation through its canonical JSON.
func roundTrip(t *testing.T, o usage.Observation, resource []byte) usage.Observation {
	t.Helper()
	line := usage.AppendLine(nil, &o, &usage.Stamp{Producer: "test"}, resource)
	back, stamp, err := usage.ParseLine(line)
	if err != nil || stamp.Producer != "test" {
		t.Fatalf("%s: %v", line, err)
	}
	if again := usage.AppendLine(nil, &back, &stamp, nil); string(again) != string(line) {
		t.Fatalf("canonical JSON changed:\n%s\n%s", line, again)
	}
	return back
}

type response struct {
	Status  int    `json:"status"`
	Aborted *int   `json:"aborted_after_events"`
	Body    string `json:"body"`
}

// answered sums the usage of the finished requests; told is false when the API
// did not say it (a stream without usage).
func answered(t *testing.T, dir string) (want sums, told bool) {
	t.Helper()
	raw, err := os.ReadFile(dir + "/responses.json")
	if errors.Is(err, fs.ErrNotExist) { // the server was ended: nothing was answered whole
		return sums{}, true
	}
	if err != nil {
		t.Fatal(err)
	}
	var list []response
	if err := json.Unmarshal(raw, &list); err != nil {
		t.Fatal(err)
	}
	told = true
	for _, r := range list {
		finished, u := readUsage(r)
		if !finished {
			continue
		}
		want.requests++
		if u == nil {
			told = false
			continue
		}
		want.add(u.Prompt+u.Input, u.Completion+u.Output)
	}
	return want, told
}

type apiUsage struct {
	Prompt     int64 `json:"prompt_tokens"`
	Completion int64 `json:"completion_tokens"`
	Input      int64 `json:"input_tokens"`
	Output     int64 `json:"output_tokens"`
}

func readUsage(r response) (finished bool, u *apiUsage) {
	if r.Status != 200 || r.Aborted != nil || strings.Contains(r.Body, `"error"`) {
		return false, nil
	}
	var body struct {
		Object string    `json:"object"`
		Usage  *apiUsage `json:"usage"`
		Count  *int64    `json:"count"`
	}
	if !strings.HasPrefix(r.Body, "data:") {
		if err := json.Unmarshal([]byte(r.Body), &body); err != nil {
			return false, nil
		}
		return body.Count == nil, body.Usage
	}
	for line := range strings.Lines(r.Body) {
		data, ok := strings.CutPrefix(strings.TrimSpace(line), "data: ")
		if data == "[DONE]" {
			return true, body.Usage
		}
		if ok {
			if err := json.Unmarshal([]byte(data), &body); err != nil {
				return false, nil
			}
		}
	}
	return false, nil
}
