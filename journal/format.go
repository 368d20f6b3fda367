package journal

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"posd/journal/chain"
)

// A segment file is a row of pages of A bytes, A = max(4096, page size of the
// machine that made it). All numbers are little-endian. Reserved bytes are
// written as 0 and not looked at.
//
//	page 0              group            group                  …        end
//	├───────────────────┼────────────────┼──────────────────────┼────────┤
//
// Page 0:
//
//	  0 magic "POSDSEG1"          8 B
//	  8 version                   u16
//	 10 flags, 0: other values are a newer format   u16
//	 12 A                         u32
//	 16 journal id               16 B
//	 32 incarnation               u64
//	 40 segment number            u32
//	 44 segment size              u32
//	 48 sequence number of the first record of this segment   u64
//	 56 prevEnd: where the segment before ends, 0 for the first   u32
//	 60 reserved, 0               u32
//	 64 prevHead: the head before the first record           32 B
//	 96 store, zero-padded       32 B
//	128 terminal, zero-padded    32 B
//	160 wall clock, Unix ms       i64
//	168 the terminal's public key, Ed25519; 0 if it has none   32 B
//	200 tag of the machine: first 16 bytes of the SHA-256 of its id; 0 if unknown   16 B
//	216 reserved, 0
//	252 CRC-32C of bytes 0 to 251 u32
//
// A group begins at a page and is zero-padded to whole pages:
//
//	 0 magic                     u32
//	 4 CRC-32C of the rest of the header and the body   u32
//	 8 len: bytes of the body    u32
//	12 number of records         u16
//	14 flags, 0: other values are a newer format   u16
//	16 first sequence number     u64
//	24 segment number            u32
//	28 own offset in the segment u32
//	32 incarnation               u64
//	40 journal id               16 B
//	56 head before this group   32 B
//	88 head after it            32 B
//	120 body: frames, one after the other
//
// So each group proves its own records, also where the one before it is gone.
// The frame of a record is drawn in package chain.
const (
	version = 1

	minAlign    = 4096
	maxAlign    = 64 << 10 // the largest page of any Linux
	page0Used   = 256
	groupHeader = 120

	maxGroup = 256 << 10 // header, body and padding
	maxRecs  = 1<<16 - 1

	groupMagic = 0x31475250 // "PRG1"
)

var (
	page0Magic = [8]byte{'P', 'O', 'S', 'D', 'S', 'E', 'G', '1'}
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	le         = binary.LittleEndian
)

var zeros [minAlign]byte

func isZero(b []byte) bool {
	for len(b) > minAlign {
		if !bytes.Equal(b[:minAlign], zeros[:]) {
			return false
		}
		b = b[minAlign:]
	}
	return bytes.Equal(b, zeros[:len(b)])
}

func roundUp(n, a int) int { return (n + a - 1) / a * a }

// segmentHead is the content of page 0.
type segmentHead struct {
	align       int
	id          chain.ID
	incarnation uint64
	no          uint32
	size        uint32
	firstSeq    uint64
	prevEnd     uint32
	prevHead    chain.Head
	owner       Identity
	created     int64    // Unix ms
	key         [32]byte // the terminal's public key, or zero
	machine     [16]byte // machineTag
}

var (
	errZeroPage = errors.New("page 0 is empty")
	errBadPage  = errors.New("page 0 is damaged")
)

func (h *segmentHead) encode(b []byte) {
	clear(b)
	copy(b, page0Magic[:])
	le.PutUint16(b[8:], version)
	le.PutUint32(b[12:], uint32(h.align))
	copy(b[16:], h.id[:])
	le.PutUint64(b[32:], h.incarnation)
	le.PutUint32(b[40:], h.no)
	le.PutUint32(b[44:], h.size)
	le.PutUint64(b[48:], h.firstSeq)
	le.PutUint32(b[56:], h.prevEnd)
	copy(b[64:], h.prevHead[:])
	copy(b[96:128], h.owner.Store)
	copy(b[128:160], h.owner.Terminal)
	le.PutUint64(b[160:], uint64(h.created))
	copy(b[168:], h.key[:])
	copy(b[200:], h.machine[:])
	le.PutUint32(b[252:], crc32.Checksum(b[:252], castagnoli))
}

func decodeSegmentHead(b []byte) (segmentHead, error) {
	var h segmentHead
	if len(b) < page0Used {
		return h, fmt.Errorf("%w: %d bytes", errBadPage, len(b))
	}
	b = b[:page0Used]
	if isZero(b) {
		return h, errZeroPage
	}
	if [8]byte(b[:8]) != page0Magic {
		return h, fmt.Errorf("%w: wrong magic", errBadPage)
	}
	if crc32.Checksum(b[:252], castagnoli) != le.Uint32(b[252:]) {
		return h, fmt.Errorf("%w: wrong checksum", errBadPage)
	}
	if v, flags := le.Uint16(b[8:]), le.Uint16(b[10:]); v > version || flags != 0 {
		return h, fmt.Errorf("%w: version %d with flags %#x, this release reads version %d; install the newer release", ErrNewer, v, flags, version)
	} else if v == 0 {
		return h, fmt.Errorf("%w: version 0", errBadPage)
	}
	h = segmentHead{
		align: int(le.Uint32(b[12:])), incarnation: le.Uint64(b[32:]),
		no: le.Uint32(b[40:]), size: le.Uint32(b[44:]), firstSeq: le.Uint64(b[48:]),
		prevEnd: le.Uint32(b[56:]), created: int64(le.Uint64(b[160:])),
		id: chain.ID(b[16:32]), prevHead: chain.Head(b[64:96]),
		owner: Identity{Store: cString(b[96:128]), Terminal: cString(b[128:160])},
		key:   [32]byte(b[168:200]), machine: [16]byte(b[200:216]),
	}
	if h.align < minAlign || h.align&(h.align-1) != 0 || h.align > maxAlign || h.no == 0 || h.firstSeq == 0 ||
		int64(h.size) < int64(2*h.align) || h.size%uint32(h.align) != 0 {
		return h, fmt.Errorf("%w: impossible values", errBadPage)
	}
	return h, nil
}

func cString(b []byte) string {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	return string(b)
}

// group is a decoded group header.
type group struct {
	bodyLen     int
	nrec        int
	firstSeq    uint64
	segNo       uint32
	selfOff     uint32
	incarnation uint64
	id          chain.ID
	prev        chain.Head // before it
	head        chain.Head // after it
}

// size is the group's extent on disk.
func (g *group) size(align int) int { return roundUp(groupHeader+g.bodyLen, align) }

func (g *group) last() uint64 { return g.firstSeq + uint64(g.nrec) - 1 }

// seal writes the header in front of the body that stands at b[groupHeader:].
// The magic goes in last, though only the CRC decides.
func (g *group) seal(b []byte) {
	le.PutUint32(b[8:], uint32(g.bodyLen))
	le.PutUint16(b[12:], uint16(g.nrec))
	le.PutUint16(b[14:], 0)
	le.PutUint64(b[16:], g.firstSeq)
	le.PutUint32(b[24:], g.segNo)
	le.PutUint32(b[28:], g.selfOff)
	le.PutUint64(b[32:], g.incarnation)
	copy(b[40:], g.id[:])
	copy(b[56:], g.prev[:])
	copy(b[88:], g.head[:])
	le.PutUint32(b[4:], crc32.Checksum(b[8:groupHeader+g.bodyLen], castagnoli))
	le.PutUint32(b, groupMagic)
}

var errGroup = errors.New("no valid group")

// where pins a group to its place, so that stale bytes of a recycled segment
// are told from new ones.
type where struct {
	id    chain.ID
	segNo uint32
	off   int
	end   int // of the segment
	align int
}

// decodeGroupHeader checks all that the header alone can tell.
func decodeGroupHeader(b []byte, w where) (group, error) {
	var g group
	if len(b) < groupHeader {
		return g, fmt.Errorf("%w: %d bytes", errGroup, len(b))
	}
	if le.Uint32(b) != groupMagic {
		return g, fmt.Errorf("%w: no magic", errGroup)
	}
	g = group{
		bodyLen: int(le.Uint32(b[8:])), nrec: int(le.Uint16(b[12:])), firstSeq: le.Uint64(b[16:]),
		segNo: le.Uint32(b[24:]), selfOff: le.Uint32(b[28:]), incarnation: le.Uint64(b[32:]),
		id: chain.ID(b[40:56]), prev: chain.Head(b[56:88]), head: chain.Head(b[88:120]),
	}
	switch {
	case g.id != w.id:
		return g, fmt.Errorf("%w: of another journal", errGroup)
	case g.segNo == w.segNo && int(g.selfOff) != w.off:
		return g, fmt.Errorf("%w: its header is wrong", errGroup)
	case g.segNo != w.segNo:
		return g, fmt.Errorf("%w: left over from segment %d", errGroup, g.segNo)
	case g.nrec == 0 || g.bodyLen < chain.FrameHeader || g.size(w.align) > maxGroup || w.off+g.size(w.align) > w.end:
		return g, fmt.Errorf("%w: impossible size", errGroup)
	}
	return g, nil
}

// check verifies CRC, padding and the frames' numbering. b spans the group.
func (g *group) check(b []byte, align int) error {
	if err := g.checkBody(b); err != nil {
		return err
	}
	if !isZero(b[groupHeader+g.bodyLen : g.size(align)]) {
		return fmt.Errorf("%w: padding is not zero", errGroup)
	}
	return nil
}

// checkBody is check without the padding.
func (g *group) checkBody(b []byte) error {
	used := groupHeader + g.bodyLen
	if crc32.Checksum(b[8:used], castagnoli) != le.Uint32(b[4:]) {
		return fmt.Errorf("%w: wrong checksum", errGroup)
	}
	if flags := le.Uint16(b[14:]); flags != 0 {
		return fmt.Errorf("%w: group with flags %#x", ErrNewer, flags)
	}
	rest := b[groupHeader:used]
	for seq := g.firstSeq; seq <= g.last(); seq++ {
		rec, next, err := chain.NextFrame(rest)
		if err != nil {
			return fmt.Errorf("%w: %w", errGroup, err)
		}
		if rec.Seq != seq {
			return fmt.Errorf("%w: record %d where %d belongs", errGroup, rec.Seq, seq)
		}
		rest = next
	}
	if len(rest) != 0 {
		return fmt.Errorf("%w: %d bytes after the last record", errGroup, len(rest))
	}
	return nil
}

// prove hashes the group's frames from the head that it says was before it to
// the one that it says is after it. signed is the last checkpoint in it, 0 if none.
func (g *group) prove(b []byte) (signed uint64, err error) {
	d := sha256.New()
	h, rest := g.prev, b[groupHeader:groupHeader+g.bodyLen]
	for len(rest) > 0 {
		rec, next, err := chain.NextFrame(rest)
		if err != nil {
			return 0, err
		}
		if rec.Type == chain.TypeCheckpoint {
			signed = rec.Seq
		}
		d.Reset()
		d.Write(h[:])
		d.Write(rec.Frame)
		d.Sum(h[:0])
		rest = next
	}
	if h != g.head {
		return 0, fmt.Errorf("%w: hash chain is broken", errGroup)
	}
	return signed, nil
}
