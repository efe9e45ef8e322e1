package export

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/tollkeeper/tollkeeper/internal/billing"
	"github.com/tollkeeper/tollkeeper/internal/money"
	"github.com/tollkeeper/tollkeeper/internal/rating"
)

// zoneOf is a time zone by its name, UTC where this machine does not know it.
func zoneOf(name string) *time.Location {
	if z, err := time.LoadLocation(name); err == nil {
		return z
	}
	return time.UTC
}

const dateLayout = "2 January 2006"

func date(t time.Time) string { return t.Format(dateLayout) }

// moment is a date, with the time of day where that is not midnight.
func moment(at billing.Instant, z *time.Location) string {
	t := time.Unix(int64(at), 0).In(z)
	if isMidnight(t) {
		return date(t)
	}
	return t.Format(dateLayout + ", 15:04 MST")
}

func isMidnight(t time.Time) bool { return t.Hour() == 0 && t.Minute() == 0 && t.Second() == 0 }

// span is a period in days where it has whole ones.
func span(p billing.Period, z *time.Location) string {
	from, to := time.Unix(int64(p.Start), 0).In(z), time.Unix(int64(p.End), 0).In(z)
	if !isMidnight(from) || !isMidnight(to) {
		return moment(p.Start, z) + " to " + moment(p.End, z)
	}
	last := to.AddDate(0, 0, -1)
	if from.Year() == last.Year() && from.Month() == last.Month() {
		return fmt.Sprintf("%d – %s", from.Day(), date(last))
	}
	return date(from) + " – " + date(last)
}

// quantity is a quantity's name in words.
func quantity(name string) string {
	words := strings.ReplaceAll(name, "_", " ")
	if words == "" {
		return ""
	}
	return strings.ToUpper(words[:1]) + words[1:]
}

// exactly is an amount that is not rounded, with at least the decimal places of
// the currency.
func exactly(d money.Decimal, c money.Currency) string {
	return Grouped(d.Text(max(d.Places(), int(c.Digits))))
}

func unitPrice(p *billing.Price, c money.Currency) string {
	price := exactly(p.Price, c)
	if p.Per == 1 {
		return price + " each"
	}
	return price + " per " + whole(p.Per)
}

// whole is a whole number.
func whole(n int64) string { return Grouped(strconv.FormatInt(n, 10)) }

// Grouped puts separators between the thousands of a number, for people.
func Grouped(number string) string {
	whole, rest, fraction := strings.Cut(number, ".")
	sign := ""
	if strings.HasPrefix(whole, "-") {
		sign, whole = "-", whole[1:]
	}
	for i := len(whole) - 3; i > 0; i -= 3 {
		whole = whole[:i] + "," + whole[i:]
	}
	if fraction {
		whole += "." + rest
	}
	return sign + whole
}

func places(c money.Currency) string {
	switch c.Digits {
	case 0:
		return "whole " + c.Code
	case 1:
		return "1 decimal place"
	}
	return fmt.Sprintf("%d decimal places", c.Digits)
}

func adjustmentReason(r billing.Reason) string {
	switch r {
	case billing.ReasonLate:
		return "Usage that arrived when the period was closed"
	case billing.ReasonLess:
		return "Usage that turned out to be less, or another customer's"
	case billing.ReasonVoid:
		return "Evens out what other invoices billed, since one of them is void"
	case billing.ReasonFold:
		return "Usage that newer rules count differently"
	}
	return string(r)
}

func leftOutReason(r billing.LeaveOutRule) string {
	switch r {
	case billing.Unattributed:
		return "Nobody is known to pay for it"
	case rating.ReasonUnknownModel:
		return "No price for the model"
	case rating.ReasonNoPrice:
		return "No price for the quantity"
	case rating.ReasonExceedsInput:
		return "Reported as cached beyond the input: charged as input"
	case rating.ReasonExceedsOutput:
		return "Reported as reasoning beyond the output: charged as output"
	}
	return string(r)
}
