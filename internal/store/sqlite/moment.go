package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tollkeeper/tollkeeper/internal/usage"
)

// ErrMoving says that usage changed faster than it could be read as of one
// moment. Trying again may help.
var ErrMoving = errors.New("usage changes faster than it can be read: try again; after a rebuild that was interrupted, rebuild first")

const (
	// momentTries is how often the files are looked at for one moment. Only those
	// that changed are read again, so that a few are enough: a batch changes the
	// files of a day or two.
	momentTries = 200
	// momentPause is how long the writer gets to finish its batch.
	momentPause = 5 * time.Millisecond
)

// TotalsAt sums the records of some customers in each of the ranges, by what
// they share, bucket 0, and says as of which entry of each journal: all of up to
// there, and nothing of what is above. A server may go on projecting meanwhile.
// Errors wrap ErrMoving.
//
// A day's file says up to which entry it was changed, and index.db how far all
// files are. What a file holds is of the moment that index.db named before, if
// the file was not changed by a later entry.
func (r *Reader) TotalsAt(ctx context.Context, ranges []usage.Range, customers []string) (map[string]uint64, [][]usage.Total, error) {
	read := map[int64]*dayTotals{}
	for range momentTries {
		at, err := r.Positions(ctx)
		if err != nil {
			return nil, nil, err
		}
		settled, err := r.readDays(ctx, at, ranges, customers, read)
		if err != nil {
			return nil, nil, err
		}
		if settled {
			return at, sumDays(read, len(ranges)), nil
		}
		select {
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		case <-time.After(momentPause):
		}
	}
	return nil, nil, ErrMoving
}

// dayTotals are the sums of one day, by range, and the entries up to which its
// file was changed.
type dayTotals struct {
	positions map[string]uint64
	sums      []map[usage.TotalKey]usage.Quantities
}

// after tells whether the file was changed by an entry behind the moment.
func (d *dayTotals) after(at map[string]uint64) bool {
	for origin, seq := range d.positions {
		if seq > at[origin] {
			return true
		}
	}
	return false
}

// covers tells whether the sums of these ranges were read: a file can come to
// matter to a range between two tries.
func (d *dayTotals) covers(ranges []int) bool {
	return d != nil && !slices.ContainsFunc(ranges, func(i int) bool { return d.sums[i] == nil })
}

// readDays reads the days of the ranges, the newest first since those change,
// and tells whether all are of the moment.
func (r *Reader) readDays(ctx context.Context, at map[string]uint64, ranges []usage.Range, customers []string, read map[int64]*dayTotals) (bool, error) {
	days, which := map[int64]file{}, map[int64][]int{}
	for i, in := range ranges {
		list, err := r.files(ctx, in)
		if err != nil {
			return false, err
		}
		for _, f := range list {
			days[f.day], which[f.day] = f, append(which[f.day], i)
		}
	}
	for _, day := range slices.Backward(slices.Sorted(maps.Keys(days))) {
		d, err := r.readDay(ctx, days[day], ranges, which[day], customers, read[day])
		if err != nil {
			return false, fmt.Errorf("usage of %s: %w", dayName(day), explain(err))
		}
		if d != nil {
			if read[day] = d; d.after(at) {
				return false, nil
			}
		}
	}
	return true, nil
}

// readDay sums one day in one transaction; before is what an earlier try read.
func (r *Reader) readDay(ctx context.Context, f file, ranges []usage.Range, which []int, customers []string, before *dayTotals) (_ *dayTotals, err error) {
	db, err := r.dayFile(ctx, f)
	if errors.Is(err, errUnmade) {
		return nil, nil //nolint:nilnil // a file without anything of any moment yet
	}
	if err != nil {
		return nil, err
	}
	tx, err := db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, tx.Rollback()) }()
	d := &dayTotals{sums: make([]map[usage.TotalKey]usage.Quantities, len(ranges))}
	if d.positions, err = loadPositions(ctx, tx); err != nil {
		return nil, err
	}
	if before.covers(which) && !before.after(d.positions) && !d.after(before.positions) {
		return before, nil // as it was
	}
	for _, i := range which {
		where, args := within(ranges[i])
		where += " AND dim IN (SELECT id FROM dims WHERE customer IN (" + strings.TrimSuffix(strings.Repeat("?,", len(customers)), ",") + "))"
		for _, c := range customers {
			args = append(args, c)
		}
		d.sums[i] = map[usage.TotalKey]usage.Quantities{}
		if err := sumTotals(ctx, tx, "totals", "0", where, args, d.sums[i]); err != nil {
			return nil, err
		}
		if err := sumOthers(ctx, tx, "0", where, args, d.sums[i]); err != nil {
			return nil, err
		}
	}
	return d, nil
}

// sumDays adds up the days of each range.
func sumDays(days map[int64]*dayTotals, ranges int) [][]usage.Total {
	out := make([][]usage.Total, ranges)
	for i := range out {
		sums := map[usage.TotalKey]usage.Quantities{}
		for _, d := range days {
			for k, more := range d.sums[i] {
				q := slices.Clone(sums[k])
				q.AddAll(more)
				sums[k] = q
			}
		}
		out[i] = totalsOf(sums)
	}
	return out
}
