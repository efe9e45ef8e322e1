package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/tollkeeper/tollkeeper/internal/config"
)

func serveCommand(p *Program) *cobra.Command {
	var o serveOptions
	c := &cobra.Command{
		Use: "serve --data DIR", GroupID: groupRun, Args: cobra.NoArgs,
		Short: "Receive usage, keep it, and answer questions about it",
		Long: `Receives OTLP traces over gRPC and HTTP, appends what they say to the journal, folds it into usage, and serves the API. An answer of 200
or OK means: it is on disk. When it accepts work it logs one line with "msg":"ready" and the addresses on standard error.

Without a producer's key only loopback addresses may be listened on, unless the configuration says ingest.auth: none. SIGTERM and Ctrl-C
drain: what was begun is finished, what comes after is told to try again.`,
		Example: `  tollkeeper serve --data ./data
  tollkeeper serve --data /var/lib/tollkeeper --config /etc/tollkeeper.yaml --otlp-grpc 0.0.0.0:4317
  OTEL_EXPORTER_OTLP_TRACES_PROTOCOL=http/protobuf vllm serve … --otlp-traces-endpoint=http://127.0.0.1:4318/v1/traces`,
	}
	o.add(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		return p.serve(c.Context(), o, func(a addresses) {
			o.logger(p.Stderr).Info("ready", "otlp_grpc", a.grpc, "otlp_http", a.http, "api", a.api)
		})
	}
	return c
}

// serveOptions are serve's flags.
type serveOptions struct {
	source
	grpc, http, api string
	signingKey      string
	replaceKey      bool
	paused          bool
	verbose         bool
	text            io.Writer // demo: where the log goes instead
}

func (o *serveOptions) add(c *cobra.Command) {
	o.addData(c)
	o.addConfig(c)
	c.Flags().StringVar(&o.grpc, "otlp-grpc", "", "listen here for OTLP/gRPC; the port may be 0 (default 127.0.0.1:4317)")
	c.Flags().StringVar(&o.http, "otlp-http", "", "listen here for OTLP/HTTP (default 127.0.0.1:4318)")
	c.Flags().StringVar(&o.api, "api", "", "listen here for the API, /healthz, /readyz and /metrics (default 127.0.0.1:8080)")
	c.Flags().BoolVar(&o.paused, "pause-projection", false, "only receive: do not fold (for measurements)")
	c.Flags().BoolVarP(&o.verbose, "verbose", "v", false, "log each refusal")
	c.Flags().BoolVar(&o.replaceKey, "replace-signing-key", false, "go on with a journal that another key signed, because that key is lost")
	_ = c.Flags().MarkHidden("pause-projection")
}

func (o *serveOptions) logger(w io.Writer) *slog.Logger {
	level := slog.LevelInfo
	if o.verbose {
		level = slog.LevelDebug
	}
	if o.text != nil {
		w = o.text
	}
	return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level}))
}

// settings are the configuration with the flags over it.
func (o *serveOptions) settings(p *Program) (*config.Config, error) {
	c, _, err := p.loadConfig(o.config)
	if err != nil {
		return nil, err
	}
	for _, x := range []struct {
		to         *string
		flag, name string
	}{{&c.Listen.OTLPGRPC, o.grpc, "--otlp-grpc"}, {&c.Listen.OTLPHTTP, o.http, "--otlp-http"}, {&c.Listen.API, o.api, "--api"}} {
		if x.flag == "" {
			continue
		}
		if err := config.CheckAddress(x.flag); err != nil {
			return nil, usageError{fmt.Errorf("%s: %w", x.name, err)}
		}
		*x.to = x.flag
	}
	c.SigningKey = cmp.Or(o.signingKey, c.SigningKey)
	if c.Data, err = o.directory(p); err != nil {
		return nil, err
	}
	if c.SigningKey == "" {
		if c.SigningKey, err = p.defaultSigningKey(); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// defaultSigningKey lies with the user's configuration: outside of any data
// directory, so that one who can write there cannot sign.
func (p *Program) defaultSigningKey() (string, error) {
	base := p.env("XDG_CONFIG_HOME")
	if base == "" && p.env("HOME") != "" {
		base = filepath.Join(p.env("HOME"), ".config")
	}
	if base == "" {
		return "", usageError{errors.New("neither $HOME nor $XDG_CONFIG_HOME is set: say where the signing key lies, outside of the data directory, with signing_key in the configuration or TOLLKEEPER_SIGNING_KEY")}
	}
	return filepath.Join(base, "tollkeeper", "signing.key"), nil
}

// addresses are where a server listens.
type addresses struct{ grpc, http, api string }

// serve runs a server until the context ends or it cannot go on.
func (p *Program) serve(ctx context.Context, o serveOptions, ready func(addresses)) error {
	c, err := o.settings(p)
	if err != nil {
		return err
	}
	if err := whole(c.Data); err != nil {
		return err
	}
	s, err := p.newServer(ctx, c, &o)
	if err != nil {
		return err
	}
	return errors.Join(s.run(ctx, ready), s.close())
}

// listen opens a listener, and refuses an address that others can reach where
// no credential is asked for.
func listen(name, address string, open bool, hint string) (net.Listener, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if open && !loopback(l.Addr()) {
		l.Close()
		return nil, usageError{fmt.Errorf("%s: %s can be reached by others and nobody is asked for a credential: %s", name, address, hint)}
	}
	return l, nil
}

func loopback(a net.Addr) bool {
	t, ok := a.(*net.TCPAddr)
	return ok && t.IP.IsLoopback()
}

const (
	// drainTime bounds how long requests that were begun may take to finish.
	drainTime = 10 * time.Second
	// projectionPause is how long a failed projection waits before it tries again.
	projectionPause = time.Second
	// yieldTime bounds how long the projection stands back for ingest at a time.
	yieldTime = time.Second
	// yieldStep is how often it looks whether ingest is still busy.
	yieldStep = 2 * time.Millisecond
)
