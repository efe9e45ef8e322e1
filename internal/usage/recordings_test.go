package usage_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/tollkeeper/tollkeeper/internal/otlp"
	"github.com/tollkeeper/tollkeeper/internal/usage"
)

// That each recorded case equals what the API answered is a test of
// internal/otlp. Here stands what rule made which record of it.

const recordings = "../../testdata/recordings/vllm-0.32.0"

// recorded are the observations of a case, as a real vLLM sent them.
func recorded(t *testing.T, name string) (list []said) {
	t.Helper()
	bodies, err := filepath.Glob(filepath.Join(recordings, name, "otlp-*.pb"))
	if err != nil {
		t.Fatal(err)
	}
	decoder := otlp.NewDecoder(nil)
	for _, file := range bodies {
		body, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		result, err := decoder.Proto(body)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range result.Observations {
			list = append(list, said{o, usage.Stamp{Producer: "vllm"}})
		}
	}
	return list
}

func optFold(t *testing.T, beams string) *usage.Rules {
	t.Helper()
	return compile(t, usage.Policy{Engines: []usage.Engine{{Match: map[string]string{"service.name": "opt-125m"}, Model: "facebook/opt-125m", Beams: beams}}})
}

func TestRecordedCases(t *testing.T) {
	for name, want := range map[string][]string{
		"seed":                      {"generation final 10+7/1 []"},
		"chat":                      {"generation final 16+16/1 []"},
		"chat-n3":                   {"generation final 16+48/1 []"},
		"n3-no-traceparent":         {"generation final 16+48/1 []"},
		"tagged":                    {"generation final 16+32/1 []"},
		"completion-3-prompts":      {"generation final 11+21/1 []"},
		"same-id-in-parallel":       numbered("generation final 10+%d/1 []", 40),
		"same-traceparent-twice":    slices.Repeat([]string{"generation final 10+7/1 []"}, 2),
		"beam-search":               {"beam derived 10+12/1 []"},
		"embeddings":                {"pooling final 2+0/0 []", "pooling final 3+0/1 []"},
		"embeddings-single":         {"pooling final 10+0/1 []"},
		"pooling":                   {"pooling final 10+0/1 []"},
		"score":                     {"pooling final 2+0/0 []", "pooling final 2+0/1 []", "pooling final 4+0/0 []"},
		"responses":                 {"generation final 16+16/1 []"},
		"max-tokens-1":              {"generation final 10+1/1 []"},
		"abort-stream":              nil,
		"abort-stream-continuous":   nil,
		"abort-n2-continuous":       nil,
		"always-on-abort-stream":    nil,
		"sigterm-in-flight":         nil,
		"unsampled-caller":          nil,
		"error-body":                nil,
		"error-model":               nil,
		"error-too-long":            nil,
		"tokenize":                  nil,
		"auto-instrumented-chat-n3": {"generation final 16+48/1 []"},
	} {
		t.Run(name, func(t *testing.T) { wantRecords(t, optFold(t, usage.BeamsFold), recorded(t, name), want...) })
	}
}

// numbered puts 1 to n into the format.
func numbered(format string, n int) (out []string) {
	for i := range n {
		out = append(out, fmt.Sprintf(format, i+1))
	}
	return out
}

// TestRecordedBeamsPlain: without `beams: fold` the search is billed as the
// spans say it, which is more than the API answered.
func TestRecordedBeamsPlain(t *testing.T) {
	records := fold(optFold(t, usage.BeamsPlain), recorded(t, "beam-search")...)
	var sum usage.Quantities
	for i := range records {
		if records[i].Grade != usage.GradeFinal {
			t.Errorf("%s", summary(&records[i]))
		}
		sum.AddAll(records[i].Quantities)
	}
	if got := amountsText(sum); got != "140+11/11" {
		t.Errorf("%s of %d spans", got, len(records))
	}
}

// TestAllRecordedInAnyOrder: everything that was recorded, in any order, some of
// it twice, from two journals.
func TestAllRecordedInAnyOrder(t *testing.T) {
	rules := optFold(t, usage.BeamsFold)
	var all []said
	cases, err := filepath.Glob(recordings + "/*")
	if err != nil || len(cases) < 40 {
		t.Fatalf("%d cases: %v", len(cases), err)
	}
	for _, dir := range cases {
		all = append(all, recorded(t, filepath.Base(dir))...)
	}
	want := summaries(fold(rules, all...))
	random := rand.New(rand.NewPCG(3, 4))
	for range 20 {
		var out []usage.Fact
		for n, list := range [][]said{all, all[:random.IntN(len(all))]} {
			for i, s := range list {
				p := usage.Position{Received: s.End + random.Int64N(hour), Origin: string("ab"[n]), Seq: uint64(i)}
				out = append(out, usage.NewFact(s.Observation, s.Stamp, p, rules))
			}
		}
		random.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
		if got := usage.Fold(out); !slices.Equal(summaries(got.Records), want) || len(got.Conflicts) > 0 {
			t.Fatalf("%d records, want %d; %d conflicts", len(got.Records), len(want), len(got.Conflicts))
		}
	}
}
