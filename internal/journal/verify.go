package journal

import (
	"bytes"
	"context"
	"fmt"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"

	"golang.org/x/mod/sumdb/tlog"
	sqlite3 "modernc.org/sqlite/lib"
)

// The kinds of defect that Verify finds.
const (
	DefectGap        = "gap"                 // entries are missing
	DefectHeader     = "header"              // a header is not what was written, or of another journal
	DefectItems      = "items"               // observations were edited, removed, swapped or inserted
	DefectBody       = "body"                // a body is missing or cannot be unpacked
	DefectTree       = "tree"                // the tree's hashes do not follow from the entries
	DefectExtra      = "extra"               // rows that no entry explains
	DefectIndex      = "index"               // what saves a scan does not say what the scan says
	DefectMeta       = "meta"                // the journal's name or key was edited
	DefectSchema     = "schema"              // the file's tables are not ours, or there are others
	DefectFile       = "file"                // SQLite cannot read the file
	DefectSignature  = "signature"           // a checkpoint does not verify
	DefectUnsigned   = "unsigned"            // entries that no checkpoint covers
	DefectCut        = "cut"                 // the tail is missing
	DefectCheckpoint = "checkpoint_mismatch" // the entries are not those that a checkpoint signed
)

// Defect is one thing that is wrong. Seq is the entry, 0 for the journal as a
// whole.
type Defect struct {
	Kind   string `json:"kind"`
	Seq    uint64 `json:"entry,omitempty"`
	Detail string `json:"detail"`
}

// Report is what Verify found.
type Report struct {
	Origin  string `json:"origin"`
	Entries uint64 `json:"entries"`
	// Observations are the items, but for those of marked entries, which decide
	// about observations.
	Observations uint64 `json:"observations"`
	Root         string `json:"root"`
	// Signed is how many entries, from the first on, a valid checkpoint covers.
	Signed uint64 `json:"signed_entries"`
	// Verifier is the key that the journal names. Who did not give a key has only
	// the journal's word for it.
	Verifier      string   `json:"verifier"`
	VerifierGiven bool     `json:"verifier_given"`
	Defects       []Defect `json:"defects"`
	// More says that there are more defects than are listed.
	More bool `json:"more_defects,omitempty"`
}

// VerifyOptions say against what to verify.
type VerifyOptions struct {
	// Verifiers are the keys that are trusted; none is the one that the journal
	// names, which one who wrote it anew has named too.
	Verifiers []string
	// Checkpoints are signed checkpoints kept elsewhere.
	Checkpoints []string
	// Progress is told how many of how many entries are done.
	Progress func(done, total uint64)
}

// maxDefects bounds a report; one edit seldom makes more than a few.
const maxDefects = 1000

// Verify recomputes every hash of the journal, as it is at the beginning; a
// server may go on writing. The error is about reading; what is wrong with the
// journal is in the report.
func (r *Reader) Verify(ctx context.Context, o VerifyOptions) (*Report, error) {
	v := &verification{reader: r, report: &Report{Defects: []Defect{}}, roots: map[uint64][2]tlog.Hash{}, newest: map[string]string{}}
	if err := v.run(ctx, &o); isDamage(err) {
		v.damaged(ctx, err)
	} else if err != nil {
		return nil, err
	}
	return v.report, nil
}

// Unreadable is the report on a journal that OpenReader could not open because
// its file is damaged; nil for any other error.
func Unreadable(err error) *Report {
	if !isDamage(err) {
		return nil
	}
	return &Report{Defects: []Defect{{Kind: DefectFile, Detail: err.Error()}}}
}

// isDamage tells a file that does not hold what SQLite wrote from one that
// cannot be read.
func isDamage(err error) bool {
	return code(err) == sqlite3.SQLITE_CORRUPT || code(err) == sqlite3.SQLITE_NOTADB || extendedCode(err) == sqlite3.SQLITE_IOERR_SHORT_READ
}

// verification is one walk. Two trees grow side by side: one of what the
// entries say, one of the leaves that are stored. Where they agree, all is well;
// where not, the signature tells which one is false, and what stands above a
// false leaf is not blamed too.
type verification struct {
	reader      *Reader
	report      *Report
	snapshot    snapshot
	checkpoints []named
	entries     edge
	leaves      edge
	roots       map[uint64][2]tlog.Hash // of both trees, at the sizes that checkpoints name
	received    int64
	newest      map[string]string // the newest entry by kind, of the kinds that the index names
	gap         uint64            // the first of the missing entries that the walk is in, or 0
}

type named struct {
	Checkpoint
	name string
}

func (v *verification) run(ctx context.Context, o *VerifyOptions) error {
	var err error
	if v.snapshot, err = v.reader.snapshot(ctx); err != nil {
		return err
	}
	v.name(o)
	v.misplaced()
	if err := v.schema(ctx); err != nil {
		return err
	}
	last := v.snapshot.last
	for next := uint64(1); next <= last; {
		end, err := v.window(ctx, next, min(last, next+pageEntries-1))
		if err != nil {
			return err
		}
		if next = end + 1; o.Progress != nil {
			o.Progress(end, last)
		}
	}
	v.endGap(last + 1)
	v.finish()
	return nil
}

func (v *verification) defectf(kind string, seq uint64, format string, args ...any) {
	if len(v.report.Defects) == maxDefects {
		v.report.More = true
		return
	}
	v.report.Defects = append(v.report.Defects, Defect{Kind: kind, Seq: seq, Detail: fmt.Sprintf(format, args...)})
}

// name decides which journal this is and whose key counts, and opens the
// checkpoints.
func (v *verification) name(o *VerifyOptions) {
	v.report.Origin, v.report.Verifier = v.snapshot.meta[metaOrigin], v.snapshot.meta[metaVerifier]
	keys := o.Verifiers
	if v.report.VerifierGiven = len(keys) > 0; !v.report.VerifierGiven {
		keys = []string{v.report.Verifier}
	} else if !knownKey(keys, v.report.Verifier) {
		v.defectf(DefectMeta, 0, "the journal names the key %q, which is none of those given", v.report.Verifier)
	}
	for name := range v.snapshot.meta {
		if name != metaOrigin && name != metaVerifier {
			v.defectf(DefectExtra, 0, "a row of meta, %q, that no tollkeeper wrote", name)
		}
	}
	if own, err := OpenCheckpoint(v.snapshot.note, keys...); v.snapshot.note != "" && err != nil {
		v.defectf(DefectSignature, 0, "the journal's own checkpoint does not verify: %v", err)
	} else if v.snapshot.note != "" {
		if own.Origin != v.report.Origin {
			v.defectf(DefectMeta, 0, "the journal's name was edited: it was signed as %s and says %q", own.Origin, v.report.Origin)
			v.report.Origin = own.Origin
		}
		v.checkpoints = append(v.checkpoints, named{own, "the journal's own checkpoint"})
	}
	for i, text := range o.Checkpoints {
		name := fmt.Sprintf("checkpoint %d", i+1)
		switch c, err := OpenCheckpoint(text, keys...); {
		case err != nil:
			v.defectf(DefectSignature, 0, "%s does not verify: %v", name, err)
		case c.Origin != v.report.Origin:
			v.defectf(DefectCheckpoint, 0, "%s is of another journal, %s", name, c.Origin)
		default:
			v.checkpoints = append(v.checkpoints, named{c, name})
		}
	}
}

// misplaced names the rows outside of the range of the entries.
func (v *verification) misplaced() {
	for _, seq := range v.snapshot.strayEntries {
		v.defectf(DefectExtra, 0, "an entry numbered %d, which none can be", seq)
	}
	for _, seq := range v.snapshot.strayBodies {
		v.defectf(DefectExtra, 0, "a body numbered %d, without an entry", seq)
	}
	for _, id := range v.snapshot.strayHashes {
		if id == tlog.StoredHashIndex(0, int64(v.snapshot.last)) {
			v.defectf(DefectCut, v.snapshot.last+1, "entries from %d on were cut off: their hashes are still there", v.snapshot.last+1)
			return
		}
		v.defectf(DefectExtra, 0, "a hash numbered %d, of no entry", id)
	}
}

// window checks the entries of a range, or of less of it when they are large,
// and returns where it stopped.
func (v *verification) window(ctx context.Context, from, through uint64) (end uint64, err error) {
	page, end, err := v.reader.rawPage(ctx, from, through)
	if err != nil {
		return 0, err
	}
	hashes, err := v.reader.storedRange(ctx, tlog.StoredHashIndex(0, int64(from)-1), tlog.StoredHashIndex(0, int64(end)))
	if err != nil {
		return 0, err
	}
	bodies := checkBodies(page)
	for seq := from; seq <= end; seq++ {
		if len(page) == 0 || page[0].seq != seq {
			err = v.missing(ctx, seq, hashes)
		} else {
			v.endGap(seq)
			err = v.entry(&page[0], &bodies[0], hashes)
			page, bodies = page[1:], bodies[1:]
		}
		if err != nil {
			return 0, err
		}
	}
	return end, nil
}

// missing goes on over an entry that is not there by the leaf that stands for
// it, so that what follows can be judged.
func (v *verification) missing(ctx context.Context, seq uint64, hashes map[int64][]byte) error {
	if v.gap == 0 {
		v.gap = seq
	}
	orphan, err := v.reader.hasBody(ctx, seq)
	if err != nil {
		return err
	}
	if orphan {
		v.defectf(DefectExtra, seq, "a body without an entry")
	}
	var leaf tlog.Hash
	copy(leaf[:], hashes[tlog.StoredHashIndex(0, int64(seq)-1)])
	_, err = v.grow(seq, leaf, hashes, false)
	return err
}

// endGap names the missing entries before seq, if there are some.
func (v *verification) endGap(seq uint64) {
	if v.gap > 0 {
		v.defectf(DefectGap, v.gap, "entries %d to %d are missing", v.gap, seq-1)
	}
	v.gap = 0
}

func (v *verification) entry(x *raw, b *bodyCheck, hashes map[int64][]byte) error {
	v.report.Entries++
	if _, marked := v.snapshot.newest[b.header.Kind]; !marked {
		v.report.Observations += b.items
	}
	v.header(x, b)
	if b.defect.Kind != "" {
		v.defectf(b.defect.Kind, x.seq, "%s", b.defect.Detail)
	}
	var root tlog.Hash
	if copy(root[:], x.root); len(x.root) != tlog.HashSize {
		v.defectf(DefectItems, x.seq, "the root is %d bytes long", len(x.root))
	}
	intact, err := v.grow(x.seq, leafHash(x.header, root), hashes, true)
	if intact {
		v.received = max(v.received, b.header.Received)
	}
	return err
}

func (v *verification) header(x *raw, b *bodyCheck) {
	if b.headerErr != nil {
		v.defectf(DefectHeader, x.seq, "%v", b.headerErr)
		return
	}
	h := &b.header
	canonical, err := h.canonical()
	switch {
	case err != nil || !bytes.Equal(canonical, x.header):
		v.defectf(DefectHeader, x.seq, "the header is not canonical")
	case h.Seq != x.seq:
		v.defectf(DefectHeader, x.seq, "the header says entry %d", h.Seq)
	case h.Origin != v.report.Origin:
		v.defectf(DefectHeader, x.seq, "the header says journal %q", h.Origin)
	case h.Received < v.received:
		v.defectf(DefectHeader, x.seq, "it was received before the entry before it")
	}
	if _, ok := v.snapshot.newest[h.Kind]; ok {
		v.newest[h.Kind] = strconv.FormatUint(x.seq, 10)
	}
}

// grow adds the leaf of an entry, there or missing, to both trees and compares
// what the file has. It reports whether the leaf is the one that is stored.
func (v *verification) grow(seq uint64, leaf tlog.Hash, hashes map[int64][]byte, there bool) (intact bool, err error) {
	stored := leaf
	if h, ok := hashes[tlog.StoredHashIndex(0, v.leaves.leaves)]; ok {
		stored = tlog.Hash{}
		copy(stored[:], h)
	}
	first, want, err := v.entries.grow(leaf)
	if err != nil {
		return false, err
	}
	_, other, err := v.leaves.grow(stored)
	if err != nil {
		return false, err
	}
	_, leafKept := hashes[first]
	for i := range want {
		have, ok := hashes[first+int64(i)]
		switch {
		case !ok && !there && (i == 0 || !leafKept): // a gap, and will be named so
		case !ok:
			v.defectf(DefectTree, seq, "the hash over %s is missing (row %d)", span(seq, i), first+int64(i))
		case i == 0 && !bytes.Equal(have, want[0][:]):
			v.defectf(DefectTree, seq, "the header or the root is not the one that was hashed into the tree (row %d)", first)
		case i > 0 && !bytes.Equal(have, want[i][:]) && !bytes.Equal(have, other[i][:]):
			v.defectf(DefectTree, seq, "the hash over %s does not follow from theirs (row %d)", span(seq, i), first+int64(i))
		}
	}
	return leaf == stored, v.remember()
}

// span names the entries under a hash that was stored with an entry.
func span(seq uint64, level int) string {
	if level == 0 {
		return fmt.Sprintf("entry %d", seq)
	}
	return fmt.Sprintf("entries %d to %d", seq-(1<<level)+1, seq)
}

// remember keeps the roots where a checkpoint asks for them.
func (v *verification) remember() error {
	size := uint64(v.entries.leaves)
	for _, c := range v.checkpoints {
		if c.Size != size {
			continue
		}
		said, err := v.entries.root()
		if err != nil {
			return err
		}
		stored, err := v.leaves.root()
		if err != nil {
			return err
		}
		v.roots[size] = [2]tlog.Hash{said, stored}
	}
	return nil
}

func (v *verification) finish() {
	last := v.snapshot.last
	if root, err := v.entries.root(); err == nil {
		v.report.Root = root.String()
	}
	for kind, seq := range v.snapshot.newest {
		if v.newest[kind] != seq {
			v.defectf(DefectIndex, 0, "the index says that the newest entry of kind %q is %s; it is %q", kind, seq, v.newest[kind])
		}
	}
	for _, c := range v.checkpoints {
		switch roots := v.roots[c.Size]; {
		case c.Size > last:
			v.defectf(DefectCut, last+1, "%s names %d entries, there are %d: the tail was cut off", c.name, c.Size, last)
		case c.Size > 0 && c.Root != roots[0] && c.Root != roots[1]:
			v.defectf(DefectCheckpoint, 0, "%s: entries 1 to %d are not those that were signed", c.name, c.Size)
		default:
			v.report.Signed = max(v.report.Signed, c.Size)
		}
	}
	if v.report.Signed < last {
		v.defectf(DefectUnsigned, v.report.Signed+1, "no valid checkpoint covers the entries from %d on; every commit signs one", v.report.Signed+1)
	}
}

// bodyCheck is what can be said of an entry by itself.
type bodyCheck struct {
	header    Header
	headerErr error
	items     uint64
	defect    Defect // of the body; no kind: none
}

// checkBodies checks the entries of a page, on all cores: this is where the
// time goes.
func checkBodies(page []raw) []bodyCheck {
	out := make([]bodyCheck, len(page))
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(page)) {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(page)); i = next.Add(1) - 1 {
				out[i].check(&page[i])
			}
		})
	}
	wg.Wait()
	return out
}

func (b *bodyCheck) check(x *raw) {
	b.header, b.headerErr = parseHeader(x.header)
	items, err := unpackBody(x.encoding, x.body, b.header.Count)
	if err != nil {
		b.defect = Defect{Kind: DefectBody, Detail: err.Error()}
		return
	}
	b.items = uint64(len(items))
	if b.headerErr == nil && int64(len(items)) != b.header.Count {
		b.defect = Defect{Kind: DefectItems, Detail: fmt.Sprintf("%d observations, the header says %d: some were removed or inserted", len(items), b.header.Count)}
		return
	}
	if root := treeRoot(items); !bytes.Equal(root[:], x.root) {
		b.defect = Defect{Kind: DefectItems, Detail: "the observations do not have the entry's root: they were edited, swapped or replaced"}
	}
}
