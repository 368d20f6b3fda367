// Package tear says what a power cut leaves of writes that were not flushed. Two labs
// share it: posd/journal/lab/ext4, whose disk records, and posd/packaging/lab/power,
// whose disk answers a guest over the network.
//
// Of each 512-byte sector any of the versions may have landed that were written since
// the last flush, each write on its own, in any order among sectors; at most one
// sector is garbled, the one that was in flight. The superblocks of ext4 and of its
// journal land whole, and so does a commit block of that journal: torn, the file system
// could not be mounted (a commit block: by Linux 6.1, until e2fsck -p has run; newer
// kernels take it for the end), and that proves nothing about what lies in it.
package tear

import (
	"encoding/binary"
	"math/rand/v2"
)

// Sector is what lands as one.
const Sector = 512

// Write is one write to a disk.
type Write struct {
	Off  int64
	Data []byte
}

// Land puts into img, which holds what was flushed, what a cut leaves of the writes
// since, in the order in which they came. No sector before first is garbled; see
// ReadEarly. The ways to choose are weighted towards the extremes, where a wrong
// order shows.
func Land(img []byte, writes []Write, first int, rng *rand.Rand) {
	keep := keeper(rng, len(writes))
	for i, w := range writes {
		eachPiece(w, func(off, n int) {
			if keep(i) {
				copy(img[int(w.Off)+off:], w.Data[off:off+n])
			}
		})
	}
	if len(writes) > 0 && rng.IntN(3) == 0 {
		garbleOne(img, writes[rng.IntN(len(writes))], first, rng)
	}
}

// ReadEarly is the end of what ext4 reads before it has replayed its journal, so
// that the replay cannot heal it: superblock, group descriptors and the inode of
// the journal. Garbled, the file system could not be mounted.
func ReadEarly(img []byte) int {
	le := binary.LittleEndian
	if le.Uint16(img[1024+56:]) != 0xEF53 {
		return 0
	}
	block := 1024 << le.Uint32(img[1024+24:])
	descriptors := max(2048, block)
	inodes := int(le.Uint32(img[descriptors+8:])) * block
	return inodes + 4096
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

// eachPiece calls fn with what lands as one: a sector, or more where ext4 itself
// relies on that.
func eachPiece(w Write, fn func(off, n int)) {
	for off := 0; off < len(w.Data); {
		n := min(max(Sector, atomic(w.Off+int64(off), w.Data[off:])), len(w.Data)-off)
		fn(off, n)
		off += n
	}
}

// atomic is how many bytes ext4 takes to land as one, 0 for none: its superblock and
// its journal's, 1,024 bytes each and written in place, and a block of the journal that
// commits a transaction; each under one checksum.
func atomic(at int64, data []byte) int {
	const (
		superblock = 1024 // size, and where the file system's is
		commit     = 4096
	)
	if at == superblock {
		return superblock
	}
	if at%1024 != 0 || len(data) < 8 || binary.BigEndian.Uint32(data) != 0xC03B3998 {
		return 0
	}
	switch binary.BigEndian.Uint32(data[4:]) {
	case 2:
		return commit
	case 3, 4:
		return superblock
	}
	return 0
}

func garbleOne(img []byte, w Write, first int, rng *rand.Rand) {
	var pieces [][2]int
	eachPiece(w, func(off, n int) {
		if n == Sector && int(w.Off)+off >= first {
			pieces = append(pieces, [2]int{int(w.Off) + off, n})
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
