package cli

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"charm.land/lipgloss/v2"

	"github.com/tollkeeper/tollkeeper/internal/money"
	"github.com/tollkeeper/tollkeeper/internal/vllmsim"
)

// exampleFrame is a moment of a run that has something of everything.
func exampleFrame() *frame {
	f := &frame{
		dir: "~/.cache/tollkeeper/demo", api: "http://127.0.0.1:8080", elapsed: 12 * time.Second, length: 20 * time.Second, pace: livePace,
		books: &books{duplicates: 96, total: bookRow{cost: money.FromMinor(0, dollar)}}, base: &books{duplicates: 40},
		seen: vllmsim.Tally{
			Requests: 1267, Input: 1_104_567, Output: 81_678, Aborted: 12, AbortedTokens: 143, Unsampled: 5, UnsampledInput: 12_003, UnsampledOutput: 210,
		},
		held: 7,
	}
	for i, c := range demoCustomers {
		for k, m := range demoModels {
			r := bookRow{c.id, m.model, int64(200 + 10*i), int64(300_000 / (1 + i)), int64(9000 * (1 + k)), money.FromMinor(int64(4000/(1+i*7+k*20)), dollar)}
			f.books.rows = append(f.books.rows, r)
			_ = f.books.total.add(r)
		}
	}
	f.speed = []int64{0}
	for i := range int64(30) {
		f.speed = append(f.speed, f.speed[max(0, len(f.speed)-1)]+(i%7)*(i%5)*300)
	}
	return f
}

// golden compares with testdata/demo/NAME, which -update writes; look at it.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", "demo", name)
	if flag.Lookup("update").Value.String() == "true" {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs (-update writes it):\n%s", name, got)
	}
}

func TestDemoView(t *testing.T) {
	for _, size := range [][2]int{{80, 24}, {120, 40}, {60, 20}} {
		width, height := size[0], size[1]
		f := exampleFrame()
		f.ended = width == 60 // a narrow one, at the end
		plain := f.view(painter{false}, width, height)
		golden(t, fmt.Sprintf("view-%dx%d.txt", width, height), plain+"\n")
		lines := strings.Split(plain, "\n")
		if width == 80 && len(lines) >= height {
			t.Errorf("%d lines do not fit into %d", len(lines), height)
		}
		for _, l := range lines {
			if got, want := lipgloss.Width(l), min(max(width, narrowest), widest); got != want {
				t.Errorf("a line of %d letters, want %d: %s", got, want, l)
			}
		}
		coloured := f.view(painter{true}, width, height)
		if stripped(coloured) != plain || coloured == plain {
			t.Error("colour changes the text, or there is none")
		}
	}
}

// stripped takes the escape sequences out.
func stripped(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == 0x1b {
			i += strings.IndexByte(s[i:], 'm')
			continue
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func TestDemoLines(t *testing.T) {
	f := exampleFrame()
	early := exampleFrame()
	early.books, early.base = &books{total: bookRow{cost: money.FromMinor(0, dollar)}}, &books{}
	early.seen, early.held, early.length = vllmsim.Tally{}, 0, 0
	all := exampleFrame()
	all.books.conflicts, all.books.rejected, all.lost = 1, 2, 3
	golden(t, "lines.txt", strings.Join([]string{early.line(), f.line(), all.line()}, "\n")+"\n")
	equal := exampleFrame()
	h := equal.have()
	equal.seen.Requests, equal.seen.Input, equal.seen.Output, equal.held = h.requests, h.input, h.output, 0
	if text := strings.Join(equal.comparison(painter{}), "\n"); !strings.Contains(text, "✓ equal") {
		t.Error(text)
	}
	if text := strings.Join(all.losses(painter{}), "\n"); !strings.Contains(text, "conflicts") || !strings.Contains(text, "rejected") || !strings.Contains(text, "lost") {
		t.Error(text)
	}
}

func TestHomely(t *testing.T) {
	for path, want := range map[string]string{"/users/me/.cache/x": "~/.cache/x", "/users/meme/x": "/users/meme/x", "/users/me": "/users/me"} {
		if got := homely(path, "/users/me"); got != want {
			t.Errorf("%s became %s, want %s", path, got, want)
		}
	}
	if got := homely("/x", ""); got != "/x" {
		t.Error(got)
	}
}

func TestDemoSince(t *testing.T) {
	cents := func(n int64) *billed { return &billed{owed: money.FromMinor(n, dollar)} }
	for want, b := range map[string][2]*billed{
		"grew from 0.00 to 0.03 USD":          {cents(0), cents(3)},
		"owe what they owed before, 1.55 USD": {cents(155), cents(155)},
	} {
		if got := b[1].since(b[0]); !strings.HasSuffix(got, want) {
			t.Errorf("%q does not end in %q", got, want)
		}
	}
}
