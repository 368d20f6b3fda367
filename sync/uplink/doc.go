// Package uplink ships the terminal's journal to head office and learns which
// records are safe there.
//
// # What is guaranteed
//
//   - To the register: nothing. A sale is never asked of the uplink, never waits
//     for it, and is never delayed by more than the CPU that one parcel takes;
//     a hook paces the draining of a backlog.
//   - To the journal: Settle is called only for records that the hub's ledger
//     has committed, proved by an equal hash chain head.
//   - To the ledger: the stream carries each record once and in order, as long
//     as the server keeps what it acknowledged. Each parcel is fenced with the
//     stream sequence of the parcel before it, and one is in flight, so a parcel
//     that arrives late cannot land twice or out of turn. If the server forgets,
//     records come again, and the ledger skips what it knows.
//   - A copied disk or a restored backup is noticed when the stream or the
//     ledger holds a history that is not this journal's. Then nothing more is
//     shipped, settled or freed (Status.Fork); selling goes on.
//   - Memory stays bounded whatever the backlog: one parcel raw, two encoded.
//
// # What it does not do
//
// It does not heal a fork: that needs a new journal, which is the owner's to
// begin. It does not know what a record means, and it does not speed up a link
// that is slower than the shop sells.
//
// The rules and the failure that each of them answers are in docs/uplink.md.
package uplink
