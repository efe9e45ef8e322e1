package journal_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/tollkeeper/tollkeeper/internal/journal"
)

// TestWhatTheDocumentationChecks runs the program of docs/ops/proof.md, which
// shares no code with us, on a real proof and on it with one thing changed.
func TestWhatTheDocumentationChecks(t *testing.T) {
	t.Parallel()
	f := open(t, journal.Options{})
	for n, count := range []int{1, 5, 0, 3, 8, 1, 2} {
		if _, err := f.Append(t.Context(), batch(n, count)); err != nil {
			t.Fatal(err)
		}
	}
	text := prove(t, f, journal.Place{Seq: 1}, journal.Place{Seq: 2, Index: 4}, journal.Place{Seq: 5, Index: 2}, journal.Place{Seq: 7, Index: 1})
	tests := []struct {
		name   string
		change func(p *journal.Proof)
		want   string // in what the program says
	}{
		{"nothing", func(*journal.Proof) {}, "entry 5, item 2: " + string(batch(4, 8).Items[2]) + "\n"},
		{"item", func(p *journal.Proof) { p.Items[1].Item += " " }, "not in the journal"},
		{"index", func(p *journal.Proof) { p.Items[1].Index = 3 }, "too short"},
		{"header", func(p *journal.Proof) {
			p.Items[2].Header = strings.Replace(p.Items[2].Header, `"seq":5`, `"seq":4`, 1)
		}, "not in the journal"},
		{"item path", func(p *journal.Proof) { p.Items[1].ItemPath[0][0] ^= 1 }, "not in the journal"},
		{"entry path", func(p *journal.Proof) { p.Items[3].EntryPath[1][31] ^= 1 }, "not in the journal"},
		{"short path", func(p *journal.Proof) { p.Items[3].EntryPath = p.Items[3].EntryPath[1:] }, "too short"},
		{"long path", func(p *journal.Proof) { p.Items[1].ItemPath = append(p.Items[1].ItemPath, tlog.Hash{}) }, "too long"},
		{"other entry", func(p *journal.Proof) { p.Items[0].Header = p.Items[1].Header }, "too short"},
		{"size", func(p *journal.Proof) { p.Checkpoint = strings.Replace(p.Checkpoint, "\n7\n", "\n8\n", 1) }, "signature is false"},
		{"signature", func(p *journal.Proof) { p.Checkpoint = flipSignature(p.Checkpoint) }, "does not hold"},
		{"no signature", func(p *journal.Proof) { p.Checkpoint, _, _ = strings.Cut(p.Checkpoint, "— ") }, "did not sign"},
		{"format", func(p *journal.Proof) { p.Format = 2 }, "another format"},
	}
	o := outsider{dir: t.TempDir()}
	for i, x := range tests {
		var p journal.Proof
		if err := json.Unmarshal(text, &p); err != nil {
			t.Fatal(err)
		}
		x.change(&p)
		o.write(t, fmt.Sprint(i), &p)
	}
	said := o.check(t, f.signer.Verifier(), len(tests))
	for i, x := range tests {
		if !strings.Contains(said[i], x.want) || strings.HasPrefix(said[i], "entry ") != (i == 0) {
			t.Errorf("%s changed: want %q, the program says %q", x.name, x.want, said[i])
		}
	}
	for i, answer := range o.check(t, newSigner(t).Verifier(), 1) {
		if !strings.Contains(answer, "did not sign") {
			t.Errorf("another key, proof %d: %q", i, answer)
		}
	}
}

// flipSignature changes a letter in the middle of the signature.
func flipSignature(note string) string {
	b := []byte(note)
	if at := len(b) - 40; b[at] == 'A' {
		b[at] = 'B'
	} else {
		b[at] = 'A'
	}
	return string(b)
}

// outsider checks proofs by a program that is not ours.
type outsider struct{ dir string }

func (o *outsider) write(t *testing.T, name string, p *journal.Proof) {
	t.Helper()
	text, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(o.dir, name), text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// many runs a program of one proof on many, in one process: starting Python
// takes longer than the check.
const many = `
import contextlib, io, sys
program, verifier, proofs = sys.argv[1], sys.argv[2], sys.argv[3:]
for proof in proofs:
    said = io.StringIO()
    sys.argv = [program, proof, verifier]
    try:
        with contextlib.redirect_stdout(said):
            exec(compile(program, "proof.md", "exec"), {})
        print(said.getvalue(), end="\0")
    except SystemExit as e:
        print(e, end="\0")
`

// check returns what the program of the documentation says of each proof.
func (o *outsider) check(t *testing.T, verifier string, proofs int) []string {
	t.Helper()
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("there is no python3, in which the documentation's program is written")
	}
	args := []string{"-c", many, documentedProgram(t), verifier}
	for i := range proofs {
		args = append(args, filepath.Join(o.dir, fmt.Sprint(i)))
	}
	out, err := exec.CommandContext(t.Context(), python, args...).CombinedOutput()
	said := strings.Split(string(out), "\x00")
	if err != nil || len(said) != proofs+1 {
		t.Fatalf("%v\n%s", err, out)
	}
	return said[:proofs]
}

// documentedProgram is the Python program of the documentation.
func documentedProgram(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../docs/ops/proof.md")
	if err != nil {
		t.Fatal(err)
	}
	_, program, found := strings.Cut(string(text), "```python\n")
	program, _, ended := strings.Cut(program, "```\n")
	if !found || !ended {
		t.Fatal("docs/ops/proof.md holds no program in Python")
	}
	return program
}
