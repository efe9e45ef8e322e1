// Package sqlite keeps the usage projection: one SQLite file per UTC day of the
// records' time, and index.db for what belongs to no day. All of it follows
// from the journal: delete the folder and it rebuilds.
//
// A day's file holds records, the identities of their observations, quarter-hour
// totals, and the journal positions applied to it, all changed in one
// transaction, so each file is consistent by itself. Replaying from an older
// position skips what a file already has; the store is therefore as exact as
// the journal after any crash, with synchronous=NORMAL.
//
// The index tables put the hour of the record before the hash. Inserts then
// touch the pages of the current hour instead of the whole day's, which is what
// makes ten million records a day cost about as much as one million; a Bloom
// filter answers "never seen" without a look into the other hours. See
// docs/adr/0002-hour-prefixed-indexes.md.
package sqlite
