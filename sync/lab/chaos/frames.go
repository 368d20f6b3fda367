package main

import (
	"bytes"
	"strconv"
)

// chunk is a piece of what a NATS client says.
type chunk struct {
	data   []byte
	begins bool // a message of the protocol begins with it
	ends   bool // and one ends with it
	parcel bool // it belongs to one that publishes a parcel, or an event
}

// framer parts what a client says into the messages of the NATS protocol: a line, and
// for a publication as many bytes after it as the line says. A line comes out whole,
// what follows comes as it arrives.
type framer struct {
	aim    []byte // how the line of a parcel begins
	line   []byte
	left   int // bytes of the publication that are still to come
	parcel bool
}

// maxLine bounds a line; CONNECT is the longest.
const maxLine = 16 << 10

// How the lines of what is aimed at begin.
var (
	parcelLine = []byte("HPUB pos.up.")
	eventLine  = []byte("HPUB pos.events.")
)

// halfBatch says that a publication belongs to an atomic batch that it does not end.
func halfBatch(m []byte) bool {
	return bytes.Contains(m, []byte("Nats-Batch-Id:")) && !bytes.Contains(m, []byte("Nats-Batch-Commit:"))
}

// feed takes the next bytes. The chunks are valid until the next call.
func (f *framer) feed(b []byte) (out []chunk) {
	for len(b) > 0 {
		if f.left > 0 {
			n := min(f.left, len(b))
			f.left -= n
			out = append(out, chunk{data: b[:n], ends: f.left == 0, parcel: f.parcel})
			b = b[n:]
			continue
		}
		n := bytes.IndexByte(b, '\n') + 1
		if n == 0 && len(f.line)+len(b) <= maxLine {
			f.line = append(f.line, b...)
			return out
		}
		if n == 0 {
			n = len(b) // no line of NATS: passed on as it is
		}
		line := append(f.line, b[:n]...)
		f.line, b = nil, b[n:]
		f.left = following(line)
		f.parcel = f.left > 0 && bytes.HasPrefix(line, f.aim)
		out = append(out, chunk{data: line, begins: true, ends: f.left == 0, parcel: f.parcel})
	}
	return out
}

// following is how many bytes belong to a line, with the line end behind them.
func following(line []byte) int {
	fields := bytes.Fields(line)
	if len(fields) < 3 {
		return 0
	}
	if v := string(bytes.ToUpper(fields[0])); v != "PUB" && v != "HPUB" {
		return 0
	}
	n, err := strconv.Atoi(string(fields[len(fields)-1]))
	if err != nil || n < 0 {
		return 0
	}
	return n + 2
}

// memory is what was said on a connection, so that it can be said again: CONNECT, and
// of all that followed the newest messages.
type memory struct {
	connect []byte
	rest    [][]byte
	size    int
	open    []byte // the message under way
}

const maxMemory = 4 << 20

func (m *memory) note(c chunk) {
	m.open = append(m.open, c.data...)
	if !c.ends {
		return
	}
	if m.connect == nil {
		m.connect, m.open = m.open, nil
		return
	}
	m.rest = append(m.rest, m.open)
	m.size += len(m.open)
	m.open = nil
	for m.size > maxMemory && len(m.rest) > 1 {
		m.size -= len(m.rest[0])
		m.rest = m.rest[1:]
	}
}

// all is what to say on another connection.
func (m *memory) all() []byte { return append(bytes.Clone(m.connect), bytes.Join(m.rest, nil)...) }
