package ingest

import (
	"errors"
	"io"
	"sync"

	"golang.org/x/sync/semaphore"

	"github.com/tollkeeper/tollkeeper/internal/usage"
)

// work is the memory of one request: the body as it was sent, decompressed, and
// the lines it became. It counts what it takes against the receiver's room, as
// it takes it: a client that only announces much, or sends slowly, holds little.
type work struct {
	room  *semaphore.Weighted
	held  int64 // bytes of room
	limit int   // of the lines, in bytes
	body  []byte
	lines []byte
	ends  []int // of the lines
	items [][]byte
}

const (
	// smallWork and largeWork bound in bytes what is kept for the next request: a
	// span or ten, and a Collector's usual batch. Two sizes, so that small
	// requests do not hold the room of large ones.
	smallWork = 32 << 10
	largeWork = 2 << 20
)

var (
	smallWorks = sync.Pool{New: func() any { return new(work) }}
	largeWorks = sync.Pool{New: func() any { return new(work) }}
)

// newWork returns memory for a request whose body has about size bytes; a
// negative size is not known.
func (r *Receiver) newWork(size int64) (*work, error) {
	pool := &smallWorks
	if size > smallWork/4 {
		pool = &largeWorks
	}
	w := pool.Get().(*work) //nolint:forcetypeassert // nothing else is put there
	w.room, w.limit = r.room, maxLines
	if err := w.hold(); err != nil {
		w.free()
		return nil, err
	}
	return w, nil
}

// hold takes room for what the buffers have grown to.
func (w *work) hold() error {
	if more := int64(cap(w.body)+cap(w.lines)) - w.held; more > 0 {
		if !w.room.TryAcquire(more) {
			return errNoRoom
		}
		w.held += more
	}
	return nil
}

// free gives the room back, and keeps the buffers for another request.
func (w *work) free() {
	w.room.Release(w.held)
	*w = work{body: w.body[:0], lines: w.lines[:0], ends: w.ends[:0], items: w.items[:0]}
	clear(w.items[:cap(w.items)]) // they point into lines that may have been replaced
	switch size := cap(w.body) + cap(w.lines); {
	case size <= smallWork:
		smallWorks.Put(w)
	case size <= largeWork:
		largeWorks.Put(w)
	}
}

const (
	// firstRead is how much of a body is made room for before it came.
	firstRead = 64 << 10
	leastRead = 512
)

var errBodyTooLarge = errors.New("the body is too large")

// read reads the body. size is what the sender says it has, negative when it
// does not say; above limit it is errBodyTooLarge.
func (w *work) read(from io.Reader, size, limit int64) error {
	want := int64(leastRead)
	if size >= 0 {
		want = min(size+1, firstRead) // one more, to see the end
	}
	for {
		if free := cap(w.body) - len(w.body); int64(free) < want {
			if err := w.growBody(limit, int(want)); err != nil {
				return err
			}
		}
		want = 1
		n, err := from.Read(w.body[len(w.body):cap(w.body)])
		w.body = w.body[:len(w.body)+n]
		switch {
		case int64(len(w.body)) > limit:
			return errBodyTooLarge
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
	}
}

func (w *work) growBody(limit int64, want int) error {
	grown := make([]byte, len(w.body), min(int64(growth*cap(w.body)+want), limit+1))
	copy(grown, w.body)
	w.body = grown
	return w.hold()
}

// growth is the factor by which a body's buffer grows.
const growth = 2

// line appends an observation's line.
func (w *work) line(o *usage.Observation, s *usage.Stamp, resource []byte) error {
	had := cap(w.lines)
	w.lines = usage.AppendLine(w.lines, o, s, resource)
	w.ends = append(w.ends, len(w.lines))
	if len(w.lines) > w.limit {
		return refuse(tooLarge, "the spans take more than %d bytes in the journal: send fewer at a time", w.limit)
	}
	if cap(w.lines) == had {
		return nil
	}
	return w.hold()
}

// maxLines bounds in bytes what an export becomes, where each span repeats its
// resource: a batch of 10,000 spans is near 10 MiB. It is half of what one entry
// of the journal can hold.
const maxLines = 256 << 20

// split returns the lines.
func (w *work) split() [][]byte {
	start := 0
	for _, end := range w.ends {
		w.items = append(w.items, w.lines[start:end:end])
		start = end
	}
	return w.items
}
