package ingest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"google.golang.org/grpc/encoding"
)

// decompressor is a reader of compressed text that can be used again.
type decompressor interface {
	io.Reader
	Reset(from io.Reader) error
}

// maxWindow is the window of zstd in bytes that a decoder must take (RFC 8878,
// section 3.1.1.1.2), and the largest that the Collector's encoder uses. A
// decoder's window is beside the receiver's room.
const maxWindow = 8 << 20

// decompressors are the pools by the name of the encoding.
var decompressors = map[string]*sync.Pool{
	"gzip": {New: func() any { return new(gzip.Reader) }},
	"zstd": {New: func() any {
		d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderLowmem(true))
		if err != nil {
			panic(err) // fixed options
		}
		return d
	}},
}

// errCompression says that a body is not compressed as it says.
var errCompression = errors.New("bad compression")

// decompressing calls fn with a reader of what from holds compressed. A
// decompressor that panics counts as bad compression: it would panic again.
func decompressing(encoding string, from io.Reader, fn func(io.Reader) error) (err error) {
	encoding = strings.ToLower(encoding)
	if encoding == "" || encoding == "identity" {
		return fn(from)
	}
	pool := decompressors[encoding]
	if pool == nil {
		return refuse(unsupported, "content encoding %q: use gzip or zstd", encoding)
	}
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %s: it panicked: %v", errCompression, encoding, p)
		}
	}()
	source := &sourceReader{from: from}
	z := pool.Get().(decompressor) //nolint:forcetypeassert // nothing else is put there
	if err = z.Reset(source); err == nil {
		err = fn(reading{z, encoding})
	} else {
		err = fmt.Errorf("%w: %s: %w", errCompression, encoding, err)
	}
	if source.err != nil {
		return source.err // it did not arrive, whatever the decompressor made of it
	}
	if err == nil {
		_ = z.Reset(nothing{}) // let go of the request's connection; its error is that of no input
		pool.Put(z)
	}
	return err
}

// sourceReader remembers the error of what is read from.
type sourceReader struct {
	from io.Reader
	err  error
}

func (s *sourceReader) Read(p []byte) (int, error) {
	n, err := s.from.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		s.err = err
	}
	return n, err
}

// reading makes the decompressor's errors errCompression.
type reading struct {
	io.Reader
	encoding string
}

func (r reading) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = fmt.Errorf("%w: %s: %w", errCompression, r.encoding, err)
	}
	return n, err
}

type nothing struct{}

func (nothing) Read([]byte) (int, error) { return 0, io.EOF }

// Compressor returns gRPC's compressor of a name, "gzip" or "zstd", for
// encoding.RegisterCompressor. gRPC answers INTERNAL when a decompressor fails,
// on which clients drop what they sent without a word of why; ours hands over a
// message that cannot be decoded instead, which is answered INVALID_ARGUMENT.
func Compressor(name string, maxBody int64) encoding.Compressor {
	return &compressor{name: name, max: maxBody}
}

type compressor struct {
	name string
	max  int64
}

func (c *compressor) Name() string { return c.name }

// Compress is for answers, which are a few bytes.
func (c *compressor) Compress(w io.Writer) (io.WriteCloser, error) {
	if c.name == "zstd" {
		return zstd.NewWriter(w, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest))
	}
	return gzip.NewWriter(w), nil
}

// noMessage is no protobuf: the first byte has the wire type 7.
var noMessage = []byte{0x07}

// Decompress reads everything before it hands over anything, since what is cut
// short must not look whole; up to one byte above the limit, which gRPC then
// refuses as too large.
func (c *compressor) Decompress(from io.Reader) (io.Reader, error) {
	var b bytes.Buffer
	err := decompressing(c.name, from, func(r io.Reader) error {
		_, err := io.Copy(&b, io.LimitReader(r, c.max+1))
		return err
	})
	if err != nil {
		return bytes.NewReader(noMessage), nil //nolint:nilerr // see Compressor
	}
	return &b, nil
}
