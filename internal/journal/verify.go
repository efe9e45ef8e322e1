package journal

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"
)

// The kinds of defect that Verify finds.
const (
	DefectGap        = "gap"                 // an entry is missing
	DefectHeader     = "header"              // a header is not what was written, or of another journal
	DefectItems      = "items"               // observations were edited, removed, swapped or inserted
	DefectBody       = "body"                // a body is missing or cannot be unpacked
	DefectTree       = "tree"                // the tree's hashes do not follow from the entries
	DefectExtra      = "extra"               // rows that no entry explains
	DefectSignature  = "signature"           // the journal's checkpoint does not verify
	DefectUnsigned   = "unsigned"            // entries that no checkpoint covers
	DefectCut        = "cut"                 // a checkpoint names more entries than there are
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
	Origin   string   `json:"origin"`
	Entries  uint64   `json:"entries"`
	Items    uint64   `json:"observations"`
	Root     string   `json:"root"`
	Verifier string   `json:"verifier"`
	Defects  []Defect `json:"defects"`
}

// VerifyOptions say against what to verify.
type VerifyOptions struct {
	// Verifier is the verifier key, "" for the one that the journal names.
	Verifier string
	// Checkpoints are signed checkpoints kept elsewhere.
	Checkpoints []string
	// Progress is told how many of how many entries are done.
	Progress func(done, total uint64)
}

// maxDefects bounds a report; one edit seldom makes more than a few.
const maxDefects = 1000

// Verify reads the whole journal and recomputes every hash. The error is about
// reading; what is wrong with the journal is in the report.
func (r *Reader) Verify(ctx context.Context, o VerifyOptions) (*Report, error) {
	v := &verification{reader: r, report: &Report{Origin: r.origin, Defects: []Defect{}}, roots: map[uint64]tlog.Hash{}}
	total, err := r.Size(ctx)
	if err != nil {
		return nil, err
	}
	if v.report.Verifier = o.Verifier; o.Verifier == "" {
		if v.report.Verifier, err = r.Verifier(ctx); err != nil {
			return nil, err
		}
	}
	own, err := r.Checkpoint(ctx)
	if err != nil {
		return nil, err
	}
	v.checkpoint(own, DefectSignature, "the journal's own checkpoint")
	for i, text := range o.Checkpoints {
		v.checkpoint(text, DefectSignature, fmt.Sprintf("checkpoint %d", i+1))
	}
	if err := v.entries(ctx, total, o.Progress); err != nil {
		return nil, err
	}
	v.finish(own != "")
	return v.report, v.extras(ctx)
}

type verification struct {
	reader      *Reader
	report      *Report
	stored      memoryEdge
	checkpoints []named
	roots       map[uint64]tlog.Hash // at the sizes that checkpoints name
	received    int64
	leaves      uint64
}

type named struct {
	Checkpoint
	name string
}

func (v *verification) defectf(kind string, seq uint64, format string, args ...any) {
	if len(v.report.Defects) < maxDefects {
		v.report.Defects = append(v.report.Defects, Defect{Kind: kind, Seq: seq, Detail: fmt.Sprintf(format, args...)})
	}
}

func (v *verification) checkpoint(text, kind, name string) {
	if text == "" {
		return
	}
	c, err := OpenCheckpoint(text, v.report.Verifier)
	switch {
	case err != nil:
		v.defectf(kind, 0, "%s does not verify: %v", name, err)
	case c.Origin != v.report.Origin:
		v.defectf(DefectCheckpoint, 0, "%s is of another journal, %s", name, c.Origin)
	default:
		v.checkpoints = append(v.checkpoints, named{c, name})
	}
}

// entries walks the entries as they are kept.
func (v *verification) entries(ctx context.Context, total uint64, progress func(done, total uint64)) error {
	next := uint64(1)
	for {
		page, err := v.reader.rawPage(ctx, next)
		if err != nil {
			return err
		}
		if len(page) == 0 {
			return nil
		}
		for i := range page {
			if page[i].seq > next {
				v.defectf(DefectGap, next, "entries %d to %d are missing", next, page[i].seq-1)
			}
			if err := v.entry(ctx, &page[i]); err != nil {
				return err
			}
			next = page[i].seq + 1
		}
		if progress != nil {
			progress(next-1, max(total, next-1))
		}
	}
}

func (v *verification) entry(ctx context.Context, x *raw) error {
	v.report.Entries++
	v.header(x)
	v.items(x)
	if len(x.root) != tlog.HashSize {
		v.defectf(DefectItems, x.seq, "the root is %d bytes long", len(x.root))
		x.root = make([]byte, tlog.HashSize)
	}
	n := int64(v.leaves)
	hashes, err := tlog.StoredHashesForRecordHash(n, leafHash(x.header, tlog.Hash(x.root)), &v.stored)
	if err != nil {
		return err
	}
	first := tlog.StoredHashIndex(0, n)
	if err := v.compare(ctx, x.seq, first, hashes); err != nil {
		return err
	}
	v.stored.add(first, hashes)
	v.leaves++
	return v.remember()
}

func (v *verification) header(x *raw) {
	h, err := parseHeader(x.header)
	if err != nil {
		v.defectf(DefectHeader, x.seq, "%v", err)
		return
	}
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
	v.received = max(v.received, h.Received)
}

func (v *verification) items(x *raw) {
	if !x.encoding.Valid {
		v.defectf(DefectBody, x.seq, "the body is missing")
		return
	}
	h, err := parseHeader(x.header)
	if err != nil {
		return // said already
	}
	items, err := unpackBody(int(x.encoding.Int64), x.body, h.Count)
	if err != nil {
		v.defectf(DefectBody, x.seq, "%v", err)
		return
	}
	v.report.Items += uint64(len(items))
	if int64(len(items)) != h.Count {
		v.defectf(DefectItems, x.seq, "%d observations, the header says %d: some were removed or inserted", len(items), h.Count)
		return
	}
	root, err := treeRoot(items)
	if err != nil || !bytes.Equal(root[:], x.root) {
		v.defectf(DefectItems, x.seq, "the observations do not have the entry's root: they were edited, swapped or replaced")
	}
}

// compare checks the stored hashes of one entry.
func (v *verification) compare(ctx context.Context, seq uint64, first int64, want []tlog.Hash) (err error) {
	rows, err := v.reader.db.QueryContext(ctx, "SELECT hash FROM hashes WHERE id >= ? AND id < ? ORDER BY id", first, first+int64(len(want)))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	n := 0
	for rows.Next() {
		var h []byte
		if err := rows.Scan(&h); err != nil {
			return err
		}
		if !bytes.Equal(h, want[n][:]) {
			if n == 0 {
				v.defectf(DefectTree, seq, "the header or the root is not the one that was hashed into the tree")
			}
			return nil
		}
		n++
	}
	if n < len(want) {
		v.defectf(DefectTree, seq, "hashes of the tree are missing")
	}
	return rows.Err()
}

// remember keeps the root where a checkpoint asks for it.
func (v *verification) remember() error {
	for _, c := range v.checkpoints {
		if c.Size == v.leaves {
			root, err := tlog.TreeHash(int64(v.leaves), &v.stored)
			if err != nil {
				return err
			}
			v.roots[c.Size] = root
		}
	}
	return nil
}

func (v *verification) finish(signed bool) {
	root, err := tlog.TreeHash(int64(v.leaves), &v.stored)
	if err == nil {
		v.report.Root = root.String()
	}
	var covered uint64
	for _, c := range v.checkpoints {
		switch got, reached := v.roots[c.Size]; {
		case c.Size == 0:
		case !reached:
			v.defectf(DefectCut, v.leaves+1, "%s names %d entries, there are %d: the tail was cut off", c.name, c.Size, v.leaves)
		case got != c.Root:
			v.defectf(DefectCheckpoint, 0, "%s: entries 1 to %d are not those that were signed", c.name, c.Size)
		default:
			covered = max(covered, c.Size)
		}
	}
	if v.report.Verifier != "" && (!signed || covered < v.leaves) && v.leaves > 0 {
		v.defectf(DefectUnsigned, covered+1, "no valid checkpoint covers the entries from %d on; every commit signs one", covered+1)
	}
}

// extras finds rows that no entry explains.
func (v *verification) extras(ctx context.Context) error {
	var bodies, hashes uint64
	if err := v.reader.db.QueryRowContext(ctx, "SELECT count(*) FROM bodies WHERE seq NOT IN (SELECT seq FROM entries)").Scan(&bodies); err != nil {
		return err
	}
	if bodies > 0 {
		v.defectf(DefectExtra, 0, "%d bodies without an entry", bodies)
	}
	count := tlog.StoredHashCount(int64(v.leaves))
	if err := v.reader.db.QueryRowContext(ctx, "SELECT count(*) FROM hashes WHERE id >= ? OR id < 0", count).Scan(&hashes); err != nil {
		return err
	}
	if hashes > 0 {
		v.defectf(DefectExtra, 0, "%d hashes beyond the last entry", hashes)
	}
	return nil
}

// memoryEdge keeps of a growing tree what its right edge needs: at each level
// the newest hashes.
type memoryEdge struct{ levels [64][2]levelHash }

type levelHash struct {
	id   int64
	hash tlog.Hash
}

func (m *memoryEdge) add(first int64, hashes []tlog.Hash) {
	for i, h := range hashes {
		level, n := tlog.SplitStoredHashIndex(first + int64(i))
		m.levels[level][n&1] = levelHash{first + int64(i), h}
	}
}

// ReadHashes implements tlog.HashReader.
func (m *memoryEdge) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, id := range indexes {
		level, n := tlog.SplitStoredHashIndex(id)
		if m.levels[level][n&1].id != id {
			return nil, fmt.Errorf("hash %d is not on the edge", id)
		}
		out[i] = m.levels[level][n&1].hash
	}
	return out, nil
}
