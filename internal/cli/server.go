package cli

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"

	"github.com/tollkeeper/tollkeeper/internal/api"
	"github.com/tollkeeper/tollkeeper/internal/config"
	"github.com/tollkeeper/tollkeeper/internal/ingest"
	"github.com/tollkeeper/tollkeeper/internal/journal"
	"github.com/tollkeeper/tollkeeper/internal/otlp"
	"github.com/tollkeeper/tollkeeper/internal/project"
	"github.com/tollkeeper/tollkeeper/internal/store/business"
	"github.com/tollkeeper/tollkeeper/internal/store/sqlite"
)

// server is everything that serves one data directory.
type server struct {
	config    *config.Config
	log       *slog.Logger
	now       func() time.Time
	journal   *journal.Journal
	business  *business.Store
	store     *sqlite.Store
	reader    *sqlite.Reader
	keys      credentials
	projector *project.Projector
	receiver  *ingest.Receiver
	registry  *prometheus.Registry
	open      closers
	replace   bool // the signing key
	paused    bool
	stopping  atomic.Bool
}

// newServer opens the data directory. On an error nothing stays open.
func (p *Program) newServer(ctx context.Context, c *config.Config, o *serveOptions) (_ *server, err error) {
	registerCompressors()
	s := &server{config: c, log: o.logger(p.Stderr), now: p.Now, registry: prometheus.NewRegistry(), replace: o.replaceKey, paused: o.paused}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.open.close())
		}
	}()
	for _, step := range []func(context.Context) error{s.openJournal, s.openBusiness, s.openKeys, s.openUsage, s.applyPolicy, s.applyPrices, s.openIngest} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func (s *server) openJournal(ctx context.Context) error {
	signer, err := journal.LoadSigner(s.config.SigningKey)
	if err != nil {
		return fmt.Errorf("signing key: %w", err)
	}
	if inside(s.config.SigningKey, s.config.Data) {
		s.log.Warn("the signing key lies in the data directory: who can write there can sign, and a backup of the data is a copy of the key; move it and set signing_key",
			"signing_key", s.config.SigningKey)
	}
	s.journal, err = journal.Open(ctx, filepath.Join(s.config.Data, journalFile), journal.Options{Signer: signer, ReplaceKey: s.replace, Now: s.now})
	if err != nil {
		return err
	}
	s.open.add(s.journal.Close)
	return nil
}

// inside reports whether a file lies below a directory.
func inside(file, dir string) bool {
	f, err1 := filepath.Abs(file)
	d, err2 := filepath.Abs(dir)
	rel, err3 := filepath.Rel(d, f)
	return err1 == nil && err2 == nil && err3 == nil && filepath.IsLocal(rel)
}

func (s *server) openBusiness(ctx context.Context) (err error) {
	if s.business, err = business.Open(ctx, filepath.Join(s.config.Data, businessFile), business.Options{Now: s.now}); err != nil {
		return err
	}
	s.open.add(s.business.Close)
	return nil
}

func (s *server) openUsage(ctx context.Context) (err error) {
	dir := filepath.Join(s.config.Data, usageDir)
	s.store, err = sqlite.Open(ctx, dir)
	if errors.Is(err, sqlite.ErrStale) {
		// Nothing is lost: it is replayed from the journal while the server works.
		s.log.Warn("usage is of another version: it is made anew from the journal; answers are incomplete until it has caught up")
		if err := sqlite.Remove(dir); err != nil {
			return err
		}
		s.store, err = sqlite.Open(ctx, dir)
	}
	if err != nil {
		return err
	}
	s.open.add(s.store.Close)
	if s.reader, err = sqlite.OpenReader(ctx, dir); err != nil {
		return err
	}
	s.open.add(s.reader.Close)
	return nil
}

// applyPolicy appends the deciding part of the configuration when it changed.
func (s *server) applyPolicy(ctx context.Context) error {
	want, err := s.config.Policy().Canonical()
	if err != nil {
		return usageError{err}
	}
	have, err := newestPolicy(ctx, s.journal.Reader)
	if err != nil {
		return err
	}
	if bytes.Equal(want, have) {
		return nil
	}
	seq, err := s.journal.Append(ctx, journal.Batch{Producer: "config", Kind: project.KindPolicy, Received: s.now(), Items: [][]byte{want}, Mark: true})
	if err == nil {
		s.log.Info("the policy changed: it governs what arrives from now on", "entry", seq)
	}
	return err
}

// applyPrices makes the configuration's price file a new version of the book
// when its content changed.
func (s *server) applyPrices(ctx context.Context) error {
	if s.config.Prices == "" {
		return nil
	}
	book, odd, err := config.LoadPrices(s.config.Prices)
	if err != nil {
		return usageError{err}
	}
	for _, p := range odd {
		s.log.Warn("the price file is odd", "problem", p.String())
	}
	document, err := book.Canonical()
	if err != nil {
		return usageError{fmt.Errorf("%s: %w", s.config.Prices, err)}
	}
	b, changed, err := s.business.SyncPriceBook(ctx, "config:"+filepath.Base(s.config.Prices), document)
	if err == nil && changed {
		s.log.Info("the price file changed: a new version of the price book", "version", b.Version)
	}
	return err
}

func (s *server) openIngest(ctx context.Context) (err error) {
	policy := s.config.Policy()
	o := ingest.Options{
		Journal: s.journal, Credentials: s.keys, Decoder: otlp.NewDecoder(policy.MatchedKeys()),
		Open:               s.config.Ingest.Auth == config.AuthNone || !s.keys.haveProducers() && s.config.Ingest.TLS.ClientCA == "",
		RetryBadCredential: s.config.Ingest.OnBadCredential == config.OnBadRetry,
		MaxBody:            s.config.Ingest.MaxBodyBytes, RequestsPerSecond: float64(s.config.Ingest.RequestsPerSecond),
		Now: s.now, Logger: s.log, Metrics: ingest.NewMetrics(),
	}
	if o.TLS, err = s.tls(s.config.Ingest.TLS); err != nil {
		return err
	}
	s.receiver = ingest.NewReceiver(o)
	if s.projector, err = project.New(ctx, s.journal, s.store); err != nil {
		return err
	}
	s.projector.Yield = s.yield
	s.observe(o.Metrics)
	return nil
}

func (s *server) tls(f config.TLS) (*tls.Config, error) {
	if f.Cert == "" {
		return nil, nil
	}
	return ingest.TLSFiles{Cert: f.Cert, Key: f.Key, ClientCA: f.ClientCA}.Config(s.now, func(err error) {
		s.log.Error("the TLS files cannot be read again; the old ones stay in force", "error", err)
	})
}

// yield lets ingest go first while it is busy, for a bounded time.
func (s *server) yield(ctx context.Context) {
	until := time.Now().Add(yieldTime)
	for s.journal.Queued() > 0 && time.Now().Before(until) && ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-time.After(yieldStep):
		}
	}
}

// run listens, tells where, and serves until the context ends or a part fails.
func (s *server) run(ctx context.Context, ready func(addresses)) error {
	grpcListener, httpListener, apiListener, err := s.listeners()
	if err != nil {
		return err
	}
	apiServer, err := s.apiServer(apiListener)
	if err != nil {
		return errors.Join(err, grpcListener.Close(), httpListener.Close(), apiListener.Close())
	}
	grpcServer, httpServer := s.receiver.GRPCServer(), s.receiver.HTTPServer() // they run already
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	failed := make(chan error, 4)
	var wait sync.WaitGroup
	wait.Go(func() {
		s.keys.Run(background, func(err error) { s.log.Warn("credentials could not be refreshed", "error", err) })
	})
	if !s.paused {
		wait.Go(func() { s.project(background) })
	}
	wait.Go(func() { failed <- grpcServer.Serve(grpcListener) })
	wait.Go(func() { failed <- serveHTTP(httpServer, httpListener) })
	wait.Go(func() { failed <- serveHTTP(apiServer, apiListener) })
	ready(addresses{grpc: grpcListener.Addr().String(), http: httpListener.Addr().String(), api: apiListener.Addr().String()})
	select {
	case <-ctx.Done():
	case err = <-failed:
	case err = <-s.journal.Fatal():
	}
	s.log.Info("stopping: what was begun is finished, what comes is told to try again")
	s.drain(grpcServer, httpServer, apiServer)
	stop()
	wait.Wait()
	s.log.Info("stopped")
	return err
}

func (s *server) listeners() (g, h, a net.Listener, err error) {
	hint := "make a producer's key (`tollkeeper key add --role producer`), name the file of one by ingest.keys, listen on 127.0.0.1, or write ingest.auth: none"
	open := s.receiver.Open && s.config.Ingest.Auth != config.AuthNone
	if g, err = listen("OTLP/gRPC", s.config.Listen.OTLPGRPC, open, hint); err != nil {
		return nil, nil, nil, err
	}
	if h, err = listen("OTLP/HTTP", s.config.Listen.OTLPHTTP, open, hint); err != nil {
		return nil, nil, nil, errors.Join(err, g.Close())
	}
	if a, err = listen("API", s.config.Listen.API, false, ""); err != nil {
		return nil, nil, nil, errors.Join(err, g.Close(), h.Close())
	}
	return g, h, a, nil
}

// apiServer serves the API; on loopback it asks for no token.
func (s *server) apiServer(l net.Listener) (_ *http.Server, err error) {
	server := api.Server(api.Handler(api.HandlerOptions{
		Local: s.local(), Keys: s.keys, Open: loopback(l.Addr()), Ready: s.ready, Logger: s.log,
		Metrics: promhttp.HandlerFor(s.registry, promhttp.HandlerOpts{}),
	}))
	server.ErrorLog = slog.NewLogLogger(s.log.Handler(), slog.LevelDebug) // what a client does wrong
	server.TLSConfig, err = s.tls(s.config.API.TLS)
	return server, err
}

func (s *server) local() *api.Local {
	return &api.Local{Usage: s.reader, Business: s.business, Journal: s.journal.Reader, Defaults: defaults(s.config), Now: s.now}
}

func (s *server) ready() error {
	if s.stopping.Load() {
		return errors.New("stopping")
	}
	return nil
}

func serveHTTP(server *http.Server, l net.Listener) error {
	var err error
	if server.TLSConfig != nil {
		err = server.ServeTLS(l, "", "")
	} else {
		err = server.Serve(l)
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// project follows the journal. What fails is tried again: usage is behind, but
// nothing that was acknowledged is lost.
func (s *server) project(ctx context.Context) {
	for {
		err := s.projector.Run(ctx)
		if ctx.Err() != nil {
			return
		}
		s.log.Error("usage could not be folded; it is tried again", "entry", s.projector.Position()+1, "error", err)
		select {
		case <-ctx.Done():
			return
		case <-time.After(projectionPause):
		}
	}
}

// drain finishes what was begun and refuses, retryably, what comes after.
func (s *server) drain(g *grpc.Server, servers ...*http.Server) {
	s.stopping.Store(true)
	s.receiver.Stop()
	ctx, cancel := context.WithTimeout(context.Background(), drainTime)
	defer cancel()
	var wait sync.WaitGroup
	wait.Go(func() {
		done := make(chan struct{})
		go func() { g.GracefulStop(); close(done) }()
		select {
		case <-done:
		case <-ctx.Done():
			g.Stop()
		}
	})
	for _, server := range servers {
		wait.Go(func() {
			if server.Shutdown(ctx) != nil {
				server.Close()
			}
		})
	}
	wait.Wait()
}

func (s *server) close() error { return s.open.close() }

// registerCompressors gives gRPC the decompressors of OTLP. Its registry is
// global, so it is filled here, where programs are put together.
var registerCompressors = sync.OnceFunc(func() {
	for _, name := range []string{"gzip", "zstd"} {
		encoding.RegisterCompressor(ingest.Compressor(name, ingest.DefaultMaxBody))
	}
})

// newestPolicy finds the policy in force at the journal's end.
func newestPolicy(ctx context.Context, r *journal.Reader) ([]byte, error) {
	e, found, err := r.Newest(ctx, project.KindPolicy)
	if err != nil || !found || len(e.Items) != 1 {
		return nil, err
	}
	return e.Items[0], nil
}
