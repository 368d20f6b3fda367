//go:build !posdlab

package disk

// Lab is true in binaries that are built to be killed by a test.
const Lab = false

// labDelay stretches the time before a sync in such binaries.
func labDelay() {}

// Planted names the bug that a test wants to see caught.
func Planted() string { return "" }
