// Package downlink is the terminal's ear for head office: it takes the configuration
// and the catalogue that head office publishes, carries out its commands, and keeps what
// it took.
//
// It guarantees to the shop:
//   - Only what head office has signed, for this very terminal and later than
//     everything before, is looked at. Whoever can merely write to the NATS servers
//     changes nothing; an old order that comes again changes nothing.
//   - A document is taken whole or not at all: it is checked together with posd.toml,
//     and what stands in its way is listed, key by key, journaled and answered. What
//     was in force stays in force.
//   - What was taken is on the disk before it comes into force, and holds at the next
//     start without a link. A start that fails with it, or five that do not last, give
//     it up for posd.toml and say so: a push cannot close a shop for good.
//   - A catalogue is fetched in chunks beside the sales, goes on where it was after
//     whatever has ended the attempt, and is in use when all of it is there and was
//     checked. What stands in the way for a while is shown and tried again; what cannot
//     be right is refused once.
//
// And to head office: each order is answered at each connect as long as it is the last
// one, and stands in the journal as config.applied or config.refused once (twice if
// posd is killed between the event and the note that it was written).
//
// What it does not do: a state file that is damaged or
// was removed forgets which numbers were used: then an old order of head office's own,
// put into the bucket by somebody who may write there, is taken again until a newer one
// comes. It cannot tell a signature by a stolen office key from a good one.
package downlink
