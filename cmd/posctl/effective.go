package main

import (
	"strings"

	"posd/pos/config"
)

// effectiveConfig is what is in force, defaults included, in the form of posd.toml,
// and who decided each key.
func effectiveConfig(c *config.Config) string {
	var b strings.Builder
	c.WriteEffective(&b) // a builder takes all
	return b.String()
}
