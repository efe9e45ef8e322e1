package cli_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

// section returns the lines below a title of a help text.
func section(help, title string) (lines []string) {
	_, rest, _ := strings.Cut(help, "\n"+title+":\n")
	for line := range strings.Lines(rest) {
		if line = strings.TrimSpace(line); line == "" {
			break
		}
		lines = append(lines, line)
	}
	return lines
}

var (
	quoted      = regexp.MustCompile(`"[^"]*"|'[^']*'`)
	beforeShell = regexp.MustCompile(`^(?:[A-Z_]+=\S+ )*tollkeeper ([^>|&]*)`)
)

// TestHelp reads the help of every command: what it does, an example, and each
// example is one that the command takes.
func TestHelp(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	seen := 0
	var walk func(path ...string)
	walk = func(path ...string) {
		seen++
		code, help, says := runProgram(t, home, append(path, "--help")...)
		if code != 0 || says != "" {
			t.Errorf("%v: %d %s", path, code, says)
		}
		examples := section(help, "Examples")
		if len(examples) == 0 {
			t.Errorf("%v: no example", path)
		}
		own := 0
		for _, x := range examples {
			for part := range strings.SplitSeq(quoted.ReplaceAllString(x, "x"), "&& ") {
				m := beforeShell.FindStringSubmatch(part)
				if m == nil {
					continue
				}
				if strings.HasPrefix(m[1], strings.Join(path, " ")) {
					own++
				}
				if code, _, says := runProgram(t, home, append(strings.Fields(m[1]), "--help")...); code != 0 {
					t.Errorf("%v: its example %q: %s", path, x, says)
				}
			}
		}
		if own == 0 {
			t.Errorf("%v: no example of it: %q", path, examples)
		}
		for _, flag := range section(help, "Flags") {
			if len(strings.Fields(flag)) < 4 {
				t.Errorf("%v: nothing about %s", path, flag)
			}
		}
		for _, title := range []string{"Available Commands", "Run", "Read", "Customers and money", "Check and prove", "Additional Commands"} {
			for _, line := range section(help, title) {
				name, about, _ := strings.Cut(line, " ")
				if strings.TrimSpace(about) == "" {
					t.Errorf("%v: nothing about %s", path, name)
				}
				if name != "help" && name != "completion" { // cobra's own
					walk(append(slices.Clip(path), name)...)
				}
			}
		}
	}
	walk()
	if seen < 40 {
		t.Errorf("%d commands only", seen)
	}
}
