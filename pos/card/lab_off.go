//go:build !posdlab

package card

import "time"

const (
	greetTime  = 3 * time.Second // to reach a payment terminal and hear its greeting
	statusTime = 5 * time.Second // for its answer where no customer is waited for
)

// planted says whether a test asked for this bug; see lab_on.go.
func planted(string) bool { return false }

// crash ends the process where a test asked for it; see lab_on.go.
func crash(string) {}
