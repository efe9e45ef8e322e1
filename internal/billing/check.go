package billing

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/tollkeeper/tollkeeper/internal/money"
)

// Permission is something that a draft is not closed with unless it is allowed.
type Permission string

// The permissions.
const (
	AllowUnpriced      Permission = "unpriced"       // leave usage without a price out
	AllowUnattributed  Permission = "unattributed"   // leave usage out that nobody is known to pay for
	AllowNewRules      Permission = "new-rules"      // bill what newer rules of the fold count differently in closed periods
	AllowOtherCurrency Permission = "other-currency" // leave amounts in another currency to a later invoice
	AllowEmpty         Permission = "empty"          // close a period without any usage
)

// Permissions lists all.
func Permissions() []Permission {
	return []Permission{AllowUnpriced, AllowUnattributed, AllowNewRules, AllowOtherCurrency, AllowEmpty}
}

// Block is why an invoice is not closed, and what allows it.
type Block struct {
	Needs Permission
	Text  string
}

// Blocks lists why the draft is not to be closed without a permission.
func (i *Invoice) Blocks() []Block {
	var out []Block
	for _, l := range i.LeftOut {
		needs, why := AllowUnpriced, fmt.Sprintf("no price (%s)", l.Reason)
		if l.Reason == Unattributed {
			needs, why = AllowUnattributed, "nobody known to pay"
		}
		model := "an unknown model"
		if l.Model != "" {
			model = "model " + l.Model
		}
		out = append(out, Block{needs, fmt.Sprintf("%d %s of %s: %s", l.Amount, l.Quantity, model, why)})
	}
	for _, a := range i.Adjustments {
		if a.Reason == ReasonFold {
			out = append(out, Block{AllowNewRules, fmt.Sprintf("%s %s of invoice %s (%s of model %s): version %d of the rules counts them differently",
				a.Total, i.Currency.Code, a.Invoice, a.Quantity, a.Model, i.Fold)})
		}
	}
	for _, d := range i.Deferred {
		out = append(out, Block{AllowOtherCurrency, fmt.Sprintf("%s %s of invoice %s: this invoice is in %s", d.Total, d.Currency, d.Invoice, i.Currency.Code)})
	}
	if len(i.Lines)+len(i.Adjustments)+len(i.LeftOut)+len(i.Deferred) == 0 {
		out = append(out, Block{AllowEmpty, "no usage"})
	}
	return out
}

// Check finds what is wrong with the arithmetic of a document by itself, without
// usage or prices from elsewhere. Each finding names the line.
func (i *Invoice) Check() []string {
	var out []string
	bad := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	if err := i.Period.Check(); err != nil {
		bad("%s", err)
	}
	for n := range i.Lines {
		l := &i.Lines[n]
		if text := i.checkLine(l); text != "" {
			bad("line %d: %s", l.Number, text)
		}
		if l.Number != n+1 {
			bad("line %d is the invoice's line %d", l.Number, n+1)
		}
	}
	for n := range i.Adjustments {
		a := &i.Adjustments[n]
		if text := i.checkAdjustment(a); text != "" {
			bad("line %d: %s", a.Number, text)
		}
		if a.Number != len(i.Lines)+n+1 {
			bad("line %d is the invoice's line %d", a.Number, len(i.Lines)+n+1)
		}
	}
	if sums, err := i.sums(); err != nil {
		bad("%s", err)
	} else if sums != i.Sums {
		bad("the sums are %v, the lines add up to %v", i.Sums, sums)
	}
	return out
}

func (i *Invoice) checkLine(l *Line) string {
	charge, err := l.Price.charge(l.Amount)
	if err != nil {
		return err.Error()
	}
	if !charge.Equal(l.Charge) {
		return fmt.Sprintf("%d × %s per %d is %s, not %s", l.Amount, l.Price.Price, l.Price.Per, charge, l.Charge)
	}
	total, err := charge.Round(i.Currency, i.Rounding)
	if err != nil {
		return err.Error()
	}
	if total.String() != l.Total {
		return fmt.Sprintf("%s rounded %s is %s, not %s", charge, i.Rounding, total, l.Total)
	}
	var amount int64
	var parts money.Decimal
	for _, p := range l.Projects {
		amount += p.Amount
		parts = parts.Add(p.Charge)
	}
	if amount != l.Amount || !parts.Equal(l.Charge) {
		return fmt.Sprintf("its projects add up to %d and %s, not to %d and %s", amount, parts, l.Amount, l.Charge)
	}
	return ""
}

// charge is what an amount costs, exactly.
func (p Price) charge(amount int64) (money.Decimal, error) {
	charge, err := p.Price.MulInt(amount)
	if err != nil {
		return charge, err
	}
	return charge.Per(p.Per)
}

func (i *Invoice) checkAdjustment(a *Adjustment) string {
	charge, err := a.Price.charge(a.AmountNow)
	if err != nil {
		return err.Error()
	}
	now, err1 := i.amount(a.TotalNow)
	before, err2 := i.amount(a.TotalBilled)
	total, err3 := i.amount(a.Total)
	if err := cmp.Or(err1, err2, err3); err != nil {
		return err.Error()
	}
	difference, err := now.Sub(before)
	switch {
	case err != nil:
		return err.Error()
	case !charge.Equal(a.ChargeNow):
		return fmt.Sprintf("%d × %s per %d is %s, not %s", a.AmountNow, a.Price.Price, a.Price.Per, charge, a.ChargeNow)
	case difference != total || a.AmountNow-a.AmountBilled != a.Amount:
		return fmt.Sprintf("%d and %s less %d and %s is not %d and %s", a.AmountNow, a.TotalNow, a.AmountBilled, a.TotalBilled, a.Amount, a.Total)
	}
	return ""
}

// Difference is one way in which two documents differ.
type Difference struct {
	// Line is the number of a line, 0 for what belongs to none.
	Line int
	Text string
}

// Differences says how the document that is kept differs from one made anew.
func Differences(kept, made *Invoice) ([]Difference, error) {
	var out []Difference
	out = append(out, differentLines(kept, made)...)
	out = append(out, differentAdjustments(kept, made)...)
	a, err := members(kept)
	if err != nil {
		return nil, err
	}
	b, err := members(made)
	if err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(b)) {
		if !bytes.Equal(a[name], b[name]) && (name != "lines" && name != "adjustments" || len(out) == 0) {
			out = append(out, Difference{0, fmt.Sprintf("%s is %s, should be %s", name, shorten(a[name]), shorten(b[name]))})
		}
	}
	return out, nil
}

// members are the document's, each in JSON.
func members(i *Invoice) (map[string]json.RawMessage, error) {
	document, err := i.Canonical()
	if err != nil {
		return nil, err
	}
	out := map[string]json.RawMessage{}
	return out, json.Unmarshal(document, &out)
}

// shorten keeps a message readable.
func shorten(text []byte) string {
	const most = 200
	if len(text) > most {
		return string(text[:most]) + "…"
	}
	return string(text)
}

func differentLines(kept, made *Invoice) (out []Difference) {
	key := func(l *Line) lineKey {
		return lineKey{model: l.Model, quantity: l.Quantity, book: l.Price.Book, entry: l.Price.Entry}
	}
	want := map[lineKey]*Line{}
	for n := range made.Lines {
		want[key(&made.Lines[n])] = &made.Lines[n]
	}
	for n := range kept.Lines {
		have := &kept.Lines[n]
		should := want[key(have)]
		delete(want, key(have))
		if should == nil {
			out = append(out, Difference{have.Number, fmt.Sprintf("charges %d %s of model %s, %s: nothing of that", have.Amount, have.Quantity, have.Model, have.Total)})
		} else if have.Amount != should.Amount || have.Total != should.Total || !have.Charge.Equal(should.Charge) {
			out = append(out, Difference{have.Number, fmt.Sprintf("charges %d %s of model %s, %s (%s): should be %d, %s (%s)",
				have.Amount, have.Quantity, have.Model, have.Total, have.Charge, should.Amount, should.Total, should.Charge)})
		}
	}
	for _, k := range slices.SortedFunc(maps.Keys(want), lineKey.compare) {
		out = append(out, Difference{0, fmt.Sprintf("a line is missing: %d %s of model %s, %s", want[k].Amount, k.quantity, k.model, want[k].Total)})
	}
	return out
}

func differentAdjustments(kept, made *Invoice) (out []Difference) {
	key := func(a *Adjustment) lineKey {
		return lineKey{a.Period.span(), a.Model, a.Quantity, a.Price.Book, a.Price.Entry}
	}
	want := map[lineKey]*Adjustment{}
	for n := range made.Adjustments {
		want[key(&made.Adjustments[n])] = &made.Adjustments[n]
	}
	for n := range kept.Adjustments {
		have := &kept.Adjustments[n]
		should := want[key(have)]
		delete(want, key(have))
		if should == nil {
			out = append(out, Difference{have.Number, fmt.Sprintf("adjusts %s of model %s by %s: nothing to adjust", have.Quantity, have.Model, have.Total)})
		} else if have.Amount != should.Amount || have.Total != should.Total || have.TotalNow != should.TotalNow {
			out = append(out, Difference{have.Number, fmt.Sprintf("adjusts %s of model %s by %d, %s: should be %d, %s",
				have.Quantity, have.Model, have.Amount, have.Total, should.Amount, should.Total)})
		}
	}
	for _, k := range slices.SortedFunc(maps.Keys(want), lineKey.compare) {
		out = append(out, Difference{0, fmt.Sprintf("an adjustment is missing: %s of model %s by %s", k.quantity, k.model, want[k].Total)})
	}
	return out
}
