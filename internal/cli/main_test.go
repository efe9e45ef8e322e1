package cli_test

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/tollkeeper/tollkeeper/internal/cli"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"tollkeeper": tollkeeper})
}

// clockVariable stops the clock of a program that a script runs; main has no such thing.
const clockVariable = "CLOCK"

// tollkeeper is main, for scripts.
func tollkeeper() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	p := cli.Program{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Environ: os.Environ()}
	if at, err := time.Parse(time.RFC3339, os.Getenv(clockVariable)); err == nil {
		p.Now = func() time.Time { return at }
	}
	code := p.Run(ctx, os.Args[1:])
	stop()
	os.Exit(code)
}
