//go:build !race

package catalogue

const raced = false
