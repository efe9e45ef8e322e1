package sqlite

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"

	"github.com/tollkeeper/tollkeeper/internal/usage"
)

// errCorrupt says that a facts blob cannot be read. The projection is then
// rebuilt: nothing is lost.
var errCorrupt = fmt.Errorf("what was counted cannot be read: %w", ErrDamaged)

// A fact is kept with what folding, deduplication and listing need, repeated
// texts by number. The raw tag and the attributes that decide nothing stay in
// the journal.

// appendFact appends the fact's binary form; texts numbers repeated texts.
func appendFact(b []byte, f *usage.Fact, texts func(string) uint64) []byte {
	word := func(s string) { b = binary.AppendUvarint(b, texts(s)) }
	text := func(s string) {
		b = binary.AppendUvarint(b, uint64(len(s)))
		b = append(b, s...)
	}
	number := func(n int64) { b = binary.AppendVarint(b, n) }
	b = append(b, 1)
	word(f.Origin)
	b = binary.AppendUvarint(b, f.Seq)
	number(int64(f.Index))
	number(f.Received)
	word(string(f.Kind))
	word(string(f.Domain))
	word(string(f.Shape))
	text(unhex(f.Trace))
	text(unhex(f.Span))
	text(unhex(f.Parent))
	word(f.Source)
	text(f.ID)
	number(f.Start)
	number(f.End - f.Start)
	number(f.Time - f.Start)
	b = append(b, bit(f.Replaced))
	text(f.RequestID)
	b = append(b, f.Key[:]...)
	b = append(b, f.Content[:]...)
	word(string(f.Stamp.Tag))
	text(f.Record)
	word(f.Stamp.Key)
	word(f.Customer)
	word(f.Project)
	word(f.Producer)
	word(f.Attribution.Customer)
	word(f.Attribution.Project)
	word(f.Attribution.Key)
	word(f.Attribution.Rule)
	number(int64(f.Attribution.Rank))
	word(f.Model)
	b = binary.AppendUvarint(b, uint64(len(f.Quantities)))
	for _, q := range f.Quantities {
		word(q.Name)
		number(q.Amount)
	}
	b = appendDeciding(b, f, texts)
	word(string(appendAttributes(nil, f.Resource)))
	return b
}

func bit(v bool) byte {
	if v {
		return 1
	}
	return 0
}

// unhex packs an id in hex, as the OTLP decoder writes it.
func unhex(s string) string {
	raw, err := hex.DecodeString(s)
	if err != nil {
		return ""
	}
	return string(raw)
}

func appendDeciding(b []byte, f *usage.Fact, texts func(string) uint64) []byte {
	var kept usage.Attributes
	for _, key := range usage.DecidingAttributes {
		if a, ok := f.Attributes.Get(key); ok {
			kept = append(kept, a)
		}
	}
	return binary.AppendUvarint(b, texts(string(appendAttributes(nil, kept))))
}

func appendAttributes(b []byte, list usage.Attributes) []byte {
	for _, a := range list {
		b = binary.AppendUvarint(b, uint64(len(a.Key)))
		b = append(b, a.Key...)
		b = append(b, bit(a.IsInt))
		b = binary.AppendVarint(b, a.Int)
		b = binary.AppendUvarint(b, uint64(len(a.Str)))
		b = append(b, a.Str...)
	}
	return b
}

// reader reads a facts blob; after an error every further read gives zero.
type reader struct {
	b     []byte
	texts func(uint64) (string, bool)
	bad   bool
}

func (r *reader) uvarint() uint64 {
	n, size := binary.Uvarint(r.b)
	if size <= 0 {
		r.bad, r.b = true, nil
		return 0
	}
	r.b = r.b[size:]
	return n
}

func (r *reader) number() int64 {
	n, size := binary.Varint(r.b)
	if size <= 0 {
		r.bad, r.b = true, nil
		return 0
	}
	r.b = r.b[size:]
	return n
}

func (r *reader) take(n uint64) string {
	if n > uint64(len(r.b)) {
		r.bad, r.b = true, nil
		return ""
	}
	s := string(r.b[:n])
	r.b = r.b[n:]
	return s
}

func (r *reader) text() string { return r.take(r.uvarint()) }
func (r *reader) hex() string  { return hex.EncodeToString([]byte(r.text())) }

func (r *reader) hash() (h usage.Hash) {
	copy(h[:], r.take(uint64(len(h))))
	return h
}

func (r *reader) flag() bool { return r.take(1) == "\x01" }

func (r *reader) word() string {
	s, ok := r.texts(r.uvarint())
	if !ok {
		r.bad = true
	}
	return s
}

func (r *reader) attributes() usage.Attributes {
	inner := reader{b: []byte(r.word()), texts: r.texts}
	var list usage.Attributes
	for len(inner.b) > 0 {
		a := usage.Attribute{Key: inner.text(), IsInt: inner.flag(), Int: inner.number(), Str: inner.text()}
		list = append(list, a)
	}
	r.bad = r.bad || inner.bad
	return list
}

// readFacts reads what appendFact wrote, any number of times.
func readFacts(b []byte, texts func(uint64) (string, bool)) ([]usage.Fact, error) {
	r := reader{b: b, texts: texts}
	var facts []usage.Fact
	for len(r.b) > 0 {
		facts = append(facts, r.fact())
		if r.bad {
			return nil, errCorrupt
		}
	}
	return facts, nil
}

func (r *reader) fact() (f usage.Fact) {
	if r.take(1) != "\x01" {
		r.bad = true
		return f
	}
	f.Origin, f.Seq, f.Index, f.Received = r.word(), r.uvarint(), int(r.number()), r.number()
	f.Kind, f.Domain, f.Shape = usage.Kind(r.word()), usage.Domain(r.word()), usage.Shape(r.word())
	f.Trace, f.Span, f.Parent = r.hex(), r.hex(), r.hex()
	f.Source, f.ID = r.word(), r.text()
	f.Start = r.number()
	f.End, f.Time = f.Start+r.number(), f.Start+r.number()
	f.Replaced, f.RequestID = r.flag(), r.text()
	f.Key, f.Content = r.hash(), r.hash()
	f.Stamp = usage.Stamp{
		Tag: usage.TagVerdict(r.word()), Record: r.text(), Key: r.word(),
		Customer: r.word(), Project: r.word(), Producer: r.word(),
	}
	f.Attribution = usage.Attribution{Customer: r.word(), Project: r.word(), Key: r.word(), Rule: r.word(), Rank: int(r.number())}
	f.Model = r.word()
	for range r.uvarint() {
		if r.bad {
			return f
		}
		f.Quantities = append(f.Quantities, usage.Quantity{Name: r.word(), Amount: r.number()})
	}
	f.Attributes, f.Resource = r.attributes(), r.attributes()
	f.Identity = f.Observation.Identity()
	return f
}
