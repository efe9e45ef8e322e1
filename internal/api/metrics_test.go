package api_test

import (
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/tollkeeper/tollkeeper/internal/api"
)

// TestMetricsOfRecentUsage: what nobody is charged for shows, and is gone when it
// is solved; what cannot be read stays as it was, and is counted.
func TestMetricsOfRecentUsage(t *testing.T) {
	t.Parallel()
	h := newOffice(t)
	h.use(
		span{id: "42", at: "2026-12-02T11:00:00Z", input: 100, output: 10},
		span{id: "acme-5", at: "2026-12-02T11:00:00Z", input: 1_000_000, output: 500_000},
		span{id: "acme-6", at: "2026-12-02T11:01:00Z", input: 7, audio: 30, service: "dear", model: "dear"},
	)
	// Halves and quarters, which a float says exactly.
	exact := strings.NewReplacer(`"0.10"`, `"0.5"`, `"0.40"`, `"0.25"`, "1000000", "1").Replace(book)
	h.prices(exact)
	now := noon
	h.local.Now = func() time.Time { return now }
	m := api.NewMetrics(h.local, slog.New(slog.DiscardHandler))
	const failures = `
# HELP tollkeeper_recent_failures_total How often the metrics of recent usage could not be read; they are those of before.
# TYPE tollkeeper_recent_failures_total counter
tollkeeper_recent_failures_total `
	said := func(unpriced, charges, failed string) {
		t.Helper()
		if err := testutil.CollectAndCompare(m, strings.NewReader(`
# HELP tollkeeper_recent_unattributed The part of it that no customer is known for.
# TYPE tollkeeper_recent_unattributed gauge
tollkeeper_recent_unattributed{quantity="cached_input_tokens"} 0
tollkeeper_recent_unattributed{quantity="input_tokens"} 100
tollkeeper_recent_unattributed{quantity="other"} 0
tollkeeper_recent_unattributed{quantity="output_tokens"} 10
tollkeeper_recent_unattributed{quantity="reasoning_tokens"} 0
tollkeeper_recent_unattributed{quantity="requests"} 1
# HELP tollkeeper_recent_unpriced The part of it that the newest price book has no price for.
# TYPE tollkeeper_recent_unpriced gauge
tollkeeper_recent_unpriced{quantity="cached_input_tokens"} 0
tollkeeper_recent_unpriced{quantity="input_tokens"} `+unpriced+`
tollkeeper_recent_unpriced{quantity="other"} 30
tollkeeper_recent_unpriced{quantity="output_tokens"} 0
tollkeeper_recent_unpriced{quantity="reasoning_tokens"} 0
tollkeeper_recent_unpriced{quantity="requests"} 0
# HELP tollkeeper_recent_charges What it comes to by the newest price book. Invoices are exact, this is a float.
# TYPE tollkeeper_recent_charges gauge
tollkeeper_recent_charges{currency="USD"} `+charges+failures+failed+"\n"),
			"tollkeeper_recent_unattributed", "tollkeeper_recent_unpriced", "tollkeeper_recent_charges", "tollkeeper_recent_failures_total"); err != nil {
			t.Error(err)
		}
	}
	said("7", "625053.25", "0")
	h.prices(strings.Replace(exact, `]}`, `,{"model":"dear","from":"2026-01-01T00:00:00Z","per":1,"prices":{"input_tokens":"1"}}]}`, 1))
	said("7", "625053.25", "0") // two scrapers that come together cost one look
	now = now.Add(time.Minute)
	said("0", "625060.25", "0")
	h.local.Usage = failing{h.local.Usage, errors.New("input/output error")}
	now = now.Add(time.Minute)
	said("0", "625060.25", "1")
}
