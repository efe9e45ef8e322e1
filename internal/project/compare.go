package project

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"math"
	"reflect"
	"slices"
	"time"

	"github.com/tollkeeper/tollkeeper/internal/usage"
)

// Reader is a projection that can be compared.
type Reader interface {
	Positions(ctx context.Context) (map[string]uint64, error)
	Totals(ctx context.Context, in usage.Range, step int64) ([]usage.Total, error)
	Records(ctx context.Context, f usage.RecordFilter) ([]usage.Record, error)
	Tallies(ctx context.Context) ([]usage.Tally, error)
	Conflicts(ctx context.Context, in usage.Range) ([]usage.ConflictPair, error)
	// Ahead tells whether a part of it has more than Positions says: a batch is just
	// being applied, or is read again after the projector died.
	Ahead(ctx context.Context) (bool, error)
}

// The kinds of Difference.
const (
	DifferentTotals  = "totals"
	DifferentRecord  = "record"
	DifferentTallies = "tallies"
	DifferentKeptOut = "conflicts"
	OtherJournals    = "other_journals" // the projection holds other journals too: not compared
	AheadOfJournal   = "ahead"          // the projection holds entries that the journal lacks
)

// Difference is one way in which a projection does not follow from the journal.
type Difference struct {
	Kind   string `json:"kind"`
	Place  string `json:"place"`
	Detail string `json:"detail"`
}

const (
	// comparedSeconds is how much of record time is compared at a time.
	comparedSeconds = 3600
	daySeconds      = 86400
	// moves is how often a part is compared again because a server was changing it.
	moves = 50
	// movePause is how long a server gets to finish its transaction.
	movePause = 100 * time.Millisecond
	// maxDifferences bounds what is told.
	maxDifferences = 1000
	// comparedRecords is about how many records of each side are in memory at a time,
	// of some 2 KB each.
	comparedRecords = 50_000
	// mostParts is in how many parts an hour is compared at most: seconds.
	mostParts = comparedSeconds
)

// Comparison compares a projection with one made anew from the journal. A
// server may go on projecting meanwhile: then Want follows it.
type Comparison struct {
	Journal *Projector // makes Want; may be behind Got
	Want    Reader
	Got     Reader
	// Replayed, when set, is told how many of how many entries were replayed;
	// Progress how many of how many hours were compared.
	Replayed, Progress func(done, total uint64)
	// AtOnce is about how many records of each side are compared at a time, 50,000
	// where it is 0: it bounds the memory that takes.
	AtOnce int64

	Records     int64 // that were compared
	Differences []Difference
}

// Run compares everything. The error is about reading, or ErrMoving; what is
// wrong is in Differences.
func (c *Comparison) Run(ctx context.Context) error {
	positions, err := c.Got.Positions(ctx)
	if err != nil {
		return err
	}
	for origin := range positions {
		if origin != c.Journal.journal.Origin() {
			c.differ(OtherJournals, origin, "this journal alone does not explain the projection")
			return nil
		}
	}
	if err := c.follow(ctx); errors.Is(err, ErrEnds) {
		c.differ(AheadOfJournal, c.Journal.journal.Origin(), err.Error()+": entries were cut off, or the projection is another journal's")
		return nil
	} else if err != nil {
		return err
	}
	hours, err := c.hours(ctx)
	if err != nil {
		return err
	}
	for i, hour := range hours {
		if err := c.settled(ctx, func() ([]Difference, error) { return c.hour(ctx, hour) }); err != nil {
			return err
		}
		if c.Progress != nil {
			c.Progress(uint64(i)+1, uint64(len(hours)))
		}
	}
	if err := c.settled(ctx, func() ([]Difference, error) { return c.days(ctx) }); err != nil {
		return err
	}
	return c.settled(ctx, func() ([]Difference, error) { return c.verdicts(ctx) })
}

// follow brings Want to where Got is.
func (c *Comparison) follow(ctx context.Context) error {
	positions, err := c.Got.Positions(ctx)
	if err != nil {
		return err
	}
	through := positions[c.Journal.journal.Origin()]
	return c.Journal.CatchUp(ctx, through, func(done uint64) {
		if c.Replayed != nil {
			c.Replayed(done, through)
		}
	})
}

// ErrMoving says that the projection changed whenever a part was compared, or
// has more in some files than it says as a whole.
var ErrMoving = errors.New("usage is in the middle of a change whenever it is compared: let `tollkeeper serve` catch up and try again, or run `tollkeeper rebuild`")

// settled compares a part until it is equal, or stays different although the
// projection has had the time to finish what it was doing. One that never rests
// is ErrMoving: that is no difference.
func (c *Comparison) settled(ctx context.Context, compare func() ([]Difference, error)) error {
	still := 0
	for range moves {
		before := c.Journal.Position()
		if err := c.follow(ctx); err != nil {
			return err
		}
		found, err := compare()
		if err != nil || len(found) == 0 {
			return err
		}
		ahead, err := c.Got.Ahead(ctx)
		if err != nil {
			return err
		}
		if ahead || c.Journal.Position() != before {
			still = 0
		}
		// Twice at rest: a server may be about to say how far it has come.
		if still++; still > 2 {
			for _, d := range found {
				c.differ(d.Kind, d.Place, d.Detail)
			}
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(movePause):
		}
	}
	return ErrMoving
}

func (c *Comparison) differ(kind, place, detail string) {
	if len(c.Differences) < maxDifferences {
		c.Differences = append(c.Differences, Difference{kind, place, detail})
	}
}

// hours lists the hours in which either side has usage.
func (c *Comparison) hours(ctx context.Context) ([]int64, error) {
	set := map[int64]bool{}
	for _, side := range []Reader{c.Want, c.Got} {
		totals, err := side.Totals(ctx, usage.Range{}, comparedSeconds)
		if err != nil {
			return nil, err
		}
		for i := range totals {
			set[totals[i].Bucket] = true
		}
	}
	return slices.Sorted(maps.Keys(set)), nil
}

func (c *Comparison) hour(ctx context.Context, start int64) (found []Difference, err error) {
	in := usage.Range{From: start * 1e9, To: (start + comparedSeconds) * 1e9}
	place := time.Unix(start, 0).UTC().Format("2006-01-02T15:04Z")
	want, got, err := both(ctx, c, func(r Reader) ([]usage.Total, error) { return r.Totals(ctx, in, usage.BucketSeconds) })
	if err != nil {
		return nil, err
	}
	if !reflect.DeepEqual(want, got) {
		found = append(found, Difference{DifferentTotals, place, fmt.Sprintf("the sums of this hour are not those of its records: want %s, have %s", describe(want), describe(got))})
	}
	compared := 0
	for part := range c.parts(in, want) {
		records, kept, err := both(ctx, c, func(r Reader) ([]usage.Record, error) {
			return r.Records(ctx, usage.RecordFilter{Range: part, Limit: math.MaxInt})
		})
		if err != nil {
			return nil, err
		}
		compared += len(records)
		found = append(found, differentRecords(records, kept)...)
	}
	if len(found) == 0 {
		c.Records += int64(compared)
	}
	return found, nil
}

// parts cuts a range so that each holds about comparedRecords, by what the totals
// say; those are the journal's, since the others may say anything.
func (c *Comparison) parts(in usage.Range, totals []usage.Total) iter.Seq[usage.Range] {
	requests := int64(0)
	for i := range totals {
		requests += totals[i].Quantities.Get(usage.Requests)
	}
	n := min(max(requests/cmp.Or(c.AtOnce, comparedRecords), 0)+1, mostParts)
	step := (in.To - in.From) / n
	return func(yield func(usage.Range) bool) {
		for i := range n {
			part := usage.Range{From: in.From + i*step, To: in.From + (i+1)*step}
			if i == n-1 {
				part.To = in.To
			}
			if !yield(part) {
				return
			}
		}
	}
}

func both[T any](_ context.Context, c *Comparison, read func(Reader) ([]T, error)) (want, got []T, err error) {
	if want, err = read(c.Want); err != nil {
		return nil, nil, err
	}
	got, err = read(c.Got)
	return want, got, err
}

func describe(totals []usage.Total) string {
	var sum usage.Quantities
	for i := range totals {
		sum.AddAll(totals[i].Quantities)
	}
	return fmt.Sprintf("%d requests, %d input and %d output tokens", sum.Get(usage.Requests), sum.Get(usage.InputTokens), sum.Get(usage.OutputTokens))
}

func differentRecords(want, got []usage.Record) (found []Difference) {
	kept := make(map[string]*usage.Record, len(got))
	for i := range got {
		kept[got[i].ID()] = &got[i]
	}
	for i := range want {
		id := want[i].ID()
		have := kept[id]
		delete(kept, id)
		switch {
		case have == nil:
			found = append(found, Difference{DifferentRecord, id, "the journal says it, the projection lacks it"})
		case !reflect.DeepEqual(want[i], *have):
			found = append(found, Difference{DifferentRecord, id, fmt.Sprintf("the journal says %s, the projection %s", recordText(&want[i]), recordText(have))})
		}
	}
	for _, id := range slices.Sorted(maps.Keys(kept)) {
		found = append(found, Difference{DifferentRecord, id, "the projection has it, the journal does not say it"})
	}
	return found
}

func recordText(r *usage.Record) string {
	return fmt.Sprintf("customer %q, model %q, %v, %d observations", r.Customer, r.Model, r.Quantities, len(r.Facts))
}

// days compares sums of whole days, which a store may keep apart.
func (c *Comparison) days(ctx context.Context) (found []Difference, err error) {
	want, got, err := both(ctx, c, func(r Reader) ([]usage.Total, error) { return r.Totals(ctx, usage.Range{}, daySeconds) })
	if err != nil {
		return nil, err
	}
	for len(want)+len(got) > 0 {
		start := int64(math.MaxInt64)
		for _, side := range [][]usage.Total{want, got} {
			if len(side) > 0 {
				start = min(start, side[0].Bucket)
			}
		}
		var w, g []usage.Total
		w, want = cutDay(want, start)
		g, got = cutDay(got, start)
		if !slices.EqualFunc(w, g, func(a, b usage.Total) bool { return reflect.DeepEqual(a, b) }) {
			found = append(found, Difference{DifferentTotals, time.Unix(start, 0).UTC().Format(time.DateOnly), fmt.Sprintf("the sums of this day are not those of its records: want %s, have %s", describe(w), describe(g))})
		}
	}
	return found, nil
}

// cutDay cuts the totals of the day off the beginning.
func cutDay(totals []usage.Total, start int64) (day, rest []usage.Total) {
	i := slices.IndexFunc(totals, func(x usage.Total) bool { return x.Bucket != start })
	if i < 0 {
		i = len(totals)
	}
	return totals[:i], totals[i:]
}

// verdicts compares what became of observations.
func (c *Comparison) verdicts(ctx context.Context) (found []Difference, err error) {
	want, got, err := both(ctx, c, func(r Reader) ([]usage.Tally, error) { return r.Tallies(ctx) })
	if err != nil {
		return nil, err
	}
	if !reflect.DeepEqual(want, got) {
		found = append(found, Difference{DifferentTallies, "tallies", fmt.Sprintf("want %v, have %v", want, got)})
	}
	out, kept, err := both(ctx, c, func(r Reader) ([]usage.ConflictPair, error) { return r.Conflicts(ctx, usage.Range{}) })
	if err != nil {
		return nil, err
	}
	if !sameConflicts(out, kept) {
		found = append(found, Difference{DifferentKeptOut, "conflicts", fmt.Sprintf("want %d observations that were kept out, have %d, or others", len(out), len(kept))})
	}
	return found, nil
}

// sameConflicts compares lists whose order may differ where batches did.
func sameConflicts(a, b []usage.ConflictPair) bool {
	if len(a) != len(b) {
		return false
	}
	order := func(x, y usage.ConflictPair) int { return x.Fact.Position.Compare(y.Fact.Position) }
	slices.SortFunc(a, order)
	slices.SortFunc(b, order)
	return reflect.DeepEqual(a, b)
}
