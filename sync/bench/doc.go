// Command bench measures the way of an event from a terminal's journal to head
// office's ledger, beside what one would use otherwise, on one machine.
//
//	bench uplink   journal to stream: events a second and processor time an event
//	bench hub      stream to ledger, with bbolt and PostgreSQL; sale to watermark;
//	               thousands of terminals that come at once
//	bench flap     coming back on links that are cut again and again: time, bytes,
//	               round trips, handshakes full and resumed
//	bench plan     what a fleet needs of head office, computed
//
// Nothing is replaced by something simpler: servers are nats-server processes
// built from the version in go.mod, journals are folders of mapped segments,
// terminals are posd/sync/uplink, the hub is posd/sync/hub. Each contender has a process
// of its own, so that processor time and memory are its own; contenders take turns
// in rounds, so that what changes with time meets everybody; tables have medians.
//
// What it cannot say: how fast a board, a cellular link or a data centre is. Load,
// servers and hub share the processors of one machine, so absolute figures are low;
// ratios within one run mean more. plan computes, from figures that were measured
// here; its output says which is which.
package main
