//go:build posdlab

package disk

import (
	"math/rand/v2"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Lab binaries map segments privately and write a range to the file only when
// it is synced. So SIGKILL takes every store that was not synced with it, as a
// power cut does, and not just those that no one had made yet.
const Lab = true

// labSyncs counts syncs, so that a planted failure can come after some.
var labSyncs atomic.Int64

// labSync stretches the time before a sync, and fails where a test wants it.
func labSync() error {
	time.Sleep(time.Duration(rand.IntN(3000)) * time.Microsecond)
	if Planted() == "sync-fails" && labSyncs.Add(1) > 20 {
		return unix.EIO
	}
	return nil
}

// Planted names the bug that a test wants to see caught.
func Planted() string { return os.Getenv("POSD_PLANTED_BUG") }
