// Command clickhouse stands in for `clickhouse client` where there is none: it
// takes statements on standard input, parted by semicolons, and prints answers
// as that prints them into a pipe.
//
//	clickhouse client --password P [--host H] [--port N] [--user U] [--database D] [--format F] [--query SQL]
package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

func main() { os.Exit(run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }

// Formats that answers can have.
const (
	tabSeparated  = "TabSeparated"
	withNames     = "TabSeparatedWithNames"
	vertical      = "Vertical"
	jsonEachRow   = "JSONEachRow"
	exitUsage     = 2
	exitUnknown   = 1
	maxExit       = 255
	usage         = "usage: clickhouse client --password P [--host H] [--port N] [--user U] [--database D] [--format F] [--query SQL]"
	defaultFormat = tabSeparated
)

// formats are those that are known, and their short names.
var formats = map[string]string{
	"tsv": tabSeparated, "tabseparated": tabSeparated, "tsvwithnames": withNames, "tabseparatedwithnames": withNames, "vertical": vertical, "jsoneachrow": jsonEachRow,
}

// run is the program; it returns the exit code.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	if len(args) == 0 || args[0] != "client" {
		fmt.Fprintln(stderr, usage)
		return exitUsage
	}
	f := flag.NewFlagSet("clickhouse client", flag.ContinueOnError)
	f.SetOutput(stderr)
	host := f.String("host", "localhost", "the server")
	port := f.String("port", "9000", "its port for the native protocol")
	user := f.String("user", "default", "who asks")
	password := f.String("password", "", "its password")
	database := f.String("database", "default", "where tables are that no database is named for")
	format := f.String("format", defaultFormat, "of answers: TabSeparated, TabSeparatedWithNames, Vertical or JSONEachRow")
	query := f.String("query", "", "the statements, in place of standard input")
	if err := f.Parse(args[1:]); err != nil {
		return exitUsage
	}
	if formats[strings.ToLower(*format)] == "" || f.NArg() > 0 {
		fmt.Fprintf(stderr, "%s\nunknown format or argument: %s\n", usage, strings.Join(append([]string{*format}, f.Args()...), " "))
		return exitUsage
	}
	text := *query
	if text == "" {
		b, err := io.ReadAll(stdin)
		if err != nil {
			fmt.Fprintln(stderr, err)
			return exitUnknown
		}
		text = string(b)
	}
	conn, err := clickhouse.Open(&clickhouse.Options{
		Addr: []string{net.JoinHostPort(*host, *port)}, Auth: clickhouse.Auth{Database: *database, Username: *user, Password: *password}, MaxOpenConns: 1,
	})
	if err != nil {
		fmt.Fprintln(stderr, err)
		return exitUnknown
	}
	defer conn.Close()
	c := &client{conn: conn, out: bufio.NewWriter(stdout), format: *format}
	for _, s := range split(text) {
		if err := errors.Join(c.ask(ctx, s), c.out.Flush()); err != nil {
			return told(stderr, err, s)
		}
	}
	return 0
}

// told prints an error as the client does; its code is the exit code.
func told(w io.Writer, err error, statement string) int {
	e, ok := errors.AsType[*clickhouse.Exception](err)
	if !ok {
		fmt.Fprintln(w, err)
		return exitUnknown
	}
	fmt.Fprintf(w, "Received exception from server:\nCode: %d. DB::Exception: %s\n(query: %s)\n", e.Code, e.Message, statement)
	return cmp.Or(int(e.Code)&maxExit, exitUnknown)
}

type client struct {
	conn   driver.Conn
	out    *bufio.Writer
	format string
}

var (
	// answering are the statements that have an answer.
	answering = regexp.MustCompile(`(?is)^\s*\(*\s*(select|with|show|describe|desc|explain|exists|values|check|from)\b`)
	// asks finds the format that a statement asks for itself.
	asks = regexp.MustCompile(`(?is)\sformat\s+(\w+)\s*$`)
)

// ask runs one statement and prints its answer, if it has one.
func (c *client) ask(ctx context.Context, statement string) error {
	if !answering.MatchString(statement) {
		return c.conn.Exec(ctx, statement)
	}
	format := c.format
	if m := asks.FindStringSubmatch(statement); m != nil {
		format, statement = m[1], statement[:len(statement)-len(m[0])]
	}
	if strings.EqualFold(format, "null") {
		return c.conn.Exec(ctx, statement)
	}
	known := formats[strings.ToLower(format)]
	if known == "" {
		return fmt.Errorf("this client does not know the format %s: use TabSeparated, TabSeparatedWithNames, Vertical or JSONEachRow", format)
	}
	rows, err := c.conn.Query(ctx, statement)
	if err != nil {
		return err
	}
	defer rows.Close()
	return c.print(rows, known)
}

// split parts statements at the semicolons that stand neither in quotes nor in
// comments.
func split(text string) (out []string) {
	begin := 0
	add := func(end int) {
		if s := strings.TrimSpace(text[begin:end]); s != "" && !onlyComments(s) {
			out = append(out, s)
		}
	}
	for i := 0; i < len(text); {
		n := token(text[i:])
		if text[i] == ';' {
			add(i)
			begin = i + 1
		}
		i += n
	}
	add(len(text))
	return out
}

// token is the length of what stands at the beginning of a text: a quoted word,
// a comment, or one byte.
func token(s string) int {
	until := func(end string) int {
		if i := strings.Index(s[2:], end); i >= 0 {
			return 2 + i + len(end)
		}
		return len(s)
	}
	switch {
	case strings.HasPrefix(s, "--"):
		return until("\n")
	case strings.HasPrefix(s, "/*"):
		return until("*/")
	case slices.Contains([]byte("'\"`"), s[0]):
		for i := 1; i < len(s); i++ {
			switch s[i] {
			case '\\':
				i++
			case s[0]:
				return i + 1
			}
		}
		return len(s)
	}
	return 1
}

func onlyComments(s string) bool {
	for i := 0; i < len(s); {
		n := token(s[i:])
		if n == 1 && !strings.ContainsRune(" \t\r\n", rune(s[i])) || n > 1 && s[i] != '-' && s[i] != '/' {
			return false
		}
		i += n
	}
	return true
}
