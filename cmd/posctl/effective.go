package main

import (
	"fmt"
	"strings"

	"posd/pos/config"
	"posd/sync/downlink"
)

// showConfig prints the reference of all keys, or with -in-force what holds here, and
// for each key who decided it.
func (t *tool) showConfig(args []string) error {
	fs := t.flags("config")
	inForce := fs.Bool("in-force", false, "print what holds on this terminal and who decided it: the default, posd.toml or head office")
	if _, err := t.parse(fs, args); err != nil {
		return err
	}
	if !*inForce {
		return config.WriteReference(t.out)
	}
	c, err := t.load()
	if err != nil {
		return err
	}
	_, err = fmt.Fprint(t.out, effectiveConfig(c))
	return err
}

// effectiveConfig is what is in force, defaults included, in the form of posd.toml,
// and who decided each key.
func effectiveConfig(c *config.Config) string {
	var b strings.Builder
	over, err := downlink.Kept(c)
	if err != nil {
		fmt.Fprintf(&b, "# %v\n", strings.ReplaceAll(err.Error(), "\n", " | "))
	}
	over.WriteEffective(&b) // a builder takes all
	return b.String()
}
