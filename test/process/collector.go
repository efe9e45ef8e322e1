package process

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// FindCollector is the path of the Collector's program; without one the test is skipped.
func FindCollector(t *testing.T) string {
	t.Helper()
	path := os.Getenv("OTELCOL")
	if path == "" {
		path = filepath.Join(os.TempDir(), "collector", "otelcol")
	}
	if _, err := os.Stat(path); err != nil {
		t.Skipf("no Collector at %s: ../shared/images/collector builds it, or set OTELCOL", path)
	}
	return path
}

// StartCollector starts a stock Collector, and waits until it listens at an
// address: that of a receiver, which the Collector starts last. Env comes beside
// the test's own.
func StartCollector(t *testing.T, path, config, address string, env ...string) (kill func()) {
	t.Helper()
	name := filepath.Join(t.TempDir(), "collector.yaml")
	if err := os.WriteFile(name, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	c := exec.Command(path, "--config", name)
	c.Env = append(os.Environ(), env...)
	kill, ended := Start(t, c)
	err := Until(t.Context(), "the Collector listens at "+address, func() (bool, error) {
		select {
		case <-ended:
			return false, fmt.Errorf("the Collector ended before it listened: %s", c.ProcessState)
		default:
		}
		conn, err := net.Dial("tcp", address)
		if err == nil {
			conn.Close()
		}
		return err == nil, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return kill
}

// Start starts a program of others. It is killed at the test's end, and the last
// of what it said is shown when the test has failed.
func Start(t *testing.T, c *exec.Cmd) (kill func(), ended <-chan struct{}) {
	t.Helper()
	var log bytes.Buffer
	c.Stdout, c.Stderr = &log, &log
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		_ = c.Wait() // that it was killed is no news
		close(done)
	}()
	kill = func() {
		_ = c.Process.Kill() // it may have ended
		<-done
	}
	t.Cleanup(func() {
		kill()
		if t.Failed() {
			t.Logf("%s said:\n%s", filepath.Base(c.Path), log.Bytes()[max(0, log.Len()-4000):])
		}
	})
	return kill, done
}

// FreeAddress is one that nobody listens at now.
func FreeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
