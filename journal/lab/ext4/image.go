package main

import (
	"math/rand/v2"
	"slices"

	"posd/journal/lab/tear"
)

// tape plays the log of a device forward, from cut to cut.
type tape struct {
	log     []entry
	at      int          // log[:at] has been played
	image   []byte       // all writes up to the last flush
	pending []tear.Write // writes since, in order
	heard   []byte       // the reports so far, encoded
	first   int          // offset from where on sectors may be garbled
}

// newTape owns base from now on; heard is what had been reported before.
func newTape(base []byte, log []entry, heard []byte) *tape {
	return &tape{log: log, image: base, heard: slices.Clip(heard), first: tear.ReadEarly(base)}
}

// forward plays up to position at, which must not go back.
func (t *tape) forward(at int) {
	for ; t.at < at; t.at++ {
		switch e := t.log[t.at]; e.kind {
		case write:
			t.pending = append(t.pending, tear.Write{Off: e.off, Data: e.data})
		case flush:
			for _, w := range t.pending {
				copy(t.image[w.Off:], w.Data)
			}
			t.pending = nil
		default:
			t.heard = e.appendTo(t.heard)
		}
	}
}

// cut fills img with one image that a power cut at this position can leave.
func (t *tape) cut(img []byte, rng *rand.Rand) {
	copy(img, t.image)
	tear.Land(img, t.pending, t.first, rng)
}

// positions chooses n places for cuts in a log, in order: anywhere, around the
// moments when something was reported, where two writes of the journal were
// under way at once, and where a new owner first uses what an old one has left.
func positions(log []entry, n int, rng *rand.Rand) []int {
	var reported, crowded, inherited []int
	under, fresh := 0, false
	for i, e := range log {
		switch {
		case e.kind == flush:
			under = 0
		case e.kind == write && (hasBlock(e.data, "PRG1") || hasBlock(e.data, "POSDSEG1")):
			under++
		case e.kind >= created && e.kind != intended:
			reported = append(reported, i)
			fresh = fresh || e.kind == restarted
		}
		if fresh && e.kind == write && hasBlock(e.data, "POSDSEG1") {
			inherited, fresh = append(inherited, i+1), false
		}
		if under >= 2 {
			crowded = append(crowded, i+1)
		}
	}
	at := make([]int, n)
	for i := range at {
		at[i] = rng.IntN(len(log) + 1)
		switch kind := rng.IntN(4); {
		case kind == 0 && len(reported) > 0:
			at[i] = max(0, min(len(log), reported[rng.IntN(len(reported))]+rng.IntN(6)-1))
		case kind == 1 && len(crowded) > 0:
			at[i] = crowded[rng.IntN(len(crowded))]
		case kind == 2 && len(inherited) > 0:
			at[i] = min(len(log), inherited[rng.IntN(len(inherited))]+rng.IntN(12))
		}
	}
	slices.Sort(at)
	return at
}
