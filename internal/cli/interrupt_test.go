package cli_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
)

// countdown is a context that somebody cancels, as Ctrl-C does, when it has been
// looked at so many times.
type countdown struct {
	context.Context
	cancel context.CancelFunc
	left   atomic.Int64
}

func newCountdown(ctx context.Context, n int64) *countdown {
	c := &countdown{}
	c.Context, c.cancel = context.WithCancel(ctx)
	c.left.Store(n)
	return c
}

func (c *countdown) Done() <-chan struct{} {
	if c.left.Add(-1) <= 0 {
		c.cancel()
	}
	return c.Context.Done()
}

// interrupted runs a command again and again, each time cancelled later, until it
// gets through; after is asked after each. It returns what the whole one said.
func (h *house) interrupted(after func(done bool), args ...string) string {
	h.t.Helper()
	cut := 0
	for n := int64(1); ; n += n/4 + 1 {
		var stdout, stderr bytes.Buffer
		ctx := newCountdown(h.t.Context(), n)
		code := h.program(&stdout, &stderr).Run(ctx, args)
		ctx.cancel()
		if code == 0 {
			if after(true); cut < 3 {
				h.t.Errorf("%s: interrupted %d times only", args[0], cut)
			}
			return stdout.String()
		}
		cut++
		if code != 1 || !strings.HasPrefix(stderr.String(), "tollkeeper: interrupted") || strings.Count(stderr.String(), "\n") != 1 || stdout.Len() > 0 {
			h.t.Errorf("%s, cancelled at %d: exit code %d, says %q and prints %q", args[0], n, code, &stderr, &stdout)
		}
		after(false)
	}
}

// TestInterrupted: wherever Ctrl-C meets a command, it says so, claims nothing,
// and leaves all as it was or as it should be.
func TestInterrupted(t *testing.T) {
	scratch := t.TempDir()
	t.Setenv("TMPDIR", scratch)
	h := newHouse(t)
	stop := h.serve()
	for _, name := range []string{"seed", "chat-n3", "many-at-once", "beam-search"} {
		h.send(filepath.Join(recordings, name), false)
	}
	before := h.command("requests", "--data", h.data, "-o", "json")
	stop()

	t.Run("verify", func(t *testing.T) {
		verdict := h.interrupted(func(bool) {
			if left, err := os.ReadDir(scratch); err != nil || len(left) > 0 {
				t.Errorf("left behind: %v, %v", left, err)
			}
		}, "verify", "--data", h.data)
		if !strings.HasPrefix(verdict, "OK: ") {
			t.Error(verdict)
		}
	})

	t.Run("rebuild", func(t *testing.T) {
		h.interrupted(func(done bool) {
			var stdout, stderr bytes.Buffer
			code := h.program(&stdout, &stderr).Run(t.Context(), []string{"requests", "--data", h.data, "-o", "json"})
			whole := code == 0 && stdout.String() == before
			told := code != 0 || strings.HasPrefix(stderr.String(), "Usage lacks the last ")
			if !whole && (done || !told) {
				t.Errorf("%d, says %q:\n%s", code, &stderr, &stdout)
			}
		}, "rebuild", "--data", h.data)
	})

	t.Run("backup and restore", func(t *testing.T) {
		backup, data := filepath.Join(h.home, "backup"), filepath.Join(h.home, "restored")
		h.interrupted(func(done bool) {
			for name, want := range map[string]bool{backup: done, backup + ".unfinished": false} {
				if _, err := os.Stat(name); (err == nil) != want {
					t.Errorf("%s: %v", name, err)
				}
			}
		}, "backup", "--data", h.data, "--to", backup)
		h.interrupted(func(done bool) {
			if left, err := os.ReadDir(data); err != nil || !done && len(left) != 1 { // its lock
				t.Errorf("left behind: %v, %v", left, err)
			}
		}, "restore", backup, "--data", data)
		h.command("rebuild", "--data", data)
		if got := h.command("requests", "--data", data, "-o", "json"); got != before {
			t.Errorf("restored\n%s\nwant\n%s", got, before)
		}
	})

	t.Run("price apply", func(t *testing.T) {
		file := filepath.Join(h.home, "prices.yaml")
		prices := "currency: USD\nprices: [ { model: facebook/opt-125m, from: 2026-01-01, per: 1000, input_tokens: 1 } ]\n"
		if err := os.WriteFile(file, []byte(prices), 0o600); err != nil {
			t.Fatal(err)
		}
		h.interrupted(func(done bool) {
			versions := strings.Count(h.command("price", "versions", "--data", h.data, "-o", "csv"), "\n") - 1
			logged := strings.Count(h.command("audit", "--data", h.data, "-o", "csv"), "price_book.apply")
			if versions != logged || versions > 1 || done && versions != 1 {
				t.Errorf("%d versions, %d lines of the audit log", versions, logged)
			}
		}, "price", "apply", file, "--data", h.data)
	})
}
