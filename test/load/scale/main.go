// Command scale fills a usage projection with many records by the path that a
// vLLM's spans take (OTLP, journal, projection), and tells at checkpoints how
// fast it folds. Then it starts the real binary on the directory and tells
// how long its answers take.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"
	"time"

	"github.com/tollkeeper/tollkeeper/internal/journal"
	"github.com/tollkeeper/tollkeeper/internal/otlp"
	"github.com/tollkeeper/tollkeeper/internal/project"
	"github.com/tollkeeper/tollkeeper/internal/store/sqlite"
	"github.com/tollkeeper/tollkeeper/internal/usage"
	"github.com/tollkeeper/tollkeeper/test/process"
)

func main() {
	b := &bench{out: os.Stdout}
	flag.IntVar(&b.records, "records", 1_000_000, "how many records, each of one span")
	flag.IntVar(&b.days, "days", 10, "over how many UTC days, 1 to 31, of one month")
	flag.BoolVar(&b.ask, "ask", true, "ask the real binary about them at the end")
	flag.BoolVar(&b.verifies, "verify", true, "and have it verify them, which takes as long as folding them and as much room again as usage/")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := b.run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "scale:", err)
		os.Exit(1)
	}
}

const (
	// checkpoints is how often the rate is told.
	checkpoints = 10
	// leastRecords give each customer some.
	leastRecords = 5000
)

type bench struct {
	out     io.Writer
	records int
	days    int
	ask     bool
	// verifies says that the real binary checks all of it at the end.
	verifies bool

	dir       string
	journal   *journal.Journal
	decoder   *otlp.Decoder
	store     *sqlite.Store
	projector *project.Projector
	again     int // spans that were sent twice
}

func (b *bench) run(ctx context.Context) (err error) {
	if b.records < leastRecords || b.days < 1 || b.days > 31 {
		return fmt.Errorf("%d records over %d days: at least %d records, 1 to 31 days", b.records, b.days, leastRecords)
	}
	if b.dir, err = os.MkdirTemp("", "tollkeeper-scale-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(b.dir)) }()
	fmt.Fprintf(b.out, "%d records over %d UTC days, %d customers, %d models; %s/%s, %d cores, %s\n",
		b.records, b.days, customers, len(models), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), runtime.Version())
	if err := b.open(ctx); err != nil {
		return errors.Join(err, b.close())
	}
	if err := b.fill(ctx); err != nil {
		return errors.Join(err, b.close())
	}
	if err := b.close(); err != nil {
		return err
	}
	b.sizes()
	if !b.ask {
		return nil
	}
	path, err := process.Build(ctx, b.dir)
	if err != nil {
		return err
	}
	program := &process.Program{Path: path, Dir: b.dir}
	if err := b.questions(ctx, program); err != nil || !b.verifies {
		return err
	}
	return b.verify(ctx, program)
}

const dataDir = "data"

func (b *bench) data(name string) string { return filepath.Join(b.dir, dataDir, name) }

func (b *bench) open(ctx context.Context) (err error) {
	if err := b.configure(); err != nil {
		return err
	}
	signer, err := journal.LoadSigner(filepath.Join(b.dir, "keys", "signing.key"))
	if err != nil {
		return err
	}
	if b.journal, err = journal.Open(ctx, b.data("journal.db"), journal.Options{Signer: signer}); err != nil {
		return err
	}
	p := policy()
	document, err := p.Canonical()
	if err != nil {
		return err
	}
	b.decoder = otlp.NewDecoder(p.MatchedKeys())
	if _, err := b.journal.Append(ctx, journal.Batch{Producer: "config", Kind: project.KindPolicy, Received: firstDay, Items: [][]byte{document}}); err != nil {
		return err
	}
	if b.store, err = sqlite.Open(ctx, b.data("usage")); err != nil {
		return err
	}
	b.projector, err = project.New(ctx, b.journal, b.store)
	return err
}

func (b *bench) close() (err error) {
	if b.store != nil {
		err = b.store.Close()
	}
	if b.journal != nil {
		err = errors.Join(err, b.journal.Close())
	}
	b.store, b.journal = nil, nil
	return err
}

// fill journals a part of the records and then folds it, over and over. Only
// the folding is measured.
func (b *bench) fill(ctx context.Context) error {
	fmt.Fprintf(b.out, "\n%12s %14s %14s %14s %16s\n", "records", "records/s", "records/CPU s", "CPU s/million", "cores of others")
	var rates, perCPU []float64
	began, folded := 0, time.Duration(0)
	for i := range checkpoints {
		end := b.records * (i + 1) / checkpoints
		if err := b.append(ctx, began, end); err != nil {
			return err
		}
		size, err := b.journal.Size(ctx)
		if err != nil {
			return err
		}
		m := measure()
		if err := b.projector.CatchUp(ctx, size, nil); err != nil {
			return err
		}
		m = m.since()
		n := float64(end - began)
		rates, perCPU = append(rates, n/m.wall.Seconds()), append(perCPU, n/m.cpu.Seconds())
		folded += m.wall
		fmt.Fprintf(b.out, "%12d %14.0f %14.0f %14.1f %16.2f\n", end, n/m.wall.Seconds(), n/m.cpu.Seconds(), m.cpu.Seconds()/n*1e6, m.others)
		began = end
	}
	fmt.Fprintf(b.out, "\nfolded at %.0f records/s over all; checkpoints %s records/s; the last is %.2f of the first, by CPU time %.2f\n",
		float64(b.records)/folded.Seconds(), spread(rates, "%.0f"), rates[checkpoints-1]/rates[0], perCPU[checkpoints-1]/perCPU[0])
	return b.check(ctx)
}

// batchSpans is what an OTel SDK sends at once unless it is told otherwise.
const batchSpans = 512

// resent is one of how many exports that comes twice, as after an answer that
// was lost.
const resent = 100

// append journals the records from up to end, as ingest does.
func (b *bench) append(ctx context.Context, from, end int) error {
	for ; from < end; from += batchSpans {
		to := min(from+batchSpans, end)
		body, last, err := export(from, to, b.step())
		if err != nil {
			return err
		}
		times := 1
		if from/batchSpans%resent == resent/2 {
			times, b.again = 2, b.again+to-from
		}
		for range times {
			batch := journal.Batch{Producer: "vllm", Kind: project.KindTraces, Received: last}
			stamp := usage.Stamp{Producer: "vllm"}
			counts, err := b.decoder.EachProto(body, func(o *usage.Observation, resource []byte) error {
				batch.Items = append(batch.Items, usage.AppendLine(nil, o, &stamp, resource))
				return nil
			})
			if err != nil || len(batch.Items) != to-from {
				return errors.Join(err, fmt.Errorf("%d of %d spans are usage", len(batch.Items), to-from))
			}
			batch.Rejected, batch.Ignored = counts.Rejected, counts.Ignored
			if _, err := b.journal.Append(ctx, batch); err != nil {
				return err
			}
		}
	}
	return nil
}

// step is the time from one record to the next.
func (b *bench) step() time.Duration {
	return time.Duration(b.days) * 24 * time.Hour / time.Duration(b.records)
}

// check wants every record there once, and all that was sent twice counted so.
func (b *bench) check(ctx context.Context) error {
	totals, err := b.store.Totals(ctx, usage.Range{}, 0)
	if err != nil {
		return err
	}
	var sum usage.Quantities
	for i := range totals {
		sum.AddAll(totals[i].Quantities)
	}
	tallies, err := b.store.Tallies(ctx)
	if err != nil {
		return err
	}
	verdicts := map[string]int64{}
	for _, t := range tallies {
		verdicts[t.Verdict] += t.Amount
	}
	want := map[string]int64{string(usage.Accepted): int64(b.records), string(usage.Duplicate): int64(b.again), string(usage.Conflict): 0}
	for verdict, n := range want {
		if verdicts[verdict] != n {
			return fmt.Errorf("%s: %d, want %d", verdict, verdicts[verdict], n)
		}
	}
	if requests := sum.Get(usage.Requests); requests != int64(b.records) {
		return fmt.Errorf("sums of %d requests, want %d", requests, b.records)
	}
	fmt.Fprintf(b.out, "there: each record once; %d spans that came twice, counted as duplicates\n", b.again)
	return nil
}

// sizes tells what a record takes on disk.
func (b *bench) sizes() {
	for _, name := range []string{"usage", "journal.db"} {
		var sum int64
		_ = filepath.WalkDir(b.data(name), func(_ string, d os.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			info, err := d.Info()
			if err == nil {
				sum += info.Size()
			}
			return err
		})
		fmt.Fprintf(b.out, "%s: %d MB, %d bytes a record\n", name, sum>>20, sum/int64(b.records))
	}
}

// spread is least, median and greatest.
func spread(list []float64, format string) string {
	list = slices.Sorted(slices.Values(list))
	return fmt.Sprintf(format+" / "+format+" / "+format, list[0], list[len(list)/2], list[len(list)-1])
}
