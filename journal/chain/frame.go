package chain

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// The frame of a record, the unit of the hash chain. All numbers are
// little-endian.
//
//	 0 len: bytes of the payload u32
//	 4 type                      u16
//	 6 flags, 0: other values are a newer format   u16
//	 8 sequence number           u64
//	16 payload, zero-padded to 8 bytes
const (
	FrameHeader = 16

	// MaxRecord is the largest payload of an owner's record, in bytes.
	MaxRecord = 128 << 10
	// maxPayload leaves room to copy the largest record.
	maxPayload = MaxRecord + CopyHeader
)

var le = binary.LittleEndian

// Type says what a record's payload is. Types below TypeOwner are the journal's.
type Type uint16

const (
	TypeBirth      Type = 1 // record 1 of a journal: Birth
	TypeOpening    Type = 2 // the owner's state at the start of a segment
	TypeCheckpoint Type = 3 // a signature over the chain: Checkpoint
	TypeCopy       Type = 4 // a record of another journal: Copy
	TypeOwner      Type = 0x100
)

// ErrNewer: a newer release wrote this.
var ErrNewer = errors.New("journal of a newer format")

// Record is one record. Its slices point into the map or the caller's buffer.
type Record struct {
	Seq     uint64
	Type    Type
	Flags   uint16
	Payload []byte
	Frame   []byte // header, payload and padding: what the chain hashes
}

// FrameSize is the length of the frame around a payload of n bytes.
func FrameSize(n int) int { return FrameHeader + (n+7)&^7 }

// PutFrame writes the header and padding around a payload of n bytes that
// already stands at b[FrameHeader:].
func PutFrame(b []byte, n int, t Type, flags uint16, seq uint64) {
	le.PutUint32(b, uint32(n))
	le.PutUint16(b[4:], uint16(t))
	le.PutUint16(b[6:], flags)
	le.PutUint64(b[8:], seq)
	clear(b[FrameHeader+n : FrameSize(n)])
}

var errFrame = errors.New("malformed record frame")

// NextFrame takes the first record off b, a row of frames, and returns the rest.
func NextFrame(b []byte) (rec Record, rest []byte, err error) {
	if len(b) < FrameHeader {
		return Record{}, nil, fmt.Errorf("%w: %d bytes left, a header has %d", errFrame, len(b), FrameHeader)
	}
	n := le.Uint32(b)
	if n > maxPayload || FrameSize(int(n)) > len(b) {
		return Record{}, nil, fmt.Errorf("%w: payload of %d bytes in %d", errFrame, n, len(b))
	}
	size := FrameSize(int(n))
	rec = Record{
		Seq:     le.Uint64(b[8:]),
		Type:    Type(le.Uint16(b[4:])),
		Flags:   le.Uint16(b[6:]),
		Payload: b[FrameHeader : FrameHeader+n : FrameHeader+n],
		Frame:   b[:size:size],
	}
	for _, z := range b[FrameHeader+n : size] {
		if z != 0 {
			return Record{}, nil, fmt.Errorf("%w: padding of record %d is not zero", errFrame, rec.Seq)
		}
	}
	if rec.Flags != 0 {
		return Record{}, nil, fmt.Errorf("%w: record %d has flags %#x", ErrNewer, rec.Seq, rec.Flags)
	}
	return rec, b[size:], nil
}
