package cli

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/tollkeeper/tollkeeper/internal/api"
	"github.com/tollkeeper/tollkeeper/internal/config"
	"github.com/tollkeeper/tollkeeper/internal/journal"
	"github.com/tollkeeper/tollkeeper/internal/pricing"
	"github.com/tollkeeper/tollkeeper/internal/vllmsim"
)

// demoOptions are demo's flags.
type demoOptions struct {
	dir    string
	length time.Duration
	fresh  bool
}

func demoCommand(p *Program) *cobra.Command {
	var o demoOptions
	c := &cobra.Command{
		Use: "demo", GroupID: groupRun, Args: cobra.NoArgs,
		Short: "See all of it work: simulated engines, customers, usage, money, an invoice that can be checked",
		Long: `Starts two simulated vLLMs, a tollkeeper that receives their spans, and three customers who stream, ask for several choices, leave early and
send what others cannot see. The view shows usage and money grow, what is not billed and why, and what the customers themselves counted.

Ctrl-C, or the end of --for, closes the month early (a real one is closed after its end), prints an invoice, explains a line of it down to the span it
rests on, lets a late batch arrive, compares the books with what the clients saw, and verifies everything. Nothing leaves this machine, and nothing but
this program is needed.

What it keeps lies in the cache directory ($XDG_CACHE_HOME, else ~/.cache) and is gone on with the next time. A month that an earlier run has closed
stays closed: what comes after is owed by the next invoice. --fresh begins anew.`,
		Example: `  tollkeeper demo
  tollkeeper demo --for 20s
  tollkeeper demo --fresh --for 20s | cat`,
	}
	c.Flags().StringVar(&o.dir, "dir", "", "keep everything here (default: tollkeeper/demo in the cache directory)")
	c.Flags().DurationVar(&o.length, "for", 0, "end after so long (default: Ctrl-C)")
	c.Flags().BoolVar(&o.fresh, "fresh", false, "forget what earlier runs left, and begin anew")
	_ = c.MarkFlagDirname("dir")
	c.RunE = func(c *cobra.Command, _ []string) error {
		if o.length < 0 {
			return usageError{fmt.Errorf("--for %v: a time to run, such as 20s", o.length)}
		}
		return p.demo(c.Context(), o)
	}
	return c
}

// What the demo is made of.
const (
	// demoRate is how many requests a second each customer sends.
	demoRate = 20
	// demoParallel is how many each has in flight at most: a request takes half a
	// second, a slow machine makes it longer and the load lower.
	demoParallel = 16
	// demoTokenTime is how long an engine takes for a token: a quick one's time.
	demoTokenTime = 8 * time.Millisecond
	// demoDelay is how long spans wait for company; vLLM's 5 s would make a slow view.
	demoDelay = 300 * time.Millisecond
	// demoResend is how often each engine's last batch is sent once more.
	demoResend = 3 * time.Second
	// demoHold is when one batch is held back until the month is closed.
	demoHold = 3 * time.Second
	// demoSpare is how long before its month's end a request begins at the latest: an
	// engine's clock, which decides, reads it somewhat later.
	demoSpare = time.Second
	// demoReady bounds how long its server may take to be ready.
	demoReady = 20 * time.Second
	// demoClose bounds everything after the end.
	demoClose = time.Minute
	// demoLog is the server's log.
	demoLog = "server.log"
)

// demoModels are what the engines serve, by their service's name.
var demoModels = []struct{ service, model string }{{"llama", "llama-3.1-405b"}, {"qwen", "qwen3-8b"}}

// demoCustomer is one of those who pay.
type demoCustomer struct {
	id, name  string
	sentences int    // of a prompt
	proof     string // how the usage says whose it is
	tagged    bool
}

var demoCustomers = []demoCustomer{
	{"acme", "Acme Search Ltd", 150, "a signed tag in tracestate", true},
	{"globex", "Globex GmbH", 12, "a signed tag in tracestate", true},
	{"initech", "Initech Inc.", 40, "its name in X-Request-Id", false},
}

// demoFiles are the configuration, as a user would write it. The demo is run from
// them, and every other command can be.
var (
	//go:embed demo/tollkeeper.yaml
	demoConfig string
	//go:embed demo/prices.yaml
	demoPrices string
)

// demo is one run.
type demo struct {
	*Program

	dir     string
	config  *config.Config
	book    *pricing.Book
	server  *server
	local   *api.Local
	address addresses
	engines []*vllmsim.Server
	traffic *vllmsim.Traffic
	screen  *screen
	began   time.Time
	ended   time.Time
	length  time.Duration
	base    *books  // what earlier runs left
	speed   []int64 // tokens that clients had seen, frame by frame
}

func (p *Program) demo(ctx context.Context, o demoOptions) (err error) {
	d := &demo{Program: p.sheltered(), length: o.length}
	if d.dir, err = d.place(o.dir); err != nil {
		return err
	}
	if err := d.prepare(o.fresh); err != nil {
		return err
	}
	customers, err := d.customers(ctx)
	if err != nil {
		return err
	}
	d.screen = newScreen(d.Program)
	defer d.screen.close()
	// The server and the engines outlive Ctrl-C: the end is still to be told.
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	stopServer, err := d.serve(life)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stopServer()) }()
	defer func() { err = errors.Join(err, d.stopEngines(life)) }()
	if err := d.startEngines(); err != nil {
		return err
	}
	if d.base, err = d.settled(life); err != nil {
		return err
	}
	d.traffic = vllmsim.NewTraffic(vllmsim.TrafficOptions{
		Servers: d.engines, Customers: customers, Rate: demoRate, Parallel: demoParallel, Resend: demoResend, Seed: uint64(p.Now().UnixNano()),
	})
	if err := d.run(ctx); err != nil {
		return err
	}
	closing, cancel := context.WithTimeout(life, demoClose)
	defer cancel()
	return d.finish(closing)
}

// sheltered is the program without the user's settings: the demo has its own.
func (p *Program) sheltered() *Program {
	q := *p
	q.Environ = slices.DeleteFunc(slices.Clone(p.Environ), func(kv string) bool { return strings.HasPrefix(kv, "TOLLKEEPER_") })
	return &q
}

// place is where the demo keeps everything.
func (d *demo) place(dir string) (string, error) {
	if dir != "" {
		return filepath.Abs(dir)
	}
	base := d.env("XDG_CACHE_HOME")
	if base == "" && d.env("HOME") != "" {
		base = filepath.Join(d.env("HOME"), ".cache")
	}
	if base == "" {
		return "", usageError{errors.New("neither $HOME nor $XDG_CACHE_HOME is set: say where the demo may keep its data with --dir")}
	}
	return filepath.Join(base, "tollkeeper", "demo"), nil
}

// prepare writes the configuration.
func (d *demo) prepare(fresh bool) error {
	name := filepath.Join(d.dir, defaultConfig)
	found, err := os.ReadFile(name)
	title, _, _ := strings.Cut(demoConfig, "\n")
	ours := err == nil && strings.HasPrefix(string(found), title)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if entries, _ := os.ReadDir(d.dir); len(entries) > 0 && !ours {
		return usageError{fmt.Errorf("%s holds something that no demo has written: name another directory with --dir", d.dir)}
	}
	data := filepath.Join(d.dir, defaultData)
	if err := os.MkdirAll(data, 0o750); err != nil {
		return err
	}
	unlock, err := journal.Lock(data)
	if errors.Is(err, journal.ErrLocked) {
		return usageError{fmt.Errorf("another demo is running in %s: end it, or name another directory with --dir", d.dir)}
	}
	if err != nil {
		return err
	}
	if fresh {
		err = errors.Join(os.RemoveAll(d.dir), os.MkdirAll(d.dir, 0o750))
	}
	if err := errors.Join(err, unlock()); err != nil {
		return err
	}
	for file, text := range map[string]string{defaultConfig: demoConfig, "prices.yaml": demoPrices} {
		if err := os.WriteFile(filepath.Join(d.dir, file), []byte(text), 0o600); err != nil {
			return err
		}
	}
	if d.config, _, err = config.Load(name, d.Environ); err != nil {
		return err
	}
	d.book, _, err = config.LoadPrices(d.config.Prices)
	return err
}

// customers adds those who pay, before a server is there to take a tag of a key
// that it does not know yet.
func (d *demo) customers(ctx context.Context) (list []vllmsim.Customer, err error) {
	where := source{data: d.config.Data, config: filepath.Join(d.dir, defaultConfig), writes: true}
	err = where.local(ctx, d.Program, func(ctx context.Context, l *api.Local) error {
		l.Actor = "demo"
		known, err := api.ListCustomers.Call(ctx, l, &api.None{})
		if err != nil {
			return err
		}
		for _, c := range demoCustomers {
			if !slices.ContainsFunc(known.Customers, func(k api.Customer) bool { return k.ID == c.id && k.Known }) {
				if _, err := api.AddCustomer.Call(ctx, l, &api.AddCustomerIn{Body: api.CustomerSpec{ID: c.id, Name: &c.name}}); err != nil {
					return err
				}
			}
			load := vllmsim.Customer{ID: c.id, Sentences: c.sentences, RequestIDs: !c.tagged}
			if c.tagged {
				in := &api.MakeTagIn{}
				in.Body.Customer = c.id
				tag, err := api.MakeTag.Call(ctx, l, in)
				if err != nil {
					return err
				}
				load.Tracestate = func(string) string { return tag.Member }
			}
			list = append(list, load)
		}
		return nil
	})
	return list, err
}

// serve starts the server and waits until it is ready. The function that it
// returns stops it, and says what went wrong meanwhile.
func (d *demo) serve(life context.Context) (stop func() error, err error) {
	log, err := os.Create(filepath.Join(d.dir, demoLog))
	if err != nil {
		return nil, err
	}
	o := serveOptions{text: log}
	if d.server, err = d.newServer(life, d.config, &o); err != nil {
		return nil, errors.Join(err, log.Close())
	}
	d.local = &api.Local{
		Usage: d.server.reader, Business: d.server.business, Journal: d.server.journal.Reader, Defaults: defaults(d.config), Actor: "demo", Now: d.Now,
	}
	ctx, cancel := context.WithCancel(life)
	ready, ended := make(chan addresses, 1), make(chan error, 1)
	go func() { ended <- d.server.run(ctx, func(a addresses) { ready <- a }) }()
	stop = func() error {
		cancel()
		return errors.Join(<-ended, d.server.close(), log.Close())
	}
	select {
	case d.address = <-ready:
		return stop, nil
	case err := <-ended:
		ended <- err
	case <-time.After(demoReady):
		err = fmt.Errorf("the server is not ready after %v; its log is %s", demoReady, log.Name())
	}
	return nil, errors.Join(err, stop())
}

func (d *demo) startEngines() error {
	for _, m := range demoModels {
		s, err := vllmsim.Start("127.0.0.1:0", vllmsim.Options{
			Model: m.model, ServiceName: m.service, MaxModelLen: 1 << 15, TokenTime: demoTokenTime, ScheduleDelay: demoDelay, PromptTokensDetails: true,
			OTLPEndpoint: "http://" + d.address.http + "/v1/traces", OTLPProtocol: vllmsim.ProtocolHTTP, Now: d.Now,
		})
		if err != nil {
			return err
		}
		d.engines = append(d.engines, s)
	}
	return nil
}

func (d *demo) stopEngines(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeout(ctx, closeTime)
	defer cancel()
	for _, s := range d.engines {
		err = errors.Join(err, s.Close(ctx))
	}
	return err
}

// run shows the view until the end, and lets what is in flight finish.
func (d *demo) run(ctx context.Context) error {
	d.began = d.Now()
	// It ends with its month, so that there is one to close.
	_, monthEnd := d.month()
	length := monthEnd.Sub(d.began) - demoSpare
	if d.length > 0 {
		length = min(length, d.length)
	}
	ctx, cancel := context.WithTimeout(ctx, length)
	defer cancel()
	d.screen.begin(d.opening())
	var wait sync.WaitGroup
	wait.Go(func() { d.traffic.Run(ctx) })
	defer wait.Wait()
	hold := time.NewTimer(demoHold)
	if d.length > 0 {
		hold.Reset(min(demoHold, d.length/2))
	}
	defer hold.Stop()
	tick := time.NewTicker(d.screen.pace())
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			d.ended = d.Now()
			return nil
		case <-hold.C:
			d.engines[0].Hold()
		case <-tick.C:
			f, err := d.frame(ctx)
			if err != nil && ctx.Err() == nil {
				return err
			}
			if err == nil {
				d.speed = append(d.speed, f.seen.Input+f.seen.Output)
				f.speed = d.speed
				d.screen.show(f)
			}
		}
	}
}
