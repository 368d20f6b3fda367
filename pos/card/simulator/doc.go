// Package simulator is a payment terminal and its acquirer, for tests and for whoever
// writes a front end: it speaks the protocol of docs/payment.md and keeps its rules,
// unless it is told to break down in one of the ways in which real ones do.
//
// Its ledger is a file of JSON lines, each on the disk before it is answered: what the
// acquirer charged and paid back, whatever the payment terminal remembers of it. It is
// the other side of every comparison: posd's journal says what posd believes, the ledger
// what happened to the customers' money.
//
// It is no model of a product of anybody, and nothing that a shop could use.
package simulator
