package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// act is a scene that is played by name, as large as it is asked for.
type act struct {
	name   string
	about  string
	events int      // sales, unless asked otherwise
	few    int      // sales in a test
	stores []string // kinds of ledger that it is played on
	play   func(ctx context.Context, w *world, events int) error
}

var acts = []act{
	{"forgetful", "servers acknowledge, and lose it", 100_000, 1_000, []string{bbolt}, forgetful},
	{"restored-ledger", "an older backup of the ledger is put back", 2_000, 800, []string{bbolt, postgres}, restoredLedger},
	{"cloned-disk", "two terminals run on copies of one disk", 500, 300, []string{bbolt, postgres}, clonedDisk},
	{"restored-till", "an older backup of a terminal's disk is put back", 500, 300, []string{bbolt, postgres}, restoredDisk},
	{"offline", "a terminal sells for 30 days without a link", 12_000, 2_000, []string{bbolt, postgres}, offline},
	{"drain", "a terminal and a hub are watched while a backlog drains, a tenth of it first", 1_000_000, 20_000, []string{bbolt, postgres}, drain},
}

func actNames() string {
	var all []string
	for _, a := range acts {
		all = append(all, a.name)
	}
	return strings.Join(all, ", ")
}

// perform plays the acts of that name, or all, on each of their stores or on one.
func (b *bench) perform(ctx context.Context, o options) error {
	played := 0
	for _, a := range acts {
		for _, store := range a.stores {
			if o.scene != "all" && o.scene != a.name || o.store != "" && !strings.EqualFold(o.store, store) {
				continue
			}
			played++
			events := a.events
			if o.events > 0 {
				events = o.events
			}
			begin := time.Now()
			err := b.stage(ctx, a.name+"-"+store, store, o.seed, func(ctx context.Context, w *world, _ ...string) error { return a.play(ctx, w, events) })
			if err != nil {
				return fmt.Errorf("scene %s on %s: %w", a.name, store, err)
			}
			b.say("scene %s on %s: whole, %.1f s", a.name, store, time.Since(begin).Seconds())
		}
	}
	if played == 0 {
		return fmt.Errorf("there is no scene %q on %q: there are %s, and all", o.scene, o.store, actNames())
	}
	return nil
}

// sortedKeys is for messages that must not depend on a map's order.
func sortedKeys[V any](m map[string]V) []string {
	var all []string
	for k := range m {
		all = append(all, k)
	}
	slices.Sort(all)
	return all
}
