// Package slice makes the cgroup v2 slice that posd lives in, on systems without
// systemd, and says of each limit what the kernel really has in force.
//
// It promises to the operator that a limit which is not in force is named: after
// a change every file is read back and compared, because the kernel rounds, a
// file system may swallow a write, and a library may report success for what it
// did not do. A nil error of Apply means that all of it was read back as wanted.
//
// What it does not do: it changes nothing where systemd is the init system, which
// owns the whole tree there (posd.slice is then a unit, and looking still works); it
// knows no cgroup v1; it limits no device or network.
//
// Processes live in a child of the slice (posd.slice/posd.scope), never in the
// slice itself: a group whose controllers are handed to children may have no
// processes of its own, so a slice with processes could never get children.
//
// It is for posctl only. The library below it (cgroup2) drags in D-Bus and
// protobuf, which posd, with its limit on size, has no room for.
package slice
