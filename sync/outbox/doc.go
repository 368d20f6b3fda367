// Package outbox publishes each event of the ledger once, as a CloudEvent 1.0, for
// whoever works with events at head office: on pos.events.<store>.<type>, in the
// JetStream stream POS_EVENTS.
//
// # What a user sees
//
// One message is one event: structured JSON, id "<journal>:<seq>:<head>" (its name, for
// ever), source "/pos/<store>/<terminal>", type "pos.<event type>", extensions journal
// and seq (a string: an Integer of CloudEvents has 32 bits), and as data the event's
// bytes as the terminal wrote them. The events of one terminal stand in the stream in the
// order in which they took effect, and each name stands in it once.
//
// # How
//
// The transaction that lets an event take effect puts its name into the outbox of the
// hub's lane ([Put]). One [Outbox] at a time publishes all lanes, in atomic batches of
// JetStream: a batch is stored whole, and only if its first message is the next one of
// the whole stream (Nats-Expected-Last-Sequence). So a copy that lands late, a second
// publisher or a retry is refused instead of stored. (A fence on each of many messages in
// flight is not enough: where a foreign message takes the place of one of them, those
// behind it still fit, and stand there before it.) A stream without allow_atomic gets one
// message at a time. The note of how far it has come is a document of the ledger, written
// now and then; it moves when the stream has acknowledged, never
// before. After any doubt (a refusal, a timeout, a start) the stream is read forward
// from the note, headers only, and compared by name with what is due: what is the next
// of its lane moves the note, any other name is kept as known and is passed over when
// its turn comes. So a ledger that was restored from a backup, or made anew, publishes
// nothing twice.
//
// # What can go wrong
//
//   - The stream is full or away: publishing waits, the backlog grows in the ledger
//     (poshub_outbox_backlog_events), nothing else is held up.
//   - The stream was rolled back: marks, kept for [Options.Keep], say what it held at
//     which place; what it has lost is published again. Behind the oldest mark nothing
//     is known any more: that is logged as an error and counted.
//   - The stream was deleted and made anew: publishing goes on where it was, with an
//     error in the log. [Replay] has the old events published again from the ledger:
//     those that the stream does not hold, when nothing else is due, journals before
//     those that continue them. It takes 16 bytes of memory for each event in the stream.
//   - Somebody else writes into the stream: his messages are counted and passed over.
//     Who may write there can also make the publisher believe that an event is there
//     already: give nobody but the hub that permission.
//   - An event is larger than a message may be: it goes without data, with dataref (the
//     hub's /v1/events) in its place, in its order.
//
// It is not a queue with acknowledgements: consumers of the stream are JetStream's
// business. A consumer that must not do a thing twice keeps the ids it has done.
package outbox
