//go:build posdlab

package uplink

import "os"

// planted is the bug that a lab wants to see caught, in a binary that is built for it.
func planted() bug {
	return map[string]bug{
		"no-fence": bugNoFence, "first-fence": bugFirstFence, "msg-id": bugMsgID,
		"trust-last": bugTrustLast, "free-on-ack": bugFreeOnSent,
	}[os.Getenv("POSD_PLANTED_BUG")]
}
