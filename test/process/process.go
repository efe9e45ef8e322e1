// Package process builds and runs the real binary, for tests that kill it or
// take its disk away, and starts the programs of others that it works with.
package process

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Patience bounds how long a test waits for what must happen, on a machine that
// does much else meanwhile.
const Patience = 60 * time.Second

// poll is how often something is looked at that tells nobody when it changes.
const poll = 2 * time.Millisecond

// Build compiles the program into dir as a release is compiled.
func Build(ctx context.Context, dir string) (string, error) {
	path := filepath.Join(dir, "tollkeeper")
	c := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", path, "github.com/tollkeeper/tollkeeper/cmd/tollkeeper")
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := c.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return path, nil
}

// Program is the binary in a working directory of its own.
type Program struct {
	Path string   // of the binary
	Dir  string   // where it runs; ./tollkeeper.yaml there is its configuration
	Env  []string // beside PATH and TMPDIR
}

// Command is a command that has not begun.
func (p *Program) Command(ctx context.Context, args ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, p.Path, args...)
	c.Dir = p.Dir
	c.Env = append([]string{"PATH=" + os.Getenv("PATH"), "TMPDIR=" + os.Getenv("TMPDIR"), "HOME=" + p.Dir}, p.Env...)
	return c
}

// Run runs a command to its end. The error holds what it said.
func (p *Program) Run(ctx context.Context, args ...string) (stdout []byte, err error) {
	c := p.Command(ctx, args...)
	var out, say bytes.Buffer
	c.Stdout, c.Stderr = &out, &say
	if err := c.Run(); err != nil {
		return out.Bytes(), fmt.Errorf("tollkeeper %s: %w\n%s%s", strings.Join(args, " "), err, out.Bytes(), say.Bytes())
	}
	return out.Bytes(), nil
}

// Server is a running `tollkeeper serve`.
type Server struct {
	GRPC, HTTP, API string // host:port, known when it is ready

	cmd   *exec.Cmd
	began time.Time
	log   serverLog
	ended chan struct{}
	err   error // how it ended
}

// Serve starts `serve --data DIR` on free ports, and does not wait for it.
func (p *Program) Serve(ctx context.Context, data string, flags ...string) (*Server, error) {
	args := []string{"serve", "--data", data, "--otlp-grpc", "127.0.0.1:0", "--otlp-http", "127.0.0.1:0", "--api", "127.0.0.1:0"}
	s := &Server{cmd: p.Command(ctx, append(args, flags...)...), ended: make(chan struct{})}
	s.log.ready = make(chan struct{})
	s.cmd.Stderr = &s.log
	s.began = time.Now()
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		s.err = s.cmd.Wait()
		close(s.ended)
	}()
	return s, nil
}

// Ready waits until the server accepts work, and tells how long that took from
// its start.
func (s *Server) Ready(ctx context.Context) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, Patience)
	defer cancel()
	select {
	case <-s.log.ready:
		took := time.Since(s.began)
		s.GRPC, s.HTTP, s.API = s.log.addresses()
		return took, nil
	case <-s.ended:
		return 0, fmt.Errorf("the server ended before it was ready: %w\n%s", s.err, s.log.String())
	case <-ctx.Done():
		return 0, fmt.Errorf("the server is not ready: %w\n%s", ctx.Err(), s.log.String())
	}
}

// ErrEnded says that the server ended by itself, and without an error.
var ErrEnded = errors.New("the server had ended before it was killed")

// Kill is kill -9; it returns when the process is gone. A server that had ended
// by itself is an error: ErrEnded, or the one it ended with.
func (s *Server) Kill() error {
	_ = s.cmd.Process.Kill() // fails when it has ended
	<-s.ended
	status, ok := s.cmd.ProcessState.Sys().(syscall.WaitStatus)
	switch {
	case ok && status.Signal() == syscall.SIGKILL:
		return nil
	case s.err == nil:
		return fmt.Errorf("%w\n%s", ErrEnded, s.log.String())
	default:
		return fmt.Errorf("the server ended by itself: %w\n%s", s.err, s.log.String())
	}
}

// Terminate asks the server to end, and does not wait.
func (s *Server) Terminate() error { return s.cmd.Process.Signal(syscall.SIGTERM) }

// Stop asks the server to end, and wants that it does so without an error.
func (s *Server) Stop(ctx context.Context) error {
	if err := s.Terminate(); err != nil {
		return err
	}
	code, err := s.Wait(ctx)
	if err == nil && code != 0 {
		err = fmt.Errorf("the server ended with exit code %d\n%s", code, s.log.String())
	}
	return err
}

// Wait waits until the server has ended, and returns its exit code; -1 when a
// signal ended it.
func (s *Server) Wait(ctx context.Context) (code int, err error) {
	ctx, cancel := context.WithTimeout(ctx, Patience)
	defer cancel()
	select {
	case <-s.ended:
		return s.cmd.ProcessState.ExitCode(), nil
	case <-ctx.Done():
		return 0, fmt.Errorf("the server does not end: %w\n%s", ctx.Err(), s.log.String())
	}
}

// Pid is the process's number.
func (s *Server) Pid() int { return s.cmd.Process.Pid }

// Log is what the server said.
func (s *Server) Log() string { return s.log.String() }

// Get asks the API and decodes the answer.
func (s *Server) Get(ctx context.Context, path string, into any) error {
	b, err := s.get(ctx, path)
	if err != nil {
		return err
	}
	return json.Unmarshal(b, into)
}

func (s *Server) get(ctx context.Context, path string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.API+path, http.NoBody)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("GET %s: %s: %s", path, resp.Status, b)
	}
	return b, err
}

// Metric is the value of a metric without labels.
func (s *Server) Metric(ctx context.Context, name string) (int64, error) {
	b, err := s.get(ctx, "/metrics")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if text, ok := strings.CutPrefix(line, name+" "); ok {
			value, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
			return int64(value), err
		}
	}
	return 0, fmt.Errorf("there is no metric %s", name)
}

// Settle waits until usage has everything that is on disk.
func (s *Server) Settle(ctx context.Context) error {
	return Until(ctx, "usage has everything that is on disk", func() (bool, error) {
		lag, err := s.Metric(ctx, "tollkeeper_projection_lag_entries")
		return lag == 0, err
	})
}

// Until polls a condition.
func Until(ctx context.Context, what string, condition func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, Patience)
	defer cancel()
	for {
		if ok, err := condition(); ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("it did not happen that %s: %w", what, ctx.Err())
		case <-time.After(poll):
		}
	}
}

// serverLog keeps what the server says, and finds the line that says it is ready.
type serverLog struct {
	mu    sync.Mutex
	text  bytes.Buffer
	line  bytes.Buffer // the last one, that has not ended
	found readyLine
	ready chan struct{}
}

type readyLine struct {
	Msg  string `json:"msg"`
	GRPC string `json:"otlp_grpc"`
	HTTP string `json:"otlp_http"`
	API  string `json:"api"`
}

// Write takes what the server says.
func (l *serverLog) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text.Write(b)
	for _, c := range b {
		if c != '\n' {
			l.line.WriteByte(c)
			continue
		}
		var r readyLine
		if json.Unmarshal(l.line.Bytes(), &r) == nil && r.Msg == "ready" && l.found.Msg == "" {
			l.found = r
			close(l.ready)
		}
		l.line.Reset()
	}
	return len(b), nil
}

// String is all that was said.
func (l *serverLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (l *serverLog) addresses() (grpc, http, api string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.found.GRPC, l.found.HTTP, l.found.API
}
