package sqlite_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/tollkeeper/tollkeeper/internal/store/sqlite"
	"github.com/tollkeeper/tollkeeper/internal/usage"
)

// words are texts as clients choose them, and the same again: the store keeps
// those that repeat once.
var words = rapid.OneOf(
	rapid.SampledFrom([]string{"", "a", "acme", "cmpl-1-0", "größe", "\x00", "a\x00b", "'; DROP TABLE records; --", "\u202e", "%", "NULL", "1e3"}),
	rapid.StringN(0, 12, -1),
)

// anyFact draws one span or event with anything in it.
func anyFact(t *rapid.T, seq uint64) usage.Fact {
	hex := func(n int) string {
		return rapid.StringMatching(fmt.Sprintf("[1-9a-f][0-9a-f]{%d}", n-1)).Draw(t, "hex")
	}
	o := usage.Observation{
		Kind: usage.KindUsage, Domain: usage.DomainSpan, Trace: hex(32), Span: hex(16), RequestID: words.Draw(t, "request id"),
		Start:    rapid.OneOf(rapid.Int64Range(noon-3*day, noon), rapid.SampledFrom([]int64{0, -1, math.MaxInt64, math.MinInt64})).Draw(t, "start"),
		End:      rapid.OneOf(rapid.Int64Range(noon-3*day, noon), rapid.SampledFrom([]int64{0, -1, math.MaxInt64, math.MinInt64})).Draw(t, "end"),
		Resource: usage.Attributes{{Key: "service.instance.id", Str: words.Draw(t, "instance")}, {Key: "service.name", Str: words.Draw(t, "service")}},
	}
	if rapid.Bool().Draw(t, "has a parent") {
		o.Parent = hex(16)
	}
	if rapid.IntRange(0, 3).Draw(t, "is an event") == 0 {
		o.Domain, o.Trace, o.Span, o.Parent = usage.DomainEvent, "", "", ""
		o.Source, o.ID = words.Draw(t, "source"), hex(20)
	}
	for _, name := range rapid.SliceOfDistinct(rapid.SampledFrom([]string{
		usage.InputTokens, usage.CachedInputTokens, usage.OutputTokens, usage.ReasoningTokens, usage.Requests, "audio_ms", "gpu_ms",
	}), rapid.ID).Draw(t, "quantities") {
		amount := rapid.OneOf(rapid.Int64Range(0, usage.MaxAmount), rapid.SampledFrom([]int64{0, 1, 127, 128, usage.MaxAmount})).Draw(t, name)
		o.Quantities = append(o.Quantities, usage.Quantity{Name: name, Amount: amount})
	}
	if len(o.Quantities) > 0 {
		o.Quantities = usage.NewQuantities(o.Quantities...)
	}
	for _, key := range usage.DecidingAttributes {
		switch rapid.IntRange(0, 3).Draw(t, key) {
		case 0:
			o.Attributes = append(o.Attributes, usage.Attribute{Key: key, Str: words.Draw(t, "attribute")})
		case 1:
			o.Attributes = append(o.Attributes, usage.Attribute{Key: key, Int: rapid.Int64().Draw(t, "attribute"), IsInt: true})
		}
	}
	slices.SortFunc(o.Attributes, func(a, b usage.Attribute) int { return strings.Compare(a.Key, b.Key) })
	s := usage.Stamp{Producer: words.Draw(t, "producer")}
	if rapid.IntRange(0, 3).Draw(t, "is tagged") == 0 {
		s.Tag, s.Key, s.Customer, s.Project, s.Record = usage.TagValid, "key_1", words.Draw(t, "customer"), words.Draw(t, "project"), words.Draw(t, "record")
	}
	return usage.NewFact(o, s, usage.Position{Received: noon + int64(seq), Origin: "a", Seq: seq}, benchRules)
}

const (
	day  = 86_400_000_000_000
	noon = 1_790_000_000_000_000_000/day*day + day/2
)

// checks makes the properties of a test try n random cases: what waits for the
// disk is no work for a hundred. The flag is the process's, so the test is not a
// parallel one.
func checks(t *testing.T, n string) {
	t.Helper()
	before := flag.Lookup("rapid.checks").Value.String()
	if err := flag.Set("rapid.checks", n); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = flag.Set("rapid.checks", before) })
}

// TestNothingIsLostInTheFile keeps facts with anything in them, and reads the
// same records back from the file when it was closed and opened.
func TestNothingIsLostInTheFile(t *testing.T) {
	checks(t, "20")
	root, folders := t.TempDir(), 0
	rapid.Check(t, func(t *rapid.T) {
		folders++
		dir := filepath.Join(root, strconv.Itoa(folders))
		b := usage.Batch{Origin: "a"}
		for seq := range rapid.Uint64Range(1, 20).Draw(t, "entries") {
			b.Facts = append(b.Facts, anyFact(t, seq+1))
			b.Through = seq + 1
		}
		s, err := sqlite.Open(context.Background(), dir)
		if err == nil {
			err = errors.Join(s.Apply(context.Background(), b), s.Close())
		}
		if err != nil {
			t.Fatalf("%v", err)
		}
		r, err := sqlite.OpenReader(context.Background(), dir)
		if err != nil {
			t.Fatalf("%v", err)
		}
		for _, want := range usage.Fold(b.Facts).Records {
			got, err := r.Records(context.Background(), usage.RecordFilter{ID: want.ID()})
			if err != nil || len(got) != 1 || !reflect.DeepEqual(got[0], want) {
				t.Fatalf("%v\n%+v\nwant\n%+v", err, got, want)
			}
		}
		problems, err := r.Check(context.Background())
		if err = errors.Join(err, r.Close()); err != nil || len(problems) > 0 {
			t.Fatalf("%v, %v", problems, err)
		}
	})
}
