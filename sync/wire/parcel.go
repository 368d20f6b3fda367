package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"strconv"

	"github.com/klauspost/compress/s2"

	"posd/journal/chain"
)

const (
	// MaxRaw is the most that the frames of one parcel may take uncompressed, in bytes.
	MaxRaw = 1 << 20

	// HeaderSize is the length of a parcel before its body, in bytes.
	HeaderSize = 116

	version  = 1
	flagHole = 1 << 0
	crcAt    = 112
	magic    = "PPCL"
)

// What a caller may branch on. All are final for the message at hand.
var (
	ErrFormat   = errors.New("not a valid parcel")
	ErrVersion  = errors.New("parcel of a newer version: upgrade the hub")
	ErrTooLarge = errors.New("parcel too large")
	ErrChecksum = errors.New("parcel damaged: wrong checksum")
	ErrChain    = errors.New("parcel does not chain")
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Parcel is a contiguous run of records of one journal, or the statement that
// such a run is no longer held (Hole).
type Parcel struct {
	Journal chain.ID
	First   uint64
	Last    uint64
	Hole    bool
	Prev    chain.Head // head(First-1)
	Head    chain.Head // head(Last)
	Frames  []byte     // the records as framed in the journal; nil in a hole
}

// Count is the number of records carried, 0 for a hole.
func (p *Parcel) Count() uint32 {
	if p.Hole {
		return 0
	}
	return uint32(p.Last - p.First + 1)
}

// check refuses what no honest encoder writes.
func (p *Parcel) check(count uint32) error {
	switch {
	case p.First == 0 || p.Last < p.First || p.Last == ^uint64(0):
		return fmt.Errorf("%w: records %d to %d", ErrFormat, p.First, p.Last)
	case p.Hole && (count != 0 || len(p.Frames) != 0):
		return fmt.Errorf("%w: a hole that carries records", ErrFormat)
	case p.Head == (chain.Head{}):
		return fmt.Errorf("%w: no head", ErrFormat)
	case p.Hole:
		return nil
	case p.Last-p.First >= MaxRaw || uint64(count) != p.Last-p.First+1:
		return fmt.Errorf("%w: count %d for records %d to %d", ErrFormat, count, p.First, p.Last)
	case len(p.Frames) == 0:
		return fmt.Errorf("%w: no records", ErrFormat)
	case p.Prev == (chain.Head{}):
		return fmt.Errorf("%w: no head before the first record", ErrFormat)
	}
	return nil
}

// Verify checks that Frames hold exactly the records First to Last and that the
// hash chain leads from Prev to Head. A hole has nothing to verify. The error
// is ErrFormat or ErrChain.
func (p *Parcel) Verify() error {
	if p.Hole {
		return nil
	}
	h, err := p.Walk(nil)
	if err != nil {
		return err
	}
	if h != p.Head {
		return fmt.Errorf("%w: records %d to %d lead from %s to %s, the parcel says %s", ErrChain, p.First, p.Last, p.Prev, h, p.Head)
	}
	return nil
}

// Walk calls fn, if any, with each record and the head after it, and returns
// the last head. The record's slices are those of Frames.
func (p *Parcel) Walk(fn func(chain.Record, chain.Head) error) (chain.Head, error) {
	head, next, rest := p.Prev, p.First, p.Frames
	for len(rest) > 0 {
		rec, r, err := chain.NextFrame(rest)
		if err != nil {
			return head, fmt.Errorf("%w: record %d: %w", ErrFormat, next, err)
		}
		if rec.Seq != next || next > p.Last {
			return head, fmt.Errorf("%w: record %d where %d belongs, of %d to %d", ErrFormat, rec.Seq, next, p.First, p.Last)
		}
		head, rest = head.Next(rec.Frame), r
		if fn != nil {
			if err := fn(rec, head); err != nil {
				return head, err
			}
		}
		next++
	}
	if next != p.Last+1 {
		return head, fmt.Errorf("%w: ends after record %d, not %d", ErrFormat, next-1, p.Last)
	}
	return head, nil
}

// Encoder writes parcels into a buffer that it keeps. The zero value is ready.
type Encoder struct{ buf []byte }

// Encode returns the message of p, valid until the next call. It does not
// verify the chain: the journal has.
func (e *Encoder) Encode(p *Parcel) ([]byte, error) {
	if len(p.Frames) > MaxRaw {
		return nil, fmt.Errorf("%w: %d bytes of records, at most %d", ErrTooLarge, len(p.Frames), MaxRaw)
	}
	if err := p.check(p.Count()); err != nil {
		return nil, err
	}
	need := HeaderSize + s2.MaxEncodedLen(len(p.Frames))
	if cap(e.buf) < need {
		e.buf = make([]byte, need)
	}
	b := appendHeader(e.buf[:0], p)
	crc := crc32.Update(crc32.Checksum(b, castagnoli), castagnoli, p.Frames)
	b = binary.LittleEndian.AppendUint32(b, crc)
	if p.Hole {
		return b, nil
	}
	body := s2.Encode(e.buf[HeaderSize:cap(e.buf)], p.Frames)
	return e.buf[:HeaderSize+len(body)], nil
}

// Release gives the buffer back, for a caller that has no more to send for a while.
func (e *Encoder) Release() { e.buf = nil }

func appendHeader(b []byte, p *Parcel) []byte {
	var flags uint16
	if p.Hole {
		flags |= flagHole
	}
	b = append(b, magic...)
	b = binary.LittleEndian.AppendUint16(b, version)
	b = binary.LittleEndian.AppendUint16(b, flags)
	b = append(b, p.Journal[:]...)
	b = binary.LittleEndian.AppendUint64(b, p.First)
	b = binary.LittleEndian.AppendUint64(b, p.Last)
	b = binary.LittleEndian.AppendUint32(b, p.Count())
	b = binary.LittleEndian.AppendUint32(b, uint32(len(p.Frames)))
	b = append(b, p.Prev[:]...)
	return append(b, p.Head[:]...)
}

// Decode reads a message. The frames are decompressed into dst if it has room,
// else into a new buffer of at most MaxRaw bytes; nothing in the result points
// into b. The errors are the sentinels of this package.
func Decode(b, dst []byte) (Parcel, error) {
	var p Parcel
	if len(b) < HeaderSize || string(b[:4]) != magic {
		return p, fmt.Errorf("%w: no parcel header in %d bytes", ErrFormat, len(b))
	}
	if v := binary.LittleEndian.Uint16(b[4:]); v != version {
		return p, fmt.Errorf("%w: version %d, known is %d", ErrVersion, v, version)
	}
	flags := binary.LittleEndian.Uint16(b[6:])
	if flags&^flagHole != 0 {
		return p, fmt.Errorf("%w: unknown flags %#x", ErrFormat, flags)
	}
	p.Hole = flags&flagHole != 0
	copy(p.Journal[:], b[8:])
	p.First = binary.LittleEndian.Uint64(b[24:])
	p.Last = binary.LittleEndian.Uint64(b[32:])
	count := binary.LittleEndian.Uint32(b[40:])
	rawLen := binary.LittleEndian.Uint32(b[44:])
	copy(p.Prev[:], b[48:])
	copy(p.Head[:], b[80:])
	var err error
	if p.Frames, err = decodeBody(b[HeaderSize:], rawLen, dst); err != nil {
		return Parcel{}, err
	}
	crc := crc32.Update(crc32.Checksum(b[:crcAt], castagnoli), castagnoli, p.Frames)
	if got := binary.LittleEndian.Uint32(b[crcAt:]); got != crc {
		return Parcel{}, fmt.Errorf("%w: %08x, computed %08x", ErrChecksum, got, crc)
	}
	if err := p.check(count); err != nil {
		return Parcel{}, err
	}
	return p, nil
}

// decodeBody decompresses, after both claimed lengths were found sane and equal.
func decodeBody(body []byte, rawLen uint32, dst []byte) ([]byte, error) {
	if rawLen > MaxRaw {
		return nil, fmt.Errorf("%w: claims %d bytes of records, at most %d", ErrTooLarge, rawLen, MaxRaw)
	}
	if rawLen == 0 {
		if len(body) != 0 {
			return nil, fmt.Errorf("%w: %d bytes behind an empty body", ErrFormat, len(body))
		}
		return nil, nil
	}
	n, err := s2.DecodedLen(body)
	if err != nil {
		return nil, fmt.Errorf("%w: body: %w", ErrFormat, err)
	}
	if n != int(rawLen) {
		return nil, fmt.Errorf("%w: body of %d bytes, header says %d", ErrFormat, n, rawLen)
	}
	raw, err := s2.Decode(dst[:cap(dst)], body)
	if err != nil {
		return nil, fmt.Errorf("%w: body: %w", ErrChecksum, err)
	}
	return raw, nil
}

// Names of the NATS headers of a parcel.
const (
	HeaderFirst = "Pos-First"
	HeaderLast  = "Pos-Last"
	HeaderCount = "Pos-Count"
	HeaderHead  = "Pos-Head"
	HeaderPrev  = "Pos-Prev"
)

// SetHeaders writes the headers of p into h, which may be a nats.Header.
func (p *Parcel) SetHeaders(h map[string][]string) {
	h[HeaderFirst] = []string{strconv.FormatUint(p.First, 10)}
	h[HeaderLast] = []string{strconv.FormatUint(p.Last, 10)}
	h[HeaderCount] = []string{strconv.FormatUint(uint64(p.Count()), 10)}
	h[HeaderHead] = []string{p.Head.String()}
	h[HeaderPrev] = []string{p.Prev.String()}
}

// ParseTail reads from the headers of a parcel where it ends. The error is ErrFormat.
func ParseTail(h map[string][]string) (last uint64, head chain.Head, err error) {
	l, hd := h[HeaderLast], h[HeaderHead]
	if len(l) != 1 || len(hd) != 1 {
		return 0, head, fmt.Errorf("%w: no %s and %s among the headers", ErrFormat, HeaderLast, HeaderHead)
	}
	if last, err = strconv.ParseUint(l[0], 10, 64); err != nil {
		return 0, head, fmt.Errorf("%w: %s: %w", ErrFormat, HeaderLast, err)
	}
	if head, err = chain.ParseHead(hd[0]); err != nil {
		return 0, head, fmt.Errorf("%w: %s: %w", ErrFormat, HeaderHead, err)
	}
	return last, head, nil
}
