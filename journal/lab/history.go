package lab

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"math/rand/v2"

	"posd/journal"
	"posd/journal/internal/disk"
	"posd/journal/internal/hook"
)

const (
	// statesPerHistory makes the work of a run the same however it is divided.
	statesPerHistory = 256
	// perCut is how many states are drawn from one cut, at most.
	perCut = 24

	segmentSize = 64 << 10
	maxSegments = 6 // the budget; who is offline for long runs into it
	maxPayload  = segmentSize / 4

	checkpointEvery = 40
)

var (
	till = journal.Identity{Store: "s1", Terminal: "t1"}
	key  = ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
)

// opening is the owner's state in the lab: a function of its place.
func opening(dst []byte, seq uint64) []byte { return fmt.Appendf(dst, `{"before":%d}`, seq) }

// Tally counts what was played.
type Tally struct {
	States                    int64 // recovered and judged
	Cuts, Kills, Fails, Stops int64 // how lives ended
	Flips                     int64 // damaged states
	Bad                       [Undetected + 1]int64
}

// Add adds what another history counted.
func (t *Tally) Add(u Tally) {
	t.States += u.States
	t.Cuts += u.Cuts
	t.Kills += u.Kills
	t.Fails += u.Fails
	t.Stops += u.Stops
	t.Flips += u.Flips
	for i := range t.Bad {
		t.Bad[i] += u.Bad[i]
	}
}

// history is one journal in the model, over several lives: the owner appends, the
// power goes or the process ends, the states that this can leave are judged, and
// one of them is the next life's.
type history struct {
	rng     *rand.Rand
	bug     hook.Bug
	noise   []byte // payloads are cut out of it
	fs      *modelFS
	oracle  Oracle
	before  disk.Owner
	boots   int
	page    int
	offline bool // nothing is settled
	stuck   int  // lives in a row in which nothing became durable, for no reason of ours
	tally   Tally
}

// Play plays history number n of a seed and returns the first wrong verdict, or
// one that is OK. The bug, if any, is planted. In a bubble of testing/synctest the
// owner's idle seconds take no time.
func Play(seed, n uint64, bug hook.Bug) (Tally, Verdict) {
	h := history{rng: rand.New(rand.NewPCG(seed, n)), bug: bug, page: page, noise: make([]byte, 64<<10)}
	defer func() {
		if p := recover(); p != nil {
			panic(fmt.Sprintf("history %d of seed %d, bug %v: %v", n, seed, bug, p))
		}
	}()
	h.oracle.Opening = opening
	garble(h.noise, h.rng)
	h.fs = newModelFS(h.rng)
	_, err := journal.Create("", journal.CreateOptions{Identity: till, PublicKey: key.Public().(ed25519.PublicKey),
		SegmentSize: segmentSize, Opening: opening, Lab: &hook.Lab{FS: h.fs, Page: page}})
	v := Verdict{FalseAlarm, err}
	if err == nil {
		v = h.play()
	}
	if v.Kind != OK {
		h.tally.Bad[v.Kind]++
	}
	return h.tally, v
}

func (h *history) play() Verdict {
	for h.tally.States < statesPerHistory {
		l, v := h.survive()
		if v.Kind != OK || l == nil {
			return v
		}
		if v := l.live(); v.Kind != OK {
			return v
		}
	}
	return Verdict{}
}

func (h *history) boot() string { return fmt.Sprint("boot-", h.boots) }

func (h *history) options(m *modelFS) journal.Options {
	return journal.Options{Identity: till, SegmentSize: segmentSize, MaxBytes: maxSegments * segmentSize, Opening: opening,
		Key: key, CheckpointEvery: checkpointEvery,
		Lab: &hook.Lab{FS: m, Boot: h.boot(), Before: h.before, Page: h.page, Bug: h.bug, Manual: true}}
}

// survive judges what the end of a life can have left and opens one of it for the
// next life, which is nil if there are enough states.
func (h *history) survive() (*life, Verdict) {
	for h.tally.States < statesPerHistory {
		if c := h.fs.power; c != nil {
			h.boots++
			for range min(c.variety(perCut), statesPerHistory-int(h.tally.States)) - 1 {
				if v := h.look(c.draw(h.rng)); v.Kind != OK {
					return nil, v
				}
			}
			h.fs = c.draw(h.rng)
		}
		if h.rng.IntN(16) == 0 {
			h.page = page << (h.rng.IntN(2) * 2) // the disk was put into another machine
		}
		if l, v := h.start(); l != nil || v.Kind != OK {
			return l, v
		}
	}
	return nil, Verdict{}
}

// start opens the journal for the next life, which is nil if it was cut short.
func (h *history) start() (*life, Verdict) {
	h.fs.restart()
	switch h.rng.IntN(8) {
	case 0:
		h.fs.cutAt = 1 + h.rng.IntN(8)
	case 1:
		h.fs.killAt = 1 + h.rng.IntN(8)
	case 2:
		h.fs.failAt = 1 + h.rng.IntN(8)
	}
	o := h.options(h.fs)
	j, err := journal.Open("", o)
	if errors.Is(err, errPower) || (err != nil && h.fs.failed()) {
		return nil, Verdict{}
	}
	h.tally.States++
	if v := h.oracle.Start(j, err); v.Kind != OK {
		return nil, h.oracle.sharpen(v, h.fs)
	}
	floor, _ := j.Floor()
	h.oracle.Restarted(floor)
	return &life{history: h, j: j, drive: o.Lab.Drive, floor: floor}, Verdict{}
}

// look judges one state that a cut can have left.
func (h *history) look(m *modelFS) Verdict {
	h.tally.States++
	switch h.rng.IntN(16) {
	case 0: // a copy of the disk is proved before anything starts
		o := journal.VerifyOptions{Lab: &hook.Lab{FS: m, Page: h.page, Bug: h.bug}}
		if v := h.oracle.Verify(context.Background(), "", o); v.Kind != OK {
			return h.oracle.sharpen(v, m)
		}
	case 1, 2: // the disk rots while the power is off
		if t := h.aim(m, &h.oracle); t != nil {
			return h.damage(m, &h.oracle, t)
		}
	case 3: // so does the floor note, which alone proves nothing
		f := m.durable.find("floor")
		f.spoil(h.rng.IntN(2)*page+h.rng.IntN(page0Used), h.rng)
	case 4: // the disk is mounted read-only
		o := h.options(m)
		o.Lab.ReadOnly = true
		v := h.oracle.Start(journal.Open("", o))
		if v.Kind == OK && m.changes > 0 {
			v = verdict(Lost, "a start on a read-only disk has changed something")
		}
		return h.oracle.sharpen(v, m)
	}
	j, err := journal.Open("", h.options(m))
	if v := h.oracle.Start(j, err); v.Kind != OK {
		return h.oracle.sharpen(v, m)
	}
	if h.rng.IntN(4) == 0 { // it rots after a start, which left a note
		floor, _ := j.Floor()
		after := h.oracle
		after.acked, after.noted = floor, floor
		if t := h.aim(m, &after); t != nil {
			return h.damage(m, &after, t)
		}
	}
	return Verdict{}
}
