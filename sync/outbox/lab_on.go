//go:build posdlab

package outbox

import "os"

// planted is the bug that a lab wants to see caught, in a binary that is built for it.
func planted() bug {
	return map[string]bug{"outbox-no-fence": bugNoFence, "outbox-sent-is-out": bugSentIsOut}[os.Getenv("POSHUB_PLANTED_BUG")]
}
