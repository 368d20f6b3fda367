// Package load makes the load of the slice's benchmark and of its bad neighbours:
// sales, and messages to a NATS server, in an open loop.
//
// It runs in the guest, beside posd as the till's front end does, and times calls by
// the guest's clock. From outside neither would be right: the emulated machine's
// time is not the host's.
package load
