// Package papers gets a till's papers out: it makes receipts, reports and slips from
// what the journal holds, and has the printer print what should come by itself.
//
// It guarantees:
//   - No paper without a record. What comes by itself (receipts, Z reports, slips, the
//     drawer's pulse) is begun by following the journal's durable end, so that nothing
//     that a power cut could take back is ever printed, and whatever is durable is,
//     although the front end has given up waiting for its answer.
//   - Nothing comes twice by itself: not for a repeated call, not after a restart. What
//     was not printed when posd ended is not printed later; who asks gets a copy that
//     says so, since nobody knows what came out.
//   - A printer that hangs, is off or has no paper holds up nothing.
//
// Which receipt is the first one, and which number a copy has, is decided and journaled
// by the register (Register.GiveReceipt); here is only remembered which first receipts
// surely never reached the paper, so that the next one need not be a copy.
//
// What can go wrong, and what a user sees: the printer refuses or loses a paper: its
// state says not_printed, or unknown where bytes had been sent (Desk.Outcome). The
// drawer hangs on the printer: where that cannot be reached, the key opens it.
// A sale in training opens no drawer: it is not to be opened unseen.
package papers
