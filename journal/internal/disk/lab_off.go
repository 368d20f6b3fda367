//go:build !posdlab

package disk

// Lab is true in binaries that are built to be killed by a test.
const Lab = false

// labSync comes before each sync in such binaries.
func labSync() error { return nil }

// Planted names the bug that a test wants to see caught.
func Planted() string { return "" }
