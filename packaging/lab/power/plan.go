package main

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// aim is what a cut is aimed at.
type aim int

const (
	anywhere  aim = iota // some time under load
	atStart              // while posd starts after the last cut
	atRoll               // a new segment of the journal is begun
	atFlush              // a flush has arrived and nothing of it is done
	atUpgrade            // the program is replaced and started again
	atDrain              // head office takes in what it lacks
	aims
)

// weighted: in a cut at the start no sale is at stake that was not at stake before.
var weighted = []aim{anywhere, anywhere, anywhere, atStart, atStart, atRoll, atRoll, atRoll, atFlush, atFlush, atFlush, atUpgrade, atUpgrade, atDrain, atDrain}

func (a aim) String() string {
	return [...]string{"anywhere", "at start", "at a roll", "at a flush", "in an upgrade", "in the drain"}[a]
}

// step is a part of an upgrade.
type step int

const (
	replacing step = iota // the program is written
	stopping              // the old one is stopped
	starting              // the new one is started
	steps
)

// bug is a planted mistake.
type bug struct {
	name  string
	build string
	env   string // what the build is told
	lying bool
	place bool // an upgrade writes over the program instead of renaming
	shows kind // as what it must be caught, 0 = as anything
}

var bugs = []bug{
	{name: "lying flush", build: buildNow, lying: true},
	{name: "early acknowledgement", build: buildLab, env: "early-ack", shows: lost},
	{name: "dropped key", build: buildLab, env: "dropped-key", shows: twice},
	{name: "program written in place", build: buildNow, place: true, shows: lost},
}

// history is one terminal's life on one disk, from the first boot on, through some
// cuts. All that is decided in it comes from the seed.
type history struct {
	seed      uint64
	cuts      int
	bug       *bug
	segment   string
	retention string
	workers   int
	clockStep time.Duration // from boot to boot, so that retention passes
	office    [2]int        // head office is up for some rounds of so many
}

func newHistory(seed uint64, cuts int, b *bug) *history {
	rng := rand.New(rand.NewPCG(seed, 1))
	h := &history{seed: seed, cuts: cuts, bug: b, segment: "256KiB", retention: "30d", workers: 2 + rng.IntN(4), clockStep: 20 * time.Second}
	if rng.IntN(3) == 0 {
		h.segment = "64KiB"
	}
	if rng.IntN(2) == 0 { // segments are freed and used again
		h.retention, h.clockStep = "1h", 25*time.Minute
	}
	h.office = [2]int{1 + rng.IntN(2), 3}
	return h
}

// forgets says that sales are freed after some rounds.
func (h *history) forgets() bool { return h.clockStep > time.Minute }

func (h *history) build() string {
	if h.bug != nil {
		return h.bug.build
	}
	return buildNow
}

// round is what is decided for the time from one boot to the next cut.
type round struct {
	n      int // from 0
	aim    aim
	office bool
	verify bool // before the start, else beside posd
	check  bool // e2fsck of what the cut leaves
	load   uint64
	wait   time.Duration // from what is aimed at
	busy   bool          // then the power goes with a request to the disk, not just any time
	skip   int           // so many requests later
	step   step          // of an upgrade, from where on wait counts
	before time.Duration // sales before an upgrade
	eager  bool          // the guest's kernel writes dirty pages soon, before anyone syncs them
	rng    *rand.Rand    // for what the cut leaves, and keys to ask for again
}

func (h *history) round(n int) round {
	rng := rand.New(rand.NewPCG(h.seed, uint64(100+n)))
	r := round{n: n, aim: weighted[rng.IntN(len(weighted))], verify: rng.IntN(3) == 0, check: rng.IntN(4) == 0,
		busy: rng.IntN(4) > 0, skip: rng.IntN(4), eager: rng.IntN(2) == 0, load: rng.Uint64(), rng: rng}
	r.office = n%h.office[1] >= h.office[1]-h.office[0]
	ms := func(from, to int) time.Duration { return time.Duration(from+rng.IntN(to-from)) * time.Millisecond }
	if h.bug != nil && h.bug.place {
		r.aim = atUpgrade
	} else if h.bug != nil && (r.aim == atUpgrade || r.aim == atDrain || r.aim == atStart && n%2 == 0) {
		r.aim = anywhere // one build only, and under load
	}
	switch r.aim {
	case anywhere:
		r.wait = ms(100, 3000)
	case atStart:
		r.wait = ms(0, 1200)
	case atRoll:
		r.busy = true
	case atFlush:
		r.wait = ms(0, 1500)
	case atUpgrade:
		r.step, r.before, r.wait = step(rng.IntN(int(steps))), ms(0, 1500), ms(0, 900)
		if h.bug != nil && h.bug.place {
			// After ext4 has committed that the old content is gone (5 s), before the
			// kernel writes the new one (30 s).
			r.step, r.wait, r.eager = replacing, ms(5500, 8000), false
		}
	case atDrain:
		r.office, r.wait = true, ms(0, 700)
	}
	return r
}

func (h *history) String() string {
	return fmt.Sprintf("history %d (segments of %s, kept %s, %d tills)", h.seed, h.segment, h.retention, h.workers)
}
