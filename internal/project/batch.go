package project

import (
	"fmt"
	"maps"
	"slices"

	"github.com/tollkeeper/tollkeeper/internal/journal"
	"github.com/tollkeeper/tollkeeper/internal/usage"
)

// Kinds of journal entries.
const (
	KindTraces = "otlp.traces" // items are observations with their stamps
	KindPolicy = "policy"      // its one item is a policy in canonical JSON
)

const (
	// maxFacts and maxEntries bound one transaction of the store: large enough
	// that a page of an index is written for several records, small enough that
	// the answer is fresh and the memory below 64 MiB.
	maxFacts   = 20_000
	maxEntries = 20_000
)

// builder turns entries into a batch.
type builder struct {
	rules *usage.Rules
	batch usage.Batch
	count int // entries in the batch
}

func (b *builder) full() bool { return len(b.batch.Facts) >= maxFacts || b.count >= maxEntries }

// add takes the next entry. An error names it: the journal holds something that
// this program cannot read, and going on would bill less than it says.
func (b *builder) add(e journal.Entry) error {
	h := e.Header
	b.batch.Origin, b.batch.Through = h.Origin, h.Seq
	b.count++
	b.counts(h)
	if h.Kind == KindPolicy {
		return b.policy(e)
	}
	for i, line := range e.Items {
		o, s, err := usage.ParseLine(line)
		if err != nil {
			return fmt.Errorf("journal entry %d, observation %d: %w", h.Seq, i, err)
		}
		p := usage.Position{Received: h.Received, Origin: h.Origin, Seq: h.Seq, Index: i}
		b.batch.Facts = append(b.batch.Facts, usage.NewFact(o, s, p, b.rules))
	}
	return nil
}

func (b *builder) counts(h journal.Header) {
	add := func(verdict string, reasons map[string]int64) {
		for _, reason := range slices.Sorted(maps.Keys(reasons)) {
			b.batch.Counts = append(b.batch.Counts, usage.EntryCount{
				Seq: h.Seq, Producer: h.Producer, Verdict: verdict, Reason: reason, Amount: reasons[reason], Received: h.Received,
			})
		}
	}
	add(usage.Rejected, h.Rejected)
	add(usage.Ignored, h.Ignored)
}

// policy governs the entries behind it.
func (b *builder) policy(e journal.Entry) error {
	if len(e.Items) != 1 {
		return fmt.Errorf("journal entry %d: a policy entry of %d items", e.Header.Seq, len(e.Items))
	}
	rules, err := usage.ParsePolicy(e.Items[0])
	if err != nil {
		return fmt.Errorf("journal entry %d: %w", e.Header.Seq, err)
	}
	b.rules, b.batch.Policy = rules, e.Items[0]
	return nil
}
