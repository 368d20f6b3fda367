//go:build race

package catalogue

// raced: the race detector keeps many times the memory of what it watches.
const raced = true
