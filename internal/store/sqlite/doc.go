// Package sqlite keeps the usage projection: one SQLite file per UTC day of the
// records' time, and index.db for what belongs to no day. All of it follows
// from the journal: delete the folder and it rebuilds.
//
// A day's file holds records, the identities of their observations, totals, and
// the journal positions applied to it, all changed in one transaction, so each
// file is consistent by itself. Replaying from an older position skips what a
// file already has. Transactions are not on the disk at once
// (synchronous=NORMAL); a checkpoint in index.db, from which the next run reads
// the journal again, is never ahead of what is. See
// docs/adr/0002-hour-prefixed-indexes.md and, for all that is remembered across
// a sudden end, the later page on it.
//
// The index tables put the hour of the record before the hash. Inserts then
// touch the pages of the current hour instead of the whole day's, which is what
// makes ten million records a day cost about as much as one million; a filter
// answers "never seen" without a look into the other hours.
package sqlite
