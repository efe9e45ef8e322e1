package journal

import (
	"crypto/sha256"
	"fmt"
	"math/bits"

	"golang.org/x/mod/sumdb/tlog"
)

// leafHash is an entry's leaf in the journal's tree. The root has a fixed
// length, so that no other header and root have the same bytes.
func leafHash(header []byte, root tlog.Hash) tlog.Hash {
	return tlog.RecordHash(append(append(make([]byte, 0, len(header)+len(root)), header...), root[:]...))
}

// treeRoot is the RFC 6962 tree hash over the items; that of no items is the
// hash of the empty string. It does what tlog.TreeHash over itemHashes does, and
// keeps no hash that it does not need: it runs over all that comes.
func treeRoot(items [][]byte) tlog.Hash {
	if len(items) == 0 {
		return sha256.Sum256(nil)
	}
	var full [treeLevels]tlog.Hash // by height, the perfect tree that waits for one beside it
	x := newScratch()
	defer x.free()
	for i, item := range items {
		x.plain = append(append(x.plain[:0], recordPrefix), item...)
		h, level := tlog.Hash(sha256.Sum256(x.plain)), 0
		for ; i>>level&1 == 1; level++ {
			h = tlog.NodeHash(full[level], h)
		}
		full[level] = h
	}
	left := len(items)
	root := full[bits.TrailingZeros(uint(left))]
	for left &= left - 1; left != 0; left &= left - 1 {
		root = tlog.NodeHash(full[bits.TrailingZeros(uint(left))], root)
	}
	return root
}

// recordPrefix stands before the bytes of a leaf (RFC 6962, section 2.1).
const recordPrefix = 0x00

// memoryHashes holds stored hashes by their index.
type memoryHashes []tlog.Hash

func (m memoryHashes) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, x := range indexes {
		if x < 0 || x >= int64(len(m)) {
			return nil, fmt.Errorf("hash %d is not there", x)
		}
		out[i] = m[x]
	}
	return out, nil
}

func itemHashes(items [][]byte) (memoryHashes, error) {
	stored := make(memoryHashes, 0, 2*len(items))
	for i, item := range items {
		more, err := tlog.StoredHashes(int64(i), item, stored)
		if err != nil {
			return nil, err
		}
		stored = append(stored, more...)
	}
	return stored, nil
}

// treeLevels is one more than the highest level of a tree whose size fits in 63
// bits.
const treeLevels = 64

// edge is the right edge of a growing tree: at each level the newest hash that
// is a left child. It is all that adding a leaf and computing the root need, so
// that a writer never reads back what somebody may have changed. A copy of the
// value is a place to come back to.
type edge struct {
	leaves int64
	levels [treeLevels]edgeHash
}

type edgeHash struct {
	id    int64
	hash  tlog.Hash
	known bool
}

// grow adds a leaf. It returns the hashes that the tree stores for it, and the
// index of the first; the others follow it.
func (e *edge) grow(leaf tlog.Hash) (first int64, stored []tlog.Hash, err error) {
	first = tlog.StoredHashIndex(0, e.leaves)
	if stored, err = tlog.StoredHashesForRecordHash(e.leaves, leaf, e); err != nil {
		return 0, nil, err
	}
	for i, h := range stored {
		e.put(first+int64(i), h)
	}
	e.leaves++
	return first, stored, nil
}

func (e *edge) put(id int64, h tlog.Hash) {
	if level, n := tlog.SplitStoredHashIndex(id); n&1 == 0 {
		e.levels[level] = edgeHash{id, h, true}
	}
}

// root is the tree's hash.
func (e *edge) root() (tlog.Hash, error) { return tlog.TreeHash(e.leaves, e) }

// ReadHashes implements tlog.HashReader.
func (e *edge) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, id := range indexes {
		level, _ := tlog.SplitStoredHashIndex(id)
		if at := e.levels[level]; !at.known || at.id != id {
			return nil, fmt.Errorf("hash %d is not on the edge", id)
		}
		out[i] = e.levels[level].hash
	}
	return out, nil
}

// loadEdge reads the edge of a tree of n leaves: the roots of the perfect trees
// that it is made of.
func loadEdge(n int64, r tlog.HashReader) (edge, error) {
	e := edge{leaves: n}
	for level := range treeLevels - 1 {
		if n>>level&1 == 0 {
			continue
		}
		id := tlog.StoredHashIndex(level, n>>level-1)
		h, err := r.ReadHashes([]int64{id})
		if err != nil {
			return edge{}, err
		}
		e.put(id, h[0])
	}
	return e, nil
}
