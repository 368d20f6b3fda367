package itemcode

import (
	"strconv"
	"strings"
)

// pattern is one form of a variable-measure code.
type pattern struct {
	shape    string // without point and unit: digits and the letters I P W N V C X
	item     span
	value    span
	kind     byte // 'P', 'W', 'N'; 0: no value
	decimals int  // of the value; -1: those of the currency
	verify   int  // place of V, or -1
	unit     string
}

// span is a part of a shape.
type span struct{ from, to int }

func (s span) of(digits string, shift int) string { return digits[s.from-shift : s.to-shift] }

const (
	leastPattern = 4
	mostPattern  = 32
	mostItem     = 14
	mostValue    = 8
)

// CheckPattern says whether text is a pattern of variable-measure codes. It stands
// for as many digits as it has characters, points and what follows a blank aside:
//
//	digits  stand for themselves
//	I       the item's number
//	P       the price of the whole; W the weight or other measure, N the number of pieces
//	V       the verifier digit of a price or measure of four or five digits
//	C       the check digit of the code, at the end
//	X       any digit
//
// A point among P or W says where the decimals begin; without one a price has those
// of the currency and a weight three. A unit may follow W after a blank; without one
// it is kg. "02IIIIIVPPPPC" is a price with verifier, "28IIIIIWW.WWWC" a weight in kg.
// Twelve digits stand for thirteen with a zero before them, as UPC-A does. Errors: *Error.
func CheckPattern(text string) error {
	if _, bad := parsePattern(text); bad != nil {
		return bad
	}
	return nil
}

func parsePattern(text string) (p pattern, bad *Error) {
	p = pattern{verify: -1, decimals: -1, item: span{-1, -1}, value: span{-1, -1}}
	shape, unit, hasUnit := strings.Cut(text, " ")
	point := -1
	var digits []byte
	for i := 0; i < len(shape); i++ {
		ch := shape[i]
		if ch == '.' {
			if point >= 0 {
				return p, wrong(i+1, "a second point")
			}
			point = len(digits)
			continue
		}
		if bad := p.take(ch, len(digits)); bad != "" {
			return p, wrong(i+1, bad)
		}
		digits = append(digits, ch)
	}
	p.shape = string(digits)
	if bad := p.check(point); bad != nil {
		return p, bad
	}
	switch {
	case hasUnit && p.kind != 'W':
		return p, wrong(len(shape)+1, "a unit stands behind a pattern with W only")
	case hasUnit && (len(unit) < 1 || len(unit) > 8 || strings.ContainsAny(unit, " \t\"\\") || !plain(unit)):
		return p, wrong(len(shape)+2, "a unit has 1 to 8 letters, such as kg or l")
	}
	switch p.kind {
	case 'N':
		unit = "pc"
	case 'W':
		if unit == "" {
			unit = "kg"
		}
	}
	p.unit = unit
	if len(p.shape) == 12 && gs1(p.shape) {
		p.pad()
	}
	return p, nil
}

func plain(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// gs1 tells patterns of GTIN-like codes: those have a check digit.
func gs1(shape string) bool { return shape[len(shape)-1] == 'C' }

// take notes what one character stands for, or says why it cannot stand there.
func (p *pattern) take(ch byte, at int) string {
	grow := func(s *span) string {
		if s.from < 0 {
			*s = span{at, at}
		}
		if s.to != at {
			return "the " + string(rune(ch)) + " have to stand together"
		}
		s.to++
		return ""
	}
	switch ch {
	case 'I':
		return grow(&p.item)
	case 'P', 'W', 'N':
		if p.kind != 0 && p.kind != ch {
			return "a code carries one of P, W and N"
		}
		p.kind = ch
		return grow(&p.value)
	case 'V':
		if p.verify >= 0 {
			return "a second V"
		}
		p.verify = at
	case 'C', 'X':
	default:
		if ch < '0' || ch > '9' {
			return strconv.Quote(string(rune(ch))) + " has no meaning here; use digits and I P W N V C X"
		}
	}
	return ""
}

// check looks at the whole.
func (p *pattern) check(point int) *Error {
	n := len(p.shape)
	switch c := strings.IndexByte(p.shape, 'C'); {
	case n < leastPattern || n > mostPattern:
		return wrong(0, "a pattern stands for "+strconv.Itoa(leastPattern)+" to "+strconv.Itoa(mostPattern)+" digits")
	case p.shape[0] < '0' || p.shape[0] > '9':
		return wrong(1, "a pattern begins with the digits that tell its codes from others")
	case c >= 0 && c != n-1:
		return wrong(c+1, "C is the last digit")
	case p.item.from < 0:
		return wrong(0, "no I says where the item's number is")
	case p.item.to-p.item.from > mostItem:
		return wrong(p.item.from+1, "an item's number has at most "+strconv.Itoa(mostItem)+" digits")
	case p.value.to-p.value.from > mostValue:
		return wrong(p.value.from+1, "a price, weight or number has at most "+strconv.Itoa(mostValue)+" digits")
	}
	digits := p.value.to - p.value.from
	if p.verify >= 0 && digits != 4 && digits != 5 {
		return wrong(p.verify+1, "V goes with four or five P, W or N")
	}
	switch {
	case point < 0 && p.kind == 'W':
		p.decimals = min(3, digits)
	case point >= 0 && (p.kind == 0 || p.kind == 'N' || point < p.value.from || point >= p.value.to):
		return wrong(0, "the point has to stand among the P or W")
	case point >= 0:
		p.decimals = p.value.to - point
	case p.kind == 'N':
		p.decimals = 0
	}
	return nil
}

// pad makes the thirteen-digit form of a UPC-A pattern.
func (p *pattern) pad() {
	p.shape = "0" + p.shape
	p.item = span{p.item.from + 1, p.item.to + 1}
	if p.kind != 0 {
		p.value = span{p.value.from + 1, p.value.to + 1}
	}
	if p.verify >= 0 {
		p.verify++
	}
}

// fits tells whether digits are a code of this pattern, and by how many places they
// are shorter than it: UPC-A comes with 12, 13 or 14 digits.
func (p *pattern) fits(digits string) (shift int, ok bool) {
	shift = len(p.shape) - len(digits)
	if shift != 0 && (len(p.shape) != 13 || !gs1(p.shape) || shift < -1 || shift > 1) {
		return 0, false
	}
	if shift == 1 && p.shape[0] != '0' || shift == -1 && digits[0] != '0' {
		return 0, false
	}
	for i := max(shift, 0); i < len(p.shape); i++ {
		if want := p.shape[i]; want >= '0' && want <= '9' && want != digits[i-shift] {
			return 0, false
		}
	}
	return shift, true
}

// pattern reads text as a code of the first pattern that fits; false: none does.
func (p *parser) pattern() bool {
	for i := range p.rules.patterns {
		t := &p.rules.patterns[i]
		if shift, ok := t.fits(p.text); ok {
			p.code.Whole = p.text
			p.variable(t, shift)
			return true
		}
	}
	return false
}

// variable reads a code of pattern t.
func (p *parser) variable(t *pattern, shift int) {
	s, c := p.text, &p.code
	if gs1(t.shape) {
		if bad := checkLast(s); bad != nil {
			p.fail(bad.At-1, bad.What)
			return
		}
	}
	item := t.item.of(s, shift)
	c.Items[0], c.Label = item, true
	if t.kind == 0 {
		c.Items[1] = trimZeros(item)
		return
	}
	value := t.value.of(s, shift)
	if t.verify >= 0 {
		if at, want := t.verify-shift, verifier(value); s[at] != want {
			p.fail(at, "verifier digit "+s[at:at+1]+" does not fit "+value+", which gives "+string(rune(want))+": scan again; if it stays, weigh or price the item anew")
			return
		}
	}
	at := t.value.from - shift
	switch t.kind {
	case 'P':
		decimals := t.decimals
		if decimals < 0 {
			decimals = p.rules.currency.Exponent
		}
		c.Amount, c.Priced = p.money(at, value, decimals), true
	default:
		if number(value) == 0 {
			p.fail(at, "the label says that nothing is in it; weigh the item anew")
			return
		}
		p.quantity(at, value, t.decimals, t.unit)
	}
	c.Items[1] = t.zeroed(s, shift)
	if short := trimZeros(item); short != item {
		c.Items[2] = short
	}
}

// zeroed is the code as catalogues of many systems hold it: with zeros for the value
// and its verifier, and the check digit that belongs to that.
func (t *pattern) zeroed(s string, shift int) string {
	var b [mostPattern + 1]byte
	n := 0
	for i := max(shift, 0); i < len(t.shape); i++ {
		ch := s[i-shift]
		if i >= t.value.from && i < t.value.to || i == t.verify {
			ch = '0'
		}
		b[n] = ch
		n++
	}
	if gs1(t.shape) {
		b[n-1] = '0'
		d := string(b[:n])
		return d[:n-1] + string(rune(checkDigit(d[:n-1])))
	}
	return string(b[:n])
}

// trimZeros leaves out zeros before a number, but for a number of its own.
func trimZeros(s string) string {
	for len(s) > 1 && s[0] == '0' {
		s = s[1:]
	}
	return s
}
