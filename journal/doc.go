// Package journal is the terminal's only truth: an append-only sequence of
// records in memory-mapped segment files.
//
// It promises, to the register above it and to the auditor after it:
//
//   - A record for which Wait returned nil survives a power cut, a kill and a
//     full disk. What storage itself destroys is reported, never hidden.
//   - Records are numbered from 1 without a gap and chained by SHA-256:
//     head(n) = SHA-256(head(n-1) ‖ frame n), head(0) = SHA-256(journal id).
//   - An ordinary power cut is never reported as corruption, and corruption of
//     records that were acknowledged is never taken for a power cut, but for
//     one case that docs/journal.md names.
//   - After a failed sync nothing is acknowledged any more: the journal latches,
//     because the kernel may report success for lost pages from then on.
//   - A commit writes only whole pages of its own: one for a small group.
//
// It does not know what a record means, does not protect against someone who
// holds both root and the terminal's key, and is written by one process at a
// time. Records become durable in groups: while one group is being synced the
// next one fills, so no timer delays anybody.
//
// The format is drawn in format.go and, with the recovery rules, in
// docs/journal.md.
package journal
