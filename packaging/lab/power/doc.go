// Command power cuts the power under the whole terminal: posd as it is released for
// arm64, on Debian's arm64 kernel and its ext4, in a qemu guest whose disk has a
// volatile write cache.
//
// # What runs
//
// The guest (posd/packaging/lab/guest) has one disk for its data: an NBD server in
// this process (nbd.go) with a write cache (disk.go). What was written is read back at
// once; durable it is when a flush that came after it has been answered. A flush takes
// some milliseconds, and other requests go on beside it. On the disk are ext4, the
// program and the data folder of posd.
//
// A front end on the host (load.go) sells through a forwarded port, several tills at
// once, each sale with its Idempotency-Key, and writes down what was acknowledged. Head
// office (hub.go) is a real poshub on the host that is up in some rounds and is killed
// in between. In about half of the rounds the guest's kernel writes dirty pages at
// once, before anybody syncs them; in half of the histories the clock moves on so that
// segments are freed and used again.
//
// A cut (lane.go) is aimed (plan.go): anywhere under load; while posd starts after the
// last cut; when page 0 of a new segment is written, and some requests later; when a
// flush has arrived and none of it is done; while the program is replaced by another
// build and started again; while head office takes in what it lacks. From that moment
// on the disk does nothing and answers nothing, and qemu gets SIGKILL. Of what was not
// flushed each write is dropped, kept or torn at sectors of 512 bytes, in any order, and
// at most one sector is garbled (posd/journal/lab/tear, as in the lab on a recorded
// ext4). The same disk then starts in a new guest.
//
// # What is asked
//
// After each cut: ext4 mounts and has counted no error (at times e2fsck proves a copy
// too); the program is one of the two builds, whole; posd gets ready; posctl verify,
// before the start or beside posd, finds nothing; the journal goes on from the record
// that was seen last, under the same head; each acknowledged sale is in it, once, as it
// was answered; nothing is in it that nobody asked for; receipts have no gap; a key that
// is sent again gets the same answer. At a history's end head office takes in the rest,
// and its ledger must equal all that was ever seen of the journal; then posd stops in
// order and the guest powers off.
//
// Then bugs are planted, each of which must be seen: a disk that answers flushes and
// does nothing, a posd that acknowledges before the sync, a posd that forgets keys, an
// upgrade that writes over the program.
//
// # What this proves and what not
//
// It proves the promise from the front end's side, for one kernel and one file system,
// with everything between HTTP and the block device as it is shipped. It does not prove
// that: a device that lies about flushes (it is planted, and must lose sales), rot of
// what was durable (the labs of the journal flip bits), power that fades slowly, real
// hardware's timing. qemu emulates the processor, some ten times slower; the order of
// memory accesses is this machine's. A sector is never half old and half new within
// its 512 bytes unless it is garbled altogether. ext4's superblocks are never torn.
//
// The seed gives loads, aims and what a cut leaves, in this order; what a real kernel
// interleaves does not repeat, so a failing round is kept (console, acknowledged sales,
// the disk as that round found it), not only its seed.
//
// Nothing is asserted on time. All waits have limits that only a hang can meet.
package main
