// Package operator knows who may do what at a till: the operators and their PINs,
// what their roles allow, who is signed in, and what a second operator has approved.
//
// What a user sees: a cashier signs in with a name and a PIN and gets a session, which
// the front end sends with each call. Who leaves the till is signed out after a while.
// What a role does not allow is refused with the name of the permission that is needed;
// a second operator who has it types a PIN too, and that one call goes through. The
// event names both. A terminal without an operators file works as before: operators are
// names that front ends send.
//
// What it guarantees:
//   - A PIN is kept as HMAC-SHA256 with a key that only this terminal has: who gets the
//     operators file, a backup of it or the journal learns no PIN. It is compared in
//     constant time, never logged, never journaled, nor is anything made of it: with ten
//     thousand PINs a hash would be as good as the PIN.
//   - A wrong PIN counts before it is answered: it is durable by then, so that neither a
//     restart nor a cut of the power gives a guess back. After some, the operator is
//     locked for a time that doubles with each further one. All operators together have
//     a measure at each front end as well, for who tries one PIN with all of them.
//   - A session belongs to the front end that opened it. It ends with the operator's
//     PIN, with the operator, by idling, and with posd; a change of role holds at once.
//   - An approval is for one operator at one front end, for the permissions that were
//     shown to who approved, up to that one's own limits, for a minute, and for one call,
//     its key and its body: whoever repeats that call needs no second one. It ends with
//     the PIN and the role of who gave it.
//
// Threats, and what is done: a guesser at the keyboard (above). A guesser with the disk:
// the key lies on it too, in a file of its own (0600), so PINs are worth no more than
// physical access; they keep colleagues apart, not thieves. A web page elsewhere: the
// HTTP interface refuses it before it comes here. A front end that sends another
// operator's name: refused. A name typed into the PIN's field and the reverse: unknown
// names are not recorded. Locking others out on purpose: a lock ends by itself, at most
// after 15 minutes; posctl operator unlock, or who has the permission, ends it at once.
// Names that there are not lock nobody out.
//
// What can go wrong: the operators file is damaged: its good lines hold, the status says
// so. The key is gone: nobody can sign in until the PINs are set anew (posctl operator
// pin). The disk is full: who has the right PIN is let in, to finish what is open,
// although that cannot be recorded then.
//
// A slow hash (argon2, bcrypt) instead of the key would not be better: PINs have four to
// twelve digits, and the tenth of a core that posd has would be gone for a second at
// each sign-in, sales with it.
package operator
