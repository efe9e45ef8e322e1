package rating

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tollkeeper/tollkeeper/internal/money"
	"github.com/tollkeeper/tollkeeper/internal/pricing"
	"github.com/tollkeeper/tollkeeper/internal/usage"
)

// rating multiplies the sums, and sorts.
func (r *rater) rating() (*Rating, error) {
	out := &Rating{Lines: []Line{}}
	for k, byProject := range r.charged {
		line, err := newLine(k.model, r.prices[k.price], byProject)
		if err != nil {
			return nil, err
		}
		if len(line.Projects) > 0 {
			out.Lines = append(out.Lines, line)
		}
	}
	for k, amount := range r.unpriced {
		if amount != 0 {
			out.Unpriced = append(out.Unpriced, Unpriced{k.model, k.quantity, amount, k.reason})
		}
	}
	slices.SortFunc(out.Lines, compareLines)
	slices.SortFunc(out.Unpriced, func(a, b Unpriced) int {
		return cmp.Or(strings.Compare(a.Model, b.Model), CompareQuantities(a.Quantity, b.Quantity), strings.Compare(a.Reason, b.Reason))
	})
	return out, nil
}

// newLine charges a line and its projects; those that come to no amount are left
// out.
func newLine(model string, price pricing.Ref, byProject map[string]int64) (Line, error) {
	line := Line{Model: model, Quantity: price.Quantity, Price: price}
	for _, project := range slices.Sorted(maps.Keys(byProject)) {
		amount := byProject[project]
		if amount == 0 {
			continue
		}
		charge, err := Charge(price, amount)
		if err != nil {
			return Line{}, err
		}
		if line.Amount, err = plus(line.Amount, amount); err != nil {
			return Line{}, err
		}
		line.Projects = append(line.Projects, Part{project, amount, charge})
	}
	var err error
	line.Charge, err = Charge(price, line.Amount)
	return line, err
}

// Charge is what an amount costs by a price: amount × price / per, exact. Errors
// are those of money, for a price that pricing's Check refuses.
func Charge(price pricing.Ref, amount int64) (money.Decimal, error) {
	product, err := price.Price.MulInt(amount)
	if err == nil {
		product, err = product.Per(price.Per)
	}
	if err != nil {
		return money.Decimal{}, fmt.Errorf("rating: %d %s of model %q: %w", amount, price.Quantity, price.Model, err)
	}
	return product, nil
}

func compareLines(a, b Line) int {
	return cmp.Or(strings.Compare(a.Model, b.Model), CompareQuantities(a.Quantity, b.Quantity),
		cmp.Compare(a.Price.From, b.Price.From), strings.Compare(a.Price.Customer, b.Price.Customer), cmp.Compare(a.Price.Entry, b.Price.Entry))
}

// readingOrder is the order in which people look for quantities.
var readingOrder = []string{usage.InputTokens, usage.CachedInputTokens, usage.OutputTokens, usage.ReasoningTokens, usage.Requests}

// CompareQuantities orders quantities as people read them: input, cached, output,
// reasoning, requests, then all others by name.
func CompareQuantities(a, b string) int {
	place := func(q string) int {
		if i := slices.Index(readingOrder, q); i >= 0 {
			return i
		}
		return len(readingOrder)
	}
	return cmp.Or(cmp.Compare(place(a), place(b)), strings.Compare(a, b))
}
