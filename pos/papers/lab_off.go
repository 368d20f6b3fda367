//go:build !posdlab

package papers

// planted says whether a test asked for this bug; see lab_on.go.
func planted(string) bool { return false }
