// Package card has a payment terminal take money, and knows at any moment what became
// of it: the saga behind a card tender.
//
// It guarantees to the shop and its customers:
//   - Nobody is charged twice. A payment is asked for once in its life, by a reference
//     that never comes again (basket id "-" tender id). Whatever breaks, it is not asked
//     for again: what became of it is.
//   - No goods without a known payment. That a payment terminal will be asked is durable
//     before it is asked; a basket whose payment is pending, unknown or being reversed
//     ends in no way (package till).
//   - What is unknown is found out, or shown. A crash, a cut line, a hung or late payment
//     terminal lead to the same question, asked ever more rarely until it is answered.
//     Only a payment terminal that has forgotten what it did cannot answer it; then a
//     person looks and says so (till.State.Resolve), with a reason, for the journal.
//   - A payment that is taken back is taken back by the payment terminal, and that it
//     will be is durable before.
//   - Approvals without the acquirer stay within limits for each sale, for what is
//     outstanding, and for each day, across restarts: the sums are part of till.State,
//     and a payment whose outcome is unknown counts as what it may become.
//
// What a user sees: POST …/tenders answers at once that the payment is pending, and the
// basket tells how it ends. docs/payment.md has that, and the protocol that payment
// terminals are spoken to in.
//
//	             ┌──────────────► declined
//	pending ─────┼──────────────► approved ◄──────────┐ refuses
//	   │ no answer     ▲ ▲            │               │
//	   ▼               │ │ status     ▼ reverse       │
//	unknown ───────────┴─┘        reversing ──────────┴──► reversed
//	   └────────────── reverse ──────►│
//
// The state of the till is the only queue: [Desk.Run] looks there for what is not
// settled, asks about it, and has the register journal what it learns. A restart begins
// with the same look. Nothing is kept beside it but when to ask next.
//
// What can go wrong: a payment terminal that breaks the rules of docs/payment.md, for
// one that acts twice on a reference, or says that it knows nothing of what it did. One
// that approves another sum than it was asked for, or offline what it may not, is asked
// to take that back.
package card
