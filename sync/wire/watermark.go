package wire

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"

	"posd/journal/chain"
)

// ErrNotice is the error of a watermark or pulse that cannot be read.
var ErrNotice = errors.New("not a valid notice of the hub")

// maxNotice bounds a watermark or pulse, in bytes.
const maxNotice = 4096

// LedgerID names one ledger for ever; a ledger made anew has another.
type LedgerID [16]byte

// String returns 32 hexadecimal digits.
func (l LedgerID) String() string { return hex.EncodeToString(l[:]) }

// Watermark is the hub's word that its ledger holds all records of a journal up
// to Seq, durably.
type Watermark struct {
	Ledger  LedgerID
	Journal chain.ID
	Seq     uint64     // last record entered without a gap; 0: none
	Head    chain.Head // head(Seq)
	At      uint64     // stream sequence up to which the hub had read when it said so
	Want    uint64     // record to resume at, because later ones came first; 0: nothing wanted
	Held    string     // why the hub sets this journal's parcels aside, "" if it does not
}

// Append writes the watermark as JSON.
func (w *Watermark) Append(dst []byte) []byte {
	dst = append(dst, `{"v":1,"ledger":"`...)
	dst = hex.AppendEncode(dst, w.Ledger[:])
	dst = append(dst, `","journal":"`...)
	dst = hex.AppendEncode(dst, w.Journal[:])
	dst = append(dst, `","seq":`...)
	dst = strconv.AppendUint(dst, w.Seq, 10)
	dst = append(dst, `,"head":"`...)
	dst = hex.AppendEncode(dst, w.Head[:])
	dst = append(dst, `","at":`...)
	dst = strconv.AppendUint(dst, w.At, 10)
	if w.Want != 0 {
		dst = append(dst, `,"want":`...)
		dst = strconv.AppendUint(dst, w.Want, 10)
	}
	if w.Held != "" {
		dst = append(dst, `,"held":`...)
		dst, _ = jsontext.AppendQuote(dst, w.Held) // the error only reports replaced UTF-8
	}
	return append(dst, '}')
}

// ParseWatermark is the inverse of Append. Unknown members are ignored, for the
// sake of newer hubs; duplicate names and invalid UTF-8 are refused.
func ParseWatermark(b []byte) (Watermark, error) {
	var w Watermark
	err := parseNotice(b, map[string]func(jsontext.Token) error{
		"ledger":  hexField(w.Ledger[:]),
		"journal": hexField(w.Journal[:]),
		"seq":     uintField(&w.Seq),
		"head":    hexField(w.Head[:]),
		"at":      uintField(&w.At),
		"want":    uintField(&w.Want),
		"held":    stringField(&w.Held),
	}, "ledger", "journal", "seq", "head")
	if err != nil {
		return Watermark{}, fmt.Errorf("%w: watermark: %w", ErrNotice, err)
	}
	return w, nil
}

// Pulse says that a hub is alive and up to where it has committed its stream.
type Pulse struct {
	Ledger LedgerID
	At     uint64 // stream sequence committed to the ledger
}

// Append writes the pulse as JSON.
func (p *Pulse) Append(dst []byte) []byte {
	dst = append(dst, `{"v":1,"ledger":"`...)
	dst = hex.AppendEncode(dst, p.Ledger[:])
	dst = append(dst, `","at":`...)
	return append(strconv.AppendUint(dst, p.At, 10), '}')
}

// ParsePulse is the inverse of Append, as strict as ParseWatermark.
func ParsePulse(b []byte) (Pulse, error) {
	var p Pulse
	err := parseNotice(b, map[string]func(jsontext.Token) error{
		"ledger": hexField(p.Ledger[:]),
		"at":     uintField(&p.At),
	}, "ledger", "at")
	if err != nil {
		return Pulse{}, fmt.Errorf("%w: pulse: %w", ErrNotice, err)
	}
	return p, nil
}

// parseNotice reads one flat JSON object of version 1 with the given fields.
func parseNotice(b []byte, fields map[string]func(jsontext.Token) error, required ...string) error {
	if len(b) > maxNotice {
		return fmt.Errorf("%d bytes, at most %d", len(b), maxNotice)
	}
	d := jsontext.NewDecoder(bytes.NewReader(b))
	tok, err := d.ReadToken()
	if err != nil {
		return err
	}
	if tok.Kind() != '{' {
		return errors.New("not a JSON object")
	}
	var v uint64
	fields["v"] = uintField(&v)
	seen := make(map[string]bool, len(fields))
	for d.PeekKind() != '}' {
		name, err := d.ReadToken()
		if err != nil {
			return err
		}
		n := name.String()
		set, known := fields[n]
		if !known {
			if err := d.SkipValue(); err != nil {
				return err
			}
			continue
		}
		val, err := d.ReadToken()
		if err != nil {
			return err
		}
		if err := set(val); err != nil {
			return fmt.Errorf("%q: %w", n, err)
		}
		seen[n] = true
	}
	return noticeEnd(d, v, seen, required)
}

// noticeEnd checks that the object ends, alone, and that it was complete.
func noticeEnd(d *jsontext.Decoder, v uint64, seen map[string]bool, required []string) error {
	if _, err := d.ReadToken(); err != nil {
		return err
	}
	if _, err := d.ReadToken(); err != io.EOF {
		return errors.New("something follows the object")
	}
	if v != 1 {
		return fmt.Errorf("version %d, known is 1", v)
	}
	for _, n := range required {
		if !seen[n] {
			return fmt.Errorf("%q is missing", n)
		}
	}
	return nil
}

func hexField(dst []byte) func(jsontext.Token) error {
	return func(t jsontext.Token) error {
		s := t.String()
		if t.Kind() != '"' || len(s) != 2*len(dst) {
			return fmt.Errorf("not %d hexadecimal digits", 2*len(dst))
		}
		_, err := hex.Decode(dst, []byte(s))
		return err
	}
}

func uintField(dst *uint64) func(jsontext.Token) error {
	return func(t jsontext.Token) (err error) {
		if t.Kind() != '0' {
			return errors.New("not a number")
		}
		*dst, err = strconv.ParseUint(t.String(), 10, 64)
		return err
	}
}

func stringField(dst *string) func(jsontext.Token) error {
	return func(t jsontext.Token) error {
		if t.Kind() != '"' {
			return errors.New("not a string")
		}
		*dst = t.String()
		return nil
	}
}
