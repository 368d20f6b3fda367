// Init is the first process of a terminal that boots posd's image. It finds the
// partitions, checks and mounts them and hands over to systemd; it is all that
// the initrd has besides kernel modules.
//
//	disk (GPT)   posd-esp     FAT: loader, kernel and initrd of each slot, folder posd/ for the technician
//	             posd-root-a  squashfs, never written but by an update
//	             posd-root-b  the other slot
//	             posd-data    ext4: /var, and what differs in /etc
//
//	/            squashfs of the slot that the loader chose (posd.slot=a), read-only
//	/data        posd-data, noatime
//	/var         bind of /data/var
//	/etc         overlay: the slot's /etc below, /data/etc/upper above
//
// The partitions are taken from one disk: the one whose ESP the loader named, else
// the only one that has all of them. Two such disks without a word from the loader
// are refused: a terminal must not sell into a technician's copy.
//
// The kernel's command line:
//
//	posd.slot=a|b     which root partition
//	posd.root=HEX,N   SHA-256 of its first N bytes, proved while the slot is on trial
//	                  (its loader entry still counts boots)
//	posd.rescue       no data partition, a shell on the console instead of systemd
//	posd.lab=overlay  a root that can be written, in /data/lab: for tests of the package
//	posd.wait=SECONDS how long to wait for the disk (60), and before a reboot after a failure
//
// # What can go wrong
//
// Whatever fails is said on the console, with what to do, several times; after
// two minutes the terminal is reset, since a storage device that did not answer
// often does after a reset, and a slot on trial thereby loses one of its boots.
//
//   - No disk, or a partition is missing: as above.
//   - The root partition is no squashfs, or on trial and not what the entry says
//     (an update that was cut): as above, so that after three boots the loader
//     takes the other slot.
//   - The data partition cannot be checked or mounted: nothing is started. There
//     is no journal in memory that a power cut would take with it, and none is made
//     anew beside the lost one. e2fsck may only do what cannot lose anything
//     (-p); the rest is a person's decision, with posd.rescue.
//   - The clock says 1970: it is set to the newest of the image's build and the last
//     time that was saved, before anything looks at it.
//   - A panic in here: the kernel resets the terminal (panic=10).
package main
