// Package view is the terminal's index of its journal: it finds a sale by its
// id, by its receipt, and by the idempotency key of the call that made it.
//
// It guarantees to its callers:
//   - It only says what the journal holds. It follows the journal's durable end
//     and never runs ahead of it; [View.WaitApplied] makes a read see a write.
//   - It is derived. Deleting its file loses nothing: a file that is missing, of
//     another schema, of another journal, ahead of its journal or unreadable is
//     replaced and built again from the oldest record that the journal holds,
//     and the log says why. A file that is only behind catches up. One of the release
//     before is taken over if no receipt was given out in what it has indexed.
//   - It finds damage that bbolt, whose pages have no checksums, does not see: it is looked
//     through ten minutes after the start and once a day, and a name that does not lead to the record that
//     has it, as after a flipped bit, has the file replaced. A sale of this journal's own is
//     looked for in the journal itself.
//   - It never blocks a sale. Commits happen in [View.Run], a failed one (full
//     disk) is tried again, and until then the index stands still.
//
// What it does not do: it does not keep entries of records that the journal has
// freed; it does not survive alone (a power cut may take what was not committed,
// the journal gives it back); it is not a second copy of a sale.
//
// Commits are rare, because each writes about ten pages for the ten bytes that
// matter: after 512 events, or when the oldest uncommitted event is old enough,
// and at Close. What is not committed is answered from memory.
package view
