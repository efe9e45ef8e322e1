package journal

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"
)

// FuzzBody unpacks what was packed, and refuses the rest without a panic or more
// memory than a body may take.
func FuzzBody(f *testing.F) {
	f.Add(int64(plainBody), []byte(`{"a":1}`), int64(1))
	f.Add(int64(plainBody), []byte(""), int64(0))
	f.Add(int64(plainBody), []byte("\n\n"), int64(3))
	_, packed := packBody([][]byte{bytes.Repeat([]byte("usage "), 500), []byte("{}")})
	f.Add(int64(zstdBody), packed, int64(2))
	f.Add(int64(zstdBody), packed[:len(packed)/2], int64(2))
	f.Add(int64(zstdBody), []byte{0x28, 0xb5, 0x2f, 0xfd, 0xe0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f}, int64(1))
	f.Add(int64(noBody), []byte(nil), int64(1))
	f.Add(int64(99), []byte("x"), int64(1))
	f.Fuzz(func(t *testing.T, encoding int64, body []byte, count int64) {
		items, err := unpackBody(encoding, body, count)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) {
				t.Errorf("%v", err)
			}
			return
		}
		if len(items) == 0 && count != 0 {
			t.Errorf("no items where %d were packed", count)
		}
		kind, again := packBody(items)
		back, err := unpackBody(kind, again, int64(len(items)))
		if err != nil || len(back) != len(items) || !bytes.Equal(bytes.Join(back, []byte{'\n'}), bytes.Join(items, []byte{'\n'})) {
			t.Errorf("%d items come back as %d, %v", len(items), len(back), err)
		}
	})
}

// FuzzHeader reads headers, and writes again what it read in one form.
func FuzzHeader(f *testing.F) {
	h := Header{
		Format: 1, Seq: 7, Received: 1_790_000_000_000_000_000, Origin: "o", Producer: "p<é>", Kind: "otlp.traces", Count: 3,
		Rejected: map[string]int64{"bad_count": 2}, Ignored: map[string]int64{"no_usage": 9},
	}
	text, err := h.canonical()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte(`{"count":0,"kind":"","origin":"","producer":"","received":"-1","seq":0,"v":1}`))
	f.Add([]byte(`{"v":2}`))
	f.Add([]byte(`{"V":1,"received":"1e9"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := parseHeader(b)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrNewerFormat) {
				t.Errorf("%v", err)
			}
			return
		}
		once, err := h.canonical()
		if err != nil {
			t.Fatal(err)
		}
		again, err := parseHeader(once)
		if err != nil {
			t.Fatalf("%s does not read again: %v", once, err)
		}
		if twice, err := again.canonical(); err != nil || !bytes.Equal(once, twice) {
			t.Errorf("%s and %s, %v", once, twice, err)
		}
	})
}

// FuzzCheckpointText reads texts of checkpoints: one checkpoint has one text, but
// for extensions.
func FuzzCheckpointText(f *testing.F) {
	f.Add(Checkpoint{Origin: "tollkeeper-journal-0123456789abcdef", Size: 42}.Text())
	f.Add("o\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\nextension\n")
	f.Add("o\n007\nAAAA\n")
	f.Add("o\n0\n\r\r47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := parseCheckpoint(text)
		if err != nil {
			if !errors.Is(err, ErrCheckpoint) {
				t.Errorf("%v", err)
			}
			return
		}
		if want := c.Text(); len(text) < len(want) || text[:len(want)] != want {
			t.Errorf("%q is read as %q", text, want)
		}
	})
}

// FuzzOpenCheckpoint gives signed notes: none opens but those that our key signed.
func FuzzOpenCheckpoint(f *testing.F) {
	secret, verifier, err := note.GenerateKey(bytes.NewReader(make([]byte, 64)), "tollkeeper")
	if err != nil {
		f.Fatal(err)
	}
	s, err := newSigner(secret)
	if err != nil {
		f.Fatal(err)
	}
	good, err := s.Sign(Checkpoint{Origin: "o", Size: 5})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(good + "— witness AAAAAAAA\n")
	f.Add("o\n5\nAAAA\n\n— tollkeeper AAAAAAAA\n")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := OpenCheckpoint(text, verifier)
		if err == nil && (c != Checkpoint{Origin: "o", Size: 5} || !strings.HasPrefix(text, c.Text())) {
			t.Errorf("opened %+v from %q", c, text)
		}
		if err != nil && !errors.Is(err, ErrCheckpoint) {
			t.Errorf("%v", err)
		}
	})
}

// FuzzVerifyProof gives proofs: none holds without a signature of the key.
func FuzzVerifyProof(f *testing.F) {
	f.Add([]byte(`{"v":1,"checkpoint":"a\n1\nAAAA\n","items":[{"item":"x"}]}`))
	p := Proof{Format: 1, Checkpoint: "o\n1\nAAAA\n\n— tollkeeper AAAAAAAA\n", Items: []ItemProof{{Item: "{}", Header: `{"v":1,"count":1,"seq":1,"received":"1","origin":"o"}`}}}
	text, err := json.Marshal(p)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	const verifier = "tollkeeper+b5f6d2a4+AaOYNhaRUkZcZYMLQnZOQHzuWHGTwUZgNBbD5dRkfC5N"
	f.Fuzz(func(t *testing.T, b []byte) {
		proven, err := VerifyProof(b, verifier)
		if err == nil {
			t.Errorf("proved %+v", proven)
		} else if !errors.Is(err, ErrProof) && !errors.Is(err, ErrCheckpoint) {
			t.Errorf("%v", err)
		}
	})
}

// FuzzItemProof checks proofs against a checkpoint of their own choice, as one
// who had the key could: still nothing panics.
func FuzzItemProof(f *testing.F) {
	f.Add(`{"n":1}`, `{"count":1,"kind":"","origin":"o","producer":"","received":"1","seq":1,"v":1}`, 0, uint64(1), []byte{})
	f.Add(`{"n":1}`, `{"count":5,"kind":"","origin":"o","producer":"","received":"1","seq":3,"v":1}`, 4, uint64(9), make([]byte, 32*5))
	f.Add(`x`, `{"count":9223372036854775807,"origin":"o","received":"1","seq":9223372036854775807,"v":1}`, 1<<40, uint64(1<<62), make([]byte, 32*64))
	f.Add(`x`, `{"count":9223372036854775807,"origin":"o","received":"1","seq":233724775807,"v":1}`, 1<<40, uint64(1<<62+102), make([]byte, 32*63)) // never ended
	f.Fuzz(func(t *testing.T, item, header string, index int, size uint64, path []byte) {
		p := ItemProof{Item: item, Header: header, Index: index}
		for ; len(path) >= 32; path = path[32:] {
			p.ItemPath = append(p.ItemPath, [32]byte(path))
			p.EntryPath = append(p.EntryPath, [32]byte(path))
		}
		if _, err := p.check(Checkpoint{Origin: "o", Size: size & (1<<63 - 1)}); err == nil {
			t.Error("a root of zeros has a proof")
		}
	})
}
