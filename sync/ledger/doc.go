// Package ledger is what head office holds: the events of all terminals under their
// names, how far each journal has come, and what must not be decided without a person.
//
// [Ledger] is one interface with two stores behind it: bbolt, one file for one hub
// process, which needs nothing else; and PostgreSQL, which several hub processes share.
// One suite of tests holds both to the same words.
//
// # What a user sees
//
// A ledger made anew has an id of its own, which every watermark carries; a backup that
// is restored keeps it. All that one batch of messages causes is in one transaction: the
// records, the chain's end, receipt numbers, the outbox, and the place in the stream. So
// a ledger never says more than it holds, and one that is older than its stream goes on
// where it was.
//
// # What can go wrong
//
// The disk is full, the server is away: Update fails, nothing has happened, the hub tries
// again, and no watermark was told. Two hubs think that they own one stream: the second
// one to commit gets [ErrMoved], since the place is compared in the transaction that
// moves it. A newer release's ledger is refused ([ErrNewerLedger]), and so is a database
// that is none of ours ([ErrForeignStore]): nothing in it is touched.
package ledger
