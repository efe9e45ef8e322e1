package api

import (
	"context"
	"maps"
	"math"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/tollkeeper/tollkeeper/internal/tenant"
	"github.com/tollkeeper/tollkeeper/internal/usage"
)

// Dimensions by which usage is grouped, in the order of a table's columns.
var Dimensions = []string{"month", "day", "hour", "customer", "project", "key", "model", "service", "rule", "grade"}

// UsageQuery asks for sums of usage. From and To bound the time of records,
// half-open; a zero one is open. Both lie on quarter hours of UTC.
type UsageQuery struct {
	By       []string  `query:"by" doc:"dimensions: month, day, hour, customer, project, key, model, service, rule, grade"`
	From     time.Time `query:"from" doc:"start, inclusive, on a quarter hour"`
	To       time.Time `query:"to" doc:"end, exclusive, on a quarter hour"`
	TimeZone string    `query:"time_zone" doc:"of hour, day and month; an IANA name, UTC when absent"`
	Customer string    `query:"customer" doc:"only this customer's"`

	zone *time.Location
}

// AskUsage sums usage.
var AskUsage = &Op[UsageQuery, Usage]{
	Name: "usage", Method: http.MethodGet, Path: "/v1/usage", Summary: "Sums of usage by any dimensions",
	Role: tenant.RoleReader, Own: true,
	Folded: true,
	Do: func(ctx context.Context, l *Local, q *UsageQuery) (_ *Usage, err error) {
		if q.Customer, err = l.own(q.Customer); err != nil {
			return nil, err
		}
		return sumUsage(ctx, l.Usage, q)
	},
}

// Usage is the answer. Amounts are whole numbers of the quantity's base unit.
type Usage struct {
	From  string     `json:"from" doc:"start of the range, RFC 3339; empty: from the first record"`
	To    string     `json:"to" doc:"end of the range, exclusive; empty: to the last record"`
	AsOf  AsOf       `json:"as_of"`
	Rows  []UsageRow `json:"rows"`
	Total Amounts    `json:"total"`
}

// AsOf says what an answer rests on.
type AsOf struct {
	Journals map[string]uint64 `json:"journals" doc:"of each journal, by origin, the entry up to which it is counted"`
}

// UsageRow is one group. A dimension that was not asked for is absent; an
// unknown customer is "".
type UsageRow struct {
	Month    *string `json:"month,omitempty"`
	Day      *string `json:"day,omitempty"`
	Hour     *string `json:"hour,omitempty"`
	Customer *string `json:"customer,omitempty"`
	Project  *string `json:"project,omitempty"`
	Key      *string `json:"key,omitempty"`
	Model    *string `json:"model,omitempty"`
	Service  *string `json:"service,omitempty"`
	Rule     *string `json:"rule,omitempty"`
	Grade    *string `json:"grade,omitempty"`
	Amounts
}

// Amounts are sums of quantities. Other holds those that are not of a text
// request.
type Amounts struct {
	Requests          int64            `json:"requests"`
	InputTokens       int64            `json:"input_tokens"`
	CachedInputTokens int64            `json:"cached_input_tokens"`
	OutputTokens      int64            `json:"output_tokens"`
	ReasoningTokens   int64            `json:"reasoning_tokens"`
	Other             map[string]int64 `json:"other,omitempty"`
}

func (a *Amounts) add(q usage.Quantities) {
	for _, x := range q {
		switch x.Name {
		case usage.Requests:
			a.Requests += x.Amount
		case usage.InputTokens:
			a.InputTokens += x.Amount
		case usage.CachedInputTokens:
			a.CachedInputTokens += x.Amount
		case usage.OutputTokens:
			a.OutputTokens += x.Amount
		case usage.ReasoningTokens:
			a.ReasoningTokens += x.Amount
		default:
			if a.Other == nil {
				a.Other = map[string]int64{}
			}
			a.Other[x.Name] += x.Amount
		}
	}
}

// dimension returns the field of a row for a dimension.
func (r *UsageRow) dimension(name string) **string {
	switch name {
	case "month":
		return &r.Month
	case "day":
		return &r.Day
	case "hour":
		return &r.Hour
	case "customer":
		return &r.Customer
	case "project":
		return &r.Project
	case "key":
		return &r.Key
	case "model":
		return &r.Model
	case "service":
		return &r.Service
	case "rule":
		return &r.Rule
	default:
		return &r.Grade
	}
}

// Dimension returns the row's value of a dimension, "" when it was not asked
// for.
func (r *UsageRow) Dimension(name string) string {
	if p := *r.dimension(name); p != nil {
		return *p
	}
	return ""
}

// UsageStore is what a usage question reads.
type UsageStore interface {
	Positions(ctx context.Context) (map[string]uint64, error)
	Totals(ctx context.Context, in usage.Range, step int64) ([]usage.Total, error)
}

// check finds what is wrong with a query; the error says what to change.
func (q *UsageQuery) check() (err error) {
	if q.zone, err = location(q.TimeZone); err != nil {
		return err
	}
	for i, d := range q.By {
		if !slices.Contains(Dimensions, d) {
			return badRequest("unknown dimension %q: usage is grouped by %s", d, strings.Join(Dimensions, ", "))
		}
		if slices.Contains(q.By[:i], d) {
			return badRequest("dimension %q stands twice", d)
		}
	}
	for _, t := range []time.Time{q.From, q.To} {
		if !t.IsZero() && !t.Truncate(quarter).Equal(t) {
			return badRequest("%s does not lie on a quarter hour: usage is summed by quarter hours of UTC", t.Format(time.RFC3339))
		}
	}
	return checkRange(q.From, q.To)
}

// location finds a time zone. The machine's own is none: it differs by machine.
func location(name string) (*time.Location, error) {
	where, err := time.LoadLocation(name)
	if err != nil || where == time.Local {
		return nil, badRequest("time zone %q: an IANA name such as Europe/Berlin", name)
	}
	return where, nil
}

// checkRange refuses a range in which nothing can lie.
func checkRange(from, to time.Time) error {
	if !from.IsZero() && !to.IsZero() && !from.Before(to) {
		return badRequest("the range is empty: it begins at %s and ends at %s", from.Format(time.RFC3339), to.Format(time.RFC3339))
	}
	return nil
}

const quarter = 15 * time.Minute

// sumUsage answers a query from a store. The positions are read first, so all
// that they say is counted.
func sumUsage(ctx context.Context, s UsageStore, q *UsageQuery) (*Usage, error) {
	if err := q.check(); err != nil {
		return nil, err
	}
	positions, err := s.Positions(ctx)
	if err != nil {
		return nil, err
	}
	totals, err := s.Totals(ctx, timeRange(q.From, q.To), q.step())
	if err != nil {
		return nil, err
	}
	u := &Usage{From: formatTime(q.From), To: formatTime(q.To), AsOf: AsOf{Journals: positions}, Rows: []UsageRow{}}
	groups := map[string]*UsageRow{}
	for i := range totals {
		t := &totals[i]
		if q.Customer != "" && t.Customer != q.Customer {
			continue
		}
		u.Total.add(t.Quantities)
		if len(q.By) > 0 {
			q.row(groups, t).add(t.Quantities)
		}
	}
	for _, k := range slices.Sorted(maps.Keys(groups)) {
		u.Rows = append(u.Rows, *groups[k])
	}
	return u, nil
}

// timeRange is a range in ns, in which 0 is open. No record is older than 1970.
func timeRange(from, to time.Time) (in usage.Range) {
	if !from.IsZero() {
		in.From = nanoseconds(from)
	}
	if !to.IsZero() {
		in.To = max(nanoseconds(to), 1)
	}
	return in
}

// nanoseconds since 1970, as near as they get: they end in the year 2262.
func nanoseconds(t time.Time) int64 {
	switch {
	case t.Before(time.Unix(0, 0)):
		return 0
	case t.After(time.Unix(0, math.MaxInt64)):
		return math.MaxInt64
	}
	return t.UnixNano()
}

func formatTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Format(time.RFC3339)
}

// step is the coarsest sum, in seconds, that tells the groups apart.
func (q *UsageQuery) step() int64 {
	utc := q.zone == time.UTC
	switch {
	case slices.Contains(q.By, "hour") && utc:
		return 3600
	case (slices.Contains(q.By, "day") || slices.Contains(q.By, "month")) && utc:
		return 86400
	case slices.ContainsFunc(q.By, func(d string) bool { return d == "hour" || d == "day" || d == "month" }):
		return 900
	default:
		return 0
	}
}

// row finds or makes the group of a total.
func (q *UsageQuery) row(groups map[string]*UsageRow, t *usage.Total) *UsageRow {
	values, order := make([]string, 0, len(q.By)), make([]string, 0, len(q.By))
	for _, d := range q.By {
		v := q.value(d, t)
		values = append(values, v)
		if d == "hour" { // two of one name are told apart by their offsets, which say nothing about which came first
			local := time.Unix(t.Bucket, 0).In(q.zone)
			v = local.Add(-time.Duration(local.Minute()) * time.Minute).UTC().Format(time.RFC3339)
		}
		order = append(order, v)
	}
	id := strings.Join(order, "\x00")
	r := groups[id]
	if r == nil {
		r = &UsageRow{}
		for i, d := range q.By {
			*r.dimension(d) = &values[i]
		}
		groups[id] = r
	}
	return r
}

func (q *UsageQuery) value(dimension string, t *usage.Total) string {
	zone := q.zone
	switch dimension {
	case "month":
		return time.Unix(t.Bucket, 0).In(zone).Format("2006-01")
	case "day":
		return time.Unix(t.Bucket, 0).In(zone).Format("2006-01-02")
	case "hour":
		// With its offset: an hour that the clocks repeat is two.
		return time.Unix(t.Bucket, 0).In(zone).Format("2006-01-02T15Z07:00")
	case "customer":
		return t.Customer
	case "project":
		return t.Project
	case "key":
		return t.Key
	case "model":
		return t.Model
	case "service":
		return t.Service
	case "rule":
		return t.Rule
	default:
		return string(t.Grade)
	}
}
