package lab

import (
	"context"
	"math/rand/v2"

	"posd/journal"
	"posd/journal/internal/hook"
)

// target is a byte of acknowledged data on the medium.
type target struct {
	Damage
	file *modelFile
	tail bool // in the segment that a start reads
}

// held is a segment in use that has acknowledged records.
type held struct {
	name   string
	no     uint32
	file   *modelFile
	groups []Group
}

// spoil flips a bit on the medium, or makes its sector unreadable.
func (f *modelFile) spoil(off int, rng *rand.Rand) {
	f.mem = nil
	if rng.IntN(4) == 0 {
		bad := span(off, 1)
		f.unreadable, f.absent = f.unreadable.or(bad), f.absent.or(bad)
		return
	}
	f.own()
	f.dur[off] ^= 1 << rng.IntN(8)
}

// aim picks a byte of acknowledged data: half of the time in the newest segment
// that has any.
func (h *history) aim(m *modelFS, o *Oracle) *target {
	var segs []held
	newest := uint32(0)
	for _, e := range m.durable {
		no := segmentNo(e.name)
		all := Groups(e.file.dur, no)
		if inUse(e.file.dur, no) {
			newest = max(newest, no)
		}
		n := 0
		for n < len(all) && all[n].Last <= o.Acked() {
			n++
		}
		if n > 0 {
			segs = append(segs, held{e.name, no, e.file, all[:n]})
		}
	}
	if len(segs) == 0 {
		return nil
	}
	s := segs[h.rng.IntN(len(segs))]
	if h.rng.IntN(2) == 0 {
		for _, t := range segs {
			if t.no > s.no {
				s = t
			}
		}
	}
	t := &target{file: s.file, tail: s.no == newest}
	t.File = s.name
	i := h.rng.IntN(len(s.groups) + 1)
	if i == len(s.groups) {
		t.Offset = int64(h.rng.IntN(page0Used)) // the rest of page 0 says nothing
		return t
	}
	g := s.groups[i]
	t.Offset, t.First, t.Last = int64(g.Off+h.rng.IntN(g.Size)), g.First, g.Last
	return t
}

// damage spoils the target, by a flipped bit or an unreadable sector, and judges
// what a start says of it, or a proof if a start does not look there.
func (h *history) damage(m *modelFS, o *Oracle, t *target) Verdict {
	h.tally.Flips++
	t.file.spoil(int(t.Offset), h.rng)
	if !t.tail || h.rng.IntN(4) == 0 {
		rep, err := journal.Verify(context.Background(), "", journal.VerifyOptions{Lab: &hook.Lab{FS: m, Page: h.page, Bug: h.bug}})
		if v := o.Damaged(t.Damage, err, rep.Last); v.Kind != OK {
			return v
		}
	}
	if !t.tail {
		return h.sellOn(m, o)
	}
	changes := m.changes
	j, err := journal.Open("", h.options(m))
	if err != nil {
		if m.changes != changes {
			return verdict(Lost, "%v: the start that refused it has changed something", t.Damage)
		}
		return o.Damaged(t.Damage, err, 0)
	}
	floor, _ := j.Floor()
	if v := o.Damaged(t.Damage, nil, floor); v.Kind != OK {
		return v
	}
	left := *o
	left.acked = t.First - 1 // what was excused
	return left.Start(j, nil)
}

// sellOn starts a journal with damage that a start does not look for: it may
// refuse, and a reader may report it, but no wrong record may be seen.
func (h *history) sellOn(m *modelFS, o *Oracle) Verdict {
	j, err := journal.Open("", h.options(m))
	v := o.Start(j, err)
	if v.Kind == FalseAlarm && reported(v.Why) || v.Kind == Lost && err == nil && len(j.Damage()) > 0 {
		return Verdict{}
	}
	return v
}
