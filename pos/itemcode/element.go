package itemcode

import (
	"net/url"
	"strconv"
	"strings"

	"posd/pos"
)

// elements reads element strings as a scanner sends them: identifier and value,
// those of variable length ended by a separator.
func (p *parser) elements() {
	s, at := p.text, 0
	for at < len(s) && p.bad == nil {
		if s[at] == separator { // some scanners send the first one too, or the last
			at++
			continue
		}
		id, ai := identify(s[at:])
		if id == nil {
			p.fail(at, "no application identifier of GS1; "+lostSeparator)
			return
		}
		from := at + id.digits()
		end := strings.IndexByte(s[from:], separator)
		if end < 0 {
			end = len(s) - from
		}
		if id.least == id.most { // needs no separator
			end = min(end, int(id.most))
		}
		p.element(id, ai, from, s[from:from+end])
		at = from + end
	}
	p.finish()
}

const lostSeparator = "the scanner may not send the separator (FNC1 as ASCII 29): look at its settings, or type the item's number"

// printed reads element strings as they stand below the symbol: (01)09506000134352(10)A7.
func (p *parser) printed() {
	s, at := p.text, 0
	for at < len(s) && p.bad == nil {
		id, ai, from := bracket(s[at:])
		if id == nil {
			p.fail(at, "no application identifier in brackets; write it as (01)09506000134352(10)A7")
			return
		}
		from += at
		end := len(s)
		for i := from; i < len(s); i++ { // a value may hold a bracket
			if s[i] == '(' {
				if next, _, _ := bracket(s[i:]); next != nil {
					end = i
					break
				}
			}
		}
		p.element(id, ai, from, s[from:end])
		at = end
	}
	p.finish()
}

// bracket reads "(ai)" and says how long it is.
func bracket(s string) (id *identifier, ai, length int) {
	if len(s) < 4 || s[0] != '(' {
		return nil, 0, 0
	}
	id, ai = identify(s[1:])
	if id == nil || len(s) < id.digits()+2 || s[1+id.digits()] != ')' {
		return nil, 0, 0
	}
	return id, ai, id.digits() + 2
}

// link reads a GS1 Digital Link: https://any.host/any/path/01/GTIN/10/BATCH?17=271231.
func (p *parser) link() {
	path, query, _ := strings.Cut(p.text, "?")
	query, _, _ = strings.Cut(query, "#")
	path, _, _ = strings.Cut(path, "#")
	at := strings.Index(path, "/01/")
	if at < 0 {
		p.code.Items[0] = p.text
		return
	}
	rest := path[at+1:]
	for rest != "" && p.bad == nil {
		var key, value string
		key, rest, _ = strings.Cut(rest, "/")
		value, rest, _ = strings.Cut(rest, "/")
		p.linked(key, value)
	}
	for query != "" && p.bad == nil {
		var pair string
		if i := strings.IndexAny(query, "&;"); i >= 0 {
			pair, query = query[:i], query[i+1:]
		} else {
			pair, query = query, ""
		}
		if key, value, _ := strings.Cut(pair, "="); key != "" && notDigit(key) < 0 { // others are the web server's
			p.linked(key, value)
		}
	}
	p.finish()
}

func (p *parser) linked(key, value string) {
	at := strings.Index(p.text, value)
	id, ai := identify(key)
	if id == nil || len(key) != id.digits() {
		p.fail(-1, "the link holds "+strconv.Quote(clip(key))+", which is no application identifier of GS1")
		return
	}
	if strings.IndexByte(value, '%') >= 0 {
		plain, err := url.PathUnescape(value)
		if err != nil {
			p.fail(at, "an escape that cannot be read")
			return
		}
		value = plain
	}
	if ai == 1 && len(value) < 14 { // older links hold the short forms
		g, bad := parseGTIN(value)
		if bad != nil {
			p.fail(at+bad.At-1, bad.What)
			return
		}
		value = g.String()
	}
	p.element(id, ai, at, value)
}

// element takes one value, which begins at a place in text.
func (p *parser) element(id *identifier, ai, at int, value string) {
	if !p.shape(id, ai, at, value) {
		return
	}
	c := &p.code
	switch family := ai / 10; {
	case ai == 1, ai == 2, ai == 8006, ai == 8026:
		p.once(0, at, ai)
		g, bad := parseGTIN(value[:14])
		if bad != nil {
			p.fail(at+bad.At-1, bad.What)
			return
		}
		c.GTIN, c.Items[0] = g, value[:14]
	case ai == 10:
		p.once(1, at, ai)
		c.Batch = value
	case ai == 21:
		p.once(2, at, ai)
		c.Serial = value
	case ai == 15:
		c.BestBefore = p.date(at, value)
	case ai == 16:
		c.SellBy = p.date(at, value)
	case ai == 17, ai == 7003:
		p.once(3, at, ai)
		c.Expiry = p.date(at, value[:6])
	case ai >= 11 && ai <= 13:
		p.date(at, value)
	case ai == 30, ai == 37:
		p.once(4, at, ai)
		p.quantity(at, value, 0, "pc")
	case unitOf(family) != "" && id.digits() == 4:
		p.quantity(at, value, ai%10, unitOf(family))
	case family == 392:
		p.once(5, at, ai)
		c.Amount, c.Priced = p.money(at, value, ai%10), true
	case family == 393:
		p.once(5, at, ai)
		p.currency(at, value[:3])
		c.Amount, c.Priced = p.money(at+3, value[3:], ai%10), true
	case family == 395:
		p.once(6, at, ai)
		c.UnitPrice, c.UnitPriced = p.money(at, value, ai%10), true
	}
}

// shape checks length, characters and check digit.
func (p *parser) shape(id *identifier, ai, at int, value string) bool {
	name := func() string { return "(" + aiText(id, ai) + ") " }
	switch n := len(value); {
	case n < int(id.least):
		p.fail(at+n-1, name()+"has "+strconv.Itoa(n)+" characters and needs "+strconv.Itoa(int(id.least))+"; scan again")
	case n > int(id.most):
		p.fail(at+int(id.most), name()+"has "+strconv.Itoa(n)+" characters, at most "+strconv.Itoa(int(id.most))+" fit; "+lostSeparator)
	}
	if p.bad != nil {
		return false
	}
	for i := 0; i < len(value); i++ {
		digit := value[i] >= '0' && value[i] <= '9'
		if !digit && i < int(id.numeric) {
			p.fail(at+i, name()+"has to have a digit here; scan again")
			return false
		}
		if value[i] <= ' ' || value[i] > 'z' {
			p.fail(at+i, name()+"holds a character that GS1 does not allow; scan again")
			return false
		}
	}
	if k := int(id.check); k > 0 {
		if bad := checkLast(value[:k]); bad != nil {
			p.fail(at+k-1, name()+bad.What)
			return false
		}
	}
	return true
}

func aiText(id *identifier, ai int) string {
	s := strconv.Itoa(ai)
	for len(s) < id.digits() {
		s = "0" + s
	}
	return s
}

// once refuses a second value of a kind: which of the two counts, nobody can tell.
func (p *parser) once(bit uint, at, ai int) {
	if p.seen>>bit&1 != 0 {
		p.fail(at, "("+strconv.Itoa(ai)+") says again what was said before; scan one label at a time")
	}
	p.seen |= 1 << bit
}

// finish checks that the label names an item.
func (p *parser) finish() {
	if p.bad == nil && p.code.GTIN == 0 {
		p.fail(-1, "the label names no item: it has no GTIN, (01) or (02); scan the item's own code")
	}
	p.code.Label = true
}

// unitOf is the unit of a trade measure by the first three digits of its identifier.
// Widths and heights (312, 313, 324 to 329) do not say how much there is.
func unitOf(family int) string {
	switch family {
	case 310:
		return "kg"
	case 311:
		return "m"
	case 314:
		return "m2"
	case 315:
		return "l"
	case 316:
		return "m3"
	case 320:
		return "lb"
	case 321:
		return "in"
	case 322:
		return "ft"
	case 323:
		return "yd"
	case 350:
		return "in2"
	case 351:
		return "ft2"
	case 352:
		return "yd2"
	case 356:
		return "ozt"
	case 357:
		return "oz"
	case 360:
		return "qt"
	case 361:
		return "gal"
	case 364:
		return "in3"
	case 365:
		return "ft3"
	case 366:
		return "yd3"
	}
	return ""
}

func (p *parser) quantity(at int, digits string, decimals int, unit string) {
	n, bad := scaled(digits, decimals, 3, int64(pos.MaxQty))
	if bad != nil {
		p.fail(at, "the quantity "+digits+" with "+strconv.Itoa(decimals)+" decimals: "+bad.What)
		return
	}
	p.measure(pos.Qty(n), unit)
}

func (p *parser) money(at int, digits string, decimals int) pos.Money {
	n, bad := scaled(digits, decimals, p.rules.currency.Exponent, int64(pos.MaxAmount))
	if bad != nil {
		p.fail(at, "the price "+digits+" with "+strconv.Itoa(decimals)+" decimals: "+bad.What)
	} else if n == 0 {
		p.fail(at, "the label says that it costs nothing; price the item anew")
	}
	return pos.Money(n)
}

// currency checks that a price is in the till's.
func (p *parser) currency(at int, number string) {
	if own := numeric(p.rules.currency.Code); own != number {
		p.fail(at, "the price is in currency "+number+" (ISO 4217), the till sells in "+p.rules.currency.Code+"; it has to be sold by hand")
	}
}

// date reads YYMMDD. Day 00 is the last of the month (7.12: and the year is that
// within 49 before and 50 after today's).
func (p *parser) date(at int, s string) Date {
	yy, month, day := int(number(s[:2])), int(number(s[2:4])), int(number(s[4:6]))
	year := p.year - p.year%100 + yy
	switch d := yy - p.year%100; {
	case d >= 51:
		year -= 100
	case d <= -50:
		year += 100
	}
	if month < 1 || month > 12 {
		p.fail(at+2, "no month: "+s[2:4]+" in the date "+s+" (YYMMDD); scan again")
		return Date{}
	}
	last := daysOf(year, month)
	if day > last {
		p.fail(at+4, "no day of that month: "+s[4:]+" in the date "+s+" (YYMMDD); scan again")
		return Date{}
	}
	if day == 0 {
		day = last
	}
	return Date{int16(year), uint8(month), uint8(day)}
}

func daysOf(year, month int) int {
	switch month {
	case 2:
		if year%4 == 0 && (year%100 != 0 || year%400 == 0) {
			return 29
		}
		return 28
	case 4, 6, 9, 11:
		return 30
	}
	return 31
}

// clip shortens what came from outside for a message.
func clip(s string) string {
	if len(s) > 40 {
		return s[:40] + "…"
	}
	return s
}
