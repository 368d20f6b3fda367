package ledger

import (
	"bytes"
	"context"
	"encoding/binary"
	"math"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/jackc/pgx/v5"

	"posd/journal/chain"
)

// Rows of events, heads and copies are written once, in COPY's binary format, where they
// wait until the transaction ends. All fields before the payload have a fixed length, so
// that the waiting rows can be found again by their offsets:
//
//	events  5 fields: journal, seq, at, head, payload
//	heads   3 fields: journal, seq, head
//	copies  7 fields: journal, seq, head, at, in_journal, in_seq, payload
//
// fields u16, then each: length u32 ‖ bytes; integers big-endian; times in µs since 2000.
const (
	copyHeader  = "PGCOPY\n\xff\r\n\x00\x00\x00\x00\x00\x00\x00\x00\x00"
	copyTrailer = "\xff\xff"

	rowsLimit = 8 << 20 // bytes that wait at most, about
)

// rowBuffer is the waiting rows of one table.
type rowBuffer struct {
	b    []byte
	rows int
}

func (r *rowBuffer) begin(fields int) {
	if len(r.b) == 0 {
		r.b = append(r.b, copyHeader...)
	}
	r.b = binary.BigEndian.AppendUint16(r.b, uint16(fields))
	r.rows++
}

func (r *rowBuffer) bytes(v []byte) {
	r.b = append(binary.BigEndian.AppendUint32(r.b, uint32(len(v))), v...)
}

func (r *rowBuffer) int(v int64) {
	r.b = binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint32(r.b, 8), uint64(v))
}

func (r *rowBuffer) reset() { r.b, r.rows = r.b[:0], 0 }

// send copies the rows into a table.
func (r *rowBuffer) send(ctx context.Context, conn *pgx.Conn, table string) error {
	if r.rows == 0 {
		return nil
	}
	r.b = append(r.b, copyTrailer...)
	_, err := conn.PgConn().CopyFrom(ctx, bytes.NewReader(r.b), "copy pos."+table+" from stdin (format binary)")
	r.reset()
	return err
}

// instant is a time as PostgreSQL has it: µs since 2000, or -infinity.
type instant int64

const noInstant instant = math.MinInt64

func (i instant) month() pgMonth {
	if i == noInstant {
		return oddMonth
	}
	return monthOf(pgEpoch.Add(time.Duration(i) * time.Microsecond))
}

// instantOf is the time that an event's terminal gave it. It reads no further, so that it
// is the same for events that a later release understands better, and it is the only
// thing that chooses the partition. A time that no terminal can have had is none.
func instantOf(payload []byte) instant {
	dec := jsontext.NewDecoder(bytes.NewBuffer(payload))
	if tok, err := dec.ReadToken(); err != nil || tok.Kind() != '{' {
		return noInstant
	}
	for dec.PeekKind() == '"' {
		name, err := dec.ReadToken()
		if err != nil {
			return noInstant
		}
		if name.String() != "time" {
			if dec.SkipValue() != nil {
				return noInstant
			}
			continue
		}
		v, err := dec.ReadToken()
		if err != nil || v.Kind() != '"' {
			return noInstant
		}
		at, err := time.Parse(time.RFC3339Nano, v.String())
		if err != nil || monthOf(at) == oddMonth {
			return noInstant
		}
		return instant(at.Sub(pgEpoch) / time.Microsecond)
	}
	return noInstant
}

// recordID names a waiting record.
type recordID struct {
	journal chain.ID
	seq     uint64
}

// waiting is a record that has not been sent. Its payload is the caller's slice, which
// stays as it is until the transaction ends.
type waiting struct {
	head    chain.Head
	payload []byte // nil: a head only
	at      instant
	copied  bool
	in      chain.ID
	inSeq   uint64
}
