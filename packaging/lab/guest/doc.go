// Package guest runs arm64 machines under qemu-system-aarch64, for the labs and
// tests that need a kernel of their own: cgroup v2 limits, a disk whose power can be
// cut, a firmware image.
//
// Kernel fetches Debian's arm64 kernel once, from the mirror that this machine's own
// apt is configured for, into a cache; the machine's package lists, cache and
// configuration stay as they are. WriteInitrd and Initrd make initrds that are the
// same bytes for the same content. Start runs qemu, Machine.Wait reads its console,
// Machine.Port leads to a guest's port, Machine.Kill is the power cut.
//
// A guest may be anything that boots. For one without a distribution there is a
// ready init (folder init): Initrd packs it with a Config that lists modules,
// mounts and programs, and Machine.Agent then runs commands in the guest, reads
// and writes files and sends signals over a virtio-serial port, apart from the
// console and the network.
//
// What can go wrong: no qemu-system-aarch64 (packaging/tools/need.sh installs it);
// no Debian among apt's sources (the error says which variable names a mirror); a
// guest that dies shows in Machine.Err together with the end of its console. Under
// TCG a guest runs some ten times slower than a native program, and nothing about
// its time is worth asserting.
package guest
