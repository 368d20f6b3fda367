// Package place gives a benchmark a file system of its own, whose device nobody else
// writes to, and counts the bytes that the device writes: a store that is compared with
// another one is to pay for its own writes only.
//
// It makes loop devices, formats and mounts, so it needs root; Shared does without, and
// then counts the neighbours' bytes too. Remove takes everything apart, also after an
// interrupt; a killed benchmark leaves a mount and an image behind.
package place
