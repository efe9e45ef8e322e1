package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// shell is one bash in which commands run one after another, as somebody at a
// terminal types them: folder and variables stay.
type shell struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

// ends marks the end of a command's output; the exit status stands behind it.
const ends = "\x1eended"

func newShell(ctx context.Context, folder string) (*shell, error) {
	s := &shell{cmd: exec.CommandContext(ctx, "bash")}
	s.cmd.Dir = folder
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // with what runs in the background
	s.cmd.Cancel = func() error { return syscall.Kill(-s.cmd.Process.Pid, syscall.SIGTERM) }
	var err error
	if s.in, err = s.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	s.cmd.Stderr = s.cmd.Stdout
	s.out = bufio.NewReader(out)
	return s, s.cmd.Start()
}

// exitError is a command's failure.
type exitError int

func (e exitError) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// run runs a command to its end. The error is an exitError where it failed;
// its output is there all the same.
func (s *shell) run(ctx context.Context, command string) (output string, err error) {
	return s.fed(ctx, command, "")
}

// fed runs a command that reads input.
func (s *shell) fed(ctx context.Context, command, input string) (output string, err error) {
	from := "</dev/null"
	if input != "" {
		from = "<<'INPUT'\n" + input + "\nINPUT"
	}
	if _, err := fmt.Fprintf(s.in, "{ %s\n} %s\nprintf '\\n%s %%d\\n' $?\n", command, from, ends); err != nil {
		return "", errors.Join(err, ctx.Err())
	}
	var said strings.Builder
	for {
		line, err := s.out.ReadString('\n')
		if err != nil {
			return said.String(), errors.Join(fmt.Errorf("the shell ended: %w", err), ctx.Err())
		}
		status, ended := strings.CutPrefix(line, ends+" ")
		if !ended {
			said.WriteString(line)
			continue
		}
		code, err := strconv.Atoi(strings.TrimSpace(status))
		if err == nil && code != 0 {
			err = fmt.Errorf("%w\n%s", exitError(code), said.String())
		}
		return strings.TrimSuffix(said.String(), "\n"), err
	}
}

// background starts a command that goes on, and waits until the local port that
// it serves takes connections. The one that served it before is ended: a
// forwarded port stays open when the Pod behind it is gone.
func (s *shell) background(ctx context.Context, command string, port int) error {
	before := fmt.Sprintf("serves_%d", port)
	if _, err := s.run(ctx, fmt.Sprintf(`[ -z "$%s" ] || { kill "$%[1]s"; wait "$%[1]s"; }`+" 2>/dev/null\n%[2]s >/dev/null 2>&1 & %[1]s=$!", before, command)); err != nil {
		return err
	}
	return until(ctx, startTime, fmt.Sprintf("port %d", port), func() error {
		c, err := (&net.Dialer{}).DialContext(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			err = c.Close()
		}
		return err
	})
}

// close ends the shell and what it left running.
func (s *shell) close() error {
	_ = syscall.Kill(-s.cmd.Process.Pid, syscall.SIGTERM)
	_ = s.cmd.Wait() // killed, by us
	return nil
}

const (
	// startTime is how long a forwarded port may take to open.
	startTime = 20 * time.Second
	// pollEvery is how often a condition is looked at.
	pollEvery = 500 * time.Millisecond
)

// until polls a condition until it gives no error; else the last one is told.
func until(ctx context.Context, limit time.Duration, what string, condition func() error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		err := condition()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: not within %s: %w", what, limit, err)
		case <-tick.C:
		}
	}
}
