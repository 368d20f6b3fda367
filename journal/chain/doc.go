// Package chain is what a journal's bytes mean wherever they are: on the
// terminal, in a parcel, in the ledger. It has the frame of a record, the hash
// chain over the frames, and the records that the journal itself writes: birth,
// opening state, checkpoint, copy.
//
// It promises that a reader accepts only what a writer of this version could
// have written, and allocates nothing for it. It knows nothing of files, and it
// trusts nobody: a head proves something only to who holds it from elsewhere, a
// checkpoint only to who holds the public key from elsewhere.
package chain
