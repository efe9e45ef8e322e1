package sqlite

import (
	"context"
	"database/sql"
	"encoding/binary"
	"fmt"
	"iter"
	"strconv"
	"strings"
)

// A filter answers "never seen" about the identities and keys of one hour of a
// day's file, so that a new fact costs no search. It is a Bloom filter in
// layers, for an hour's size is not known before; within a layer all bits of an
// entry lie in one block of 64 bytes, one cache line. A new fact asks every layer
// of every hour, so they are few and seldom wrong: a day of ten million had 125
// layers once, each wrong about one in 240, and four new facts of ten cost a search.
//
// An hour that nothing was added to for a while is sealed: its layers are
// kept in the file, and the transaction that adds to it again takes them out.
// So a file that is opened reads the hours that are sealed and scans the index
// of the few that are not.
type filter struct {
	layers []layer
	sealed bool
	idle   int // transactions since something was added
	added  bool
}

type layer struct {
	bits    []uint64 // 8 words a block
	entries int
}

const (
	// entryBits is how many bits a layer has for each of its entries, entryMarks how
	// many of them an entry sets: a full layer takes one in a thousand new entries for a
	// known one.
	entryBits  = 16
	entryMarks = 7
	// firstBlocks is the size of the first layer: 8 KiB, for 4,096 entries.
	firstBlocks = 128
	// growth is how much larger than the layer before the next one is at least: as
	// large as the day's busiest hour wants, where that is more.
	growth     = 4
	blockWords = 8
	// sealAfter is the number of transactions without an addition after which an
	// hour is sealed. Late spans that come one at a time must not have a megabyte
	// written each time.
	sealAfter = 64
)

func (l *layer) room() int { return len(l.bits) * 64 / entryBits }

// block is where the bits of an entry lie: the upper half of h chooses it.
func (l *layer) block(h uint64) []uint64 {
	blocks := uint64(len(l.bits) / blockWords)
	at := (h >> 32) * blocks >> 32 * blockWords
	return l.bits[at : at+blockWords : at+blockWords]
}

// spread makes the bits within the block depend on all of h.
func spread(h uint64) uint64 { return h * 0x9e3779b97f4a7c15 }

func (l *layer) has(h uint64) bool {
	block, g := l.block(h), spread(h)
	for range entryMarks {
		if block[g>>6&(blockWords-1)]&(1<<(g&63)) == 0 {
			return false
		}
		g >>= 9
	}
	return true
}

func (l *layer) add(h uint64) {
	block, g := l.block(h), spread(h)
	for range entryMarks {
		block[g>>6&(blockWords-1)] |= 1 << (g & 63)
		g >>= 9
	}
	l.entries++
}

func (f *filter) has(h uint64) bool {
	for i := range f.layers {
		if f.layers[i].has(h) {
			return true
		}
	}
	return false
}

func (f *filter) full() bool {
	n := len(f.layers)
	return n == 0 || f.layers[n-1].entries >= f.layers[n-1].room()
}

func (f *filter) entries() (sum int) {
	for i := range f.layers {
		sum += f.layers[i].entries
	}
	return sum
}

// grow adds a layer; one behind the first has room for as many as are expected.
func (f *filter) grow(expected int) {
	blocks := firstBlocks
	if n := len(f.layers); n > 0 {
		blocks = max(len(f.layers[n-1].bits)/blockWords*growth, expected*entryBits/(64*blockWords))
	}
	f.layers = append(f.layers, layer{bits: make([]uint64, blocks*blockWords)})
}

// Entries of a filter: an identity's hash, and a key's with one bit turned, since
// a fact's key may be the hash of its identity.
func identityEntry(identity int64) uint64 { return uint64(identity) }
func keyEntry(key int64) uint64           { return uint64(key) ^ 1 }

// filters are those of a day: one for each hour and one for anyHour, which
// comes first.
type filters [25]filter

func (fs *filters) hour(hour int64) *filter { return &fs[hour-anyHour] }

// hours yields those that may have the entry.
func (fs *filters) hours(h uint64) iter.Seq[int64] {
	return func(yield func(int64) bool) {
		for i := range fs {
			if fs[i].has(h) && !yield(int64(i)+anyHour) {
				return
			}
		}
	}
}

// add puts an entry into an hour.
func (fs *filters) add(hour int64, h uint64) {
	f := fs.hour(hour)
	if f.full() {
		f.grow(fs.busiest())
	}
	f.layers[len(f.layers)-1].add(h)
	f.added = true
}

// busiest is how many entries the hour has that has most.
func (fs *filters) busiest() (most int) {
	for i := range fs {
		most = max(most, fs[i].entries())
	}
	return most
}

// load reads the sealed hours and scans the others.
func (fs *filters) load(ctx context.Context, db querier) error {
	if err := fs.loadSealed(ctx, db); err != nil {
		return err
	}
	return fs.scan(ctx, db)
}

func (fs *filters) loadSealed(ctx context.Context, db querier) error {
	return each(ctx, db, "SELECT hour, entries, bits FROM filters ORDER BY hour, layer", nil, func(scan scanFunc) error {
		var hour int64
		var entries int
		var raw sql.RawBytes
		if err := scan(&hour, &entries, &raw); err != nil {
			return err
		}
		if hour < anyHour || hour-anyHour >= int64(len(fs)) || len(raw) == 0 || len(raw)%(8*blockWords) != 0 {
			return errCorrupt
		}
		f := fs.hour(hour)
		f.sealed, f.layers = true, append(f.layers, layer{bits: words(raw), entries: entries})
		return nil
	})
}

// scan fills the filters of the hours that are not sealed from the indexes.
func (fs *filters) scan(ctx context.Context, db querier) error {
	var open []string
	for i := range fs {
		if !fs[i].sealed {
			open = append(open, strconv.FormatInt(int64(i)+anyHour, 10))
		}
	}
	for query, entry := range map[string]func(int64) uint64{
		"SELECT hour, identity FROM by_trace WHERE hour IN (": identityEntry,
		"SELECT hour, key FROM by_key WHERE hour IN (":        keyEntry,
	} {
		if err := each(ctx, db, query+strings.Join(open, ",")+")", nil, func(scan scanFunc) error {
			var hour, n int64
			err := scan(&hour, &n)
			if err == nil {
				fs.add(hour, entry(n))
			}
			return err
		}); err != nil {
			return err
		}
	}
	for i := range fs {
		fs[i].added = false
	}
	return nil
}

// save brings the file in line with what a transaction added; all seals every
// hour, as before closing.
func (fs *filters) save(ctx context.Context, tx *sql.Tx, all bool) error {
	for i := range fs {
		f, hour := &fs[i], int64(i)+anyHour
		switch {
		case f.added && f.sealed:
			f.sealed = false
			if _, err := tx.ExecContext(ctx, "DELETE FROM filters WHERE hour = ?", hour); err != nil {
				return err
			}
			fallthrough
		case f.added:
			f.added, f.idle = false, 0
		case !f.sealed:
			f.idle++
		}
		if !f.sealed && len(f.layers) > 0 && (all || f.idle >= sealAfter) {
			if err := f.seal(ctx, tx, hour); err != nil {
				return err
			}
		}
	}
	return nil
}

func (f *filter) seal(ctx context.Context, tx *sql.Tx, hour int64) error {
	for i, l := range f.layers {
		if _, err := tx.ExecContext(ctx, "INSERT INTO filters VALUES (?, ?, ?, ?)", hour, i, l.entries, raw(l.bits)); err != nil {
			return fmt.Errorf("filter of hour %d: %w", hour, err)
		}
	}
	f.sealed = true
	return nil
}

// unsealed tells whether closing has something to keep.
func (fs *filters) unsealed() bool {
	for i := range fs {
		if !fs[i].sealed && len(fs[i].layers) > 0 {
			return true
		}
	}
	return false
}

func raw(words []uint64) []byte {
	b := make([]byte, 0, 8*len(words))
	for _, w := range words {
		b = binary.LittleEndian.AppendUint64(b, w)
	}
	return b
}

func words(raw []byte) []uint64 {
	out := make([]uint64, len(raw)/8)
	for i := range out {
		out[i] = binary.LittleEndian.Uint64(raw[8*i:])
	}
	return out
}
