package cli

import (
	"encoding/csv"
	"encoding/json"
	"errors"
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

// textFlag adds -o to a command whose answer is a sentence.
func textFlag(c *cobra.Command, format *string) {
	*format = "text"
	c.Flags().VarP((*textFormat)(format), "output", "o", "how to print: text or json")
	_ = c.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"text", "json"}, cobra.ShellCompDirectiveNoFileComp))
}

// textFormat is text or json.
type textFormat string

// String implements pflag.Value.
func (f *textFormat) String() string { return string(*f) }

// Type implements pflag.Value.
func (f *textFormat) Type() string { return "string" }

// Set implements pflag.Value.
func (f *textFormat) Set(s string) error {
	if s != "text" && s != "json" {
		return errors.New("use text or json")
	}
	*f = textFormat(s)
	return nil
}

// grid is an answer as rows: what tables and CSV share.
type grid struct {
	above   string // what stands above a table, such as which version it is; "" for nothing
	columns []string
	numbers []string // columns that hold numbers, aligned to the right
	rows    [][]string
	total   []string // the last row of a table, nil for none
	// unnamed says that an empty customer or model means that it is not known.
	unnamed bool
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
	style.Box.PaddingLeft, style.Box.PaddingRight = "", "  "
	style.Format.Header, style.Format.Footer = text.FormatDefault, text.FormatDefault
	t.SetStyle(style)
	t.AppendHeader(tableRow(g.columns))
	for _, row := range g.rows {
		t.AppendRow(tableRow(g.named(row)))
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
	above := g.above
	if above != "" {
		above += "\n"
	}
	if len(g.rows) == 0 && above != "" {
		_, err := io.WriteString(w, above)
		return err
	}
	_, err := io.WriteString(w, above+trimmed(t.Render()))
	return err
}

// trimmed takes the spaces off the ends of a table's lines, and as much off its
// rules.
func trimmed(rendered string) string {
	const rule = "─"
	lines, width := strings.Split(rendered, "\n"), 0
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
		if !strings.HasPrefix(lines[i], rule) {
			width = max(width, text.StringWidthWithoutEscSequences(lines[i]))
		}
	}
	for i := range lines {
		if strings.HasPrefix(lines[i], rule) {
			lines[i] = strings.Repeat(rule, width)
		}
	}
	return strings.Join(lines, "\n") + "\n"
}

// unnamed is what a table shows where a name is not known, so that nobody takes
// it for a gap in the table; programs get "".
var unnamed = map[string]string{"customer": "(unattributed)", "model": "(unknown)"}

func (g *grid) named(row []string) []string {
	out := slices.Clone(row)
	for i, name := range g.columns {
		if g.unnamed && out[i] == "" {
			out[i] = unnamed[name]
		}
	}
	return out
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

// count writes a number of things.
func count(n int64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return thousands(n) + " " + many
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
