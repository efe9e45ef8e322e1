package cli_test

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"go.uber.org/goleak"

	"github.com/tollkeeper/tollkeeper/internal/cli"
	"github.com/tollkeeper/tollkeeper/internal/journal"
)

// runProgram runs a command line in process.
func runProgram(t *testing.T, home string, args ...string) (code int, out, errors string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	p := cli.Program{Stdin: strings.NewReader(""), Stdout: &stdout, Stderr: &stderr, Environ: []string{"HOME=" + home, "TOLLKEEPER_LISTEN_API=256.0.0.1:1"}}
	code = p.Run(t.Context(), args)
	return code, stdout.String(), stderr.String()
}

// TestDemo runs it twice: all that the clients saw is in the books at the end, and
// a second run goes on where the first one ended. Nothing of the user's own
// settings has a say.
func TestDemo(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	home := t.TempDir()
	dir := filepath.Join(home, ".cache", "tollkeeper", "demo")
	total := regexp.MustCompile(`│ total +([0-9,]+) `)
	before := ""
	for run, length := range []string{"2.5s", "1s"} {
		code, out, errors := runProgram(t, home, "demo", "--for", length)
		if code != 0 || errors != "" {
			t.Fatalf("run %d: exit code %d: %s\n%s", run, code, errors, out)
		}
		for _, want := range []string{
			"everything is kept in " + dir, "acme is known by a signed tag", "initech is known by its name", "kept in     ~/.cache/tollkeeper/demo", "acme-0001",
			"tollkeeper has exactly these", "Line 1 explained:", "late or timely", "span    ", "counts  ", "\nOK: the journal's", "invoices billed.", "came now, after closing", []string{"Closed early: ", "was closed by an earlier run"}[run],
			[]string{"The invoices stay as they are", "came after acme-0001 was closed"}[run],
		} {
			if !strings.Contains(out, want) {
				t.Errorf("run %d does not say %q:\n%s", run, want, out)
			}
		}
		if strings.Contains(out, "(nobody)") {
			t.Errorf("run %d: usage that nobody pays for:\n%s", run, out)
		}
		requests := total.FindStringSubmatch(out)
		if requests == nil || requests[1] == before || len(requests[1]) < len(before) {
			t.Errorf("run %d: the total %q does not grow from %q:\n%s", run, requests, before, out)
			continue
		}
		before = requests[1]
		for line := range strings.Lines(out) {
			if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > 80 && !strings.Contains(line, home) && !strings.Contains(line, " of 0:0") {
				t.Errorf("run %d: a line of %d letters: %s", run, n, line)
			}
		}
	}
	// Its directory is one that every command takes.
	code, out, errors := runProgram(t, home, "usage", "--data", filepath.Join(dir, "data"), "--by", "rule", "-o", "csv")
	if code != 0 || !strings.Contains(out, "\ntag,") || !strings.Contains(out, "\nrequest_id,") || strings.Contains(out, "unattributed") {
		t.Errorf("usage: %d %s%s", code, errors, out)
	}
	if code, out, errors := runProgram(t, home, "demo", "--for", "10ms", "--fresh"); code != 0 || !strings.Contains(out, "ended") {
		t.Errorf("a fresh one, at once ended: %d %s\n%s", code, errors, out)
	}
}

// TestDemoKeepsOff what is not its own, and what another one works on.
func TestDemoKeepsOff(t *testing.T) {
	home := t.TempDir()
	if err := os.WriteFile(filepath.Join(home, "letter.txt"), []byte("dear"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, fresh := range []string{"--fresh", "--fresh=false"} {
		code, _, errors := runProgram(t, home, "demo", "--for", "10ms", "--dir", home, fresh)
		if code != 2 || !strings.Contains(errors, "no demo has written") {
			t.Errorf("%s: %d %s", fresh, code, errors)
		}
	}
	if _, err := os.Stat(filepath.Join(home, "letter.txt")); err != nil {
		t.Error(err)
	}
	dir := filepath.Join(home, "demo")
	if code, out, errors := runProgram(t, home, "demo", "--for", "10ms", "--dir", dir); code != 0 {
		t.Fatalf("%d %s%s", code, out, errors)
	}
	unlock, err := journal.Lock(filepath.Join(dir, "data"))
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	if code, _, errors := runProgram(t, home, "demo", "--for", "10ms", "--dir", dir, "--fresh"); code != 2 || !strings.Contains(errors, "another demo is running in "+dir) {
		t.Errorf("another one runs: %d %s", code, errors)
	}
	if code, _, errors := runProgram(t, "", "demo", "--for", "10ms"); code != 2 || !strings.Contains(errors, "--dir") {
		t.Errorf("no home: %d %s", code, errors)
	}
	if code, _, errors := runProgram(t, home, "demo", "--for", "-1s"); code != 2 || !strings.Contains(errors, "--for") {
		t.Errorf("a negative time: %d %s", code, errors)
	}
}
