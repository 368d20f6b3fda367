// Command stress has posd live through a bad day in minutes, natively and with Go's
// settings of the slice: make stress MINUTES=10.
//
// Eight front ends sell; head office goes and comes back; the catalogue is imported
// again and again; status and metrics are polled; requests come that have to be
// refused, and clients that dawdle. Meanwhile it watches what may not grow: goroutines,
// descriptors, anonymous memory. At the end every acknowledged sale must be in the
// journal and at head office.
//
// Every minute it takes an execution trace over posd's unix socket, finds the sale
// that stood still longest, and says for what: a processor, the garbage collector, the
// commit of another, the device.
//
// With -plant it leaks connections itself, and then fails if it does not notice.
//
// It is a module of its own because of the trace parser, which the product does not need.
package main
