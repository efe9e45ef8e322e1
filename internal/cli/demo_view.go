package cli

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"charm.land/lipgloss/v2"
	"golang.org/x/term"
)

const (
	// livePace is how often the live view is drawn again; linePace is how often a
	// line is written where there is no terminal.
	livePace, linePace = 250 * time.Millisecond, 2 * time.Second
	// narrowest is the least width that the view is made for, in letters.
	narrowest = 78
	// roomy is the width from which on the view has bars, too.
	roomy = 100
	// tall is the least height, in lines, of a terminal that has room for more.
	tall = 30
	// widest keeps lines readable on a wide screen.
	widest = 120
)

// screen is where the demo is shown: a terminal, on which the view is drawn over
// itself, or anything else, which gets plain lines.
type screen struct {
	out      io.Writer
	terminal *os.File // nil when out is none
	color    bool
	drawn    int // lines of the view that stand on the terminal
}

func newScreen(p *Program) *screen {
	s := &screen{out: p.Stdout}
	if f, ok := p.Stdout.(*os.File); ok && term.IsTerminal(int(f.Fd())) && p.env("TERM") != "dumb" {
		s.terminal = f
		s.color = p.env("NO_COLOR") == ""
	}
	return s
}

// close gives the cursor back.
func (s *screen) close() {
	if s.terminal != nil {
		fmt.Fprint(s.out, "\x1b[?25h")
	}
}

func (s *screen) pace() time.Duration {
	if s.terminal == nil {
		return linePace
	}
	return livePace
}

// size is the terminal's, or what is readable.
func (s *screen) size() (width, height int) {
	width, height, err := term.GetSize(int(s.terminal.Fd()))
	if err != nil || width == 0 {
		return 80, 24
	}
	return width, height
}

// begin says what is about to happen.
func (s *screen) begin(lines []string) {
	if s.terminal != nil {
		fmt.Fprint(s.out, "\x1b[?25l") // the cursor would jump about
		return
	}
	for _, l := range lines {
		fmt.Fprintln(s.out, l)
	}
}

// show draws a frame.
func (s *screen) show(f *frame) {
	if s.terminal == nil {
		text := f.line()
		if f.ended {
			text = "\n" + f.view(painter{}, narrowest+2, 0)
		}
		fmt.Fprintln(s.out, text)
		return
	}
	width, height := s.size()
	lines := strings.Split(f.view(painter{s.color}, width, height), "\n")
	lines = lines[:min(len(lines), height-1)] // a line more and the terminal scrolls
	var b strings.Builder
	if s.drawn > 0 {
		fmt.Fprintf(&b, "\x1b[%dA", s.drawn)
	}
	for _, l := range lines {
		b.WriteString("\r" + lipgloss.NewStyle().MaxWidth(width).Render(l) + "\x1b[K\n")
	}
	b.WriteString("\x1b[J")
	s.drawn = len(lines)
	fmt.Fprint(s.out, b.String())
}

// painter colours text, or does not.
type painter struct{ color bool }

// The palette: the terminal's own sixteen colours, which its owner chose.
var (
	strong = lipgloss.NewStyle().Bold(true)
	faint  = lipgloss.NewStyle().Foreground(lipgloss.BrightBlack)
	cash   = lipgloss.NewStyle().Foreground(lipgloss.Green).Bold(true)
	good   = lipgloss.NewStyle().Foreground(lipgloss.Green)
	gone   = lipgloss.NewStyle().Foreground(lipgloss.Yellow)
	named  = lipgloss.NewStyle().Foreground(lipgloss.Cyan)
)

func (p painter) paint(style lipgloss.Style, text string) string {
	if !p.color || text == "" {
		return text
	}
	return style.Render(text)
}

// left and right fill text up to a width.
func left(text string, width int) string {
	return text + strings.Repeat(" ", max(0, width-lipgloss.Width(text)))
}

func right(text string, width int) string {
	return strings.Repeat(" ", max(0, width-lipgloss.Width(text))) + text
}

// Widths of the columns, in letters.
const (
	customerWidth, modelWidth                     = 10, 16
	requestsWidth, tokensWidth, outWidth, usdWith = 10, 13, 12, 11
)

// view is the whole picture, in a frame of the given width. Where there is room
// it tells more.
func (f *frame) view(p painter, width, height int) string {
	inner := min(max(width, narrowest), widest) - 4
	var b strings.Builder
	border := func(l, text, after, r string) {
		dashes := inner + 2 - lipgloss.Width(text) - lipgloss.Width(after)
		b.WriteString(p.paint(faint, l) + text + p.paint(faint, strings.Repeat("─", max(0, dashes))) + after + p.paint(faint, r) + "\n")
	}
	rows := func(lines ...string) {
		for _, l := range lines {
			l = lipgloss.NewStyle().MaxWidth(inner).Render(l)
			b.WriteString(p.paint(faint, "│ ") + left(l, inner) + p.paint(faint, " │") + "\n")
		}
	}
	border("╭", p.paint(faint, "─ ")+p.paint(strong, "tollkeeper demo")+" ", " "+f.clock()+p.paint(faint, " ─"), "╮")
	rows(f.table(p, inner)...)
	rows("")
	rows(f.comparison(p)...)
	rows("")
	rows(f.losses(p)...)
	rows("")
	if height >= tall {
		rows(f.more(p, inner)...)
	}
	rows(p.paint(faint, left("kept in", noteWidth)) + f.dir)
	border("╰", "", "", "╯")
	return strings.TrimSuffix(b.String(), "\n")
}

// noteWidth is the column of names below the table.
const noteWidth = 12

// more is what a tall terminal has room for.
func (f *frame) more(p painter, inner int) []string {
	lines := []string{p.paint(faint, left("tokens/s", noteWidth)) + f.sparks(p, inner-noteWidth)}
	for i, c := range demoCustomers {
		title := ""
		if i == 0 {
			title = "who pays"
		}
		lines = append(lines, p.paint(faint, left(title, noteWidth))+p.paint(named, left(c.id, customerWidth))+p.paint(faint, "known by "+c.proof))
	}
	return append(lines, "", p.paint(faint, left("ask it too", noteWidth))+"tollkeeper usage --server "+f.api)
}

// sparks draws how many tokens a second went through, the newest at the right.
func (f *frame) sparks(p painter, width int) string {
	var rates []int64
	for i := 1; i < len(f.speed); i++ {
		rates = append(rates, max(0, f.speed[i]-f.speed[i-1])*int64(time.Second)/int64(f.pace))
	}
	width = min(width-10, 60)
	rates = rates[max(0, len(rates)-width):]
	var top, sum int64 = 1, 0
	for _, r := range rates {
		top, sum = max(top, r), sum+r
	}
	levels := []rune("▁▂▃▄▅▆▇█")
	line := make([]rune, 0, len(rates))
	for _, r := range rates {
		line = append(line, levels[r*int64(len(levels)-1)/top])
	}
	return p.paint(good, string(line)) + " " + thousands(sum/int64(max(1, len(rates))))
}

func (f *frame) clock() string {
	if f.ended {
		return f.time() + " · ended"
	}
	return f.time() + " · Ctrl-C closes"
}

func (f *frame) time() string {
	if f.length > 0 && !f.ended {
		return minutes(f.elapsed) + " of " + minutes(f.length)
	}
	return minutes(f.elapsed)
}

func minutes(d time.Duration) string {
	d = d.Round(time.Second)
	return fmt.Sprintf("%d:%02d", int(d.Minutes()), int(d.Seconds())%60)
}

// table is usage and money, by customer and model.
func (f *frame) table(p painter, inner int) (lines []string) {
	bar := 0
	if used := customerWidth + modelWidth + requestsWidth + tokensWidth + outWidth + usdWith; inner >= roomy-4 {
		bar = inner - used - 2
	}
	line := func(style func(string) string, customer, model, requests, input, output, usd, share string) string {
		return left(style(customer), customerWidth) + left(style(model), modelWidth) + style(right(requests, requestsWidth)) +
			style(right(input, tokensWidth)) + style(right(output, outWidth)) + right(usd, usdWith) + share
	}
	painted := func(s lipgloss.Style) func(string) string { return func(t string) string { return p.paint(s, t) } }
	lines = append(lines, line(painted(faint), "customer", "model", "requests", "input", "output", p.paint(faint, "USD"), ""))
	var most int64 = 1
	for _, r := range f.books.rows {
		most = max(most, r.cost.Minor())
	}
	before := ""
	for _, r := range f.books.rows {
		customer := r.customer
		if customer == before {
			customer = ""
		}
		before = r.customer
		share := ""
		if bar > 0 {
			share = "  " + p.paint(good, strings.Repeat("▇", int(r.cost.Minor()*int64(bar)/most)))
		}
		lines = append(lines, left(p.paint(named, orNobody(customer, r.customer)), customerWidth)+
			line(func(t string) string { return t }, "", r.model, thousands(r.requests), thousands(r.input), thousands(r.output), p.paint(cash, r.cost.String()), share)[customerWidth:])
	}
	t := f.books.total
	return append(lines, line(painted(strong), "total", "", thousands(t.requests), thousands(t.input), thousands(t.output), p.paint(cash, t.cost.String()), ""))
}

// orNobody names usage that nobody is known to pay for.
func orNobody(shown, customer string) string {
	if customer == "" {
		return "(nobody)"
	}
	return shown
}

// comparison puts the clients' own sums beside the books.
func (f *frame) comparison(p painter) []string {
	line := func(name string, r bookRow, after string) string {
		return p.paint(faint, left(name, customerWidth+modelWidth)) + right(thousands(r.requests), requestsWidth) +
			right(thousands(r.input), tokensWidth) + right(thousands(r.output), outWidth) + after
	}
	missing := f.missing()
	if !f.ended { // of a request with several prompts the books may have some that its client waits for
		missing = bookRow{requests: max(0, missing.requests), input: max(0, missing.input), output: max(0, missing.output)}
	}
	lines := []string{
		line("clients of this run saw", bookRow{requests: f.seen.Requests, input: f.seen.Input, output: f.seen.Output}, ""),
		line("tollkeeper has of it", f.have(), ""),
	}
	switch {
	case missing == bookRow{}:
		return append(lines, line("difference", missing, "  "+p.paint(good, "✓ equal")))
	case f.held > 0 && f.ended:
		return append(lines, line("late", missing, ""))
	case f.held > 0:
		return append(lines, line("late, or on its way", missing, ""))
	default:
		return append(lines, line("on its way", missing, ""))
	}
}

// loss is something that is not billed, or not twice, and why.
type loss struct {
	name  string
	count int64
	why   string
}

// named are the losses, each with its reason.
func (f *frame) lossList() []loss {
	b := f.books
	list := []loss{
		{"aborted", f.seen.Aborted, fmt.Sprintf("clients left: no span is made (%s tokens had come)", thousands(f.seen.AbortedTokens))},
		{"unsampled", f.seen.Unsampled, fmt.Sprintf("traceparent …-00: no span is made (%s tokens)", thousands(f.seen.UnsampledInput+f.seen.UnsampledOutput))},
		{"twice", b.duplicates - f.base.duplicates, "spans that were sent again, counted once"},
		{"late", f.held, "spans that are held back until all is closed"},
	}
	if n := b.conflicts - f.base.conflicts; n > 0 {
		list = append(list, loss{"conflicts", n, "spans that say otherwise than before, kept out"})
	}
	if n := b.rejected - f.base.rejected; n > 0 {
		list = append(list, loss{"rejected", n, "spans that were refused"})
	}
	if f.lost > 0 {
		list = append(list, loss{"lost", f.lost, "spans that never came: the server refused, or was too slow"})
	}
	return list
}

func (f *frame) losses(p painter) (lines []string) {
	lines = append(lines, p.paint(faint, "not in the books, by reason"))
	for _, l := range f.lossList() {
		lines = append(lines, p.paint(gone, left("  "+l.name, customerWidth+2))+right(thousands(l.count), 7)+"  "+p.paint(faint, l.why))
	}
	return lines
}

// line is a frame where there is no terminal.
func (f *frame) line() string {
	t := f.books.total
	parts := []string{f.time(), thousands(t.requests) + " requests", thousands(t.input) + " in", thousands(t.output) + " out", t.cost.String() + " USD"}
	for _, l := range f.lossList() {
		if l.count > 0 {
			parts = append(parts, l.name+" "+thousands(l.count))
		}
	}
	return strings.Join(parts, "  ")
}
