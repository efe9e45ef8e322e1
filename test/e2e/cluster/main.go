// Command cluster proves the deployment on a real Kubernetes, the one that
// KUBECONFIG names: it plays the README's walk-through word for word, looks at
// what each command shows, and goes on from there. It prints a table of step,
// what was seen, and how long it took.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	b := &bench{out: os.Stdout}
	flag.StringVar(&b.repository, "repository", ".", "the repository's folder")
	flag.StringVar(&b.load, "load", "", "the program that takes image tars into the cluster's engine; none where `make build-minikube` did it")
	flag.StringVar(&b.images, "images", "", "the folder of image tars")
	flag.BoolVar(&b.walks, "walk", true, "play the walk-through; without it, the release vllm is there already")
	flag.BoolVar(&b.accidents, "outages", true, "then have accidents happen under load")
	flag.Func("only", "those accidents alone whose name matches this regular expression", func(s string) (err error) {
		b.only, err = regexp.Compile(s)
		return err
	})
	flag.DurationVar(&b.outage, "outage", 40*time.Second, "how long a part is away in an accident")
	flag.IntVar(&b.kills, "kills", 2, "how often a part is killed in an accident; Kubernetes waits longer each time before it starts it again")
	flag.BoolVar(&b.stock, "stock-exporter", false, "vLLM's exporter as it comes: a Collector that is away for long costs usage then, and how much is shown")
	flag.Parse()
	err := b.run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "cluster:", err)
		os.Exit(1)
	}
}

// bench is one proof.
type bench struct {
	out        io.Writer
	repository string
	load       string
	images     string

	outage    time.Duration
	kills     int
	stock     bool // vllm.exporter.patient=false
	walks     bool
	accidents bool
	only      *regexp.Regexp // of accidents' names; nil: all

	shell   *shell
	vllm    string // its address, forwarded
	traffic *load
	rows    []row
}

// row is a step of the table.
type row struct {
	step, seen string
	took       time.Duration
}

func (b *bench) run(ctx context.Context) (err error) {
	if os.Getenv("KUBECONFIG") == "" {
		return errors.New("KUBECONFIG names no cluster: start one (../shared/cluster/up, minikube, kind)")
	}
	if b.shell, err = newShell(ctx, b.repository); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.shell.close()) }()
	err = b.prove(ctx)
	b.print()
	if err != nil {
		b.tellWhy(context.WithoutCancel(ctx))
	}
	return err
}

func (b *bench) prove(ctx context.Context) error {
	var err error
	if b.walks {
		err = b.play(ctx, "README.md", "## On Kubernetes")
	} else {
		_, err = b.shell.run(ctx, "cd charts")
	}
	if err == nil {
		err = b.reachVLLM(ctx)
	}
	if err != nil {
		return err
	}
	failed := []error{b.tested(ctx)}
	if b.accidents {
		failed = append(failed, b.suffer(ctx))
	}
	return errors.Join(append(failed, b.serverSpans(ctx), b.dashboards(ctx), b.lora(ctx), b.restored(ctx), b.verified(ctx))...)
}

// step runs a part of the proof and keeps what it saw.
func (b *bench) step(name string, run func() (seen string, err error)) error {
	began := time.Now()
	seen, err := run()
	if err != nil {
		seen = "FAILED: " + firstLine(err.Error())
		err = fmt.Errorf("%s: %w", name, err)
	}
	b.rows = append(b.rows, row{name, seen, time.Since(began)})
	fmt.Fprintf(b.out, "%s  %s (%.1f s)\n", name, seen, time.Since(began).Seconds())
	return err
}

func firstLine(s string) string {
	s, _, _ = strings.Cut(s, "\n")
	return s
}

// width of a column in characters, beyond which it is wrapped.
const width = 78

func (b *bench) print() {
	t := table.NewWriter()
	t.SetOutputMirror(b.out)
	t.SetStyle(table.StyleLight)
	t.SetColumnConfigs([]table.ColumnConfig{{Number: 1, WidthMax: width}, {Number: 2, WidthMax: width}})
	t.AppendHeader(table.Row{"step", "seen", "s"})
	var sum time.Duration
	for _, r := range b.rows {
		t.AppendRow(table.Row{r.step, r.seen, fmt.Sprintf("%.1f", r.took.Seconds())})
		sum += r.took
	}
	t.AppendFooter(table.Row{"", "", fmt.Sprintf("%.1f", sum.Seconds())})
	t.Render()
}

// tellWhy shows what a person would ask the cluster after a failure; last what a
// cut log should still hold.
func (b *bench) tellWhy(ctx context.Context) {
	for _, command := range []string{
		`for p in $(kubectl get pods -o name); do echo "== $p"; kubectl logs --all-containers --tail=20 "$p"; done`,
		"kubectl get events --sort-by=.lastTimestamp | tail -30",
		"kubectl get pods,pvc,jobs -o wide",
	} {
		out, _ := b.shell.run(ctx, command)
		fmt.Fprintf(b.out, "\n$ %s\n%s", command, out)
	}
}
