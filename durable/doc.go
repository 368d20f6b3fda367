// Package durable replaces small files so that a cut of power leaves the old content or
// the new, and nothing between: states, secrets, what the next start has to know.
package durable
