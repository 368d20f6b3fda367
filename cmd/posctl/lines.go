package main

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"strconv"
	"time"

	"posd/journal"
	"posd/journal/chain"
	"posd/pos/event"
)

// lines prints records as JSON lines:
//
//	{"journal":"…","seq":7,"type":"event","head":"…","event":{…}}
//	{"journal":"…","seq":8,"type":"checkpoint","head":"…","checkpoint":{"seq":7,"head":"…","at":"…"}}
//	{"journal":"…","seq":9,"type":"copy","head":"…","of":{"journal":"…","seq":3,"type":"event","head":"…"},"event":{…}}
//
// type is birth, opening, checkpoint, copy, event, or the number of one unknown
// here. A payload that is no JSON stands in base64, under the member payload.
type lines struct {
	w   *bufio.Writer
	dir string
	id  string
	buf []byte
}

func (l *lines) record(r chain.Record, h chain.Head) error {
	if l.id == "" {
		id, err := journal.Identify(l.dir)
		if err != nil {
			return err
		}
		l.id = id.String()
	}
	b := appendName(append(l.buf[:0], '{'), l.id, r, h)
	if r.Type == chain.TypeCopy {
		b = appendCopy(b, r.Payload)
	} else {
		b = appendContent(b, r.Type, r.Payload)
	}
	l.buf = append(b, "}\n"...)
	_, err := l.w.Write(l.buf)
	return err
}

// appendName appends the members that name a record.
func appendName(b []byte, journal string, r chain.Record, h chain.Head) []byte {
	b = append(append(b, `"journal":"`...), journal...)
	b = strconv.AppendUint(append(b, `","seq":`...), r.Seq, 10)
	b = append(append(b, `,"type":"`...), typeName(r.Type)...)
	return append(append(append(b, `","head":"`...), h.String()...), '"')
}

func appendCopy(b, payload []byte) []byte {
	c, err := chain.ParseCopy(payload)
	if err != nil { // of a newer release
		return appendContent(b, chain.TypeCopy, payload)
	}
	b = appendName(append(b, `,"of":{`...), c.Journal.String(), c.Record, c.Head)
	return appendContent(append(b, '}'), c.Record.Type, c.Record.Payload)
}

// appendContent appends the member that holds what a record says.
func appendContent(b []byte, t chain.Type, payload []byte) []byte {
	if c, err := chain.ParseCheckpoint(payload); t == chain.TypeCheckpoint && err == nil {
		b = strconv.AppendUint(append(b, `,"checkpoint":{"seq":`...), c.Seq, 10)
		b = append(append(b, `,"head":"`...), c.Head.String()...)
		b = c.At.UTC().AppendFormat(append(b, `","at":"`...), time.RFC3339Nano)
		return append(b, `"}`...)
	}
	if !json.Valid(payload) {
		b = base64.StdEncoding.AppendEncode(append(b, `,"payload":"`...), payload)
		return append(b, '"')
	}
	b = append(append(append(b, `,"`...), memberName(t)...), `":`...)
	return append(b, payload...)
}

func typeName(t chain.Type) string {
	switch t {
	case chain.TypeBirth:
		return "birth"
	case chain.TypeOpening:
		return "opening"
	case chain.TypeCheckpoint:
		return "checkpoint"
	case chain.TypeCopy:
		return "copy"
	case event.RecordType:
		return "event"
	}
	return strconv.Itoa(int(t))
}

func memberName(t chain.Type) string {
	switch t {
	case chain.TypeBirth:
		return "birth"
	case chain.TypeOpening:
		return "state"
	case event.RecordType:
		return "event"
	}
	return "payload"
}
