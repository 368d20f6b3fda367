package event

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// ErrMalformed means that bytes are not an event or not the data of one: broken
// JSON, a duplicate name, invalid UTF-8, a member that is missing or of the
// wrong kind. Unknown members are no error.
var ErrMalformed = errors.New("malformed event")

// Parse reads an event's envelope. data is the sub-slice of b that holds the
// member "data", which is an object and the last member. Types and versions that
// this release does not know are fine. Errors: ErrMalformed.
func Parse(b []byte) (h Header, data []byte, err error) {
	r := newReader(b)
	r.object([]string{"v", "type", "time", "data"}, func(name string) bool {
		if data != nil {
			r.fail("member %q behind \"data\", which must be the last", name)
			return true
		}
		switch name {
		case "v":
			h.V = int(r.integer())
		case "type":
			h.Type = r.text()
		case "time":
			h.Time = r.time()
		case "clock":
			h.Clock = Clock(r.text())
		case "key":
			h.Key = r.text()
		case "hash":
			h.Hash = r.text()
		case "front":
			h.Front = r.text()
		case "trace":
			h.Trace = r.text()
		case "data":
			data = r.raw(b, '{')
		default:
			return false
		}
		return true
	})
	if err := r.end(); err != nil {
		return Header{}, nil, err
	}
	return h, data, nil
}

// reader pulls the tokens of one JSON text. The first error sticks, and all
// later reads return zero values.
type reader struct {
	dec *jsontext.Decoder
	err error
}

func newReader(b []byte) *reader {
	// A *bytes.Buffer is read in place. The decoder refuses duplicate names and
	// invalid UTF-8 unless told otherwise.
	return &reader{dec: jsontext.NewDecoder(bytes.NewBuffer(b))}
}

func (r *reader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: at %s: %s", ErrMalformed, pointer(r.dec), fmt.Sprintf(format, args...))
	}
}

// pointer says where in the text the reader stands, for an error.
func pointer(dec *jsontext.Decoder) string {
	if p := dec.StackPointer(); p != "" {
		return string(p)
	}
	return "the top"
}

func (r *reader) failed(err error) bool {
	if err != nil && r.err == nil {
		r.err = fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return r.err != nil
}

// end checks that nothing follows and returns the first error.
func (r *reader) end() error {
	if r.err != nil {
		return r.err
	}
	if _, err := r.dec.ReadToken(); err != io.EOF {
		r.fail("bytes behind the JSON value")
	}
	return r.err
}

// object reads an object and calls member for each name; member reads the value
// and returns true, or returns false to have it skipped. Every name of required
// (at most 64) must be there.
func (r *reader) object(required []string, member func(name string) bool) {
	if !r.open('{') {
		return
	}
	seen := uint64(0)
	for r.more('}') {
		tok, err := r.dec.ReadToken()
		if r.failed(err) {
			return
		}
		name := tok.String()
		for i, want := range required {
			if name == want {
				seen |= 1 << i
			}
		}
		if !member(name) {
			r.failed(r.dec.SkipValue())
		}
	}
	for i, want := range required {
		if seen&(1<<i) == 0 {
			r.fail("member %q is missing", want)
			return
		}
	}
}

// array reads an array and calls element before each of its values, at most
// maxElements of them.
func (r *reader) array(element func()) {
	if !r.open('[') {
		return
	}
	for n := 0; r.more(']'); n++ {
		if n == maxElements {
			r.fail("more than %d elements", maxElements)
			return
		}
		element()
	}
}

// maxElements bounds what a short text can make a reader allocate. A record of
// 128 KiB cannot hold as many lines.
const maxElements = 1 << 14

func (r *reader) open(kind jsontext.Kind) bool {
	if r.err != nil {
		return false
	}
	tok, err := r.dec.ReadToken()
	if r.failed(err) {
		return false
	}
	if tok.Kind() != kind {
		r.fail("found %s, expected %s", tok.Kind(), kind)
		return false
	}
	return true
}

// more reports whether a value follows, and else reads the closing delimiter.
func (r *reader) more(closing jsontext.Kind) bool {
	if r.err != nil {
		return false
	}
	if r.dec.PeekKind() != closing {
		return true // also at an error: the next read reports it
	}
	_, err := r.dec.ReadToken()
	r.failed(err)
	return false
}

func (r *reader) token(kind jsontext.Kind) (jsontext.Token, bool) {
	if r.err != nil {
		return jsontext.Token{}, false
	}
	tok, err := r.dec.ReadToken()
	if r.failed(err) {
		return jsontext.Token{}, false
	}
	if tok.Kind() != kind {
		r.fail("found %s, expected %s", tok.Kind(), kind)
		return jsontext.Token{}, false
	}
	return tok, true
}

func (r *reader) text() string {
	tok, ok := r.token('"')
	if !ok {
		return ""
	}
	return tok.String()
}

// number returns the text of a JSON number as it stands. Token.Int would cut a
// fraction off in silence.
func (r *reader) number() string {
	if tok, ok := r.token('0'); ok {
		return tok.String()
	}
	return ""
}

func (r *reader) integer() int64 {
	s := r.number()
	if r.err != nil {
		return 0
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		r.fail("%s is not a whole number of 64 bits", s)
	}
	return n
}

func (r *reader) unsigned() uint64 {
	s := r.number()
	if r.err != nil {
		return 0
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		r.fail("%s is not a whole number of 64 bits, 0 or above", s)
	}
	return n
}

func (r *reader) flag() bool {
	if r.err != nil {
		return false
	}
	tok, err := r.dec.ReadToken()
	if r.failed(err) {
		return false
	}
	if k := tok.Kind(); k != 't' && k != 'f' {
		r.fail("found %s, expected true or false", k)
		return false
	}
	return tok.Bool()
}

func (r *reader) time() time.Time {
	s := r.text()
	if r.err != nil {
		return time.Time{}
	}
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil || !strings.HasSuffix(s, "Z") {
		r.fail("%q is not a time in UTC like 2026-11-21T09:30:00.123Z", s)
		return time.Time{}
	}
	return t.UTC()
}

// raw returns the sub-slice of b that holds the next value.
func (r *reader) raw(b []byte, kind jsontext.Kind) []byte {
	if r.err != nil {
		return nil
	}
	if k := r.dec.PeekKind(); k != kind {
		r.fail("found %s, expected %s", k, kind)
		return nil
	}
	v, err := r.dec.ReadValue()
	if r.failed(err) {
		return nil
	}
	end := int(r.dec.InputOffset())
	return b[end-len(v) : end : end]
}

// parsed reads a string and takes its value through parse.
func parsed[T any](r *reader, parse func(string) (T, error)) (v T) {
	s := r.text()
	if r.err != nil {
		return v
	}
	v, err := parse(s)
	if err != nil {
		r.fail("%v", err)
	}
	return v
}
