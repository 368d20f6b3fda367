package uplink

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// Error codes of JetStream that mean something to the uplink.
const (
	codeWrongLast        = 10071 // the fence does not hold; the text names the true one
	codeWrongLastPending = 10164 // another message on the subject is still being decided
)

// pubAck is the server's answer to a parcel.
type pubAck struct {
	stream string
	seq    uint64
	code   uint64 // 0: acknowledged
	text   string // of the error
}

var errAck = errors.New("not an answer of JetStream")

// maxAck bounds an answer, in bytes.
const maxAck = 16 << 10

// parseAck reads the answer. It must name a stream, with a sequence number or
// an error with a code: anything else is no acknowledgement.
func parseAck(b []byte) (pubAck, error) {
	var a pubAck
	if len(b) > maxAck {
		return a, fmt.Errorf("%w: %d bytes", errAck, len(b))
	}
	d := jsontext.NewDecoder(bytes.NewReader(b))
	failed := false
	err := document(d, func(name string) error {
		var err error
		switch name {
		case "stream":
			a.stream, err = text(d)
		case "seq":
			a.seq, err = number(d)
		case "error":
			failed = true
			err = members(d, func(name string) (err error) {
				switch name {
				case "err_code":
					a.code, err = number(d)
				case "description":
					a.text, err = text(d)
				default:
					err = d.SkipValue()
				}
				return err
			})
		default:
			err = d.SkipValue()
		}
		return err
	})
	switch {
	case err != nil:
		return pubAck{}, fmt.Errorf("%w: %w", errAck, err)
	case failed && a.code == 0:
		return pubAck{}, fmt.Errorf("%w: an error without a code: %q", errAck, a.text)
	case !failed && (a.seq == 0 || a.stream == ""):
		return pubAck{}, fmt.Errorf("%w: neither stream and sequence nor error", errAck)
	}
	return a, nil
}

// document reads an object that stands alone, as members does.
func document(d *jsontext.Decoder, fn func(name string) error) error {
	if err := members(d, fn); err != nil {
		return err
	}
	if _, end := d.ReadToken(); end != io.EOF {
		return errors.New("something follows the object")
	}
	return nil
}

// members calls fn with the name of each member of the object that comes; fn
// must read its value.
func members(d *jsontext.Decoder, fn func(name string) error) error {
	t, err := d.ReadToken()
	if err != nil {
		return err
	}
	if t.Kind() != '{' {
		return errors.New("not an object")
	}
	for d.PeekKind() != '}' {
		n, err := d.ReadToken()
		if err != nil {
			return err
		}
		if err := fn(n.String()); err != nil {
			return err
		}
	}
	_, err = d.ReadToken()
	return err
}

func text(d *jsontext.Decoder) (string, error) {
	t, err := d.ReadToken()
	if err != nil {
		return "", err
	}
	if t.Kind() != '"' {
		return "", errors.New("not a string")
	}
	return t.String(), nil
}

func number(d *jsontext.Decoder) (uint64, error) {
	t, err := d.ReadToken()
	if err != nil {
		return 0, err
	}
	if t.Kind() != '0' {
		return 0, errors.New("not a number")
	}
	return strconv.ParseUint(t.String(), 10, 64)
}

// trueLast is the sequence number that a wrong-last-sequence error names.
func (a *pubAck) trueLast() (uint64, bool) {
	_, n, ok := strings.Cut(a.text, "wrong last sequence: ")
	if !ok {
		return 0, false
	}
	seq, err := strconv.ParseUint(n, 10, 64)
	return seq, err == nil
}
