//go:build posdlab

package papers

import "os"

// planted says whether a test asked for this bug, in a binary that is built to
// be killed by it.
func planted(bug string) bool { return os.Getenv("POSD_PLANTED_BUG") == bug }
