// Command ext4 cuts the power under the journal on a real file system, and
// package tests of it make a real disk fail.
//
// # What runs
//
// A FUSE file (record.go) is a disk in memory. A loop device with direct I/O
// stands on it, a real ext4 on that, and the real journal on that, in a process
// of its own (player.go) that writes with several writers, rolls, frees and
// recycles segments, stops in order, is killed at any moment or right after a
// file got another name, or meets a sync that fails; meanwhile pages are pushed
// to the disk before anybody synced them, as kernels do. The FUSE file records
// each write and each flush, and, in the same order, what the player reports:
// each record before it can be durable, each acknowledgement after Wait has
// returned. A report is a write to a FUSE file too, so no acknowledgement stands
// too early or too late in the log.
//
// A cut (image.go) is a place in that log. The image is all that had been
// written before the last flush, and of what was written after it each 512-byte
// sector in any of its versions; at most one sector is garbled. A loop device
// knows no FUA: the kernel sends a flush instead. The image is mounted, ext4
// replays its own journal, the journal is opened there, and the oracle of
// posd/journal/lab judges (judge.go): all that was acknowledged is there, in
// order, nothing else is, and nobody cries damage. Then it goes on and is judged
// again; of some, a bit is flipped, which a start or a proof must report; some are
// cut a second time, from the recording of the first start.
//
// At the end bugs are planted in the journal, and each must be seen.
//
// # What this proves and what not
//
// It proves what posd/journal/lab proves in a model, with the page cache, msync,
// O_DIRECT and ext4 of the running kernel in place of assumptions about them. It
// does not prove that: a device that lies about flushes, another kernel, another
// architecture, mount options that give up order (nobarrier). ext4's own
// superblocks are never torn, and what ext4 reads before it replays its journal is
// never garbled: it could not be mounted, and that says nothing about posd. The
// seed gives loads and cuts; what a real kernel interleaves does not repeat, so a
// failure is kept as an image (-keep), not as a seed.
//
// Bugs that ext4 hides are named in the output: a folder that is not synced after
// a file was made (the file's own fsync commits its name), and groups that share
// a page (msync knows whole pages only).
//
// # Faults
//
// The tests (faults_test.go) inject errors by place on the disk: a refused
// write-back, an unreadable sector, a full disk, ext4 that turns read-only, a
// read-only mount; and they count what the device writes for a commit.
//
// # How it ends
//
// It needs root, /dev/fuse, /dev/loop-control and mkfs.ext4. The first process
// only waits: when the second one ends, however it ends, it takes down all mounts
// and with them the loop devices, which detach themselves. What a killed first
// process left is cleared up by the next run. Who serves FUSE never waits for a
// file system on it; the players do all mounting, each call has a deadline, and a
// player that misses it is killed.
package main
