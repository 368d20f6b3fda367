package chain

import "fmt"

// A copy is a record whose payload is a record of another journal, under its own
// name for ever. A copy of a copy is the same bytes.
//
//	 0 journal id of the origin  16 B
//	16 seq there                 u64
//	24 type there                u16
//	26 flags there               u16
//	28 len: bytes of the payload u32
//	32 head(seq) there           32 B
//	64 payload there
const CopyHeader = 64

// Copy is what a record of TypeCopy carries.
type Copy struct {
	Journal ID
	Head    Head // after the record, in its own journal
	Record  Record
}

// AppendCopy appends the payload of a copy of r, which stands in journal id and
// has head after it. r itself must not be a copy.
func AppendCopy(dst []byte, id ID, r Record, head Head) []byte {
	var b [CopyHeader]byte
	copy(b[0:], id[:])
	le.PutUint64(b[16:], r.Seq)
	le.PutUint16(b[24:], uint16(r.Type))
	le.PutUint16(b[26:], r.Flags)
	le.PutUint32(b[28:], uint32(len(r.Payload)))
	copy(b[32:], head[:])
	return append(append(dst, b[:]...), r.Payload...)
}

// ParseCopy reads the payload of a record of TypeCopy. Record has no Frame: see
// Frame.
func ParseCopy(b []byte) (Copy, error) {
	if len(b) < CopyHeader {
		return Copy{}, fmt.Errorf("copied record of %d bytes, its header has %d", len(b), CopyHeader)
	}
	c := Copy{Journal: ID(b[0:16]), Head: Head(b[32:64]), Record: Record{
		Seq: le.Uint64(b[16:]), Type: Type(le.Uint16(b[24:])), Flags: le.Uint16(b[26:]), Payload: b[CopyHeader:]}}
	switch n := le.Uint32(b[28:]); {
	case int(n) != len(c.Record.Payload) || n > MaxRecord:
		return Copy{}, fmt.Errorf("copied record: %d bytes of payload, its header says %d", len(c.Record.Payload), n)
	case c.Record.Seq == 0 || c.Record.Type == TypeCopy || c.Record.Type == 0:
		return Copy{}, fmt.Errorf("copied record: impossible number %d or type %d", c.Record.Seq, c.Record.Type)
	case c.Record.Flags != 0:
		return Copy{}, fmt.Errorf("copied record: %w: flags %#x", ErrNewer, c.Record.Flags)
	}
	return c, nil
}

// Named returns the name that a record of journal id has for ever: its own, or
// that of the record which it copies. The frame stays the record's own.
func Named(id ID, r Record) (Copy, error) {
	if r.Type != TypeCopy {
		return Copy{Journal: id, Record: r}, nil
	}
	return ParseCopy(r.Payload)
}

// Frame appends the record's frame as it stands in its own journal, so that its
// chain can be proved from the copies.
func (c Copy) Frame(dst []byte) []byte {
	n := len(c.Record.Payload)
	at := len(dst)
	dst = append(dst, make([]byte, FrameSize(n))...)
	copy(dst[at+FrameHeader:], c.Record.Payload)
	PutFrame(dst[at:], n, c.Record.Type, c.Record.Flags, c.Record.Seq)
	return dst
}
