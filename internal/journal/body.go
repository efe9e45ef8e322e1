package journal

import (
	"bytes"
	"fmt"
	"slices"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// How a body is kept.
const (
	plainBody = 0 // the items, each behind a newline but the first
	zstdBody  = 1 // the same, compressed
)

const (
	// worthCompressing is the least length in bytes at which zstd pays.
	worthCompressing = 512
	// maxBody bounds an entry's items in bytes, unpacked: eight times the largest
	// request that ingest lets in unless told otherwise, and well below the 10^9
	// bytes that SQLite keeps in one row.
	maxBody = 512 << 20
)

// window is how far back in bytes a body may repeat itself: lines repeat their
// neighbours, and what is searched stays in the processor's cache.
const window = 64 << 10

// codec packs and unpacks bodies; both ends may be used concurrently.
var codec = sync.OnceValues(func() (*zstd.Encoder, *zstd.Decoder) {
	// Both constructors fail only for wrong options, and these are fixed.
	e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderCRC(false), zstd.WithWindowSize(window))
	if err != nil {
		panic(err)
	}
	d, err := zstd.NewReader(nil, zstd.WithDecoderMaxMemory(maxBody), zstd.WithDecoderConcurrency(0))
	if err != nil {
		panic(err)
	}
	return e, d
})

// scratch is what a body is hashed, joined and compressed in.
type scratch struct{ plain, packed []byte }

// maxScratch bounds in bytes what is kept for the next body.
const maxScratch = 1 << 20

var scratches = sync.Pool{New: func() any { return new(scratch) }}

func newScratch() *scratch {
	return scratches.Get().(*scratch) //nolint:forcetypeassert // nothing else is put there
}

func (x *scratch) free() {
	if cap(x.plain) <= maxScratch {
		scratches.Put(x)
	}
}

// packBody joins the items and compresses them when that pays.
func packBody(items [][]byte) (encoding int64, body []byte) {
	x := newScratch()
	defer x.free()
	encoding, body = x.pack(items)
	return encoding, append(make([]byte, 0, len(body)), body...) // no longer than it is: it may wait for long
}

func (x *scratch) pack(items [][]byte) (encoding int64, body []byte) {
	length := 0
	for _, item := range items {
		length += len(item) + 1
	}
	x.plain = slices.Grow(x.plain[:0], length)
	for i, item := range items {
		if i > 0 {
			x.plain = append(x.plain, '\n')
		}
		x.plain = append(x.plain, item...)
	}
	if len(x.plain) < worthCompressing {
		return plainBody, x.plain
	}
	e, _ := codec()
	if x.packed = e.EncodeAll(x.plain, x.packed[:0]); len(x.packed) >= len(x.plain) {
		return plainBody, x.plain
	}
	return zstdBody, x.packed
}

// unpackBody returns the items. count is the header's: no items and one empty
// item look alike.
func unpackBody(encoding int64, body []byte, count int64) ([][]byte, error) {
	switch encoding {
	case plainBody:
	case noBody:
		return nil, fmt.Errorf("%w: the body is missing", ErrCorrupt)
	case zstdBody:
		_, d := codec()
		plain, err := d.DecodeAll(body, nil)
		if err != nil {
			return nil, fmt.Errorf("%w: body: %w", ErrCorrupt, err)
		}
		body = plain
	default:
		return nil, fmt.Errorf("%w: the body has an unknown encoding", ErrCorrupt)
	}
	if len(body) == 0 && count == 0 {
		return nil, nil
	}
	return bytes.Split(body, []byte{'\n'}), nil
}
