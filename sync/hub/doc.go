// Package hub is the cloud side: it takes the parcels of all terminals of a
// shard from a JetStream stream, enters their records in a ledger, and tells
// each terminal how far its records are safe.
//
// # What is guaranteed
//
//   - A record is entered once, in order, without a gap, or not at all. The
//     ledger is idempotent on a record's name (journal id, seq, head): a parcel
//     that comes again, from a retry, a stream made anew or a restored backup,
//     changes nothing.
//   - An event takes effect once under its name, whether it comes in its own
//     journal, as a copy in a later journal of the terminal, or both, in any
//     order. Two histories of one journal have other names, and both stay;
//     receipt numbers that both have given are listed.
//   - A watermark is published only after the transaction that holds all
//     records up to it is on disk.
//   - The place in the stream is kept in that same transaction. A ledger
//     restored from a backup reads again what it lacks; a stream that was
//     recreated or rolled back is read from its start.
//   - What cannot be entered is set aside in the quarantine, with the reason and
//     all its bytes, counted and visible, never dropped and never merged: a
//     parcel that cannot be decoded, another history under a known journal id
//     (a fork: a copied or restored disk), a journal whose birth record names
//     another terminal than the subject it came on, a store that this hub was
//     told not to accept, a copy that cannot be what it says, a checkpoint with a
//     wrong signature. A person accepts or rejects it, and the audit trail says who and
//     why. What it has no room for stays in the stream and is read again later.
//   - Records that head office has from elsewhere, a dead till's disk, are judged as if
//     the till had sent them.
//   - Records that are missing are asked for (want); what the terminal declares
//     lost is entered as a hole and counted.
//   - Several hubs on one ledger share the shards. A shard is worked on under a claim;
//     two hubs that both believe to have it do no harm, since the place in the stream
//     is compared in the transaction that moves it.
//   - SIGKILL at any moment leaves a ledger that opens and is consistent.
//
// # What it does not do
//
// With the bbolt ledger one process owns a data folder. What is in quarantine, and which
// of two sales with one receipt number is right, a person decides. A terminal that holds its
// journal's history and its credentials can append what it likes: the chain
// shows changes, not lies.
package hub
