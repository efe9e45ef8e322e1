package rating

import (
	"errors"
	"fmt"

	"github.com/tollkeeper/tollkeeper/internal/money"
	"github.com/tollkeeper/tollkeeper/internal/pricing"
	"github.com/tollkeeper/tollkeeper/internal/usage"
)

// Errors of Rate, beside pricing.ErrAmbiguous and those of a book that Check
// refuses.
var (
	// ErrCustomers says that the totals are of more than one customer.
	ErrCustomers = errors.New("rating: totals of more than one customer")
	// ErrRange says that a sum of amounts is beyond 2^63.
	ErrRange = errors.New("rating: sum out of range")
)

// Rating is what one customer's usage costs. Its parts are sorted, and its JSON
// is the same bytes for the same usage and book.
type Rating struct {
	Lines    []Line     `json:"lines"`
	Unpriced []Unpriced `json:"unpriced,omitempty"`
}

// Line is what one quantity of one model costs by one price.
type Line struct {
	Model    string `json:"model"`
	Quantity string `json:"quantity"`
	// Price is the entry of the book that says so.
	Price pricing.Ref `json:"price"`
	// Amount counts base units; that of input tokens is without those that are
	// charged as cached.
	Amount int64 `json:"amount"`
	// Charge is Amount × price / per, exact.
	Charge money.Decimal `json:"charge"`
	// Projects break the line down: their amounts and charges add up to the line's.
	Projects []Part `json:"projects"`
}

// Part is one project's share of a line; Project is "" for usage of none.
type Part struct {
	Project string        `json:"project"`
	Amount  int64         `json:"amount"`
	Charge  money.Decimal `json:"charge"`
}

// Unpriced is usage that could not be charged.
type Unpriced struct {
	Model    string `json:"model"`
	Quantity string `json:"quantity"`
	Amount   int64  `json:"amount"`
	// Reason is ReasonUnknownModel, ReasonNoPrice, ReasonExceedsInput or ReasonExceedsOutput.
	Reason string `json:"reason"`
}

// Why usage is unpriced.
const (
	// ReasonUnknownModel: the model is not known, or no entry is about it.
	ReasonUnknownModel = "unknown_model"
	// ReasonNoPrice: there are entries about the model, but none has a price for
	// this quantity at that time.
	ReasonNoPrice = "no_price"
	// ReasonExceedsInput: more cached tokens than input tokens. One of the counts is
	// wrong and nobody knows which, so the input is charged in full by its own price,
	// and the cached tokens are listed for a person to look at.
	ReasonExceedsInput = "exceeds_input_tokens"
	// ReasonExceedsOutput: the same of reasoning and output tokens.
	ReasonExceedsOutput = "exceeds_output_tokens"
)

// Rate charges the totals of one customer by the book. Each total is priced at
// its bucket, which is a quarter hour or lies, for longer ones, where no price of
// the book changes within.
func Rate(b *pricing.Book, totals []usage.Total) (*Rating, error) {
	r := &rater{
		book: b, schedules: map[scheduleKey]*pricing.Schedule{}, prices: map[found]pricing.Ref{},
		pairs: map[pairKey]pair{}, charged: map[lineKey]map[string]int64{}, unpriced: map[unpricedKey]int64{},
	}
	for i := range totals {
		if totals[i].Customer != totals[0].Customer {
			return nil, fmt.Errorf("%w: %q and %q", ErrCustomers, totals[0].Customer, totals[i].Customer)
		}
		if err := r.total(&totals[i]); err != nil {
			return nil, err
		}
	}
	for k, p := range r.pairs {
		if err := r.pair(k, p); err != nil {
			return nil, err
		}
	}
	return r.rating()
}

// rater sums amounts before it multiplies: that is what makes order and
// splitting irrelevant, and it multiplies once a line.
type rater struct {
	book      *pricing.Book
	schedules map[scheduleKey]*pricing.Schedule
	prices    map[found]pricing.Ref
	pairs     map[pairKey]pair
	charged   map[lineKey]map[string]int64 // amounts by project
	unpriced  map[unpricedKey]int64
}

type scheduleKey struct{ model, quantity string }

type lineKey struct {
	model string
	price found
}

type unpricedKey struct{ model, quantity, reason string }

// pairKey is where a quantity and the part within it have the same prices. What
// is within what is decided on the sums of one project: finer sums would depend
// on how usage was split.
type pairKey struct {
	project, model string
	whole, part    found
}

type pair struct{ whole, part int64 }

// found says which entry has the price of a quantity at one time, or why none has.
type found struct {
	quantity string
	entry    int
	reason   string // "" if there is a price
}

func (f found) ok() bool { return f.reason == "" }

// parts are the quantities that another one contains.
var parts = []string{usage.CachedInputTokens, usage.ReasoningTokens}

func (r *rater) total(t *usage.Total) error {
	for _, part := range parts {
		whole := pricing.Within(part)
		add := pair{t.Quantities.Get(whole), t.Quantities.Get(part)}
		if add == (pair{}) {
			continue
		}
		k := pairKey{project: t.Project, model: t.Model}
		var err error
		if k.whole, err = r.find(t, whole); err != nil {
			return err
		}
		if k.part, err = r.find(t, part); err != nil {
			return err
		}
		sum := r.pairs[k]
		if sum.whole, err = plus(sum.whole, add.whole); err != nil {
			return err
		}
		if sum.part, err = plus(sum.part, add.part); err != nil {
			return err
		}
		r.pairs[k] = sum
	}
	for _, q := range t.Quantities {
		switch q.Name {
		case usage.InputTokens, usage.CachedInputTokens, usage.OutputTokens, usage.ReasoningTokens, usage.PrefillTokens:
			continue
		}
		f, err := r.find(t, q.Name)
		if err != nil {
			return err
		}
		if q.Name == usage.Requests && !f.ok() {
			continue
		}
		if err := r.charge(t.Project, t.Model, f, q.Amount); err != nil {
			return err
		}
	}
	return nil
}

func (r *rater) find(t *usage.Total, quantity string) (found, error) {
	k := scheduleKey{t.Model, quantity}
	s := r.schedules[k]
	if s == nil {
		s = r.book.Schedule(t.Customer, t.Model, quantity)
		r.schedules[k] = s
	}
	price, ok, err := s.At(pricing.Instant(t.Bucket))
	if err != nil {
		return found{}, fmt.Errorf("model %q of customer %q: %w", t.Model, t.Customer, err)
	}
	switch {
	case ok:
		f := found{quantity: quantity, entry: price.Entry}
		r.prices[f] = price
		return f, nil
	case s.Known:
		return found{quantity: quantity, reason: ReasonNoPrice}, nil
	default:
		return found{quantity: quantity, reason: ReasonUnknownModel}, nil
	}
}

// pair charges a quantity and the part within it.
func (r *rater) pair(k pairKey, p pair) error {
	if !p.contained() {
		reason := ReasonExceedsInput
		if k.part.quantity == usage.ReasoningTokens {
			reason = ReasonExceedsOutput
		}
		if err := r.leave(k.model, found{quantity: k.part.quantity, reason: reason}, p.part); err != nil {
			return err
		}
		return r.charge(k.project, k.model, k.whole, p.whole)
	}
	if !k.part.ok() {
		return r.charge(k.project, k.model, k.whole, p.whole)
	}
	if err := r.charge(k.project, k.model, k.whole, p.whole-p.part); err != nil {
		return err
	}
	return r.charge(k.project, k.model, k.part, p.part)
}

// contained tells whether the part can lie within the whole. A correction may
// have taken back more than there was, so both may be negative.
func (p pair) contained() bool {
	return 0 <= p.part && p.part <= p.whole || p.whole <= p.part && p.part <= 0
}

// charge adds an amount to the line of its price, or to what has none.
func (r *rater) charge(project, model string, f found, amount int64) (err error) {
	if !f.ok() {
		return r.leave(model, f, amount)
	}
	k := lineKey{model, f}
	if r.charged[k] == nil {
		r.charged[k] = map[string]int64{}
	}
	r.charged[k][project], err = plus(r.charged[k][project], amount)
	return err
}

// leave adds an amount to what is not charged.
func (r *rater) leave(model string, f found, amount int64) (err error) {
	k := unpricedKey{model, f.quantity, f.reason}
	r.unpriced[k], err = plus(r.unpriced[k], amount)
	return err
}

// plus adds where the sum fits.
func plus(a, b int64) (int64, error) {
	sum := a + b
	if (a < 0) == (b < 0) && (sum < 0) != (a < 0) {
		return 0, fmt.Errorf("%w: %d + %d", ErrRange, a, b)
	}
	return sum, nil
}
