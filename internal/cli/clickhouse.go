package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tollkeeper/tollkeeper/internal/oteltraces"
)

func clickhouseCommand(p *Program) *cobra.Command {
	return parent(&cobra.Command{
		Use: "clickhouse", GroupID: groupRun, Short: "Prepare a ClickHouse for the Collector's traces",
		Example: "  tollkeeper clickhouse init --url http://clickhouse:8123",
	}, clickhouseInit(p))
}

// clickhouseOptions are the flags of `clickhouse init`.
type clickhouseOptions struct {
	address      oteltraces.Address
	passwordFile string
	ttl          string
	timeout      time.Duration
	format       string
}

func clickhouseInit(p *Program) *cobra.Command {
	var o clickhouseOptions
	c := &cobra.Command{
		Use: "init", Args: cobra.NoArgs, Short: "Make the table otel_traces that the Collector writes to",
		Long: `Makes the database, the table otel_traces, the table otel_traces_trace_id_ts and its view, as the Collector's clickhouse exporter 0.161 does, and
such that an insert which ClickHouse acknowledges is on its disk. Run the exporter with create_schema: false: otherwise a ClickHouse that is
not there keeps the Collector, and all that it delivers, from starting.

Waits until the server is there. A second run changes nothing; a table of the same name with other columns is named and left alone. Spans are
kept for ever unless --ttl says how long. What the traces in ClickHouse say is for looking at: they may hold duplicates, and no bill is made
of them.`,
		Example: `  tollkeeper clickhouse init --url http://clickhouse:8123 --user otel --password-file /run/secrets/clickhouse
  CLICKHOUSE_URL=clickhouse://clickhouse:9000 CLICKHOUSE_PASSWORD=… tollkeeper clickhouse init --database otel --ttl 30d`,
	}
	f := c.Flags()
	f.StringVar(&o.address.URL, "url", "", "clickhouse://HOST:9000 (native) or http://HOST:8123; clickhouses:// and https:// with TLS (default: $CLICKHOUSE_URL, else clickhouse://127.0.0.1:9000)")
	f.StringVar(&o.address.User, "user", "", "who asks (default: the URL's, else $CLICKHOUSE_USER, else default)")
	f.StringVar(&o.address.Password, "password", "", "its password; others on this machine can see it here (default: the URL's, else $CLICKHOUSE_PASSWORD)")
	f.StringVar(&o.passwordFile, "password-file", "", "read the password from this file")
	f.StringVar(&o.address.Database, "database", "", "where the tables go (default: the URL's path, else $CLICKHOUSE_DATABASE, else default)")
	f.StringVar(&o.ttl, "ttl", "", "drop spans after so long, such as 30d or 72h (default: never; a table that is there keeps its own)")
	f.DurationVar(&o.timeout, "timeout", 5*time.Minute, "give up when the server was not there for so long; 0 never does")
	textFlag(c, &o.format)
	c.MarkFlagsMutuallyExclusive("password", "password-file")
	_ = c.MarkFlagFilename("password-file")
	c.RunE = func(c *cobra.Command, _ []string) error { return p.initClickhouse(c.Context(), &o) }
	return c
}

func (p *Program) initClickhouse(ctx context.Context, o *clickhouseOptions) error {
	in, err := o.options(p)
	if err != nil {
		return usageError{err}
	}
	r, err := oteltraces.Init(ctx, *in)
	if _, ok := errors.AsType[*oteltraces.AddressError](err); ok {
		return usageError{err}
	}
	if err != nil {
		return err
	}
	if o.format == "json" {
		return printJSON(p.Stdout, r)
	}
	_, err = fmt.Fprint(p.Stdout, initialised(r))
	return err
}

// options are the flags with the environment below them.
func (o *clickhouseOptions) options(p *Program) (*oteltraces.Options, error) {
	ttl, err := oteltraces.ParseTTL(o.ttl)
	if err != nil {
		return nil, fmt.Errorf("--ttl: %w", err)
	}
	if o.timeout < 0 {
		return nil, fmt.Errorf("--timeout %s: no negative time", o.timeout)
	}
	a := o.address
	if o.passwordFile != "" {
		if a.Password, err = readSecret(o.passwordFile); err != nil {
			return nil, fmt.Errorf("--password-file: %w", err)
		}
	}
	a.URL = cmp.Or(a.URL, p.env("CLICKHOUSE_URL"), "clickhouse://127.0.0.1:9000")
	a.Fallback = oteltraces.Credential{User: p.env("CLICKHOUSE_USER"), Password: p.env("CLICKHOUSE_PASSWORD"), Database: p.env("CLICKHOUSE_DATABASE")}
	return &oteltraces.Options{Address: a, TTL: ttl, Timeout: o.timeout, Waiting: p.waiting(o.timeout)}, nil
}

// waiting tells on standard error why the server is waited for.
func (p *Program) waiting(timeout time.Duration) func(server, why string, waited time.Duration) {
	of := ""
	if timeout > 0 {
		of = " of " + timeout.String()
	}
	return func(server, why string, waited time.Duration) {
		fmt.Fprintf(p.Stderr, "waiting for ClickHouse at %s (%s%s): %s\n", server, waited.Round(time.Second), of, why)
	}
}

// readSecret reads a file that holds one secret; a line break at its end is not
// part of it.
func readSecret(name string) (string, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return "", err
	}
	secret := strings.TrimRight(string(b), "\r\n")
	if secret == "" {
		return "", fmt.Errorf("%s is empty", name)
	}
	return secret, nil
}

// initialised is what was done, as lines.
func initialised(r *oteltraces.Result) string {
	var b strings.Builder
	for _, change := range r.Changes {
		fmt.Fprintln(&b, change)
	}
	for _, note := range r.Notes {
		fmt.Fprintln(&b, "note: "+note)
	}
	if len(r.Changes) == 0 {
		fmt.Fprintf(&b, "nothing to do: otel_traces is in the database %s of %s, ready for the Collector\n", r.Database, r.Server)
	} else {
		fmt.Fprintf(&b, "otel_traces in the database %s of %s is ready for the Collector\n", r.Database, r.Server)
	}
	return b.String()
}
