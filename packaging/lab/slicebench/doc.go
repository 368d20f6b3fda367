// Command slicebench measures posd inside the limits that it is made for, 10 % of one
// core and 32 MiB, and beside it a NATS leaf node in the same limits: make bench-slice.
// Its tests (make test-slice, make lab-neighbours) put bad neighbours beside posd.
//
// The limits are a real kernel's: an arm64 guest under qemu, cgroup v2, posd started
// by posctl slice exec, its data on an ext4 in the guest's memory. The guest's clock
// counts instructions (qemu -icount) and jumps when there is nothing to do, so that
// what else this machine does never shows: two runs agree to a few percent, on a busy
// machine too. For that head office and the front end run in the guest as well, outside
// of the slice, and a script (package load) is played there from end to end.
//
// What such figures are good for: how much the quota, a backlog, a neighbour add, and
// how two programs compare. What they are not: a board's milliseconds. There are no
// caches, no slow memory and no flash in that guest; a sync of the disk is free.
//
// The labs of bad neighbours use a guest with a disk and a real clock instead: nothing
// is timed there, but everything that was acknowledged has to be found again.
package main
