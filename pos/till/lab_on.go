//go:build posdlab

package till

import "os"

// planted says whether a test asked for this bug, which it must see.
func planted(bug string) bool { return os.Getenv("POSD_PLANTED_BUG") == bug }
