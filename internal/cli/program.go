package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tollkeeper/tollkeeper/internal/api"
)

// Program is tollkeeper as a value. The zero Now is the system's clock.
type Program struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Environ        []string // "NAME=value"
	Now            func() time.Time
}

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1 // the command ran and its answer is no, or it could not run
	exitUsage  = 2 // the command line, the configuration or the question is wrong
)

// usageError is an error of the caller's, answered by exitUsage.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// errSilent ends a command that has already said what is wrong.
var errSilent = errors.New("")

// errInterrupted is how a command ends that Ctrl-C or SIGTERM ended.
var errInterrupted = errors.New("interrupted")

// Run runs the command line and returns the exit code.
func (p *Program) Run(ctx context.Context, args []string) int {
	if p.Now == nil {
		p.Now = time.Now
	}
	root, began := p.root(), false
	marked(root, &began)
	root.SetArgs(args)
	root.SetIn(p.Stdin)
	root.SetOut(p.Stdout)
	root.SetErr(p.Stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	if errors.Is(err, context.Canceled) && ctx.Err() != nil {
		err = errInterrupted
	}
	if !errors.Is(err, errSilent) {
		fmt.Fprintln(p.Stderr, "tollkeeper: "+err.Error())
	}
	if !began || isUsage(err) {
		return exitUsage
	}
	return exitFailed
}

// marked tells by began whether a command ran: an error before is the command
// line's.
func marked(c *cobra.Command, began *bool) {
	if run := c.RunE; run != nil {
		c.RunE = func(c *cobra.Command, args []string) error {
			*began = true
			return run(c, args)
		}
	}
	for _, child := range c.Commands() {
		marked(child, began)
	}
}

// isUsage tells a question that was wrong from one whose answer is no.
func isUsage(err error) bool {
	if bad, ok := errors.AsType[*api.Error](err); ok {
		return bad.Status == http.StatusBadRequest || bad.Status == http.StatusUnprocessableEntity
	}
	return errors.As(err, &usageError{})
}

// env returns a variable of the program's environment.
func (p *Program) env(name string) string {
	for _, kv := range p.Environ {
		if v, ok := strings.CutPrefix(kv, name+"="); ok {
			return v
		}
	}
	return ""
}

func (p *Program) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "tollkeeper",
		Short: "Usage billing for self-hosted LLM inference",
		Long: `tollkeeper receives what vLLM tells by OpenTelemetry, keeps it as durable and provable usage, says who used it, prices it exactly and
invoices it. If it answered 200, it is on disk, it will be billed once, and anyone can check.`,
		Example: `  tollkeeper demo
  tollkeeper serve --data ./data
  tollkeeper usage --by customer,model --from 2026-11-01`,
		SilenceErrors: true, SilenceUsage: true,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: false},
	}
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return usageError{fmt.Errorf("%w\nSee '%s --help'", err, c.CommandPath())}
	})
	root.AddGroup(&cobra.Group{ID: groupRun, Title: "Run:"}, &cobra.Group{ID: groupRead, Title: "Read:"},
		&cobra.Group{ID: groupBusiness, Title: "Customers and money:"}, &cobra.Group{ID: groupProve, Title: "Check and prove:"})
	for _, add := range commands {
		root.AddCommand(add(p))
	}
	strict(root)
	return root
}

// strict makes cobra's own commands refuse what they do not know: they print
// their help and end well.
func strict(root *cobra.Command) {
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	for _, c := range root.Commands() {
		switch c.Name() {
		case "help":
			c.Run, c.RunE = nil, func(_ *cobra.Command, args []string) error {
				about, rest, err := root.Find(args)
				if err == nil && len(rest) > 0 {
					err = fmt.Errorf("unknown command %q for %q", rest[0], about.CommandPath())
				}
				if err != nil {
					return usageError{err}
				}
				return about.Help()
			}
		case "completion":
			parent(c)
		}
	}
}

// Groups of the help text.
const (
	groupRun      = "run"
	groupRead     = "read"
	groupBusiness = "business"
	groupProve    = "prove"
)

// commands makes each command; the order is the help text's.
var commands = []func(*Program) *cobra.Command{
	serveCommand, demoCommand, simulateCommand, tryCommand, clickhouseCommand, backupCommand, restoreCommand,
	usageCommand, requestsCommand, conflictsCommand, tallyCommand,
	customerCommand, keyCommand, tagCommand, priceCommand, invoiceCommand, auditCommand,
	explainCommand, verifyCommand, checkpointCommand, proveCommand, signingKeyCommand, rebuildCommand,
	configCommand, versionCommand,
}
