package main

import (
	"errors"
	"strings"
	"testing"

	"posd/sync/ledger/pgtest"
)

// TestScenes plays each scene with few sales: real programs, both kinds of ledger.
func TestScenes(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and runs all programs for about a minute")
	}
	b, err := prepare(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	b.out = t.Output()
	t.Cleanup(func() {
		if err := b.close(); err != nil {
			t.Error(err)
		}
	})
	for _, a := range acts {
		for _, store := range a.stores {
			t.Run(strings.ToLower(a.name+"/"+store), func(t *testing.T) {
				err := b.perform(t.Context(), options{seed: 1, scene: a.name, store: store, events: a.few})
				if errors.Is(err, pgtest.ErrNotInstalled) {
					t.Skip(err)
				}
				if err != nil {
					t.Error(err)
				}
			})
		}
	}
}
