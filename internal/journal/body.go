package journal

import (
	"bytes"
	"fmt"
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
func packBody(items [][]byte) (encoding int64, body []byte) {
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
