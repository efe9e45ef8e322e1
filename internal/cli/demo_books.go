package cli

import (
	"cmp"
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/tollkeeper/tollkeeper/internal/money"
	"github.com/tollkeeper/tollkeeper/internal/rating"
	"github.com/tollkeeper/tollkeeper/internal/usage"
	"github.com/tollkeeper/tollkeeper/internal/vllmsim"
)

// books are what tollkeeper knows at a moment: usage of the month, money, and what
// became of what was sent.
type books struct {
	rows                            []bookRow // by customer and model, in order
	total                           bookRow
	duplicates, conflicts, rejected int64
	unpriced                        int64
}

// bookRow is one customer's usage of one model.
type bookRow struct {
	customer, model         string
	requests, input, output int64
	cost                    money.Amount // rounded per line, as on the invoice
}

func (r *bookRow) add(o bookRow) (err error) {
	r.requests, r.input, r.output = r.requests+o.requests, r.input+o.input, r.output+o.output
	r.cost, err = r.cost.Add(o.cost)
	return err
}

// dollar is the demo's currency.
var dollar = money.Currency{Code: "USD", Digits: 2}

// month is the calendar month in which the demo began, in UTC: what it closes.
func (d *demo) month() (from, to time.Time) {
	now := d.Now().UTC()
	if !d.began.IsZero() {
		now = d.began.UTC()
	}
	from = time.Date(now.Year(), now.Month(), 1, 0, 0, 0, 0, time.UTC)
	return from, from.AddDate(0, 1, 0)
}

// books reads usage as every command does, and rates it as the invoice does.
func (d *demo) books(ctx context.Context) (*books, error) {
	from, to := d.month()
	totals, err := d.server.reader.Totals(ctx, usage.Range{From: from.UnixNano(), To: to.UnixNano()}, usage.BucketSeconds)
	if err != nil {
		return nil, err
	}
	b := &books{}
	if err := b.take(d, totals); err != nil {
		return nil, err
	}
	tallies, err := d.server.reader.Tallies(ctx)
	if err != nil {
		return nil, err
	}
	for _, t := range tallies {
		switch t.Verdict {
		case string(usage.Duplicate):
			b.duplicates += t.Amount
		case string(usage.Conflict):
			b.conflicts += t.Amount
		case usage.Rejected:
			b.rejected += t.Amount
		}
	}
	return b, nil
}

// take adds usage up by customer and model, and prices it.
func (b *books) take(d *demo, totals []usage.Total) error {
	zero := money.FromMinor(0, dollar)
	rows := map[[2]string]*bookRow{}
	row := func(customer, model string) *bookRow {
		k := [2]string{customer, model}
		if rows[k] == nil {
			rows[k] = &bookRow{customer: customer, model: model, cost: zero}
		}
		return rows[k]
	}
	for _, c := range demoCustomers { // all are there from the start
		for _, m := range demoModels {
			row(c.id, m.model)
		}
	}
	byCustomer := map[string][]usage.Total{}
	for _, t := range totals {
		r := row(t.Customer, t.Model)
		r.requests += t.Quantities.Get(usage.Requests)
		r.input += t.Quantities.Get(usage.InputTokens)
		r.output += t.Quantities.Get(usage.OutputTokens)
		byCustomer[t.Customer] = append(byCustomer[t.Customer], t)
	}
	for customer, list := range byCustomer {
		rated, err := rating.Rate(d.book, list)
		if err != nil {
			return err
		}
		b.unpriced += int64(len(rated.Unpriced))
		for _, line := range rated.Lines {
			amount, err := line.Charge.Round(dollar, money.Rounding(d.config.Invoice.Rounding))
			if err == nil {
				err = row(customer, line.Model).add(bookRow{cost: amount})
			}
			if err != nil {
				return err
			}
		}
	}
	b.total = bookRow{cost: zero}
	for _, r := range rows {
		b.rows = append(b.rows, *r)
		if err := b.total.add(*r); err != nil {
			return err
		}
	}
	slices.SortFunc(b.rows, func(x, y bookRow) int {
		return cmp.Or(strings.Compare(x.customer, y.customer), strings.Compare(x.model, y.model))
	})
	return nil
}

// settled waits until everything in the journal is folded, and reads the books.
func (d *demo) settled(ctx context.Context) (*books, error) {
	tick := time.NewTicker(demoDelay / 10)
	defer tick.Stop()
	for {
		size, err := d.server.journal.Size(ctx)
		if err != nil {
			return nil, err
		}
		if d.server.projector.Position() >= size {
			return d.books(ctx)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, fmt.Errorf("usage is not folded yet: %w", ctx.Err())
		}
	}
}

// frame is one picture of the run.
type frame struct {
	dir, api        string
	elapsed, length time.Duration
	ended           bool
	pace            time.Duration // between two frames
	speed           []int64       // tokens that clients had seen, frame by frame
	books           *books
	base            *books        // from before the run
	seen            vllmsim.Tally // by the clients of this run
	resent          int64
	held, lost      int64 // spans
}

// have is what the run added to the books.
func (f *frame) have() bookRow {
	t, b := f.books.total, f.base.total
	return bookRow{requests: t.requests - b.requests, input: t.input - b.input, output: t.output - b.output}
}

// missing is what the clients saw and the books do not have yet.
func (f *frame) missing() bookRow {
	h := f.have()
	return bookRow{requests: f.seen.Requests - h.requests, input: f.seen.Input - h.input, output: f.seen.Output - h.output}
}

func (d *demo) frame(ctx context.Context) (*frame, error) {
	f := &frame{
		dir: homely(d.dir, d.env("HOME")), api: "http://" + d.address.api, elapsed: d.Now().Sub(d.began), length: d.length, pace: d.screen.pace(), base: d.base,
	}
	// The clients are asked last: what the books have, they have seen.
	var err error
	if f.books, err = d.books(ctx); err != nil {
		return nil, err
	}
	f.seen, f.resent = vllmsim.Sum(d.traffic.Tallies()), d.traffic.Resent()
	for _, s := range d.engines {
		spans := s.Spans()
		f.held += spans.Held
		f.lost += spans.Failed
	}
	return f, nil
}

// homely writes a path as people do.
func homely(path, home string) string {
	if rest, ok := strings.CutPrefix(path, home+string(filepath.Separator)); ok && home != "" {
		return filepath.Join("~", rest)
	}
	return path
}
