package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tollkeeper/tollkeeper/internal/pricing"
	"github.com/tollkeeper/tollkeeper/internal/rating"
	"github.com/tollkeeper/tollkeeper/internal/usage"
)

const (
	// metricsAge is how old an answer may be: two scrapers that come together
	// cost one look.
	metricsAge = 10 * time.Second
	// metricsShare bounds how much of the time is spent on looking: a projection
	// of many dimensions is asked more rarely.
	metricsShare = 10
	// metricsPatience is below the ten seconds that a scrape commonly has.
	metricsPatience = 5 * time.Second
)

// Metrics say what usage there is that nobody is charged for. They look at the
// projection when they are asked, and only as far back as yesterday's start: a
// problem that is solved, late prices included, is gone from them, and one that
// is not shows for a day at least.
type Metrics struct {
	local *Local
	log   *slog.Logger

	mu       sync.Mutex
	next     time.Time // when to look again
	failures float64
	last     []prometheus.Metric
}

// NewMetrics returns metrics of what the Local sees, registered nowhere yet.
func NewMetrics(l *Local, log *slog.Logger) *Metrics { return &Metrics{local: l, log: log} }

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("tollkeeper_"+name, help, labels, nil)
}

var (
	recentUsage        = describe("recent_usage", "Usage since yesterday's start (UTC), by quantity.", "quantity")
	recentUnattributed = describe("recent_unattributed", "The part of it that no customer is known for.", "quantity")
	recentUnpriced     = describe("recent_unpriced", "The part of it that the newest price book has no price for.", "quantity")
	recentCharges      = describe("recent_charges", "What it comes to by the newest price book. Invoices are exact, this is a float.", "currency")
	folded             = describe("folded_total", "Items folded into usage, by what became of them.", "verdict")
	readFailures       = describe("recent_failures_total", "How often the metrics of recent usage could not be read; they are those of before.")
)

// Describe implements prometheus.Collector.
func (m *Metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{recentUsage, recentUnattributed, recentUnpriced, recentCharges, folded, readFailures} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (m *Metrics) Collect(ch chan<- prometheus.Metric) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if began := m.local.Now(); !began.Before(m.next) {
		m.look()
		took := m.local.Now().Sub(began)
		m.next = began.Add(took + max(metricsAge, metricsShare*took))
	}
	for _, x := range m.last {
		ch <- x
	}
	ch <- prometheus.MustNewConstMetric(readFailures, prometheus.CounterValue, m.failures)
}

// look reads anew; what cannot be read stays as it was.
func (m *Metrics) look() {
	ctx, cancel := context.WithTimeout(context.Background(), metricsPatience)
	defer cancel()
	now, err := m.read(ctx)
	if err != nil {
		m.failures++
		m.log.Warn("metrics of recent usage could not be read", "error", err)
		return
	}
	m.last = now
}

func (m *Metrics) read(ctx context.Context) ([]prometheus.Metric, error) {
	var out []prometheus.Metric
	add := func(d *prometheus.Desc, kind prometheus.ValueType, value float64, label string) {
		out = append(out, prometheus.MustNewConstMetric(d, kind, value, label))
	}
	recent, err := m.local.recent(ctx)
	if err != nil {
		return nil, err
	}
	for i, q := range watched {
		add(recentUsage, prometheus.GaugeValue, recent.all[i], q)
		add(recentUnattributed, prometheus.GaugeValue, recent.unattributed[i], q)
		add(recentUnpriced, prometheus.GaugeValue, recent.unpriced[i], q)
	}
	if recent.currency != "" {
		add(recentCharges, prometheus.GaugeValue, recent.charges, recent.currency)
	}
	tallies, err := m.local.Usage.Tallies(ctx)
	if err != nil {
		return nil, err
	}
	verdicts := map[string]int64{}
	for _, t := range tallies {
		verdicts[t.Verdict] += t.Amount
	}
	for _, v := range []string{"accepted", "duplicate", "conflict", usage.Rejected, usage.Ignored} {
		add(folded, prometheus.CounterValue, float64(verdicts[v]), v)
	}
	return out, nil
}

// watched are the quantities with a series each. Whoever sends events names
// their quantities, so all others are one.
var watched = [...]string{usage.InputTokens, usage.CachedInputTokens, usage.OutputTokens, usage.ReasoningTokens, usage.Requests, "other"}

// sums are of the watched quantities.
type sums [len(watched)]float64

func (a *sums) add(quantity string, n int64) {
	at := len(watched) - 1
	for i, name := range watched {
		if name == quantity {
			at = i
		}
	}
	a[at] += float64(n)
}

// recent is the usage since yesterday's start.
type recent struct {
	all, unattributed, unpriced sums
	charges                     float64
	currency                    string // "" where there are no prices
}

func (l *Local) recent(ctx context.Context) (*recent, error) {
	_, book, err := l.book(ctx, 0)
	if none, ok := errors.AsType[*Error](err); ok && none.Status == 404 {
		book, err = &pricing.Book{}, nil
	}
	if err != nil {
		return nil, err
	}
	const day = 24 * time.Hour
	in := usage.Range{From: l.Now().UTC().Truncate(day).Add(-day).UnixNano()}
	out := &recent{currency: book.Currency}
	return out, l.rate(ctx, book, in, func(totals []usage.Total, r *rating.Rating) error {
		out.sum(totals)
		for _, u := range r.Unpriced {
			out.unpriced.add(u.Quantity, u.Amount)
		}
		for i := range r.Lines {
			n, err := strconv.ParseFloat(r.Lines[i].Charge.String(), 64)
			if err != nil {
				return fmt.Errorf("charge %s: %w", r.Lines[i].Charge, err)
			}
			out.charges += n
		}
		return nil
	})
}

// sum adds the totals of one customer.
func (r *recent) sum(totals []usage.Total) {
	for i := range totals {
		for _, q := range totals[i].Quantities {
			if q.Name == usage.PrefillTokens {
				continue // a cost of the operator, never a charge
			}
			r.all.add(q.Name, q.Amount)
			if totals[i].Customer == "" {
				r.unattributed.add(q.Name, q.Amount)
			}
		}
	}
}
