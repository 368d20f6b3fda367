// Package till is what one till is at a moment: its receipts' numbers and totals, its
// shift and drawer, the baskets that are not sales yet. It is pure: no I/O, no clock,
// no randomness.
//
// A [State] is the fold of the journal's events and of nothing else. What an operator
// wants is asked of the state ([State.AddLine], [State.CloseShift], …), which answers
// with the event that would say so, or with a [RefusalError] that says what to do, and
// changes nothing. Whoever asked has the event journaled and then folds it
// ([State.Fold], or the same by value: [State.Apply]).
//
//	Shift:   closed → open → closed (a Z report), one at a time
//	Basket:  open ⇄ parked; open → void; open → sale.completed
//	Tender:  pending → approved | declined | unknown; unknown → approved | declined;
//	         pending | unknown | approved → reversing → reversed | approved;
//	         approved → reversed, where no payment terminal took it
//
// It guarantees: a basket with a tender that is pending, unknown or reversing ends in no
// way until that is known; with an approved one it ends as a sale, or the tender is
// reversed first. Lines, discounts and the customer do not change while a tender
// counts. Numbers of lines are never given twice. All baskets together stay small
// enough for the opening state of a segment (Rules.MostOpen), so that a shift of work
// can always be carried on.
//
// What can go wrong: two windows change one basket. Each call names the version that
// it has seen; the second is refused with CodeVersion and reads again.
package till
