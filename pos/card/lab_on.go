//go:build posdlab

package card

import (
	"os"
	"syscall"
	"time"
)

// As in lab_off.go, for tests that meet many payment terminals that hang.
const (
	greetTime  = time.Second
	statusTime = time.Second
)

// planted says whether a test asked for this bug.
func planted(bug string) bool { return os.Getenv("POSD_PLANTED_BUG") == bug }

// crash ends the process as a power cut would, where a test asked for it.
func crash(step string) {
	if os.Getenv("POSD_CRASH_AT") == "card:"+step {
		syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
}
