package journal

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"unicode/utf8"

	"golang.org/x/mod/sumdb/tlog"
)

// Proof shows, without the data, that items stand in a journal that a
// checkpoint signed. It is the JSON that `tollkeeper prove` writes.
type Proof struct {
	Format     int         `json:"v"`
	Checkpoint string      `json:"checkpoint"` // a signed note
	Items      []ItemProof `json:"items"`
}

// ItemProof is one item: its line, the path to its entry's root, and the path
// from that entry to the checkpoint's root (RFC 6962, section 2.1.1).
type ItemProof struct {
	Item      string      `json:"item"`
	Index     int         `json:"index"`
	Header    string      `json:"header"` // the entry's, canonical
	ItemPath  []tlog.Hash `json:"item_path"`
	EntryPath []tlog.Hash `json:"entry_path"`
}

// Place names an item.
type Place struct {
	Seq   uint64
	Index int
}

// Prove makes a proof of the items at the places, against the newest
// checkpoint.
func (r *Reader) Prove(ctx context.Context, places []Place) (*Proof, error) {
	text, err := r.Checkpoint(ctx)
	if err != nil {
		return nil, err
	}
	if text == "" {
		return nil, errors.New("the journal has no signed checkpoint to prove against")
	}
	c, err := parseCheckpoint(signedText(text))
	if err != nil {
		return nil, err
	}
	p := &Proof{Format: 1, Checkpoint: text}
	for _, at := range places {
		item, err := r.proveItem(ctx, c, at)
		if err != nil {
			return nil, fmt.Errorf("entry %d, observation %d: %w", at.Seq, at.Index, err)
		}
		p.Items = append(p.Items, item)
	}
	return p, nil
}

func (r *Reader) proveItem(ctx context.Context, c Checkpoint, at Place) (ItemProof, error) {
	if at.Seq == 0 || at.Seq > c.Size {
		return ItemProof{}, fmt.Errorf("the checkpoint covers entries 1 to %d", c.Size)
	}
	e, err := r.Entry(ctx, at.Seq)
	if err != nil {
		return ItemProof{}, err
	}
	if at.Index < 0 || at.Index >= len(e.Items) {
		return ItemProof{}, fmt.Errorf("the entry has %d observations", len(e.Items))
	}
	stored, err := itemHashes(e.Items)
	if err != nil {
		return ItemProof{}, err
	}
	itemPath, err := tlog.ProveRecord(int64(len(e.Items)), int64(at.Index), stored)
	if err != nil {
		return ItemProof{}, err
	}
	entryPath, err := tlog.ProveRecord(int64(c.Size), int64(at.Seq)-1, r.hashes(ctx))
	return ItemProof{
		Item: string(e.Items[at.Index]), Index: at.Index, Header: string(e.RawHeader),
		ItemPath: itemPath, EntryPath: entryPath,
	}, err
}

// Signed tells whether the journal begins with the entries that the checkpoint
// is of. It trusts the stored tree, which Verify compares with the entries.
func (r *Reader) Signed(ctx context.Context, c Checkpoint) (bool, error) {
	size, err := r.Size(ctx)
	if err != nil || c.Origin != r.origin || c.Size > size {
		return false, err
	}
	root, err := tlog.TreeHash(int64(c.Size), r.hashes(ctx))
	return root == c.Root, err
}

// Proven is what a proof shows.
type Proven struct {
	Checkpoint Checkpoint
	Items      []ProvenItem
}

// ProvenItem is an item that stands in the journal, and the entry it is in.
type ProvenItem struct {
	Header Header
	Index  int
	Item   []byte
}

// ErrProof says that a proof does not hold.
var ErrProof = errors.New("the proof does not hold")

// VerifyProof checks a proof with verifier keys, without the data. Errors wrap
// ErrProof or ErrCheckpoint.
func VerifyProof(proof []byte, verifiers ...string) (*Proven, error) {
	p, err := parseProof(proof)
	if err != nil {
		return nil, err
	}
	c, err := OpenCheckpoint(p.Checkpoint, verifiers...)
	if err != nil {
		return nil, err
	}
	out := &Proven{Checkpoint: c}
	for i := range p.Items {
		h, err := p.Items[i].check(c)
		if err != nil {
			return nil, fmt.Errorf("%w: item %d: %w", ErrProof, i, err)
		}
		out.Items = append(out.Items, ProvenItem{Header: h, Index: p.Items[i].Index, Item: []byte(p.Items[i].Item)})
	}
	return out, nil
}

// parseProof takes a proof as Proof writes it, however another program has
// laid out or escaped the same JSON since. What a lenient reader takes for the
// same (other cases of names, doubled names, invalid UTF-8) was not written by us.
func parseProof(b []byte) (*Proof, error) {
	var p Proof
	if err := json.Unmarshal(b, &p); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrProof, err)
	}
	if p.Format != 1 || len(p.Items) == 0 {
		return nil, fmt.Errorf("%w: format %d, %d items", ErrProof, p.Format, len(p.Items))
	}
	written, err := json.Marshal(&p)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrProof, err)
	}
	given, want := readJSON(b), readJSON(written)
	if !utf8.Valid(b) || given.tokens != want.tokens || !reflect.DeepEqual(given.value, want.value) {
		return nil, fmt.Errorf("%w: it is not what `tollkeeper prove` wrote", ErrProof)
	}
	return &p, nil
}

// readJSON reads valid JSON as it is: each name as it stands, each number as its
// digits. The number of tokens tells a doubled name.
func readJSON(b []byte) (out struct {
	value  any
	tokens int
},
) {
	d := json.NewDecoder(bytes.NewReader(b))
	for _, err := d.Token(); err == nil; _, err = d.Token() {
		out.tokens++
	}
	d = json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	_ = d.Decode(&out.value) // it was read before
	return out
}

func (p *ItemProof) check(c Checkpoint) (Header, error) {
	h, err := parseHeader([]byte(p.Header))
	if err != nil {
		return h, err
	}
	if h.Origin != c.Origin {
		return h, errors.New("the entry is of another journal than the checkpoint")
	}
	if c.Size >= 1<<sizeBits {
		return h, fmt.Errorf("%w: size %d", ErrCheckpoint, c.Size)
	}
	if h.Seq == 0 || h.Seq > c.Size || h.Count <= 0 || p.Index < 0 || int64(p.Index) >= h.Count {
		return h, errors.New("the item lies outside of the entry or the checkpoint")
	}
	root, err := rootFromPath(p.ItemPath, h.Count, int64(p.Index), tlog.RecordHash([]byte(p.Item)))
	if err != nil {
		return h, err
	}
	return h, tlog.CheckRecord(p.EntryPath, int64(c.Size), c.Root, int64(h.Seq)-1, leafHash([]byte(p.Header), root))
}

// rootFromPath computes the root of a tree of t records from the path of record
// n (RFC 9162, section 2.1.3.2).
func rootFromPath(path []tlog.Hash, t, n int64, leaf tlog.Hash) (tlog.Hash, error) {
	last, root := t-1, leaf
	for _, p := range path {
		if last == 0 {
			return root, errors.New("the path is too long")
		}
		if n&1 == 1 || n == last {
			root = tlog.NodeHash(p, root)
			for n&1 == 0 && n != 0 {
				n, last = n>>1, last>>1
			}
		} else {
			root = tlog.NodeHash(root, p)
		}
		n, last = n>>1, last>>1
	}
	if last != 0 {
		return root, errors.New("the path is too short")
	}
	return root, nil
}
