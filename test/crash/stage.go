package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"github.com/tollkeeper/tollkeeper/test/process"
)

const (
	// shortest and longest time of load before a kill.
	shortest = 20 * time.Millisecond
	longest  = 500 * time.Millisecond
	// drainLongest is how long a server that was told to end may live.
	drainLongest = 20 * time.Millisecond
	// firstStartLongest is about what a first start takes.
	firstStartLongest = 250 * time.Millisecond
	// catchUpLongest is about what folding takes of what comes in `longest`.
	catchUpLongest = 50 * time.Millisecond
	// firstStarts is how often a first start is killed before one is let through.
	firstStarts = 3
	// checkedRecords is the limit of the API.
	checkedRecords = 100_000
)

// stage is the data directory in use, its server and its clients.
type stage struct {
	path    string
	chance  *rand.Rand
	program *process.Program
	dir     string
	server  *process.Server // nil: none runs
	clients *clients
	kept    string // a signed checkpoint of the round before, kept outside of the data
}

const (
	dataDir  = "data"
	usageDir = "data/usage"
)

// settings make the server say who pays for what, so that this too is checked.
const settings = `signing_key: keys/signing.key
engines: [ { match: { service.name: opt-125m }, model: facebook/opt-125m } ]
attribution:
  order: [request_id]
  request_id: [ '^(chat)?cmpl-(?P<customer>[a-z]+)-' ]
`

// next goes on with a fresh directory.
func (s *stage) next(dir string) error {
	if err := s.end(); err != nil {
		return err
	}
	if s.dir != "" {
		if err := os.RemoveAll(s.dir); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "tollkeeper.yaml"), []byte(settings), 0o600); err != nil {
		return err
	}
	s.dir, s.kept = dir, ""
	s.program = &process.Program{Path: s.path, Dir: dir}
	var err error
	s.clients, err = newClients(s.chance.Uint64(), dir, time.Now())
	return err
}

// end ends what runs, if anything does.
func (s *stage) end() error {
	var err error
	if s.server != nil {
		err = s.server.Kill()
		s.server = nil
	}
	if s.clients != nil {
		err = errors.Join(err, s.clients.close())
		s.clients = nil
	}
	return err
}

// moment is a random time up to most.
func (s *stage) moment(least, most time.Duration) time.Duration {
	return least + time.Duration(s.chance.Int64N(int64(most-least)+1))
}

func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

func (s *stage) serve(ctx context.Context, flags ...string) (err error) {
	s.server, err = s.program.Serve(ctx, dataDir, flags...)
	return err
}

func (s *stage) kill(r *round) error {
	err := s.server.Kill()
	s.server = nil
	r.kills++
	return err
}

// firstStart kills a server that makes its directory and its keys.
func (s *stage) firstStart(ctx context.Context, r *round) error {
	for range firstStarts {
		if err := s.serve(ctx); err != nil {
			return err
		}
		at := s.moment(0, firstStartLongest)
		if err := wait(ctx, at); err != nil {
			return err
		}
		if err := s.kill(r); err != nil {
			return err
		}
		r.note += fmt.Sprintf("%d ", at.Milliseconds())
	}
	r.note += "ms after start"
	return nil
}

// underLoad kills a server that works.
func (s *stage) underLoad(ctx context.Context, r *round) error {
	at := s.moment(shortest, longest)
	r.note = fmt.Sprintf("%d ms", at.Milliseconds())
	return s.loaded(ctx, r, func() error {
		if err := wait(ctx, at); err != nil {
			return err
		}
		return s.kill(r)
	})
}

// loaded sends from all clients until end has ended the server.
func (s *stage) loaded(ctx context.Context, r *round, end func() error) error {
	sending, stop := context.WithCancel(ctx)
	defer stop()
	type outcome struct {
		counts
		err error
	}
	done := make(chan outcome, 1)
	server := s.server
	go func() {
		c, err := s.clients.load(sending, server)
		done <- outcome{c, err}
	}()
	err := end()
	stop()
	o := <-done
	r.counts.add(o.counts)
	return errors.Join(err, o.err)
}

// drain kills a server that was told to end and finishes what was begun.
func (s *stage) drain(ctx context.Context, r *round) error {
	load, after := s.moment(shortest, longest), s.moment(0, drainLongest)
	return s.loaded(ctx, r, func() error {
		if err := wait(ctx, load); err != nil {
			return err
		}
		if err := s.server.Terminate(); err != nil {
			return err
		}
		if err := wait(ctx, after); err != nil {
			return err
		}
		err := s.server.Kill()
		s.server = nil
		if errors.Is(err, process.ErrEnded) { // it was faster
			r.note = "ended before the kill"
			return nil
		}
		r.kills++
		r.note = fmt.Sprintf("%d ms after SIGTERM", after.Milliseconds())
		return err
	})
}

// catchUp kills a server that folds what was received while it did not fold, or
// all there is, when usage was deleted.
func (s *stage) catchUp(ctx context.Context, r *round) error {
	if err := s.server.Stop(ctx); err != nil {
		return err
	}
	if err := s.ready(ctx, "--pause-projection"); err != nil {
		return err
	}
	err := s.loaded(ctx, r, func() error {
		if err := wait(ctx, longest); err != nil {
			return err
		}
		return s.kill(r)
	})
	if err != nil {
		return err
	}
	if s.chance.IntN(2) == 0 {
		if err := os.RemoveAll(filepath.Join(s.dir, usageDir)); err != nil {
			return err
		}
	}
	if err := s.ready(ctx); err != nil {
		return err
	}
	if err := wait(ctx, s.moment(0, catchUpLongest)); err != nil {
		return err
	}
	total, err := s.server.Metric(ctx, "tollkeeper_journal_entries")
	if err != nil {
		return err
	}
	if err := s.kill(r); err != nil {
		return err
	}
	folded, err := s.folded(ctx)
	r.note = fmt.Sprintf("%d of %d entries folded", folded, total)
	return err
}

func (s *stage) ready(ctx context.Context, flags ...string) error {
	if err := s.serve(ctx, flags...); err != nil {
		return err
	}
	_, err := s.server.Ready(ctx)
	return err
}

// folded asks what is on disk how far usage is.
func (s *stage) folded(ctx context.Context) (entry uint64, err error) {
	out, err := s.program.Run(ctx, "usage", "--data", dataDir, "-o", "json")
	if err != nil {
		return 0, err
	}
	var u struct {
		AsOf struct {
			Journals map[string]uint64 `json:"journals"`
		} `json:"as_of"`
	}
	err = json.Unmarshal(out, &u)
	for _, n := range u.AsOf.Journals {
		entry = n
	}
	return entry, err
}

// rebuild kills a rebuild, at a moment of the time that a whole one takes.
func (s *stage) rebuild(ctx context.Context, r *round) error {
	if err := s.underLoad(ctx, r); err != nil {
		return err
	}
	began := time.Now()
	if _, err := s.program.Run(ctx, "rebuild", "--data", dataDir); err != nil {
		return err
	}
	whole := time.Since(began)
	c := s.program.Command(ctx, "rebuild", "--data", dataDir)
	if err := c.Start(); err != nil {
		return err
	}
	at := s.moment(0, whole)
	if err := wait(ctx, at); err != nil {
		return err
	}
	r.note = fmt.Sprintf("%d of about %d ms", at.Milliseconds(), whole.Milliseconds())
	if err := c.Process.Kill(); err == nil {
		r.kills++
	}
	if c.Wait() == nil {
		r.kills--
		r.note = "ended before the kill"
	}
	return nil
}

// restart starts the server on what the kill left, waits until usage has what
// the journal has, and checks everything.
func (s *stage) restart(ctx context.Context, r *round) error {
	if err := s.serve(ctx); err != nil {
		return err
	}
	var err error
	if r.restart, err = s.server.Ready(ctx); err != nil {
		return err
	}
	if err := s.server.Settle(ctx); err != nil {
		return err
	}
	if r.result, err = s.check(ctx); err != nil {
		return err
	}
	return s.verify(ctx)
}

// check compares the records with what the clients remember.
func (s *stage) check(ctx context.Context) (*result, error) {
	var sent []remembered
	for _, c := range s.clients.all {
		exports, err := readLedger(s.clients.ledgerPath(c.index))
		if err != nil {
			return nil, err
		}
		for n, acked := range exports {
			sent = append(sent, remembered{fmt.Sprintf("client %d, export %d", c.index, n), acked, s.clients.export(c.index, n)})
		}
	}
	var answer struct {
		Records []record `json:"records"`
		More    bool     `json:"more"`
	}
	if err := s.server.Get(ctx, fmt.Sprintf("/v1/requests?limit=%d", checkedRecords), &answer); err != nil {
		return nil, err
	}
	if answer.More {
		return nil, errors.New("there are more records than one answer holds: load less, or take a fresh directory sooner")
	}
	var u usage
	if err := s.server.Get(ctx, "/v1/usage", &u); err != nil {
		return nil, err
	}
	r := check(sent, answer.Records)
	r.sums(&u)
	return r, nil
}

// verify runs the command, with the operator's key and the checkpoint of the
// round before, and keeps the newest checkpoint.
func (s *stage) verify(ctx context.Context) error {
	args := []string{"verify", "--data", dataDir, "--key", filepath.Join("keys", "signing.key.pub")}
	if s.kept != "" {
		args = append(args, "--checkpoint", s.kept)
	}
	if _, err := s.program.Run(ctx, args...); err != nil {
		return err
	}
	note, err := s.program.Run(ctx, "checkpoint", "--data", dataDir)
	if err != nil {
		return err
	}
	s.kept = "checkpoint.txt"
	return os.WriteFile(filepath.Join(s.dir, s.kept), note, 0o600)
}
