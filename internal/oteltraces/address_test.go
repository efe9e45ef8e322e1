package oteltraces_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/tollkeeper/tollkeeper/internal/oteltraces"
)

// TestAddressIsChecked finds a wrong address before anything is asked, and tells
// it without the password.
func TestAddressIsChecked(t *testing.T) {
	t.Parallel()
	for _, url := range []string{
		"", "127.0.0.1:9000", "clickhouse://", "postgres://otel:secret-word@host:9000", "clickhouse://otel:secret-word@ho st:9000",
		"http://otel:secret-word@host:port", "clickhouse://otel:secret-word@host:9000?dial_timeout=soon",
	} {
		_, err := oteltraces.Init(t.Context(), oteltraces.Options{Address: oteltraces.Address{URL: url}})
		if _, ok := errors.AsType[*oteltraces.AddressError](err); !ok {
			t.Errorf("%s: %v, want an AddressError", url, err)
			continue
		}
		if strings.Contains(err.Error(), "secret-word") {
			t.Errorf("%s: the password stands in %q", url, err)
		}
	}
}

func TestParseTTL(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"30d": "30 days", "1d": "1 day", "72h": "3 days", "25h": "25 hours", "90m": "90 minutes", "86400s": "1 day", "61s": "61 seconds",
	} {
		if got, err := oteltraces.ParseTTL(text); err != nil || got.String() != want {
			t.Errorf("%s: %s, %v; want %s", text, got, err, want)
		}
	}
	for _, text := range []string{"", "0"} {
		if got, err := oteltraces.ParseTTL(text); err != nil || got != (oteltraces.TTL{}) {
			t.Errorf("%q: %v, %v; want no TTL", text, got, err)
		}
	}
	for _, text := range []string{"d", "30", "-1d", "0d", "1.5d", "1w", "1h30m", "30 d", "99999999999999999999d", "1000001d"} {
		if got, err := oteltraces.ParseTTL(text); err == nil {
			t.Errorf("%s was taken as %s", text, got)
		}
	}
}
