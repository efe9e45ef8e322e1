package sqlite_test

import (
	"encoding/hex"
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/tollkeeper/tollkeeper/internal/store/sqlite"
	"github.com/tollkeeper/tollkeeper/internal/usage"
)

var (
	benchRecords = flag.Int("records", 200_000, "records that BenchmarkApply projects")
	benchDays    = flag.Int("days", 1, "UTC days over which they are spread")
)

// BenchmarkApply projects plain requests, one span each, in the order of their
// time, with all indexes, and reports the rate of the whole and of its last
// tenth.
func BenchmarkApply(b *testing.B) {
	for b.Loop() {
		s, err := sqlite.Open(b.Context(), b.TempDir())
		if err != nil {
			b.Fatal(err)
		}
		var last time.Duration
		for from := 0; from < *benchRecords; from += benchBatch {
			batch := makeBatch(from, min(from+benchBatch, *benchRecords))
			began := time.Now()
			if err := s.Apply(b.Context(), batch); err != nil {
				b.Fatal(err)
			}
			if from >= *benchRecords*9/10 {
				last += time.Since(began)
			}
		}
		b.ReportMetric(float64(*benchRecords)/10/last.Seconds(), "last_tenth_records/s")
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(*benchRecords*b.N)/b.Elapsed().Seconds(), "records/s")
}

const benchBatch = 20_000

var benchRules, _ = usage.Policy{
	Engines:    []usage.Engine{{Match: map[string]string{"service.name": "opt"}, Model: "opt-125m"}},
	Order:      []string{usage.RuleTag, usage.RuleRequestID},
	RequestIDs: []string{`^cmpl-(?P<customer>c[0-9]+)-`},
}.Compile()

func makeBatch(from, to int) usage.Batch {
	const day = 86_400_000_000_000
	start := int64(1_790_000_000_000_000_000) / day * day
	step := int64(*benchDays) * day / int64(*benchRecords)
	b := usage.Batch{Origin: "bench", Through: uint64(to)}
	for i := from; i < to; i++ {
		r := rand.New(rand.NewPCG(1, uint64(i)))
		var id [24]byte
		for j := range id {
			id[j] = byte(r.Uint32())
		}
		o := usage.Observation{
			Kind: usage.KindUsage, Domain: usage.DomainSpan, Trace: hex.EncodeToString(id[:16]), Span: hex.EncodeToString(id[16:]),
			Start: start + int64(i)*step, End: start + int64(i)*step + 1e9, RequestID: fmt.Sprintf("cmpl-c%d-%x-0", i%100, id[:8]),
			Quantities: usage.Quantities{{Name: usage.InputTokens, Amount: 100}, {Name: usage.OutputTokens, Amount: 50}},
			Resource:   usage.Attributes{{Key: "service.instance.id", Str: "ad61402d-07a9-4f14-a341-308f5b7e6b72"}, {Key: "service.name", Str: "opt"}},
		}
		p := usage.Position{Received: o.End, Origin: "bench", Seq: uint64(i + 1)}
		b.Facts = append(b.Facts, usage.NewFact(o, usage.Stamp{Producer: "p"}, p, benchRules))
	}
	return b
}
