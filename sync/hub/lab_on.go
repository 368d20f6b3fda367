//go:build posdlab

package hub

import (
	"os"
	"strconv"
	"sync/atomic"
	"syscall"
)

// lab takes from the environment what a lab wants of a hub that is built for it: a bug,
// and to be killed when it passes for the nth time between one durable step and the next.
func (o *Options) lab() {
	if o.bug == noBug {
		o.bug = map[string]bug{"not-idempotent": bugNotIdempotent, "position-first": bugPositionFirst,
			"no-names": bugNoNames, "no-heads": bugNoHeads}[os.Getenv("POSHUB_PLANTED_BUG")]
	}
	n, err := strconv.ParseInt(os.Getenv("POSHUB_LAB_KILL"), 10, 64)
	if err != nil {
		return
	}
	var passed atomic.Int64
	o.crash = func() error {
		if passed.Add(1) == n {
			syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
		return nil
	}
}
