package cli

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/spf13/cobra"
)

// outputFlag adds -o to a command that reads.
func outputFlag(c *cobra.Command, format *string) {
	c.Flags().StringVarP(format, "output", "o", "table", "how to print: table (for people), json or csv (for programs)")
	_ = c.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"table", "json", "csv"}, cobra.ShellCompDirectiveNoFileComp))
}

func checkOutput(format string) error {
	if !slices.Contains([]string{"table", "json", "csv"}, format) {
		return usageError{fmt.Errorf("--output %s: use table, json or csv", format)}
	}
	return nil
}

// grid is an answer as rows: what tables and CSV share.
type grid struct {
	columns []string
	numbers []string // columns that hold numbers, aligned to the right
	rows    [][]string
	total   []string // the last row of a table, nil for none
}

// print writes value as JSON, or the grid as a table or CSV.
func printAnswer(w io.Writer, format string, value any, g *grid) error {
	switch format {
	case "json":
		return printJSON(w, value)
	case "csv":
		return g.csv(w)
	default:
		return g.table(w)
	}
}

func printJSON(w io.Writer, value any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(value)
}

func (g *grid) csv(w io.Writer) error {
	c := csv.NewWriter(w)
	if err := c.Write(g.columns); err != nil {
		return err
	}
	for _, row := range g.rows {
		if err := c.Write(slices.Collect(mapped(row, plainCell))); err != nil {
			return err
		}
	}
	c.Flush()
	return c.Error()
}

// plainCell keeps a spreadsheet from reading a client's text as a formula
// (OWASP, CSV injection).
func plainCell(s string) string {
	if s != "" && strings.ContainsRune("=+-@\t\r", rune(s[0])) && !isNumber(s) {
		return "'" + s
	}
	return s
}

func isNumber(s string) bool {
	s = strings.TrimPrefix(s, "-")
	return s != "" && strings.Trim(s, "0123456789.") == ""
}

func mapped[A, B any](list []A, fn func(A) B) func(func(B) bool) {
	return func(yield func(B) bool) {
		for _, x := range list {
			if !yield(fn(x)) {
				return
			}
		}
	}
}

func (g *grid) table(w io.Writer) error {
	t := table.NewWriter()
	style := table.StyleLight
	style.Options = table.OptionsNoBordersAndSeparators
	style.Options.SeparateHeader, style.Options.SeparateFooter = true, true
	style.Format.Header, style.Format.Footer = text.FormatDefault, text.FormatDefault
	t.SetStyle(style)
	t.AppendHeader(tableRow(g.columns))
	for _, row := range g.rows {
		t.AppendRow(tableRow(row))
	}
	if g.total != nil {
		t.AppendFooter(tableRow(g.total))
	}
	var config []table.ColumnConfig
	for i, name := range g.columns {
		if slices.Contains(g.numbers, name) {
			config = append(config, table.ColumnConfig{Number: i + 1, Align: text.AlignRight, AlignHeader: text.AlignRight, AlignFooter: text.AlignRight})
		}
	}
	t.SetColumnConfigs(config)
	_, err := fmt.Fprintln(w, t.Render())
	return err
}

func tableRow(cells []string) table.Row {
	row := make(table.Row, 0, len(cells))
	for _, c := range cells {
		row = append(row, printable(c))
	}
	return row
}

// printable takes control characters out of a client's text, so that it cannot
// steer the terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x20 || (r >= 0x7f && r < 0xa0) {
			return '�'
		}
		return r
	}, s)
}

// thousands writes a whole number with separators, for people.
func thousands(n int64) string {
	s := fmt.Sprint(n)
	sign := ""
	if s[0] == '-' {
		sign, s = "-", s[1:]
	}
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return sign + s
}
