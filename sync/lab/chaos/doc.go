// Command chaos cuts the links between terminals, NATS servers and head office, kills
// all of them, and then compares what each of them has.
//
// # What runs
//
// Real processes on this machine: some posd, which a front end sells through over HTTP
// with Idempotency-Keys (till.go); nats-server, one or three that replicate
// (servers.go), with sync_interval: always; poshub (office.go), one on bbolt, or two that
// share two shards on a PostgreSQL server. Between each posd or poshub and each server
// stands a link (link.go): TCP that is passed on, and that is
//
//   - cut, any time, or in the middle of a parcel, of a hub's link in that of an event;
//   - cut after a parcel has arrived and before its acknowledgement has;
//   - cut while a parcel is held back, which lands up to two seconds after that;
//   - doubled: all that was said on it is said again on a second connection, to any of
//     the servers, beside the first one or after it;
//   - frozen: nothing passes, nothing is closed;
//   - slow, thin, or refused for a while.
//
// Meanwhile terminals, hubs, servers and the database are killed with SIGKILL, at times
// all servers at once, and with three servers the streams' leaders are made to step down. In about half
// of the histories posd is built with the tag posdlab: SIGKILL then takes with it all
// that was not synced, as a power cut does.
//
// # What is asked
//
// After the storm everything runs, and each terminal must come to have settled all that
// it holds. Then (account.go): head office has the union of the journals, as posctl dump
// tells them, each event once, in order, byte for byte; its count, its money, its
// chains' ends and heads are theirs; each sale that was acknowledged to a front end is
// there once, as it was answered; nothing is in quarantine, wanted or held. The stream
// has each record once and in order, up to what the terminal calls sent: the servers
// have lost nothing, so there is no reason to send anything twice. The stream of events
// has each event of the ledger once, with its bytes and its names, those of one journal
// in their order (events.go).
//
// # Scenes
//
// Beside the storm there are scenes (scenes.go), each for one thing that a storm does not
// bring: servers that lose what they acknowledged (forgetful.go), older backups of either
// ledger (restored.go), copied and restored disks of terminals (copies.go), 30 days
// without a link and the memory that a long drain takes (drain.go). "go test" plays all of
// them small. Long backlogs are made by posd's own journal, index and register in the
// lab's process, with the lab's clock (stock.go).
//
// Bugs are planted (mutants.go), each in a scene in which it must do its damage, and
// which must come out whole without it.
//
// # What this proves and what not
//
// It proves the protocol with its real parts, for what such a link and such kills do.
// Everything is on one machine with one clock, and the page cache survives: that a server
// forgets what it acknowledged is not part of the storm, only of scenes.
//
// The seed gives loads, cuts and kills; what real processes interleave does not repeat,
// so the folder of a history that was judged wrong is kept. Nothing is asserted on time:
// waits have limits that only a hang can meet.
package main
