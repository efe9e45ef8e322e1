package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/tollkeeper/tollkeeper/test/process"
)

// How often each question is put; the first answers come from files that the
// server has not opened yet.
const (
	sumQuestions   = 20
	traceQuestions = 200
	invoices       = 10
)

// questions starts the real binary on the directory and puts questions to it.
func (b *bench) questions(ctx context.Context, program *process.Program) (err error) {
	server, err := program.Serve(ctx, dataDir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Stop(ctx)) }()
	ready, err := server.Ready(ctx)
	if err != nil {
		return err
	}
	if err := server.Settle(ctx); err != nil {
		return err
	}
	fmt.Fprintf(b.out, "serve: ready after %d ms, %d MB resident\n", ready.Milliseconds(), resident(server.Pid()))
	r := rand.New(rand.NewPCG(2, uint64(b.records))) //nolint:gosec // a benchmark wants the same again
	for _, q := range []question{
		{"usage by customer and day", sumQuestions, b.byDay},
		{"request by trace id", traceQuestions, func() (string, any, func() error) { return b.byTrace(r.IntN(b.records)) }},
		{"totals of the month by customer and model", sumQuestions, b.ofMonth},
		{"a customer's invoice of the month", invoices, func() (string, any, func() error) { return b.draft(r.IntN(customers)) }},
	} {
		if err := q.put(ctx, b, server); err != nil {
			return fmt.Errorf("%s: %w", q.name, err)
		}
	}
	fmt.Fprintf(b.out, "serve: %d MB resident after all questions\n", resident(server.Pid()))
	return nil
}

// verify replays the journal into another projection and compares the two.
func (b *bench) verify(ctx context.Context, program *process.Program) error {
	cmd := program.Command(ctx, "verify", "--data", dataDir, "-o", "json")
	began := time.Now()
	if out, err := cmd.Output(); err != nil {
		return fmt.Errorf("verify: %w: %s", err, out)
	}
	took := time.Since(began)
	used, _ := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	fmt.Fprintf(b.out, "verify: clean after %.1f s, %.0f observations/s, %.1f CPU s, %d MB resident at most\n",
		took.Seconds(), float64(b.records+b.again)/took.Seconds(), (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds(), used.Maxrss>>10)
	return nil
}

// question is put some times. ask makes its path, where to decode the answer,
// and what says whether that is right.
type question struct {
	name  string
	times int
	ask   func() (path string, answer any, check func() error)
}

func (q question) put(ctx context.Context, b *bench, s *process.Server) error {
	var took []float64
	for range q.times {
		path, answer, check := q.ask()
		began := time.Now()
		if err := s.Get(ctx, path, answer); err != nil {
			return err
		}
		took = append(took, float64(time.Since(began).Microseconds())/1000)
		if err := check(); err != nil {
			return err
		}
	}
	fmt.Fprintf(b.out, "%-46s %s ms, the first %.1f ms (%d times)\n", q.name, spread(took, "%.1f"), took[0], q.times)
	return nil
}

type sums struct {
	Rows  []struct{} `json:"rows"`
	Total struct {
		Requests int `json:"requests"`
	} `json:"total"`
}

func (b *bench) sums(query url.Values) (string, any, func() error) {
	a := &sums{}
	return "/v1/usage?" + query.Encode(), a, func() error {
		if a.Total.Requests != b.records || len(a.Rows) < customers {
			return fmt.Errorf("%d rows of %d requests", len(a.Rows), a.Total.Requests)
		}
		return nil
	}
}

func (b *bench) byDay() (string, any, func() error) {
	return b.sums(url.Values{"by": {"customer,day"}})
}

func (b *bench) ofMonth() (string, any, func() error) {
	return b.sums(url.Values{"by": {"customer,model"}, "from": {firstDay.Format(time.RFC3339)}, "to": {firstDay.AddDate(0, 1, 0).Format(time.RFC3339)}})
}

func (b *bench) byTrace(i int) (string, any, func() error) {
	q := requestOf(i)
	a := &struct {
		Records []struct {
			Customer  string `json:"customer"`
			RequestID string `json:"request_id"`
		} `json:"records"`
	}{}
	return "/v1/requests?trace=" + q.trace.String(), a, func() error {
		if len(a.Records) != 1 || a.Records[0].RequestID != q.id || a.Records[0].Customer != q.customer {
			return fmt.Errorf("trace %s: %+v, want %s", q.trace, a.Records, q.id)
		}
		return nil
	}
}

func (b *bench) draft(customer int) (string, any, func() error) {
	a := &struct {
		Lines []struct{} `json:"lines"`
	}{}
	return fmt.Sprintf("/v1/drafts?customer=c%d&month=%s", customer, month), a, func() error {
		if len(a.Lines) == 0 {
			return errors.New("an invoice without lines")
		}
		return nil
	}
}

// resident is the memory of a process in MB.
func resident(pid int) int {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	var kb int
	for line := range strings.Lines(string(b)) {
		if _, err := fmt.Sscanf(line, "VmRSS: %d kB", &kb); err == nil {
			return kb >> 10
		}
	}
	return 0
}
