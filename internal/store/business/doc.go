// Package business keeps what people decide: customers, projects, keys, tag
// secrets, price books, invoices, and the log of who changed what. It is one
// SQLite file, business.db, apart from the journal because its truth is of
// another kind: changed by commands, by several processes at once, rarely.
//
// Promises:
//
//   - A method that changed something returns nil when the change is on disk
//     (WAL, synchronous=FULL), with its line in the audit log in the same
//     transaction; on an error neither is there.
//   - Several processes may use the file. Each change is one short transaction
//     that takes the write lock first and waits up to 5 s for it, then fails
//     with [ErrBusy].
//   - Nothing is deleted, no number is left out, and no part of a customer's time
//     has two final invoices. Price books, closed invoices and audit lines never
//     change. Triggers in the file refuse all of that to any program; of one that
//     drops them first, [Store.Check] finds the traces.
//   - Price books and invoices are documents here: canonical JSON that others
//     write and read, kept byte for byte with its SHA-256.
//
// Times are kept in unix milliseconds, bounds of periods in unix seconds. An
// actor, who does something, is text such as "key:key_…" or "cli:jo", never "".
package business
