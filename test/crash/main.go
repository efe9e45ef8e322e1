// Command crash kills the real binary with kill -9 at random moments under load,
// and checks after each restart that what was acknowledged is in the records
// exactly once, that nothing is there that nobody sent, and that verify agrees.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/tollkeeper/tollkeeper/test/process"
)

func main() {
	rounds := flag.Int("rounds", 100, "how many rounds")
	seed := flag.Uint64("seed", uint64(time.Now().UnixNano()), "of all chance that is ours: moments, spans, repetitions")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Stdout, *rounds, *seed)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "crash:", err)
		os.Exit(1)
	}
}

// roundsPerDirectory keeps the data of a round small: each check reads all of
// its directory.
const roundsPerDirectory = 5

// plan are the rounds of two directories, over and over. A directory begins
// with its first start.
var plan = [2 * roundsPerDirectory]struct {
	name string
	do   func(*stage, context.Context, *round) error
}{
	{"first start", (*stage).firstStart},
	{"load", (*stage).underLoad},
	{"catch-up", (*stage).catchUp},
	{"load", (*stage).underLoad},
	{"rebuild", (*stage).rebuild},
	{"first start", (*stage).firstStart},
	{"load", (*stage).underLoad},
	{"drain", (*stage).drain},
	{"load", (*stage).underLoad},
	{"load", (*stage).underLoad},
}

// round is one line of the report.
type round struct {
	kills   int
	note    string // at what moment
	counts  counts
	restart time.Duration
	result  *result
}

func run(ctx context.Context, w io.Writer, rounds int, seed uint64) (err error) {
	dir, err := os.MkdirTemp("", "tollkeeper-crash-")
	if err != nil {
		return err
	}
	defer func() {
		if err == nil {
			err = os.RemoveAll(dir)
		} else {
			err = fmt.Errorf("%w\nall of it is kept in %s; -seed %d makes the same choices again", err, dir, seed)
		}
	}()
	fmt.Fprintf(w, "seed %d, %d connections\n", seed, connections)
	path, err := process.Build(ctx, dir)
	if err != nil {
		return err
	}
	began := time.Now()
	t := &totals{}
	s := &stage{path: path, chance: rand.New(rand.NewPCG(seed, 0))} //nolint:gosec // chance that can be repeated
	defer func() { err = errors.Join(err, s.end()) }()
	for i := range rounds {
		if i%roundsPerDirectory == 0 {
			if err := s.next(filepath.Join(dir, fmt.Sprintf("%03d", i/roundsPerDirectory+1))); err != nil {
				return err
			}
		}
		step := plan[i%len(plan)]
		r := &round{}
		err := step.do(s, ctx, r)
		if err == nil {
			err = s.restart(ctx, r)
		}
		if err != nil {
			return fmt.Errorf("round %d, %s: %w", i+1, step.name, err)
		}
		fmt.Fprintf(w, "%4d/%d  %-11s  %-27s  sent %4d  acked %4d  in doubt %2d  again %3d │ there: spans %5d  records %5d  unacked %2d │ restart %3d ms  %s\n",
			i+1, rounds, step.name, r.note, r.counts.sent, r.counts.acked, r.counts.doubt, r.counts.again,
			r.result.spans, r.result.records, r.result.unacked, r.restart.Milliseconds(), verdict(r.result.findings))
		t.add(r, (i+1)%roundsPerDirectory == 0 || i == rounds-1)
		if len(r.result.findings) > 0 {
			return tell(r.result.findings)
		}
	}
	t.print(w, rounds, time.Since(began))
	return nil
}

func verdict(f []finding) string {
	if len(f) == 0 {
		return "ok, verified"
	}
	return "FAILED"
}

// tell names the first of the findings.
func tell(f []finding) error {
	const most = 10
	var errs []error
	for _, x := range f[:min(len(f), most)] {
		errs = append(errs, fmt.Errorf("%s: %s", x.kind, x.detail))
	}
	return fmt.Errorf("%d findings, the first:\n%w", len(f), errors.Join(errs...))
}

// totals sum up the rounds.
type totals struct {
	kills    int
	counts   counts
	exports  int // acknowledged, each once
	spans    int
	unacked  int
	restarts []time.Duration
}

// add counts what is there once for each directory: at its last round.
func (t *totals) add(r *round, last bool) {
	t.kills += r.kills
	t.counts.add(r.counts)
	t.restarts = append(t.restarts, r.restart)
	if last {
		t.exports += r.result.acked
		t.spans += r.result.spans
		t.unacked += r.result.unacked
	}
}

func (t *totals) print(w io.Writer, rounds int, took time.Duration) {
	if rounds == 0 {
		return
	}
	slices.Sort(t.restarts)
	fmt.Fprintf(w, "%d rounds, %d times kill -9, in %d s: %d exports sent (%d of them again), %d answered, %d in doubt.\n",
		rounds, t.kills, int(took.Seconds()), t.counts.sent, t.counts.again, t.counts.acked, t.counts.doubt)
	fmt.Fprintf(w, "Of %d acknowledged exports 0 are missing, 0 torn, 0 twice; 0 invented; %d were kept whose answer was lost; %d spans. verify: OK each time.\n",
		t.exports, t.unacked, t.spans)
	fmt.Fprintf(w, "Restart until ready: median %d ms, longest %d ms.\n", t.restarts[len(t.restarts)/2].Milliseconds(), t.restarts[len(t.restarts)-1].Milliseconds())
}
