package journal

import (
	"bytes"
	"fmt"
	"sync"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/mod/sumdb/tlog"
)

// How a body is kept.
const (
	plainBody = 0 // the items, each behind a newline but the first
	zstdBody  = 1 // the same, compressed
)

const (
	// worthCompressing is the least length in bytes at which zstd pays.
	worthCompressing = 512
	// maxBody bounds what a body may unpack to: four times the largest request
	// that any limit lets in.
	maxBody = 1 << 30
)

// codec packs and unpacks bodies; both ends may be used concurrently.
var codec = sync.OnceValues(func() (*zstd.Encoder, *zstd.Decoder) {
	// Both constructors fail only for wrong options, and these are fixed.
	e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderCRC(false), zstd.WithWindowSize(1<<20))
	if err != nil {
		panic(err)
	}
	d, err := zstd.NewReader(nil, zstd.WithDecoderMaxMemory(maxBody), zstd.WithDecoderConcurrency(0))
	if err != nil {
		panic(err)
	}
	return e, d
})

// packBody joins the items and compresses them when that pays.
func packBody(items [][]byte) (encoding int, body []byte) {
	plain := bytes.Join(items, []byte{'\n'})
	if len(plain) < worthCompressing {
		return plainBody, plain
	}
	e, _ := codec()
	packed := e.EncodeAll(plain, make([]byte, 0, len(plain)/4))
	if len(packed) >= len(plain) {
		return plainBody, plain
	}
	return zstdBody, packed
}

// unpackBody returns the items. count is the header's: no items and one empty
// item look alike.
func unpackBody(encoding int, body []byte, count int64) ([][]byte, error) {
	switch encoding {
	case plainBody:
		body = bytes.Clone(body)
	case zstdBody:
		_, d := codec()
		plain, err := d.DecodeAll(body, nil)
		if err != nil {
			return nil, fmt.Errorf("%w: body: %w", ErrCorrupt, err)
		}
		body = plain
	default:
		return nil, fmt.Errorf("%w: body encoding %d", ErrCorrupt, encoding)
	}
	if len(body) == 0 && count == 0 {
		return nil, nil
	}
	return bytes.Split(body, []byte{'\n'}), nil
}

// treeRoot is the RFC 6962 tree hash over the items; that of no items is the
// hash of the empty string.
func treeRoot(items [][]byte) (tlog.Hash, error) {
	hashes, err := itemHashes(items)
	if err != nil {
		return tlog.Hash{}, err
	}
	return tlog.TreeHash(int64(len(items)), hashes)
}

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
