package event

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"posd/pos"

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
	behind := 0
	r.object(members{
		{"v", func() { h.V = int(r.integer()) }, must},
		{"type", &h.Type, must},
		{"time", &h.Time, must},
		{"clock", &h.Clock, may},
		{"key", &h.Key, may},
		{"hash", &h.Hash, may},
		{"front", &h.Front, may},
		{"trace", &h.Trace, may},
		{"data", func() { data, behind = r.raw(b, '{') }, must},
	})
	if r.end() == nil && string(bytes.TrimSpace(b[behind:])) != "}" {
		r.fail("\"data\" has to be the last member")
	}
	if err := r.err; err != nil {
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

// members are what is read of an object; others are skipped.
type members []member

type member struct {
	name string
	to   any // a pointer, whose type says how the value is read, or a func() that reads it
	must bool
}

// Whether a member has to be there.
const (
	must = true
	may  = false
)

// object reads an object of at most 64 members that are known.
func (r *reader) object(known members) {
	if !r.open('{') {
		return
	}
	seen, last := uint64(0), -1
	for r.more('}') {
		name, err := r.dec.ReadValue()
		if r.failed(err) {
			return
		}
		i := known.find(name, last)
		if i < 0 {
			r.failed(r.dec.SkipValue())
			continue
		}
		seen |= 1 << i
		last = i
		r.value(known[i].to)
	}
	for i := range known {
		if known[i].must && seen&(1<<i) == 0 {
			name := strings.Clone(known[i].name) // or all that known points to would be on the heap
			r.fail("member %q is missing", name)
			return
		}
	}
}

// find returns the place of a name as it stands in the text, -1 if it is not known. Most
// objects have their members in the order in which they are known.
func (all members) find(quoted []byte, last int) int {
	name := quoted[1 : len(quoted)-1]
	if bytes.IndexByte(name, '\\') >= 0 {
		name, _ = jsontext.AppendUnquote(nil, quoted) // the decoder has checked it
	}
	for n := range all {
		if i := (last + 1 + n) % len(all); all[i].name == string(name) {
			return i
		}
	}
	return -1
}

func (r *reader) value(to any) {
	switch to := to.(type) {
	case func():
		to()
	case *string:
		*to = r.text()
	case *uint64:
		*to = r.unsigned()
	case *int64:
		*to = r.integer()
	case *int:
		*to = r.count()
	case *bool:
		*to = r.flag()
	case *time.Time:
		*to = r.time()
	case *Clock:
		*to = Clock(r.text())
	case *pos.Money:
		*to = r.money()
	case *pos.Qty:
		*to = parsed(r, pos.ParseQty)
	case *pos.Rate:
		*to = parsed(r, pos.ParseRate)
	case *pos.PriceMode:
		*to = parsed(r, pos.ParsePriceMode)
	case *pos.Rounding:
		*to = parsed(r, pos.ParseRounding)
	case *pos.Currency:
		*to = r.currency()
	case *pos.TenderKind:
		*to = pos.TenderKind(r.text())
	case *pos.Tender:
		*to = r.tender()
	case **pos.CardData:
		*to = r.card()
	case **pos.Return:
		*to = r.back()
	case *[]pos.Discount:
		*to = r.discounts()
	case *[]pos.TaxTotal:
		*to = r.taxes()
	case *ShiftTotals:
		*to = r.totals()
	default:
		r.fail("there is no way to read this member") // its type is not named, for the same reason
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

// raw returns the sub-slice of b that holds the next value, and where that ends.
func (r *reader) raw(b []byte, kind jsontext.Kind) (value []byte, end int) {
	if k := r.dec.PeekKind(); k != kind {
		r.fail("found %s, expected %s", k, kind)
		return nil, 0
	}
	v, err := r.dec.ReadValue()
	if r.failed(err) {
		return nil, 0
	}
	end = int(r.dec.InputOffset())
	return b[end-len(v) : end : end], end
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
