// Device boots the image of a terminal in qemu and does with it what happens to a
// terminal: first boot, sales, a restart, a power cut, an upgrade of the package
// while it sells, a hung first process, a factory reset. It is run by `make test-guest`.
//
// The front end is in here, on the other side of the network: it keeps what was
// acknowledged, sends a sale again with its key until it is, and at each stage
// compares that with head office's ledger, a real poshub: nothing lost, nothing
// twice, nothing told differently, receipts without a gap. The comparison
// must notice a sale that was taken out of what is expected, and the check of the limits
// a slice that was altered at run time; else the run fails.
//
// What is emulated tells nothing about how fast a board is: times are printed and
// nothing depends on them but that the run must end.
//
// # What it relies on
//
// Commands are typed into the shell that the image has on its serial console where
// the kernel is told posd.lab, which no loader entry does. One boot goes through
// firmware and loader (AAVMF), from a half-written slot b back to slot a; the others
// take the kernel and initrd out of the image and start them directly, which is the same but
// for the loader and half a minute.
//
// The root is read-only, so the upgrade is shown on a layer over it (posd.lab=overlay),
// in which dpkg finds an ordinary Debian with the package installed.
package main
