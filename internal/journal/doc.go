// Package journal is the append-only, durable and provable log of what was
// observed: the truth about usage. It knows nothing of usage itself: an item is
// one line of canonical JSON.
//
// An entry holds the items of one request. Its root is the RFC 6962 tree hash
// over its items; the journal's tree has one leaf an entry, over the entry's
// header and root. Every commit signs a checkpoint (C2SP tlog-checkpoint) of
// the tree, so that a change by one who lacks the signing key is found, and a
// checkpoint kept elsewhere finds any change before it.
//
// The file is SQLite in WAL mode with synchronous=FULL. One goroutine writes:
// it commits as soon as the previous commit is done and those whom that one
// answered are back, or late, taking everything queued, and Append returns after
// the commit. A full disk is refused retryably; any other I/O error, fsync above
// all, ends the process: a second fsync may lie (the PostgreSQL fsync finding of
// 2018).
package journal
