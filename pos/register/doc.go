// Package register is the terminal's one command loop: it decides whether a sale
// may happen, gives it its receipt number, and has it journaled.
//
// It guarantees to a front end:
//   - An answer without an error means that the sale is durable. Anything else
//     means that the sale may be tried again with the same idempotency key, which
//     takes effect once however often it is sent, across restarts too, as long as
//     the journal holds the sale.
//   - Receipt numbers are gapless per terminal and branch, the perpetual total
//     never goes down, the business date never goes back.
//
// And to the rest of posd: the state is the fold of the journal's events and of
// nothing else, so that what a restart finds is what there was before it. Each
// segment of the journal begins with that state ([Opening]); the fold may begin
// at any of them. State changes only after the journal has taken the event.
//
// Who runs what: one goroutine, in [Register.Run], owns the state. A call of
// [Register.Checkout] computes the sale in its own goroutine, hands it to the
// loop, and waits for durability outside of it again, so that many sales share
// one sync.
//
// What it does not do: it does not know HTTP or the catalogue; it does not wait
// for head office, or for a plausible clock. It waits for the index only where a
// key could otherwise be taken for a new one: after the loss of the index of a
// journal with more than 8,192 records, until the older ones are in it again
// (ErrIndex meanwhile). An index that cannot be written (full disk) stops nothing:
// the keys of the last 16,384 sales are kept in memory.
package register
