package till

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"

	"posd/pos"
	"posd/pos/event"
)

// stateVersion of the opening state. A release reads this version and all before.
const stateVersion = 2

// The opening state, one JSON object with all members in this order:
//
//	{"v":2,"branch":1,"receipt":12,"perpetual":4711,"wall":1795253400123,
//	 "currency":{"code":"EUR","exponent":2},"shift":3,"open":true,"implicit":true,
//	 "operator":"7","date":"2026-11-21","totals":{…as in shift.closed…},
//	 "training":0,"z":3,"refunds":0,"returned":0,"counted":false,"declared":0,
//	 "baskets":[{"basket":{…},"keys":[["<key id>","<hash>",17],…]},…]}
//
// Behind the baskets follow those that there are of
//
//	"wrong":[["7",3],…]   wrong PINs since the last right one
//	"offline":{"outstanding":0,"date":"","day":0,"memory":"","forwarded":0}
//	"setback":17          record at which the business date went back last
//
// Version 1 ends behind the totals. Idempotency keys of what is not a basket's step
// are not in it: they are answered with the journal's own bytes, so that they live as
// long as their records, which are scanned for them.

// Append appends the opening state.
func (s *State) Append(dst []byte) []byte {
	dst = strconv.AppendInt(append(dst, `{"v":`...), stateVersion, 10)
	dst = strconv.AppendUint(append(dst, `,"branch":`...), s.Branch, 10)
	dst = strconv.AppendUint(append(dst, `,"receipt":`...), s.Receipt, 10)
	dst = strconv.AppendInt(append(dst, `,"perpetual":`...), int64(s.Perpetual), 10)
	dst = strconv.AppendInt(append(dst, `,"wall":`...), s.Wall, 10)
	dst = event.AppendString(append(dst, `,"currency":{"code":`...), s.Currency.Code)
	dst = strconv.AppendInt(append(dst, `,"exponent":`...), int64(s.Currency.Exponent), 10)
	dst = strconv.AppendUint(append(dst, `},"shift":`...), s.Shift.Number, 10)
	dst = strconv.AppendBool(append(dst, `,"open":`...), s.Shift.Open)
	dst = strconv.AppendBool(append(dst, `,"implicit":`...), s.Shift.Implicit)
	dst = event.AppendString(append(dst, `,"operator":`...), s.Shift.Operator)
	dst = event.AppendString(append(dst, `,"date":`...), s.Date)
	dst = s.Shift.Totals.AppendData(append(dst, `,"totals":`...))
	dst = strconv.AppendUint(append(dst, `,"training":`...), s.Training, 10)
	dst = strconv.AppendUint(append(dst, `,"z":`...), s.Z, 10)
	dst = strconv.AppendInt(append(dst, `,"refunds":`...), int64(s.Refunds), 10)
	dst = strconv.AppendUint(append(dst, `,"returned":`...), s.Returned, 10)
	dst = strconv.AppendBool(append(dst, `,"counted":`...), s.Shift.Counted)
	dst = strconv.AppendInt(append(dst, `,"declared":`...), int64(s.Shift.Declared), 10)
	dst = append(dst, `,"baskets":[`...)
	for i, b := range s.Baskets {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = b.append(dst)
	}
	dst = append(dst, ']')
	for i := range s.Wrong {
		open := `,[`
		if i == 0 {
			open = `,"wrong":[[`
		}
		dst = event.AppendString(append(dst, open...), s.Wrong[i].Operator)
		dst = append(strconv.AppendInt(append(dst, ','), int64(s.Wrong[i].PINs), 10), ']')
	}
	if len(s.Wrong) > 0 {
		dst = append(dst, ']')
	}
	if s.Offline != (Offline{}) {
		dst = s.Offline.append(append(dst, `,"offline":`...))
	}
	if s.Setback != 0 {
		dst = strconv.AppendUint(append(dst, `,"setback":`...), s.Setback, 10)
	}
	return append(dst, '}')
}

func (o *Offline) append(dst []byte) []byte {
	dst = strconv.AppendInt(append(dst, `{"outstanding":`...), int64(o.Outstanding), 10)
	dst = event.AppendString(append(dst, `,"date":`...), o.Date)
	dst = strconv.AppendInt(append(dst, `,"day":`...), int64(o.Day), 10)
	dst = event.AppendString(append(dst, `,"memory":`...), o.Memory)
	dst = strconv.AppendInt(append(dst, `,"forwarded":`...), int64(o.Forwarded), 10)
	return append(event.AppendString(append(dst, `,"terminal":`...), o.Terminal), '}')
}

func (b *Basket) append(dst []byte) []byte {
	dst = b.AppendData(append(dst, `{"basket":`...))
	dst = append(dst, `,"keys":[`...)
	for i, k := range b.Keys {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = hex.AppendEncode(append(dst, `["`...), k.ID[:])
		dst = hex.AppendEncode(append(dst, `","`...), k.Hash[:])
		dst = append(strconv.AppendUint(append(dst, `",`...), k.Seq, 10), ']')
	}
	return append(dst, "]}"...)
}

// ParseState reads what State.Append writes, past members that a later release has added
// behind those of an object.
func ParseState(b []byte) (State, error) {
	p := stateReader{d: jsontext.NewDecoder(bytes.NewBuffer(b))}
	s := p.state()
	if p.err == nil {
		if _, err := p.d.ReadToken(); !errors.Is(err, io.EOF) {
			p.fail(errors.New("bytes behind the state"))
		}
	}
	if p.err == nil {
		p.err = s.check()
	}
	if p.err != nil {
		return State{}, fmt.Errorf("opening state: %w", p.err)
	}
	return s, nil
}

// stateReader pulls tokens in the one order that append writes; the first error
// stays.
type stateReader struct {
	d   *jsontext.Decoder
	err error
}

func (p *stateReader) state() (s State) {
	p.delim('{')
	v := p.uint("v")
	if p.err == nil && v != 1 && v != stateVersion {
		p.fail(fmt.Errorf("version %d, this release reads 1 and %d: install the release that wrote it, or a newer one", v, stateVersion))
	}
	s.Branch = p.uint("branch")
	s.Receipt = p.uint("receipt")
	s.Perpetual = pos.Money(p.int("perpetual"))
	s.Wall = p.int("wall")
	p.name("currency")
	p.delim('{')
	s.Currency.Code = p.text("code")
	s.Currency.Exponent = int(min(max(p.int("exponent"), -1), 99))
	p.end()
	s.Shift.Number = p.uint("shift")
	s.Shift.Open = p.flag("open")
	s.Shift.Implicit = p.flag("implicit")
	s.Shift.Operator = p.text("operator")
	s.Date = p.text("date")
	s.Shift.Totals = p.totals()
	if v > 1 {
		s.Training = p.uint("training")
		s.Z = p.uint("z")
		s.Refunds = pos.Money(p.int("refunds"))
		s.Returned = p.uint("returned")
		s.Shift.Counted = p.flag("counted")
		s.Shift.Declared = pos.Money(p.int("declared"))
		p.name("baskets")
		p.list(func() { s.Baskets = append(s.Baskets, p.basket()) })
		for p.err == nil && p.d.PeekKind() == '"' {
			p.more(&s)
		}
	}
	p.delim('}')
	return s
}

// more reads a member that need not be there.
func (p *stateReader) more(s *State) {
	switch p.token('"').String() {
	case "wrong":
		p.list(func() {
			p.delim('[')
			w := Wrong{Operator: p.token('"').String(), PINs: int(min(p.number(), 1<<31))}
			p.delim(']')
			s.Wrong = append(s.Wrong, w)
		})
	case "offline":
		s.Offline = p.offline()
	case "setback":
		s.Setback = p.number()
	default: // of a later release
		p.fail(p.d.SkipValue())
	}
}

// end reads the end of an object, past members that a later release has put there.
func (p *stateReader) end() {
	for p.err == nil && p.d.PeekKind() == '"' {
		p.token('"')
		p.fail(p.d.SkipValue())
	}
	p.delim('}')
}

func (p *stateReader) offline() (o Offline) {
	p.delim('{')
	o.Outstanding = pos.Money(p.int("outstanding"))
	o.Date = p.text("date")
	o.Day = pos.Money(p.int("day"))
	o.Memory = p.text("memory")
	o.Forwarded = pos.Money(p.int("forwarded"))
	for p.err == nil && p.d.PeekKind() == '"' {
		if p.token('"').String() != "terminal" {
			p.fail(p.d.SkipValue())
		} else if t := p.token('"'); p.err == nil {
			o.Terminal = t.String()
		}
	}
	p.delim('}')
	return o
}

func (p *stateReader) basket() *Basket {
	var b Basket
	p.delim('{')
	p.name("basket")
	if p.err != nil {
		return &b
	}
	raw, err := p.d.ReadValue()
	if err == nil {
		b.OpenBasket, err = event.ParseOpenBasket(raw)
	}
	if planted("discounts-forgotten") {
		b.Discounts = nil
	}
	for i := range b.Tenders {
		bound(&b.Tenders[i]) // a former release did not
	}
	p.fail(err)
	p.name("keys")
	p.list(func() {
		var k Key
		p.delim('[')
		p.hex(k.ID[:])
		p.hex(k.Hash[:])
		k.Seq = p.number()
		p.delim(']')
		b.Keys = append(b.Keys, k)
	})
	p.end()
	return &b
}

// list reads an array and calls each before each of its values.
func (p *stateReader) list(each func()) {
	p.delim('[')
	for p.err == nil && p.d.PeekKind() != ']' {
		each()
	}
	p.delim(']')
}

func (p *stateReader) hex(to []byte) {
	t := p.token('"')
	if p.err != nil {
		return
	}
	if s := t.String(); len(s) != 2*len(to) {
		p.fail(fmt.Errorf("%q is not %d bytes in hexadecimal digits", s, len(to)))
	} else if _, err := hex.Decode(to, []byte(s)); err != nil {
		p.fail(err)
	}
}

func (p *stateReader) totals() (t event.ShiftTotals) {
	p.name("totals")
	if p.err != nil {
		return t
	}
	raw, err := p.d.ReadValue()
	if err == nil {
		t, err = event.ParseTotals(raw)
	}
	p.fail(err)
	return t
}

func (p *stateReader) fail(err error) {
	if p.err == nil {
		p.err = err
	}
}

// token reads one token of the given kind; after an error, some token.
func (p *stateReader) token(kind jsontext.Kind) jsontext.Token {
	if p.err != nil {
		return jsontext.Null
	}
	t, err := p.d.ReadToken()
	if err != nil {
		p.fail(err)
		return jsontext.Null
	}
	if t.Kind() != kind {
		p.fail(fmt.Errorf("%s where %s was expected", t.Kind(), kind))
		return jsontext.Null
	}
	return t
}

func (p *stateReader) delim(kind jsontext.Kind) { p.token(kind) }

func (p *stateReader) name(want string) {
	if t := p.token('"'); p.err == nil && t.String() != want {
		p.fail(fmt.Errorf("member %q where %q was expected", t.String(), want))
	}
}

func (p *stateReader) text(name string) string {
	p.name(name)
	if t := p.token('"'); p.err == nil {
		return t.String()
	}
	return ""
}

func (p *stateReader) uint(name string) uint64 {
	p.name(name)
	return p.number()
}

func (p *stateReader) number() uint64 {
	t := p.token('0')
	if p.err != nil {
		return 0
	}
	n, err := strconv.ParseUint(t.String(), 10, 64)
	p.fail(err)
	return n
}

func (p *stateReader) int(name string) int64 {
	p.name(name)
	t := p.token('0')
	if p.err != nil {
		return 0
	}
	n, err := strconv.ParseInt(t.String(), 10, 64)
	p.fail(err)
	return n
}

func (p *stateReader) flag(name string) bool {
	p.name(name)
	if p.err != nil {
		return false
	}
	t, err := p.d.ReadToken()
	if err != nil || t.Kind() != 't' && t.Kind() != 'f' {
		p.fail(fmt.Errorf("%q is not true or false", name))
		return false
	}
	return t.Bool()
}
