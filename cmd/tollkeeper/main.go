// Command tollkeeper meters, prices and invoices self-hosted LLM inference.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	_ "time/tzdata" // a container may have no time zones

	"github.com/tollkeeper/tollkeeper/internal/cli"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // the first asks for an orderly end, a second one ends at once
	p := cli.Program{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Environ: os.Environ()}
	code := p.Run(ctx, os.Args[1:])
	stop()
	os.Exit(code)
}
