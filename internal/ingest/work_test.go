package ingest

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"golang.org/x/sync/semaphore"

	"github.com/tollkeeper/tollkeeper/internal/usage"
)

// TestRoom: a request takes room as it grows, is refused retryably when there is
// no more, and gives back all of it, however it ended.
func TestRoom(t *testing.T) {
	const room = 8 << 20
	r := NewReceiver(Options{})
	r.room = semaphore.NewWeighted(room)
	var waiting []*work
	for {
		w, err := r.newWork(-1)
		if err == nil {
			waiting = append(waiting, w)
			err = w.read(io.LimitReader(zeros{}, 1<<20), -1, 2<<20)
		}
		if err == nil {
			continue
		}
		if !errors.Is(err, errNoRoom) || !r.classify(err).outcome.retryable() {
			t.Fatal(err)
		}
		break
	}
	if n := len(waiting); n < 5 || n > 8 {
		t.Errorf("%d bodies of 1 MiB in 8 MiB", n)
	}
	for _, w := range waiting {
		w.free()
	}
	if !r.room.TryAcquire(room) {
		t.Error("room was not given back")
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// TestReadBody: whatever way a body comes, it is read whole, and one byte above
// the limit is seen.
func TestReadBody(t *testing.T) {
	r := NewReceiver(Options{})
	for _, size := range []int{0, 1, 511, 512, 513, 4095, 4096, 65535, 65536, 65537, 99_999, 100_000, 100_001} {
		text := strings.Repeat("abcdefg", size/7+1)[:size]
		for name, reader := range map[string]func() io.Reader{
			"at once":      func() io.Reader { return strings.NewReader(text) },
			"by halves":    func() io.Reader { return iotest.HalfReader(strings.NewReader(text)) },
			"with EOF":     func() io.Reader { return iotest.DataErrReader(strings.NewReader(text)) },
			"byte by byte": func() io.Reader { return iotest.OneByteReader(strings.NewReader(text)) },
		} {
			for _, told := range []int64{-1, int64(size), 3, 1 << 40} {
				w, err := r.newWork(told)
				if err != nil {
					t.Fatal(err)
				}
				err = w.read(reader(), told, 100_000)
				if size > 100_000 != errors.Is(err, errBodyTooLarge) || err == nil && string(w.body) != text {
					t.Errorf("%d bytes %s, %d told: %d bytes, %v", size, name, told, len(w.body), err)
				}
				w.free()
			}
		}
	}
}

// TestLines: lines are those that were appended, whatever buffers they went
// through, and more than an entry holds is refused for good.
func TestLines(t *testing.T) {
	r := NewReceiver(Options{})
	for range 3 { // the second time in the buffers of the first
		w, err := r.newWork(-1)
		if err != nil {
			t.Fatal(err)
		}
		w.limit = 1 << 20
		var want [][]byte
		for i := 0; err == nil; i++ {
			o := usage.Observation{Kind: usage.KindUsage, RequestID: strings.Repeat("x", i%977), Start: int64(i)}
			if err = w.line(&o, &usage.Stamp{}, nil); err == nil {
				want = append(want, usage.AppendLine(nil, &o, &usage.Stamp{}, nil))
			}
		}
		if r.classify(err).outcome != tooLarge {
			t.Error(err)
		}
		w.ends = w.ends[:len(want)]
		if got := w.split(); !bytes.Equal(bytes.Join(got, nil), bytes.Join(want, nil)) || len(got) != len(want) {
			t.Errorf("%d lines, want %d", len(got), len(want))
		}
		w.free()
	}
}
