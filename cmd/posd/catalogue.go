package main

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"posd/pos"
	"posd/pos/catalogue"
	"posd/pos/config"
	"posd/pos/httpapi"
	"posd/sync/downlink"
	"posd/sync/wire"
)

// itemsFile is the catalogue, in the data folder.
const itemsFile = "catalogue.db"

// items is where head office's catalogues go.
func (t *terminal) items() *downlink.Items {
	path := filepath.Join(t.c.Data.Dir, itemsFile)
	return &downlink.Items{
		Path:  path,
		InUse: func() (string, int) { return t.catalogue.Version(), t.catalogue.Len() },
		Options: func(ctx context.Context) catalogue.ImportOptions {
			c := t.downlink.Config()
			o := catalogue.ImportOptions{Taxes: map[string]bool{}, Currency: c.Terminal.Currency, Pace: func() {
				t.pacer.Pace(ctx.Done())
				runtime.Gosched() // without a quota, too, a sale comes first
			}}
			for i := range c.Taxes {
				o.Taxes[c.Taxes[i].Code] = true
			}
			return o
		},
		Room: func(bytes int64) error {
			// The journal comes first: it has half of what is free, and its last files.
			free, _ := space(t.c.Data.Dir)
			if need := uint64(max(0, bytes)); free/2 < need+lowSegments*uint64(t.c.Data.Segment) {
				return fmt.Errorf("the disk has no room: bringing it in takes up to %d bytes, %d are free and half of them is the journal's", need, free)
			}
			return nil
		},
	}
}

// untaxed says which tax codes of the catalogue c lacks: their items are refused at the
// till. Empty: none.
func (t *terminal) untaxed(c *config.Config) string {
	used := t.catalogue.Taxes()
	var missing []string
	for _, code := range slices.Sorted(maps.Keys(used)) {
		if !slices.ContainsFunc(c.Taxes, func(tax pos.Tax) bool { return tax.Code == code }) {
			missing = append(missing, fmt.Sprintf("%d items of the catalogue have the tax code %s, which is not configured", used[code], code))
		}
	}
	return strings.Join(missing, "; ")
}

// itemsAmiss is what somebody has to look after about the catalogue; empty: nothing.
func (t *terminal) itemsAmiss() string {
	if err := t.catalogue.Err(); err != nil {
		return err.Error()
	}
	if s := t.downlink.CatalogueStatus(); s.State == downlink.StateFetching && s.Reason != "" {
		return "catalogue " + s.Version + " of head office's is not here yet: " + s.Reason
	} else if s.State == wire.StateRefused {
		return "catalogue " + s.Version + " of head office's was refused: " + s.Reason
	}
	return t.untaxed(t.downlink.Config())
}

// supplied is what the status page tells of it.
func (t *terminal) supplied() httpapi.Supply {
	s := t.downlink.CatalogueStatus()
	amiss := t.untaxed(t.downlink.Config())
	if err := t.catalogue.Err(); err != nil {
		amiss = err.Error()
	}
	return httpapi.Supply{Version: s.Version, State: s.State, Reason: s.Reason, Got: s.Got, Of: s.Of, Amiss: amiss}
}
