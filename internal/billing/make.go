package billing

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/tollkeeper/tollkeeper/internal/money"
	"github.com/tollkeeper/tollkeeper/internal/pricing"
	"github.com/tollkeeper/tollkeeper/internal/rating"
	"github.com/tollkeeper/tollkeeper/internal/usage"
)

// Book is a version of the price book and what it says.
type Book struct {
	BookRef
	// Prices is nil when there is no book: then nothing has a price.
	Prices *pricing.Book
}

// Input is all that an invoice follows from.
type Input struct {
	Issuer, Customer Party
	Note             string
	// Projects are the names of the customer's projects, by id.
	Projects map[string]string
	Period   Period
	Currency money.Currency
	Rounding money.Rounding
	Book     Book
	// Usage is what the period holds of the customer, and of nobody: sums whose
	// Bucket is the start of a stretch of [Book.Stretches].
	Usage []usage.Total
	// Closed are the customer's other final invoices.
	Closed []Closed
	// Fold is the version of the rules by which the usage was counted.
	Fold     int
	Journals map[string]uint64
}

// Closed is a final invoice that is not void, the book that it pinned, and what
// its period holds now.
type Closed struct {
	Invoice *Invoice
	Book    Book
	Usage   []usage.Total
}

// Stretches splits a period where any price of the book begins or ends, so that
// within each all prices stay the same.
func (b Book) Stretches(p Period) []Period {
	cuts := []Instant{p.Start, p.End}
	if b.Prices != nil {
		for i := range b.Prices.Entries {
			e := &b.Prices.Entries[i]
			for _, at := range []Instant{e.From, e.To} {
				if at > p.Start && at < p.End {
					cuts = append(cuts, at)
				}
			}
		}
	}
	slices.Sort(cuts)
	cuts = slices.Compact(cuts)
	out := make([]Period, 0, len(cuts)-1)
	for i, start := range cuts[:len(cuts)-1] {
		out = append(out, Period{Start: start, End: cuts[i+1], Zone: p.Zone})
	}
	return out
}

// Make makes the draft of an invoice. The same input makes the same bytes,
// whatever the order of its usage and of the closed invoices.
func Make(in Input) (*Invoice, error) {
	in.Closed = slices.Clone(in.Closed) // to be sorted
	m := &making{Input: &in, billed: map[lineKey]*billed{}, leftOut: map[leftKey]int64{}, folds: map[span]int{}, numbers: map[span]int64{}}
	m.out = &Invoice{
		Adjustments: []Adjustment{}, Book: in.Book.BookRef, Counted: []string{}, Currency: in.Currency, Customer: in.Customer, Deferred: []Deferred{},
		Fold: in.Fold, Issuer: in.Issuer, Journals: maps.Clone(in.Journals), LeftOut: []LeftOut{}, Lines: []Line{}, Note: in.Note,
		Period: in.Period, Projects: map[string]string{}, Rounding: in.Rounding, Usage: []Usage{}, Format: Format,
	}
	if m.out.Journals == nil {
		m.out.Journals = map[string]uint64{}
	}
	if err := m.check(); err != nil {
		return nil, err
	}
	for i := range in.Closed {
		if err := m.count(in.Closed[i].Invoice); err != nil {
			return nil, fmt.Errorf("invoice %s: %w", in.Closed[i].Invoice.ID, err)
		}
	}
	if err := m.own(); err != nil {
		return nil, err
	}
	for i := range in.Closed {
		if err := m.adjust(&in.Closed[i]); err != nil {
			return nil, fmt.Errorf("invoice %s: %w", in.Closed[i].Invoice.ID, err)
		}
	}
	return m.out, m.finish()
}

// making is an invoice on its way.
type making struct {
	*Input
	out     *Invoice
	billed  map[lineKey]*billed
	leftOut map[leftKey]int64
	folds   map[span]int
	numbers map[span]int64 // of the final invoices by period
}

// lineKey is what is billed once: a quantity of a model at a price in a time.
type lineKey struct {
	span
	model, quantity string
	book            int64
	entry           int
}

func (a lineKey) compare(b lineKey) int {
	return cmp.Or(cmp.Compare(a.start, b.start), cmp.Compare(a.end, b.end), cmp.Compare(a.model, b.model),
		rating.CompareQuantities(a.quantity, b.quantity), cmp.Compare(a.book, b.book), cmp.Compare(a.entry, b.entry))
}

// billed is what a line was billed so far, over all invoices.
type billed struct {
	amount int64
	total  money.Amount
	price  Price
	// uneven is the part of amount that invoices before the period's final one
	// billed for it, and that was not taken off; see ReasonVoid.
	uneven int64
}

// leftKey is what is left out once.
type leftKey struct {
	span
	model, quantity string
	reason          LeaveOutRule
}

func (m *making) check() error {
	if err := m.Period.Check(); err != nil {
		return err
	}
	if _, err := (money.Decimal{}).Round(m.Currency, m.Rounding); err != nil {
		return err
	}
	if b := m.Book.Prices; b != nil && b.Currency != m.Currency.Code {
		return fmt.Errorf("price book %d is in %s, the invoice in %s", m.Book.Version, b.Currency, m.Currency.Code)
	}
	slices.SortFunc(m.Closed, func(a, b Closed) int {
		return cmp.Or(cmp.Compare(a.Invoice.Period.Start, b.Invoice.Period.Start), cmp.Compare(a.Invoice.Number, b.Invoice.Number))
	})
	for _, c := range m.Closed {
		if c.Invoice.Period.Overlaps(m.Period) {
			return fmt.Errorf("invoice %s covers a part of the period: void it to invoice that again", c.Invoice.ID)
		}
		m.out.Counted = append(m.out.Counted, c.Invoice.ID)
		m.numbers[c.Invoice.Period.span()] = c.Invoice.Number
	}
	slices.Sort(m.out.Counted)
	return nil
}

// count adds up what an invoice billed and left out, for its own period and for
// others.
func (m *making) count(i *Invoice) error {
	for _, l := range i.Lines {
		if _, err := m.bill(i, i.Period, l.Model, l.Quantity, l.Price, l.Amount, l.Total); err != nil {
			return err
		}
	}
	m.folds[i.Period.span()] = max(m.folds[i.Period.span()], i.Fold)
	for _, a := range i.Adjustments {
		b, err := m.bill(i, a.Period, a.Model, a.Quantity, a.Price, a.Amount, a.Total)
		if err != nil {
			return err
		}
		if a.Reason == ReasonVoid || i.Number < m.numbers[a.Period.span()] {
			b.uneven += a.Amount
		}
		m.folds[a.Period.span()] = max(m.folds[a.Period.span()], i.Fold)
	}
	for _, l := range i.LeftOut {
		m.leftOut[leftKey{l.Period.span(), l.Model, l.Quantity, l.Reason}] += l.Amount
	}
	return nil
}

func (m *making) bill(i *Invoice, p Period, model, quantity string, price Price, amount int64, total string) (*billed, error) {
	more, err := i.amount(total)
	if err != nil {
		return nil, err
	}
	key := lineKey{p.span(), model, quantity, price.Book, price.Entry}
	b := m.billed[key]
	if b == nil {
		b = &billed{total: money.FromMinor(0, i.Currency), price: price}
		m.billed[key] = b
	}
	b.amount += amount
	b.total, err = b.total.Add(more)
	return b, err
}

// own makes the lines of the invoice's own period, and takes off what other
// invoices have billed for it: adjustments of an earlier invoice of the same
// period that is void now.
func (m *making) own() error {
	m.out.Usage = kept(m.Usage, m.Customer.ID)
	rated, err := rate(m.Book, m.Customer.ID, m.out.Usage)
	if err != nil {
		return err
	}
	for _, l := range rated.Lines {
		total, err := l.Charge.Round(m.Currency, m.Rounding)
		if err != nil {
			return err
		}
		line := Line{
			Amount: l.Amount, Charge: l.Charge, Model: l.Model, Price: newPrice(m.Book, &l.Price), Projects: []Part{}, Quantity: l.Quantity, Total: total.String(),
		}
		for _, p := range l.Projects {
			line.Projects = append(line.Projects, Part{Amount: p.Amount, Charge: p.Charge, Project: p.Project})
			if name := m.Projects[p.Project]; name != "" {
				m.out.Projects[p.Project] = name
			}
		}
		m.out.Lines = append(m.out.Lines, line)
	}
	m.leaveOut(m.Period, rated.Unpriced, m.Usage)
	for _, key := range m.keys(m.Period.span()) {
		b := m.billed[key]
		if b.amount == 0 && b.total.IsZero() {
			continue
		}
		if b.total.Currency() != m.Currency {
			return fmt.Errorf("the period was billed in %s by adjustments of later invoices: void these, or invoice it in %[1]s", b.total.Currency().Code)
		}
		if err := m.addAdjustment(m.Period, nil, key, b, now{price: b.price}, ReasonVoid); err != nil {
			return err
		}
	}
	return nil
}

// keys lists in order what was billed for a period.
func (m *making) keys(s span) []lineKey {
	var out []lineKey
	for k := range m.billed {
		if k.span == s {
			out = append(out, k)
		}
	}
	slices.SortFunc(out, lineKey.compare)
	return out
}

// now is what a line of a closed period comes to now.
type now struct {
	amount int64
	charge money.Decimal
	price  Price
}

// adjust rates a closed period again and adds the differences.
func (m *making) adjust(c *Closed) error {
	rated, err := rate(c.Book, m.Customer.ID, kept(c.Usage, m.Customer.ID))
	if err != nil {
		return err
	}
	p := c.Invoice.Period
	lines := map[lineKey]now{}
	for _, l := range rated.Lines {
		price := newPrice(c.Book, &l.Price)
		lines[lineKey{p.span(), l.Model, l.Quantity, price.Book, price.Entry}] = now{l.Amount, l.Charge, price}
	}
	for _, key := range m.keys(p.span()) {
		if _, there := lines[key]; !there {
			lines[key] = now{price: m.billed[key].price}
		}
	}
	m.leaveOut(p, rated.Unpriced, c.Usage)
	other := &Deferred{Currency: c.Invoice.Currency.Code, Invoice: c.Invoice.ID, Period: p}
	deferred := money.FromMinor(0, c.Invoice.Currency)
	for _, key := range slices.SortedFunc(maps.Keys(lines), lineKey.compare) {
		line, before := lines[key], m.billed[key]
		if before == nil {
			before = &billed{total: money.FromMinor(0, c.Invoice.Currency), price: line.price}
		}
		difference, err := line.less(before, c.Invoice)
		switch {
		case err != nil:
			return err
		case line.amount == before.amount && difference.IsZero():
			continue
		case c.Invoice.Currency != m.Currency:
			deferred, err = deferred.Add(difference)
		default:
			err = m.addAdjustment(p, c.Invoice, key, before, line, m.reason(p, before, line.amount-before.amount))
		}
		if err != nil {
			return err
		}
	}
	if other.Total = deferred.String(); !deferred.IsZero() {
		m.out.Deferred = append(m.out.Deferred, *other)
	}
	return nil
}

// less is what the line comes to now, less what was billed.
func (n now) less(b *billed, i *Invoice) (money.Amount, error) {
	total, err := n.charge.Round(i.Currency, i.Rounding)
	if err != nil {
		return total, err
	}
	return total.Sub(b.total)
}

func (m *making) reason(p Period, before *billed, amount int64) Reason {
	switch {
	case before.uneven != 0:
		return ReasonVoid
	case m.folds[p.span()] != m.Fold:
		return ReasonFold
	case amount < 0:
		return ReasonLess
	}
	return ReasonLate
}

// addAdjustment adds an adjustment of what closed, which is nil for the
// invoice's own period.
func (m *making) addAdjustment(p Period, closed *Invoice, key lineKey, before *billed, line now, reason Reason) error {
	pinned := m.out
	id := ""
	if closed != nil {
		pinned, id = closed, closed.ID
	}
	total, err := line.charge.Round(pinned.Currency, pinned.Rounding)
	if err != nil {
		return err
	}
	difference, err := total.Sub(before.total)
	m.out.Adjustments = append(m.out.Adjustments, Adjustment{
		Amount: line.amount - before.amount, AmountBilled: before.amount, AmountNow: line.amount, ChargeNow: line.charge,
		Invoice: id, Model: key.model, Period: p, Price: line.price, Quantity: key.quantity, Reason: reason,
		Total: difference.String(), TotalBilled: before.total.String(), TotalNow: total.String(),
	})
	return err
}

// leaveOut lists what of a period has no price or no payer, beyond what was left
// out of it before.
func (m *making) leaveOut(p Period, unpriced []rating.Unpriced, totals []usage.Total) {
	amounts := map[leftKey]int64{}
	for _, u := range unpriced {
		amounts[leftKey{p.span(), u.Model, u.Quantity, LeaveOutRule(u.Reason)}] += u.Amount
	}
	for i := range totals {
		for _, q := range totals[i].Quantities {
			if totals[i].Customer == "" && q.Name != usage.PrefillTokens {
				amounts[leftKey{p.span(), totals[i].Model, q.Name, Unattributed}] += q.Amount
			}
		}
	}
	for key, amount := range amounts {
		if amount -= m.leftOut[key]; amount > 0 {
			m.out.LeftOut = append(m.out.LeftOut, LeftOut{Amount: amount, Model: key.model, Period: p, Quantity: key.quantity, Reason: key.reason})
		}
	}
}

// finish numbers, orders and adds up.
func (m *making) finish() error {
	slices.SortFunc(m.out.LeftOut, func(a, b LeftOut) int {
		return cmp.Or(cmp.Compare(a.Period.Start, b.Period.Start), cmp.Compare(a.Model, b.Model), rating.CompareQuantities(a.Quantity, b.Quantity), cmp.Compare(a.Reason, b.Reason))
	})
	slices.SortStableFunc(m.out.Adjustments, func(a, b Adjustment) int { return cmp.Compare(a.Period.Start, b.Period.Start) })
	for n := range m.out.Lines {
		m.out.Lines[n].Number = n + 1
	}
	for n := range m.out.Adjustments {
		m.out.Adjustments[n].Number = len(m.out.Lines) + n + 1
	}
	sums, err := m.out.sums()
	m.out.Sums = sums
	return err
}

// sums adds the lines and the adjustments up.
func (i *Invoice) sums() (Sums, error) {
	lines, adjustments := money.FromMinor(0, i.Currency), money.FromMinor(0, i.Currency)
	add := func(sum *money.Amount, text string) error {
		a, err := i.amount(text)
		if err == nil {
			*sum, err = sum.Add(a)
		}
		return err
	}
	for n := range i.Lines {
		if err := add(&lines, i.Lines[n].Total); err != nil {
			return Sums{}, fmt.Errorf("line %d: %w", i.Lines[n].Number, err)
		}
	}
	for n := range i.Adjustments {
		if err := add(&adjustments, i.Adjustments[n].Total); err != nil {
			return Sums{}, fmt.Errorf("line %d: %w", i.Adjustments[n].Number, err)
		}
	}
	total, err := lines.Add(adjustments)
	return Sums{Adjustments: adjustments.String(), Lines: lines.String(), Total: total.String()}, err
}

func newPrice(b Book, r *pricing.Ref) Price {
	return Price{
		Book: b.Version, Customer: r.Customer, Entry: r.Entry, From: r.From, Model: r.Model, Per: r.Per, Price: r.Price, To: r.To,
	}
}

// kept sums the customer's usage by what decides charges and who shares them,
// in order.
func kept(totals []usage.Total, customer string) []Usage {
	type key struct {
		from           Instant
		model, project string
	}
	sums := map[key]map[string]int64{}
	for i := range totals {
		t := &totals[i]
		k := key{Instant(t.Bucket), t.Model, t.Project}
		for _, q := range t.Quantities {
			if t.Customer != customer || q.Amount == 0 {
				continue
			}
			if sums[k] == nil {
				sums[k] = map[string]int64{}
			}
			sums[k][q.Name] += q.Amount
		}
	}
	keys := slices.SortedFunc(maps.Keys(sums), func(a, b key) int {
		return cmp.Or(cmp.Compare(a.from, b.from), cmp.Compare(a.model, b.model), cmp.Compare(a.project, b.project))
	})
	out := make([]Usage, 0, len(keys))
	for _, k := range keys {
		out = append(out, Usage{From: k.from, Model: k.model, Project: k.project, Quantities: sums[k]})
	}
	return out
}

// rate rates sums as an invoice keeps them: whoever has the document and the
// book can do it again.
func rate(b Book, customer string, list []Usage) (*rating.Rating, error) {
	prices := b.Prices
	if prices == nil {
		prices = &pricing.Book{}
	}
	totals := make([]usage.Total, 0, len(list))
	for _, u := range list {
		t := usage.Total{Bucket: int64(u.From), Customer: customer, Model: u.Model, Project: u.Project}
		for name, amount := range u.Quantities {
			t.Quantities.Add(name, amount)
		}
		totals = append(totals, t)
	}
	return rating.Rate(prices, totals)
}
