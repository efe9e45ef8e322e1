package config

import (
	"errors"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/bojanz/currency"

	"github.com/tollkeeper/tollkeeper/internal/money"
	"github.com/tollkeeper/tollkeeper/internal/tenant"
	"github.com/tollkeeper/tollkeeper/internal/usage"
)

// AuthNone is ingest.auth that asks nobody for a credential.
const AuthNone = "none"

// How a bad credential is answered.
const (
	// OnBadReject refuses for ever, as the OTLP specification has it.
	OnBadReject = "reject"
	// OnBadRetry answers 503: for a Collector of one's own, which would throw its
	// data away on a refusal while the credential is repaired.
	OnBadRetry = "retry"
)

var (
	beams        = []string{usage.BeamsPlain, usage.BeamsFold}
	roles        = []string{usage.RolePrefill}
	rules        = []string{usage.RuleTag, usage.RuleRequestID, usage.RuleResource}
	defaultOrder = usage.DefaultOrder
)

// checkOneOf takes one of some words.
func checkOneOf(words ...string) func(string) error {
	return func(s string) error {
		if slices.Contains(words, s) {
			return nil
		}
		var quoted []string
		for _, w := range words {
			quoted = append(quoted, strconv.Quote(w))
		}
		return fmt.Errorf("%q is not one of %s%s", s, strings.Join(quoted, ", "), didYouMean(s, words))
	}
}

func checkRule(s string) error {
	if slices.Contains(rules, s) {
		return nil
	}
	return fmt.Errorf("unknown rule %q, known are %s%s", s, strings.Join(rules, ", "), didYouMean(s, rules))
}

func checkRounding(s string) error {
	var names []string
	for _, r := range money.Roundings() {
		names = append(names, string(r))
	}
	return checkOneOf(names...)(s)
}

func checkOrder(order []any) error {
	if len(order) == 0 {
		return errors.New("is empty: name a rule, or leave the key out")
	}
	for i, rule := range order {
		if slices.Contains(order[:i], rule) {
			return fmt.Errorf("rule %q stands twice", rule)
		}
	}
	return nil
}

// AdminTokenName is what the journal and the audit log call who comes with the
// token of api.admin_token_file.
const AdminTokenName = "admin_token_file"

// reservedProducers are names that the journal gives to others.
var reservedProducers = []string{"anonymous", "config", AdminTokenName}

// checkProducer takes a name that no other producer can have.
func checkProducer(s string) error {
	if slices.Contains(reservedProducers, s) || strings.HasPrefix(s, "key_") {
		return fmt.Errorf("%q is taken: the journal calls others so (anonymous, config, admin_token_file, key_…)", s)
	}
	return tenant.CheckID("producer", s)
}

func checkPath(s string) error {
	if s == "" {
		return errors.New("is empty: name a file")
	}
	return nil
}

func checkFiles(files []any) error {
	if len(files) == 0 {
		return errors.New("is empty: name the file of the token, and that of the previous one")
	}
	return nil
}

// checkProducers refuses two keys of one name: their usage could not be told apart.
func checkProducers(keys []any) error {
	seen := map[any]bool{}
	for _, k := range keys {
		name := k.(map[string]any)["name"] //nolint:forcetypeassert // the shape says so
		if seen[name] {
			return fmt.Errorf("%q stands twice: list the files of both under one name", name)
		}
		seen[name] = true
	}
	return nil
}

// CheckAddress takes an address to listen on, HOST:PORT; no host is all of them, port 0 a free one.
func CheckAddress(s string) error {
	_, port, err := net.SplitHostPort(s)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		return fmt.Errorf("%q is not HOST:PORT, such as 127.0.0.1:4317", s)
	}
	return nil
}

// whole reads a whole number that is written as everybody reads it: 010 is ten to
// one reader of YAML and eight to the next.
func whole(s string) (n int64, ok bool) {
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil && n >= 0 && s == strconv.FormatInt(n, 10)
}

// Bounds of ingest.max_body_bytes: below, no batch of spans would fit; above,
// a few requests at once would fill the memory of a machine.
const (
	minBodyBytes = 64 << 10
	maxBodyBytes = 1 << 30
)

func checkBytes(s string) error {
	if n, ok := whole(s); !ok || n < minBodyBytes || n > maxBodyBytes {
		return fmt.Errorf("%q is not a number of bytes from %d to %d", s, minBodyBytes, maxBodyBytes)
	}
	return nil
}

// checkRate takes a number of requests a second; 0 is no limit.
func checkRate(s string) error {
	if n, ok := whole(s); !ok || n > maxRequestsPerSecond {
		return fmt.Errorf("%q is not a whole number of requests a second from 0 (no limit) to %d", s, maxRequestsPerSecond)
	}
	return nil
}

// maxRequestsPerSecond is far above what one machine takes.
const maxRequestsPerSecond = 1_000_000

func checkPattern(s string) error {
	re, err := regexp.Compile(s)
	if err != nil {
		return fmt.Errorf("%q is not a regular expression: %s", s, strings.TrimPrefix(err.Error(), "error parsing regexp: "))
	}
	if re.SubexpIndex("customer") < 0 {
		return fmt.Errorf("%q has no group (?P<customer>…) that says who pays", s)
	}
	return nil
}

func checkID(kind string) func(string) error {
	return func(s string) error { return tenant.CheckID(kind, s) }
}

// maxCurrencyDigits leaves out the two units of account with four places.
const maxCurrencyDigits = 3

func checkCurrency(s string) error {
	digits, ok := currency.GetDigits(s)
	switch codes := currency.GetCurrencyCodes(); {
	case ok && digits <= maxCurrencyDigits:
		return nil
	case ok:
		return fmt.Errorf("%s has %d decimal places, invoices have at most %d", s, digits, maxCurrencyDigits)
	case slices.Contains(codes, strings.ToUpper(s)):
		return fmt.Errorf("%q is not a currency of ISO 4217; did you mean %s?", s, strings.ToUpper(s))
	default:
		return fmt.Errorf("%q is not a currency of ISO 4217%s", s, didYouMean(s, codes))
	}
}

func checkTimeZone(s string) error {
	if _, err := time.LoadLocation(s); err != nil || s == "" || s == "Local" {
		return fmt.Errorf("%q is not a time zone by its IANA name, such as UTC or Europe/Berlin", s)
	}
	return nil
}

func checkGrace(s string) error {
	if d, err := time.ParseDuration(s); err != nil || d < 0 {
		return fmt.Errorf("%q is not a duration, such as 24h or 90m", s)
	}
	return nil
}
