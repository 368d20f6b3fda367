package register

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync/atomic"

	"github.com/go-json-experiment/json/jsontext"

	"posd/journal"
	"posd/pos"
	"posd/pos/event"
)

// stateVersion of the opening state. A release reads this version only, and the
// next one must keep reading it.
const stateVersion = 1

// Start is what a new journal begins from. A terminal's first journal has
// branch 1 and nothing else; one with a parent has the next branch and goes on
// with the parent's perpetual total, in its currency.
type Start struct {
	Branch    uint64
	Perpetual pos.Money
	Currency  pos.Currency
}

// Opening is the opening state of a new journal, for journal.Create.
func Opening(s Start) journal.Opening {
	first := state{branch: max(s.Branch, 1), perpetual: s.Perpetual, currency: s.Currency}
	return func(dst []byte, _ uint64) []byte { return first.append(dst) }
}

// Opener lets a journal be opened before the register that owns it: its method
// is given to journal.Open, and the register to Opener by Options.
type Opener struct{ r atomic.Pointer[Register] }

// Opening appends the state before record seq. The journal calls it from within
// the register's own Append, so that nothing moves meanwhile.
func (o *Opener) Opening(dst []byte, _ uint64) []byte {
	if r := o.r.Load(); r != nil {
		return r.state.append(dst)
	}
	return dst
}

// The opening state, one JSON object with all members in this order:
//
//	{"v":1,"branch":1,"receipt":12,"perpetual":4711,"wall":1795253400123,
//	 "currency":{"code":"EUR","exponent":2},"shift":3,"open":true,"implicit":true,
//	 "operator":"7","date":"2026-11-21","totals":{…as in shift.closed…}}
//
// Idempotency keys are not in it: they are answered with the journal's own bytes,
// so that they live as long as their records, which are scanned for them.
func (s *state) append(dst []byte) []byte {
	dst = strconv.AppendInt(append(dst, `{"v":`...), stateVersion, 10)
	dst = strconv.AppendUint(append(dst, `,"branch":`...), s.branch, 10)
	dst = strconv.AppendUint(append(dst, `,"receipt":`...), s.receipt, 10)
	dst = strconv.AppendInt(append(dst, `,"perpetual":`...), int64(s.perpetual), 10)
	dst = strconv.AppendInt(append(dst, `,"wall":`...), s.wall, 10)
	dst = event.AppendString(append(dst, `,"currency":{"code":`...), s.currency.Code)
	dst = strconv.AppendInt(append(dst, `,"exponent":`...), int64(s.currency.Exponent), 10)
	dst = strconv.AppendUint(append(dst, `},"shift":`...), s.shift, 10)
	dst = strconv.AppendBool(append(dst, `,"open":`...), s.open)
	dst = strconv.AppendBool(append(dst, `,"implicit":`...), s.implicit)
	dst = event.AppendString(append(dst, `,"operator":`...), s.operator)
	dst = event.AppendString(append(dst, `,"date":`...), s.date)
	dst = s.totals.AppendData(append(dst, `,"totals":`...))
	return append(dst, '}')
}

// parseState reads what append writes, and nothing else.
func parseState(b []byte) (state, error) {
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
		return state{}, fmt.Errorf("opening state: %w", p.err)
	}
	return s, nil
}

// stateReader pulls tokens in the one order that append writes; the first error
// stays.
type stateReader struct {
	d   *jsontext.Decoder
	err error
}

func (p *stateReader) state() (s state) {
	p.delim('{')
	if v := p.uint("v"); p.err == nil && v != stateVersion {
		p.fail(fmt.Errorf("version %d, this release reads %d: install the release that wrote it, or a newer one", v, stateVersion))
	}
	s.branch = p.uint("branch")
	s.receipt = p.uint("receipt")
	s.perpetual = pos.Money(p.int("perpetual"))
	s.wall = p.int("wall")
	p.name("currency")
	p.delim('{')
	s.currency.Code = p.text("code")
	s.currency.Exponent = int(min(max(p.int("exponent"), -1), 99))
	p.delim('}')
	s.shift = p.uint("shift")
	s.open = p.flag("open")
	s.implicit = p.flag("implicit")
	s.operator = p.text("operator")
	s.date = p.text("date")
	s.totals = p.totals()
	p.delim('}')
	return s
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
