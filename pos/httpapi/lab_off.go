//go:build !posdlab

package httpapi

// planted says whether a test asked for this bug; see lab_on.go.
func planted(string) bool { return false }
