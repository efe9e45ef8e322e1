package journal_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/tollkeeper/tollkeeper/internal/journal"
)

// TestEveryItemIsProven grows a journal by entries of random shapes, and proves
// random items of all it has, by themselves and together; never one that is not
// there.
func TestEveryItemIsProven(t *testing.T) {
	t.Parallel()
	f := open(t, journal.Options{})
	var shape []int
	items := map[journal.Place]string{}
	var places []journal.Place
	rapid.Check(t, func(rt *rapid.T) {
		for _, count := range rapid.SliceOfN(rapid.IntRange(0, 9), 1, 3).Draw(rt, "items of each entry") {
			b := batch(len(shape), count)
			if _, err := f.Append(t.Context(), b); err != nil {
				rt.Fatal(err)
			}
			shape = append(shape, count)
			for i := range count {
				at := journal.Place{Seq: uint64(len(shape)), Index: i}
				items[at] = string(b.Items[i])
				places = append(places, at)
			}
		}
		if len(places) == 0 {
			return
		}
		asked := rapid.SliceOfN(rapid.SampledFrom(places), 1, 5).Draw(rt, "places")
		proven, err := journal.VerifyProof(prove(t, f, asked...), f.signer.Verifier())
		if err != nil {
			rt.Fatal(err)
		}
		for i, p := range proven.Items {
			if got := (journal.Place{Seq: p.Header.Seq, Index: p.Index}); got != asked[i] || string(p.Item) != items[got] || p.Header.Origin != f.Origin() {
				rt.Errorf("place %v is proven to be %+v", asked[i], p)
			}
		}
		at := asked[0]
		for _, none := range []journal.Place{{Seq: 0}, {Seq: uint64(len(shape)) + 1}, {Seq: at.Seq, Index: shape[at.Seq-1]}, {Seq: at.Seq, Index: -1}} {
			if _, err := f.Prove(t.Context(), []journal.Place{none}); err == nil {
				rt.Errorf("proved %v, which is not there", none)
			}
		}
	})
	text := prove(t, f, places...)
	if _, err := journal.VerifyProof(text, f.signer.Verifier()); err != nil {
		t.Errorf("all %d items together: %v", len(places), err)
	}
}

// prove writes a proof as it is sent.
func prove(t *testing.T, f *fixture, places ...journal.Place) []byte {
	t.Helper()
	p, err := f.Prove(t.Context(), places)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// TestNoByteOfAProofCanChange flips every byte of a proof, in every bit and to
// what decoders are lenient about.
func TestNoByteOfAProofCanChange(t *testing.T) {
	t.Parallel()
	f := open(t, journal.Options{})
	b := batch(0, 3)
	b.Items[1] = []byte("{\"model\":\"a<b & \uFFFD\"}") // what JSON writers escape, and what they put for what they cannot read
	for range 5 {
		if _, err := f.Append(t.Context(), b); err != nil {
			t.Fatal(err)
		}
	}
	for _, index := range []int{1, 2} {
		text := prove(t, f, journal.Place{Seq: 4, Index: index})
		if _, err := journal.VerifyProof(text, f.signer.Verifier()); err != nil {
			t.Fatal(err)
		}
		for i := range text {
			for _, x := range []byte{1, 2, 4, 8, 16, 32, 64, 128, 255} {
				changed := slices.Clone(text)
				changed[i] ^= x
				if proven, err := journal.VerifyProof(changed, f.signer.Verifier()); err == nil {
					if sameJSON(changed, text) { // \u003c and \u003C
						continue
					}
					t.Fatalf("byte %d (%q to %q) can change: %+v", i, text[i], changed[i], proven)
				} else if !errors.Is(err, journal.ErrProof) && !errors.Is(err, journal.ErrCheckpoint) {
					t.Fatalf("byte %d: %v", i, err)
				}
			}
		}
		for i := range text {
			if _, err := journal.VerifyProof(append(slices.Clone(text[:i]), text[i+1:]...), f.signer.Verifier()); err == nil {
				t.Fatalf("byte %d can be left out", i)
			}
		}
	}
}

// sameJSON tells whether a and b are the same JSON, whatever the layout.
func sameJSON(a, b []byte) bool {
	var x, y any
	return utf8.Valid(a) && json.Unmarshal(a, &x) == nil && json.Unmarshal(b, &y) == nil && reflect.DeepEqual(x, y)
}

// TestAProofThatPassedThroughAnotherProgram: Python escapes what is not ASCII,
// jq -S sorts names; neither changes what the proof says.
func TestAProofThatPassedThroughAnotherProgram(t *testing.T) {
	t.Parallel()
	f := open(t, journal.Options{})
	if _, err := f.Append(t.Context(), batch(0, 1)); err != nil {
		t.Fatal(err)
	}
	text := prove(t, f, journal.Place{Seq: 1})
	var sorted map[string]any
	if err := json.Unmarshal(text, &sorted); err != nil {
		t.Fatal(err)
	}
	other, err := json.MarshalIndent(sorted, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	other = bytes.ReplaceAll(other, []byte("—"), []byte(`\u2014`))
	if _, err := journal.VerifyProof(other, f.signer.Verifier()); err != nil {
		t.Errorf("%v in\n%s", err, other)
	}
}

// TestProofsAreReadHoweverIndented takes the forms in which ours are written.
func TestProofsAreReadHoweverIndented(t *testing.T) {
	t.Parallel()
	f := open(t, journal.Options{})
	b := batch(0, 1)
	b.Items[0] = []byte(`{"model":"a<b"}`)
	if _, err := f.Append(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	p, err := f.Prove(t.Context(), []journal.Place{{Seq: 1}})
	if err != nil {
		t.Fatal(err)
	}
	for _, escape := range []bool{false, true} {
		var text bytes.Buffer
		e := json.NewEncoder(&text)
		e.SetEscapeHTML(escape)
		e.SetIndent("", "  ")
		if err := e.Encode(p); err != nil {
			t.Fatal(err)
		}
		if _, err := journal.VerifyProof(text.Bytes(), f.signer.Verifier()); err != nil {
			t.Errorf("escaped %v: %v", escape, err)
		}
	}
}

// TestProofsThatLie are well-formed, and say what is not so.
func TestProofsThatLie(t *testing.T) {
	t.Parallel()
	f := open(t, journal.Options{})
	f.fill(t, 20)
	other := open(t, journal.Options{Signer: f.signer})
	other.fill(t, 20)
	foreign, err := other.Checkpoint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for name, lie := range map[string]func(p *journal.Proof){
		"another item":           func(p *journal.Proof) { p.Items[0].Item = p.Items[1].Item },
		"another index":          func(p *journal.Proof) { p.Items[0].Index = 1 },
		"an index outside":       func(p *journal.Proof) { p.Items[0].Index = 6 },
		"a negative index":       func(p *journal.Proof) { p.Items[0].Index = -1 },
		"another entry's header": func(p *journal.Proof) { p.Items[0].Header = p.Items[1].Header },
		"another entry's path":   func(p *journal.Proof) { p.Items[0].EntryPath = p.Items[1].EntryPath },
		"a shorter item path":    func(p *journal.Proof) { p.Items[0].ItemPath = p.Items[0].ItemPath[1:] },
		"a longer item path":     func(p *journal.Proof) { p.Items[0].ItemPath = append(p.Items[0].ItemPath, p.Items[0].ItemPath...) },
		"no path":                func(p *journal.Proof) { p.Items[0].EntryPath = nil },
		"another journal":        func(p *journal.Proof) { p.Checkpoint = foreign },
		"no checkpoint":          func(p *journal.Proof) { p.Checkpoint = "" },
		"no items":               func(p *journal.Proof) { p.Items = nil },
		"a newer format":         func(p *journal.Proof) { p.Format = 2 },
		// An inner node of the entry's tree is 64 bytes: it is no item.
		"an inner node as an item": func(p *journal.Proof) { p.Items[0].Item = string(p.Items[0].ItemPath[0][:]) },
	} {
		p, err := f.Prove(t.Context(), []journal.Place{{Seq: 7, Index: 0}, {Seq: 14, Index: 3}})
		if err != nil {
			t.Fatal(err)
		}
		lie(p)
		text, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := journal.VerifyProof(text, f.signer.Verifier()); !errors.Is(err, journal.ErrProof) && !errors.Is(err, journal.ErrCheckpoint) {
			t.Errorf("%s: %v", name, err)
		}
	}
	text := prove(t, f, journal.Place{Seq: 7})
	if _, err := journal.VerifyProof(text, newSigner(t).Verifier()); !errors.Is(err, journal.ErrCheckpoint) {
		t.Errorf("with another key: %v", err)
	}
	if _, err := journal.VerifyProof(text); !errors.Is(err, journal.ErrCheckpoint) {
		t.Errorf("with no key: %v", err)
	}
	if _, err := journal.VerifyProof(text, newSigner(t).Verifier(), f.signer.Verifier()); err != nil {
		t.Errorf("with one of two keys: %v", err)
	}
	for _, text := range []string{"", "{}", "[]", "null", `{"v":1}`, string(text) + "x", fmt.Sprintf("[%s]", text)} {
		if _, err := journal.VerifyProof([]byte(text), f.signer.Verifier()); !errors.Is(err, journal.ErrProof) {
			t.Errorf("%.20q: %v", text, err)
		}
	}
}

// TestProveNeedsACheckpoint says so on a journal that nobody signs.
func TestProveNeedsACheckpoint(t *testing.T) {
	t.Parallel()
	j, err := journal.Open(t.Context(), t.TempDir()+"/journal.db", journal.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	if _, err := j.Append(t.Context(), batch(0, 1)); err != nil {
		t.Fatal(err)
	}
	if _, err := j.Prove(t.Context(), []journal.Place{{Seq: 1}}); err == nil {
		t.Error("proved without a signature")
	}
}
