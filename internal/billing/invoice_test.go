package billing_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tollkeeper/tollkeeper/internal/billing"
	"github.com/tollkeeper/tollkeeper/internal/usage"
)

// everything is an invoice with something of each kind.
func everything(t fataler) *billing.Invoice {
	november := month(t, "2026-11").Start
	b := book(1, "EUR", entry(t, "opt", in, "1", out, "2"))
	first := sealed(make1(t, input(t, "2026-11", b, used(november, "opt", "", in, 2_000_000))), 1)
	next := input(t, "2026-12", b, used(month(t, "2026-12").Start, "opt", "chat <&> \u2028 \"ü\"", in, 3_000_000, out, 5), used(month(t, "2026-12").Start, "", "", in, 5))
	next.Note = "Payable within 14 days."
	next.Projects = map[string]string{"chat <&> \u2028 \"ü\"": "Chat", "": "", "unused": "Unused", "search": ""}
	foreign := make1(t, input(t, "2026-10", billing.Book{}))
	foreign.Currency = yen
	next.Closed = []billing.Closed{
		closed(first, b, used(november, "opt", "", in, 1_000_000)),
		closed(sealed(foreign, 2), book(9, "JPY", entry(t, "opt", in, "700")), used(month(t, "2026-10").Start, "opt", "", in, 1_000_000)),
	}
	return sealed(make1(t, next), 3)
}

func TestDocument(t *testing.T) {
	t.Parallel()
	i := everything(t)
	wantClean(t, i)
	if len(i.Adjustments) != 1 || len(i.Deferred) != 1 || len(i.LeftOut) != 1 || len(i.Lines) != 2 {
		t.Fatalf("something is missing: %s", canonical(t, i))
	}
	// Members are in the order of their names: what sorts them changes nothing.
	var document any
	d := json.NewDecoder(strings.NewReader(canonical(t, i)))
	d.UseNumber()
	if err := d.Decode(&document); err != nil {
		t.Fatal(err)
	}
	var sorted bytes.Buffer
	e := json.NewEncoder(&sorted)
	e.SetEscapeHTML(false)
	if err := e.Encode(document); err != nil {
		t.Fatal(err)
	}
	if got := canonical(t, i); got+"\n" != sorted.String() {
		t.Errorf("members are not sorted:\n%s\n%s", got, sorted.String())
	}
	golden(t, "document.json", canonical(t, i))
}

var update = flag.Bool("update", false, "write the golden files")

// golden compares with a file.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s:\n got %s\nwant %s", name, got, want)
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	good := canonical(t, everything(t))
	for name, text := range map[string]string{
		"nothing":               "",
		"another thing":         "[]",
		"white space":           strings.Replace(good, ",", ", ", 1),
		"a line end":            good + "\n",
		"two documents":         good + good,
		"an unknown member":     strings.Replace(good, "{", `{"a":1,`, 1),
		"a member twice":        strings.Replace(good, `"v":1}`, `"v":1,"v":1}`, 1),
		"another order":         strings.Replace(good, `"number":3,`, ``, 1)[:len(good)-len(`"number":3,`)-1] + `,"number":3}`,
		"another format":        strings.Replace(good, `"v":1}`, `"v":2}`, 1),
		"a number as a text":    strings.Replace(good, `"number":3`, `"number":"3"`, 1),
		"zeros before a number": strings.Replace(good, `"charge":"3"`, `"charge":"03"`, 1),
		"a float":               strings.Replace(good, `"amount":3000000`, `"amount":3e6`, 1),
		"a time in a zone":      strings.Replace(good, `"2026-12-01T00:00:00Z"`, `"2026-12-01T01:00:00+01:00"`, 1),
		"escapes":               strings.Replace(good, `<&>`, `\u003c&>`, 1),
		"no UTF-8":              strings.Replace(good, `Acme Ltd`, "Acme \xff", 1),
	} {
		if text == good {
			t.Errorf("%s: the document was not changed", name)
		}
		if _, err := billing.Parse([]byte(text)); !errors.Is(err, billing.ErrDocument) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Whatever is read is written again as it was, and nothing panics.
func FuzzParse(f *testing.F) {
	f.Add([]byte(canonical(f, everything(f))))
	f.Add([]byte(canonical(f, make1(f, input(f, "2026-11", billing.Book{})))))
	f.Add([]byte(`{"v":1}`))
	f.Fuzz(func(t *testing.T, document []byte) {
		i, err := billing.Parse(document)
		if err != nil {
			if !errors.Is(err, billing.ErrDocument) {
				t.Fatal(err)
			}
			return
		}
		if got := canonical(t, i); got != string(document) {
			t.Fatalf("%q was read as %q", document, got)
		}
		i.Check()
		i.Blocks()
		if d, err := billing.Differences(i, i); err != nil || len(d) > 0 {
			t.Fatalf("differs from itself: %v, %v", d, err)
		}
	})
}

// Any edit of the arithmetic is found without the journal.
func TestCheckFindsEdits(t *testing.T) {
	t.Parallel()
	for name, edit := range map[string]func(*billing.Invoice){
		"a period":            func(i *billing.Invoice) { i.Period.End = i.Period.Start },
		"an amount":           func(i *billing.Invoice) { i.Lines[0].Amount++ },
		"a charge":            func(i *billing.Invoice) { i.Lines[0].Charge = i.Lines[1].Charge },
		"a total":             func(i *billing.Invoice) { i.Lines[0].Total = "3.01" },
		"a total's places":    func(i *billing.Invoice) { i.Lines[0].Total = "3" },
		"a price":             func(i *billing.Invoice) { i.Lines[0].Price.Price = i.Lines[1].Price.Price },
		"a per":               func(i *billing.Invoice) { i.Lines[0].Price.Per = 3 },
		"a part":              func(i *billing.Invoice) { i.Lines[0].Projects[0].Amount-- },
		"a line less":         func(i *billing.Invoice) { i.Lines = i.Lines[:1] },
		"lines' order":        func(i *billing.Invoice) { i.Lines[0], i.Lines[1] = i.Lines[1], i.Lines[0] },
		"an adjustment":       func(i *billing.Invoice) { i.Adjustments[0].Total = "-0.99" },
		"its amount":          func(i *billing.Invoice) { i.Adjustments[0].AmountNow++ },
		"its charge":          func(i *billing.Invoice) { i.Adjustments[0].ChargeNow = i.Lines[0].Charge },
		"its per":             func(i *billing.Invoice) { i.Adjustments[0].Price.Per = 3 },
		"its text":            func(i *billing.Invoice) { i.Adjustments[0].TotalBilled = "x" },
		"its number":          func(i *billing.Invoice) { i.Adjustments[0].Number = 9 },
		"the sum of lines":    func(i *billing.Invoice) { i.Sums.Lines = "3.01" },
		"the total":           func(i *billing.Invoice) { i.Sums.Total = "0.00" },
		"the rounding":        func(i *billing.Invoice) { i.Rounding = "up" },
		"an unknown rounding": func(i *billing.Invoice) { i.Rounding = "sideways" },
		"the currency":        func(i *billing.Invoice) { i.Currency = yen },
	} {
		i := everything(t)
		edit(i)
		if len(i.Check()) == 0 {
			t.Errorf("%s: not found", name)
		}
		if name == "a per" || name == "lines' order" {
			continue
		}
		if d, err := billing.Differences(i, everything(t)); err != nil || len(d) == 0 {
			t.Errorf("%s: no difference, %v", name, err)
		}
	}
}

func TestDifferences(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		edit func(*billing.Invoice)
		line int
		text string
	}{
		"a line":       {func(i *billing.Invoice) { i.Lines[1].Amount, i.Lines[1].Total = 6, "0.01" }, 2, "charges 6 output_tokens of model opt, 0.01 (0.00001): should be 5, 0.00 (0.00001)"},
		"one too many": {func(i *billing.Invoice) { i.Lines[1].Model = "gpt" }, 2, "charges 5 output_tokens of model gpt, 0.00: nothing of that"},
		"one missing":  {func(i *billing.Invoice) { i.Lines = i.Lines[:1] }, 0, "a line is missing: 5 output_tokens of model opt, 0.00"},
		"adjustment":   {func(i *billing.Invoice) { i.Adjustments[0].Total = "-2.00" }, 3, "adjusts input_tokens of model opt by -1000000, -2.00: should be -1000000, -1.00"},
		"no such":      {func(i *billing.Invoice) { i.Adjustments[0].Model = "gpt" }, 3, "adjusts input_tokens of model gpt by -1.00: nothing to adjust"},
		"none":         {func(i *billing.Invoice) { i.Adjustments = i.Adjustments[:0] }, 0, "an adjustment is missing: input_tokens of model opt by -1.00"},
		"a member":     {func(i *billing.Invoice) { i.Fold = 2 }, 0, "fold is 2, should be 1"},
		"a long one":   {func(i *billing.Invoice) { i.Note = strings.Repeat("x", 1000) }, 0, `note is "` + strings.Repeat("x", 199) + `…, should be "Payable within 14 days."`},
		"a price":      {func(i *billing.Invoice) { i.Lines[0].Price.Model = "*" }, 0, "lines is "},
		"kept usage":   {func(i *billing.Invoice) { i.Usage[0].Quantities[usage.OutputTokens] = 1 }, 0, "usage is "},
	} {
		i := everything(t)
		c.edit(i)
		found, err := billing.Differences(i, everything(t))
		if err != nil || len(found) == 0 || found[0].Line != c.line || !strings.HasPrefix(found[0].Text, c.text) {
			t.Errorf("%s: %+v, %v, want %d %q", name, found, err, c.line, c.text)
		}
	}
}
