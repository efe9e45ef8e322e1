// Package billing makes invoices: which time one covers, what its document says,
// and what a closed period still owes or is owed. It only computes: usage,
// prices and earlier invoices go in, a document comes out, the same bytes for the
// same input.
//
// An invoice covers a calendar month in its customer's time zone ([Month.In]).
// Its document is canonical JSON ([Invoice.Canonical], [Parse]) and holds all
// that its amounts follow from: period, prices, sums of usage, the positions in
// the journals up to which these were taken, and a signed checkpoint.
//
// Periods are closed by subtraction. What is owed for a closed period is rated
// again, with the prices pinned by its final invoice, whenever the customer's next
// invoice is made; what the final invoice and later adjustments have billed is
// taken off; the rest is an adjustment of the next invoice. So late usage costs
// what it would have cost in time, to the cent, however often it comes.
package billing
