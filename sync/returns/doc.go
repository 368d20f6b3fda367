// Package returns watches at head office what comes back of which receipt.
//
// A till knows exactly what may still come back of its own sales. Of another till's
// receipt, offline, it knows nothing: the same receipt can be taken to every till of the
// shop. Head office has all of them, and this package adds up: what has come back of a
// receipt in all, against what was sold on it.
//
// # What a user sees
//
// Three different things, and only the first two ask for somebody:
//
//   - over: more came back of a receipt than was sold on it, of a line, of an item, or in
//     money. The goods of one receipt were taken back twice, by two tills or by a till and
//     its clone.
//   - unknown: there is no such receipt, and none is to be expected any more. Before that
//     it is waiting: the till that sold may be offline for weeks, so nobody is told. It is
//     looked for again and again, and cried out when head office has all that the till
//     held an hour after the return ([Till].Caught), or when the till is not heard for a
//     month.
//   - blind: goods that came back without a receipt. The till asked for a reason and an
//     operator; here they stand in a list, for whoever wants to read it.
//
// A receipt number counts within its store: terminals of two stores may have one name.
// Goods of another store's receipt are to be taken back without one.
//
// What is compared: each line that is named (its own till's returns name lines), each item
// that has a code, and the money of the whole receipt, tax included. A returned line
// without an item code counts in the money alone. An item that is not on the receipt is
// over, unless lines without a code were sold on it. Where several sales have the number,
// all of them count as sold: which paper the customer had nobody can tell, and the number
// is listed as a collision already. Sums of exclusive prices are turned into gross with
// the rate that the till recorded, and rounded in the customer's favour.
//
// # How
//
// The transaction in which an event takes effect only notes its name ([Put]), and only if
// [Back] finds goods that come back, a search of bytes: taking in costs the same as without.
// One [Judge] at a time works on the notes afterwards, some hundred in a transaction that
// takes the notes away with what it made of them, so that an event counts once whatever is
// killed. All is kept in documents of the ledger: one for each receipt of which something
// came back, some hundred bytes, for good; blind returns for 400 days.
//
// # What can go wrong
//
// The judge is behind (poshub_returns_unjudged): nothing is lost, lists are late. An event
// that gives goods back and cannot be read is counted and logged. Returns that an earlier
// release of poshub took in are not known here: update the hub before the tills.
package returns
