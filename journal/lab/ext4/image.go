package main

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
)

// tape plays the log of a device forward, from cut to cut.
type tape struct {
	log     []entry
	at      int     // log[:at] has been played
	image   []byte  // all writes up to the last flush
	pending []entry // writes since, in order
	heard   []byte  // the reports so far, encoded
	first   int     // offset from where on sectors may be garbled
}

// newTape owns base from now on; heard is what had been reported before.
func newTape(base []byte, log []entry, heard []byte) *tape {
	return &tape{log: log, image: base, heard: slices.Clip(heard), first: readEarly(base)}
}

// readEarly is the end of what ext4 reads before it has replayed its journal, so
// that the replay cannot heal it: superblock, group descriptors and the inode of
// the journal. Garbled, the file system could not be mounted.
func readEarly(img []byte) int {
	le := binary.LittleEndian
	if le.Uint16(img[1024+56:]) != 0xEF53 {
		return 0
	}
	block := 1024 << le.Uint32(img[1024+24:])
	descriptors := max(2048, block)
	inodes := int(le.Uint32(img[descriptors+8:])) * block
	return inodes + 4096
}

// forward plays up to position at, which must not go back.
func (t *tape) forward(at int) {
	for ; t.at < at; t.at++ {
		switch e := t.log[t.at]; e.kind {
		case write:
			t.pending = append(t.pending, e)
		case flush:
			for _, w := range t.pending {
				copy(t.image[w.off:], w.data)
			}
			t.pending = nil
		default:
			t.heard = e.appendTo(t.heard)
		}
	}
}

// cut fills img with one image that a power cut at this position can leave: what had been
// flushed, and of each sector written since any of its versions, each write on
// its own. The ways to choose are weighted towards the extremes, where a wrong
// order shows. At most one sector is garbled: the one that was in flight.
func (t *tape) cut(img []byte, rng *rand.Rand) {
	copy(img, t.image)
	keep := keeper(rng, len(t.pending))
	for i, w := range t.pending {
		eachPiece(w, func(off, n int) {
			if keep(i) {
				copy(img[int(w.off)+off:], w.data[off:off+n])
			}
		})
	}
	if len(t.pending) > 0 && rng.IntN(3) == 0 {
		garbleOne(img, t.pending[rng.IntN(len(t.pending))], t.first, rng)
	}
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

// keeper says of each piece of write i whether it landed.
func keeper(rng *rand.Rand, writes int) func(i int) bool {
	whole := make([]bool, writes)
	lost := rng.IntN(max(1, writes))
	for i := range whole {
		whole[i] = rng.IntN(2) == 0
	}
	p := []float64{0.1, 0.5, 0.9}[rng.IntN(3)]
	switch rng.IntN(8) {
	case 0:
		return func(int) bool { return true }
	case 1:
		return func(int) bool { return false }
	case 2:
		return func(i int) bool { return i != lost }
	case 3:
		return func(i int) bool { return i == lost }
	case 4:
		return func(i int) bool { return whole[i] }
	}
	return func(int) bool { return rng.Float64() < p }
}

// eachPiece calls fn with what lands as one: a sector, or both where ext4 itself
// relies on that.
func eachPiece(w entry, fn func(off, n int)) {
	for off := 0; off < len(w.data); {
		n := min(sectorSize, len(w.data)-off)
		if superblock(w.off+int64(off), w.data[off:]) {
			n = min(2*sectorSize, len(w.data)-off)
		}
		fn(off, n)
		off += n
	}
}

// superblock: those of ext4 and of its journal, 1,024 bytes each, are written in
// place under a checksum; torn, the file system itself cannot be mounted, and
// that proves nothing about what lies in it.
func superblock(at int64, data []byte) bool {
	const primary = 1024
	if at%1024 != 0 || at == primary {
		return at == primary
	}
	if len(data) < 8 || binary.BigEndian.Uint32(data) != 0xC03B3998 {
		return false
	}
	kind := binary.BigEndian.Uint32(data[4:])
	return kind == 3 || kind == 4
}

func garbleOne(img []byte, w entry, first int, rng *rand.Rand) {
	var pieces [][2]int
	eachPiece(w, func(off, n int) {
		if n == sectorSize && int(w.off)+off >= first {
			pieces = append(pieces, [2]int{int(w.off) + off, n})
		}
	})
	if len(pieces) == 0 {
		return
	}
	p := pieces[rng.IntN(len(pieces))]
	for i := range p[1] {
		img[p[0]+i] = byte(rng.Uint32())
	}
}
