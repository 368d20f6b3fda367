//go:build !posdlab

package outbox

// planted is a bug that a lab asked for; see lab_on.go.
func planted() bug { return noBug }
