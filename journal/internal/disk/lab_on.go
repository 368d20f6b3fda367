//go:build posdlab

package disk

import (
	"math/rand/v2"
	"os"
	"time"
)

// Lab binaries map segments privately and write a range to the file only when
// it is synced. So SIGKILL takes every store that was not synced with it, as a
// power cut does, and not just those that no one had made yet.
const Lab = true

func labDelay() { time.Sleep(time.Duration(rand.IntN(3000)) * time.Microsecond) }

// Planted names the bug that a test wants to see caught.
func Planted() string { return os.Getenv("POSD_PLANTED_BUG") }
