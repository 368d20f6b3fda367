package lab

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
)

// cut is the moment at which the power went: what the medium had, and what was
// on its way there. Many states can be drawn from one cut.
type cut struct {
	durable folder
	pending []dirOp
	flying  []flying
}

// flying are the sectors of a file that were stored and not synced.
type flying struct {
	file *modelFile
	set  sectors
	mem  []byte // the page cache
}

// powerOff ends all operations. It keeps the page cache as it is now: what the
// process stores from here on happens no more.
func (m *modelFS) powerOff() {
	c := &cut{durable: m.durable, pending: m.pending}
	for _, e := range m.dir {
		c.fly(e.file)
	}
	for _, e := range m.durable {
		if m.dir.find(e.name) != e.file { // removed or renamed, and that may not land
			c.fly(e.file)
		}
	}
	m.power = c
}

func (c *cut) fly(f *modelFile) {
	set := f.dirty(everything)
	if !set.empty() && !slices.ContainsFunc(c.flying, func(g flying) bool { return g.file == f }) {
		c.flying = append(c.flying, flying{f, set, slices.Clone(f.mem)})
	}
}

// variety is about how many states the cut could leave, at most limit.
func (c *cut) variety(limit int) int {
	n := 1
	for range c.pending {
		n *= 2
	}
	for _, f := range c.flying {
		f.set.each(maxFile, func(int, int, int) { n = min(4*n, limit) })
	}
	return min(n, limit)
}

// draw is one state that the next boot may find.
func (c *cut) draw(rng *rand.Rand) *modelFS {
	m := newModelFS(rng)
	have := slices.Clone(c.durable)
	for _, i := range rng.Perm(len(c.pending)) {
		if rng.IntN(2) == 0 {
			have = have.apply(c.pending[i])
		}
	}
	for _, e := range have {
		f := e.file
		g := &modelFile{fs: m, dur: f.dur, shared: true, unreadable: f.unreadable}
		for _, fl := range c.flying {
			if fl.file == f {
				fl.settle(g, rng)
			}
		}
		g.absent = g.unreadable
		m.durable = append(m.durable, dirEntry{e.name, g})
	}
	m.dir = slices.Clone(m.durable)
	return m
}

// settle gives each sector that was on its way its fate in g: old, new, garbled
// or unreadable. The odds differ from state to state, so that "all but one" is as
// common as "half of them".
func (fl *flying) settle(g *modelFile, rng *rand.Rand) {
	landed := [...]int{0, 1, 8, 15, 16}[rng.IntN(5)] // of 16
	spoiled := [...]int{0, 0, 0, 1, 8}[rng.IntN(5)]  // of 64
	unreadable := [...]int{0, 0, 1, 4}[rng.IntN(4)]  // of 4 that are spoiled
	fl.set.each(len(g.dur), func(i, from, to int) {
		r := rng.Uint32()
		switch {
		case int(r%64) < spoiled:
			g.own()
			garble(g.dur[from:to], rng)
			if int(r>>8%4) < unreadable {
				g.unreadable.add(i)
			}
		case int(r>>8%16) < landed:
			g.own()
			copy(g.dur[from:to], fl.mem[from:to])
			g.unreadable = g.unreadable.without(span(from, 1))
		}
	})
}

func garble(b []byte, rng *rand.Rand) {
	var w [8]byte
	for len(b) > 0 {
		binary.LittleEndian.PutUint64(w[:], rng.Uint64())
		b = b[copy(b, w[:]):]
	}
}
