package billing_test

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/tollkeeper/tollkeeper/internal/billing"
	"github.com/tollkeeper/tollkeeper/internal/money"
	"github.com/tollkeeper/tollkeeper/internal/pricing"
	"github.com/tollkeeper/tollkeeper/internal/usage"
)

// checks makes the properties of a test try n random cases, or as many as `make
// properties` asks for.
func checks(t *testing.T, n string) {
	t.Helper()
	if all := os.Getenv("TOLLKEEPER_PROPERTIES"); all != "" {
		n = all
	}
	before := flag.Lookup("rapid.checks").Value.String()
	if err := flag.Set("rapid.checks", n); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = flag.Set("rapid.checks", before) })
}

var (
	models     = []string{"opt", "big/llm", "unknown"}
	quantities = []string{usage.InputTokens, usage.CachedInputTokens, usage.OutputTokens, usage.Requests, "gpu_ms"}
	currencies = []money.Currency{euro, yen, dinar}
)

// dice are one drawn number from which several small ones are taken: draws are
// what takes the time.
type dice uint64

// cast makes dice of a drawn number. Most of those are small, so they are spread
// over all bits (the finaliser of SplitMix64); 0 stays 0, to which rapid shrinks.
func cast(x uint64) dice {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return dice(x ^ x>>31)
}

// roll takes a number below n.
func (d *dice) roll(n uint64) int {
	x := uint64(*d) % n
	*d = dice(uint64(*d) / n)
	return int(x)
}

// world is a customer's usage and invoices as they come about.
type world struct {
	t        *rapid.T
	rounding money.Rounding
	currency money.Currency
	months   []billing.Period
	books    []billing.Book
	used     [][]usage.Total // by month
	final    []*billing.Invoice
	void     map[string]bool
}

// drawBook draws prices that change in the middle of the second month; version 0
// is no book.
func (w *world) drawBook(version int64, d dice) billing.Book {
	change := w.months[1].Start + 15*86400
	var entries []pricing.Entry
	for i, model := range []string{"opt", "big/*"} {
		for k := range 2 {
			e := pricing.Entry{Model: model, Per: []int64{1, 1000, 1_000_000, 1 << 20}[d.roll(4)]}
			if e.From, e.To = change, 0; k == 0 {
				e.From, e.To = 0, change
			}
			for j, q := range quantities {
				if d.roll(4) == 0 && i > 0 {
					continue // has no price
				}
				value, err := money.FromInt(int64(d.roll(997) * (j + 1))).Per([]int64{1, 1000, 1_000_000, 1_000_000_000_000}[(i+j+k)%4])
				if err != nil {
					w.t.Fatalf("%v", err)
				}
				e.Prices = append(e.Prices, pricing.Price{Quantity: q, Value: value})
			}
			pricing.SortPrices(e.Prices)
			entries = append(entries, e)
		}
	}
	return book(version, w.currency.Code, entries...)
}

func newWorld(t *rapid.T) *world {
	w := &world{t: t, void: map[string]bool{}}
	for _, m := range []string{"2026-10", "2026-11", "2026-12", "2027-01"} {
		w.months = append(w.months, month(t, m))
	}
	w.used = make([][]usage.Total, len(w.months))
	d := cast(rapid.Uint64().Draw(t, "world"))
	w.currency = currencies[d.roll(3)]
	w.rounding = money.Roundings()[d.roll(5)]
	for version := range int64(2) {
		w.books = append(w.books, w.drawBook(version+1, cast(rapid.Uint64().Draw(t, "book"))))
	}
	return w
}

// use adds usage to a month, or takes some away: a correction.
func (w *world) use(d dice) {
	m := d.roll(3)
	total := usage.Total{
		Customer: acme, Model: models[d.roll(3)], Project: []string{"", "search"}[d.roll(2)], Grade: usage.GradeFinal,
		Bucket: int64(w.months[m].Start) + int64(d.roll(2))*15*86400,
	}
	if d.roll(10) == 0 {
		total.Customer = ""
	}
	input := int64(d.roll(3_000_000))
	if d.roll(5) == 0 {
		input = -input / 2
	}
	total.Quantities.Add(usage.InputTokens, input)
	if total.Customer != "" {
		total.Quantities.Add(usage.CachedInputTokens, input*int64(d.roll(4))/4)
		total.Quantities.Add(usage.OutputTokens, int64(d.roll(70_000)))
		total.Quantities.Add(usage.Requests, 1)
		total.Quantities.Add("gpu_ms", int64(d.roll(2)))
	}
	w.used[m] = append(w.used[m], total)
}

// input is an invoice of a month as of now.
func (w *world) input(m int, b billing.Book) billing.Input {
	in := billing.Input{
		Customer: billing.Party{ID: acme}, Period: w.months[m], Currency: w.currency, Rounding: w.rounding, Book: b, Usage: w.used[m],
		Fold: 1, Journals: map[string]uint64{"j": uint64(len(w.final))},
	}
	for _, i := range w.final {
		if !w.void[i.ID] {
			in.Closed = append(in.Closed, closed(i, w.books[i.Book.Version-1], w.used[w.monthOf(i)]...))
		}
	}
	return in
}

func (w *world) monthOf(i *billing.Invoice) int { return slices.Index(w.months, i.Period) }

// open tells whether a month has no final invoice.
func (w *world) open(m int) bool {
	return !slices.ContainsFunc(w.final, func(i *billing.Invoice) bool { return !w.void[i.ID] && i.Period == w.months[m] })
}

// close closes a month, if it is open, and holds what is true of every invoice.
func (w *world) close(m int, b billing.Book) {
	if !w.open(m) {
		return
	}
	in := w.input(m, b)
	draft := make1(w.t, in)
	number := int64(len(w.final) + 1)
	i := sealed(draft, number)
	wantClean(w.t, i)

	// Neither the order of what it is made of matters, nor how it is split.
	slices.Reverse(in.Closed)
	in.Usage = split(in.Usage)
	for n := range in.Closed {
		in.Closed[n].Usage = split(in.Closed[n].Usage)
	}
	if again := make1(w.t, in); canonical(w.t, again) != canonical(w.t, draft) {
		w.t.Fatalf("made again:\n%s\n%s", canonical(w.t, again), canonical(w.t, draft))
	}
	w.final = append(w.final, i)
}

// split splits sums in two, and turns them round.
func split(list []usage.Total) []usage.Total {
	var out []usage.Total
	for _, t := range slices.Backward(list) {
		a, b := t, t
		a.Quantities, b.Quantities = nil, nil
		for _, q := range t.Quantities {
			a.Quantities.Add(q.Name, q.Amount/3)
			b.Quantities.Add(q.Name, q.Amount-q.Amount/3)
		}
		a.Key, b.Service = "key_1", "other"
		out = append(out, a, b)
	}
	return out
}

// step does one random thing.
func (w *world) step(d dice) {
	switch kind := d.roll(11); {
	case kind < 4:
		w.use(d)
	case kind == 4: // it turned out to be another customer's
		if m := d.roll(3); len(w.used[m]) > 0 {
			w.used[m] = w.used[m][1:]
		}
	case kind < 9:
		w.close(d.roll(3), w.books[d.roll(2)])
	case len(w.final) > 0:
		w.void[w.final[d.roll(uint64(len(w.final)))].ID] = true
	}
}

// settle closes what is open, and then a month without usage, whose invoice
// brings what is still owed.
func (w *world) settle() {
	for m := range w.months {
		w.close(m, w.books[1])
	}
}

// owed is what a month comes to by the book that its final invoice pinned, if all
// usage had been there when it was closed.
func (w *world) owed(m int) money.Amount {
	for _, i := range w.final {
		if !w.void[i.ID] && i.Period == w.months[m] {
			in := w.input(m, w.books[i.Book.Version-1])
			in.Closed = nil
			return w.amount(make1(w.t, in).Sums.Lines)
		}
	}
	w.t.Fatalf("%s is open", w.months[m].Start)
	return money.Amount{}
}

func (w *world) amount(text string) money.Amount {
	a, err := money.ParseAmount(text, w.currency)
	if err != nil {
		w.t.Fatalf("%v", err)
	}
	return a
}

// Late or in time, the money is the same, to the cent: whatever comes when, is
// closed when and voided when, in the end each month has been billed exactly what
// it comes to.
func TestLateOrInTime(t *testing.T) {
	checks(t, "1200")
	invoices := 0
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		for _, d := range rapid.SliceOfN(rapid.Uint64(), 5, 16).Draw(t, "steps") {
			w.step(cast(d))
		}
		w.settle()
		sums := map[billing.Period]money.Amount{}
		add := func(p billing.Period, text string) {
			sum, known := sums[p]
			if !known {
				sum = money.FromMinor(0, w.currency)
			}
			sum, err := sum.Add(w.amount(text))
			if err != nil {
				t.Fatalf("%v", err)
			}
			sums[p] = sum
		}
		for _, i := range w.final {
			if w.void[i.ID] {
				continue
			}
			for _, l := range i.Lines {
				add(i.Period, l.Total)
			}
			for _, a := range i.Adjustments {
				add(a.Period, a.Total)
			}
		}
		for m, p := range w.months {
			if owed := w.owed(m); owed.Minor() != sums[p].Minor() {
				t.Fatalf("%s comes to %s, billed were %s", p.Start, owed, sums[p])
			}
		}
		// Nothing is left to adjust or to leave out.
		w.months = append(w.months, month(t, "2027-02"))
		w.used = append(w.used, nil)
		if last := make1(t, w.input(4, w.books[0])); len(last.Adjustments)+len(last.LeftOut) > 0 {
			t.Fatalf("something is left: %s", canonical(t, last))
		}
		invoices += len(w.final)
	})
	t.Logf("%d invoices", invoices)
}

// The lines of any invoice add up to its total, and usage that its document keeps
// is enough to rate it again.
func TestSumOfLines(t *testing.T) {
	checks(t, "20000")
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		for _, d := range rapid.SliceOfN(rapid.Uint64(), 0, 5).Draw(t, "usage") {
			w.use(cast(d))
		}
		i := make1(t, w.input(1, w.books[0]))
		wantClean(t, i)
		var sum int64
		for _, l := range i.Lines {
			sum += w.amount(l.Total).Minor()
		}
		if total := w.amount(i.Sums.Total); total.Minor() != sum {
			t.Fatalf("the lines add up to %d, the total is %s", sum, total)
		}
		var kept []usage.Total
		for _, u := range i.Usage {
			total := usage.Total{Bucket: int64(u.From), Customer: acme, Model: u.Model, Project: u.Project}
			for name, amount := range u.Quantities {
				total.Quantities.Add(name, amount)
			}
			kept = append(kept, total)
		}
		in := w.input(1, w.books[0])
		in.Usage = kept
		if again := make1(t, in); fmt.Sprint(again.Lines) != fmt.Sprint(i.Lines) {
			t.Fatalf("rated again:\n%v\n%v", again.Lines, i.Lines)
		}
	})
}
