package lab

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"strconv"
	"strings"

	"posd/journal/chain"
)

// Group is where a group of records lies in a segment.
type Group struct {
	Off, Size   int
	First, Last uint64
}

// Groups lists the whole groups at the start of a segment's bytes, as
// docs/journal.md draws them; none if page 0 is not that of segment no. It is
// written apart from the journal, so that a test can aim without its help.
func Groups(b []byte, no uint32) (all []Group) {
	if !inUse(b, no) {
		return nil
	}
	align := int(le.Uint32(b[12:]))
	for off := align; off+align <= len(b); {
		g := b[off:]
		used := groupHeader + int(le.Uint32(g[8:]))
		size := (used + align - 1) / align * align
		if string(g[:4]) != "PRG1" || le.Uint32(g[24:]) != no || int(le.Uint32(g[28:])) != off || size > len(g) ||
			crc32.Checksum(g[8:used], castagnoli) != le.Uint32(g[4:]) || len(bytes.Trim(g[used:size], "\x00")) != 0 {
			break
		}
		first, n := le.Uint64(g[16:]), uint64(le.Uint16(g[12:]))
		all = append(all, Group{off, size, first, first + n - 1})
		off += size
	}
	return all
}

// sharpen tells a loss that the journal has reported from a false alarm, by
// looking for the acknowledged records on the medium without the journal's help.
func (o *Oracle) sharpen(v Verdict, m *modelFS) Verdict {
	if v.Kind != FalseAlarm {
		return v
	}
	there := map[uint64]bool{}
	oldest := o.Acked() + 1
	for _, e := range m.durable {
		no := segmentNo(e.name)
		for _, g := range Groups(e.file.dur, no) {
			oldest = min(oldest, g.First)
			frames := e.file.dur[g.Off+groupHeader : g.Off+g.Size]
			for seq := g.First; seq <= g.Last; seq++ {
				rec, rest, err := chain.NextFrame(frames)
				if err != nil {
					break
				}
				sum, written := o.wrote[seq]
				there[seq] = there[seq] || !written || SumOf(rec.Payload) == sum
				frames = rest
			}
		}
	}
	for seq := min(oldest, o.settled+1); seq <= o.Acked(); seq++ {
		if !there[seq] {
			return verdict(Lost, "record %d of %d is not on the medium: %w", seq, o.Acked(), v.Why)
		}
	}
	return v
}

// inUse says whether page 0 is that of segment no.
func inUse(b []byte, no uint32) bool {
	return len(b) >= page && string(b[:8]) == "POSDSEG1" && le.Uint32(b[40:]) == no &&
		crc32.Checksum(b[:252], castagnoli) == le.Uint32(b[252:])
}

var le = binary.LittleEndian

const (
	groupHeader = 120
	page0Used   = 256
)

// segmentNo is the number of a segment's file, 0 if the name is none.
func segmentNo(name string) uint32 {
	digits, ok := strings.CutSuffix(name, ".seg")
	if n, err := strconv.ParseUint(digits, 10, 32); ok && err == nil && len(digits) == 10 {
		return uint32(n)
	}
	return 0
}
