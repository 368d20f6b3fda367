package httpapi

import (
	"bytes"
	"errors"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"posd/pos"
	"posd/pos/catalogue"
	"posd/pos/itemcode"
)

// Bounds of one request.
const (
	maxLines   = 500
	maxTenders = 20
	maxText    = 256 // bytes of a description
	maxCode    = 64  // bytes of an item code, a department, a reference
	maxShort   = 32  // bytes of an operator, a tax code, a tender's kind
	maxUnit    = 8
)

// request is a checkout as it was sent. Empty strings are members not given.
type request struct {
	operator string
	currency string
	prices   string
	lines    []requestLine
	tenders  []pos.Tender

	discounts      []pos.Discount
	customer, note string
	age            int
	print, printed bool // what was asked, and whether
}

type requestLine struct {
	item, description, department, tax, unit string
	qty                                      pos.Qty
	counted                                  bool // qty was given
	price, amount                            pos.Money
	priced, fixed                            bool // whether price and amount were given
	note                                     string
	discounts                                []pos.Discount
	minAge                                   int  // of its buyer, as the catalogue says
	back                                     bool // goods that come back

	unknown, open, byHand bool // no item; its price was open; price or tax differ from the catalogue's
}

func (r *request) reset() {
	clear(r.lines)
	clear(r.tenders)
	*r = request{lines: r.lines[:0], tenders: r.tenders[:0]}
}

// decoder pulls a request out of JSON bytes. The first problem stays, and all
// later reads return zero values.
type decoder struct {
	d   *jsontext.Decoder
	bad *problem
	buf []byte // a name or a text with escapes

	items *catalogue.Catalogue // whose bar codes are no amounts; nil: nobody looks
}

// decode fills req from body. Strings are copies. It is pure, but for the items.
func (d *decoder) decode(body []byte, req *request) *problem {
	req.reset()
	return d.document(body, func(name []byte) bool { return d.member(req, name) })
}

// document reads one object that stands alone.
func (d *decoder) document(body []byte, member func(name []byte) bool) *problem {
	if i := invalidAt(body); i >= 0 {
		return refuse("invalid-utf8", "byte "+strconv.Itoa(i)+" of the body is not UTF-8; send UTF-8")
	}
	in := bytes.NewBuffer(body) // read in place
	if d.d == nil {
		d.d = jsontext.NewDecoder(in)
	} else {
		d.d.Reset(in)
	}
	d.bad = nil
	d.object(member)
	if d.bad == nil {
		if _, err := d.d.ReadToken(); !errors.Is(err, io.EOF) {
			d.fail("malformed-json", "something follows the request object; send one object only")
		}
	}
	return d.bad
}

func invalidAt(b []byte) int {
	if utf8.Valid(b) {
		return -1
	}
	for i := 0; i < len(b); {
		r, n := utf8.DecodeRune(b[i:])
		if r == utf8.RuneError && n == 1 {
			return i
		}
		i += n
	}
	return -1
}

func (d *decoder) member(req *request, name []byte) bool {
	switch string(name) {
	case "operator":
		req.operator = d.text(maxShort)
	case "currency":
		req.currency = d.text(maxShort)
	case "prices":
		req.prices = d.text(maxShort)
	case "lines":
		d.array(func() {
			if len(req.lines) == maxLines {
				d.fail("too-many-lines", "a sale has at most "+strconv.Itoa(maxLines)+" lines; split it into several sales")
				d.bad.pointer = "/lines"
				return
			}
			req.lines = append(req.lines, requestLine{})
			l := &req.lines[len(req.lines)-1]
			d.object(func(name []byte) bool { return d.line(l, name) })
		})
	case "tenders":
		req.tenders = d.tenders(req.tenders, (*decoder).money)
	case "discounts":
		req.discounts = d.discounts()
	case "customer":
		req.customer = d.noCard(d.text(maxCode))
	case "note":
		req.note = d.text(maxText)
	case "age":
		req.age = d.count(150)
	case "print":
		req.print, req.printed = d.flag(), true
	default:
		return false
	}
	return true
}

func (d *decoder) tenders(list []pos.Tender, amount func(*decoder) pos.Money) []pos.Tender {
	d.array(func() {
		if len(list) == maxTenders {
			d.fail("too-many-tenders", "a sale has at most "+strconv.Itoa(maxTenders)+" tenders")
			d.bad.pointer = "/tenders"
			return
		}
		list = append(list, pos.Tender{})
		t := &list[len(list)-1]
		d.object(func(name []byte) bool { return d.tender(t, name, amount) })
	})
	return list
}

// noCard refuses the number of a payment card, which was read in place of a customer's.
func (d *decoder) noCard(s string) string {
	if pos.BeginsAsCard(s) {
		d.fail("value-invalid", "that looks like the number of a payment card, which must never be stored; send the shop's own number of the customer")
	}
	return s
}

func (d *decoder) line(l *requestLine, name []byte) bool {
	switch string(name) {
	case "item":
		l.item = d.scan()
	case "description":
		l.description = d.text(maxText)
	case "department":
		l.department = d.text(maxCode)
	case "tax":
		l.tax = d.text(maxShort)
	case "unit":
		l.unit = d.text(maxUnit)
	case "quantity":
		l.qty, l.counted = d.quantity(), true
	case "price":
		l.price, l.priced = d.money(), true
	case "amount":
		l.amount, l.fixed = d.money(), true
	case "note":
		l.note = d.text(maxText)
	case "discounts":
		l.discounts = d.discounts()
	default:
		return false
	}
	return true
}

func (d *decoder) tender(t *pos.Tender, name []byte, amount func(*decoder) pos.Money) bool {
	switch string(name) {
	case "kind":
		t.Kind = tenderKind(d.raw('"', maxShort))
	case "amount":
		t.Amount = amount(d)
	case "reference":
		t.Reference = d.text(maxCode)
	default:
		return false
	}
	return true
}

// tenderKind spares the copy of the two usual texts.
func tenderKind(b []byte) pos.TenderKind {
	switch string(b) {
	case string(pos.Cash):
		return pos.Cash
	case string(pos.Card):
		return pos.Card
	}
	return pos.TenderKind(b)
}

// fail notes a problem at the value that was read last.
func (d *decoder) fail(slug, detail string) {
	if d.bad == nil {
		d.bad = refuse(slug, detail).at(string(d.d.StackPointer()))
	}
}

// syntax notes an error of the JSON parser.
func (d *decoder) syntax(err error) {
	if d.bad != nil {
		return
	}
	var se *jsontext.SyntacticError
	pointer := ""
	if errors.As(err, &se) {
		pointer = string(se.JSONPointer)
	}
	switch {
	case errors.Is(err, jsontext.ErrDuplicateName):
		d.bad = refuse("duplicate-member", "member "+strconv.Quote(pointer)+" is given twice; send it once").at(pointer)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		d.bad = refuse("malformed-json", "the body is empty or ends too early; send one JSON object").at(pointer)
	default:
		d.bad = refuse("malformed-json", err.Error()).at(pointer)
	}
}

// object reads an object and calls member for each name; member reads the value,
// or returns false for a name that it does not know.
func (d *decoder) object(member func(name []byte) bool) {
	if !d.begin('{', "an object") {
		return
	}
	for d.bad == nil && d.d.PeekKind() == '"' {
		name := d.raw('"', -1)
		if d.bad == nil && !member(name) {
			d.fail("unknown-member", "this release does not know the member "+strconv.Quote(string(name))+"; leave it out or correct its name")
		}
	}
	d.end()
}

func (d *decoder) array(element func()) {
	if !d.begin('[', "an array") {
		return
	}
	for d.bad == nil && d.d.PeekKind() != ']' && d.d.PeekKind() != 0 {
		element()
	}
	d.end()
}

func (d *decoder) begin(kind jsontext.Kind, what string) bool {
	if d.bad != nil {
		return false
	}
	if got := d.d.PeekKind(); got != kind && got != 0 {
		if _, err := d.d.ReadValue(); err != nil {
			d.syntax(err)
			return false
		}
		d.fail("wrong-type", "this has to be "+what)
		return false
	}
	if _, err := d.d.ReadToken(); err != nil {
		d.syntax(err)
		return false
	}
	return true
}

// end reads the closing bracket, or finds out what stands in its place.
func (d *decoder) end() {
	if d.bad != nil {
		return
	}
	if _, err := d.d.ReadToken(); err != nil {
		d.syntax(err)
	}
}

// value reads a scalar of one of two kinds; the bytes are valid until the next read.
func (d *decoder) value(kind, other jsontext.Kind, what string) []byte {
	if d.bad != nil {
		return nil
	}
	v, err := d.d.ReadValue()
	if err != nil {
		d.syntax(err)
		return nil
	}
	if k := v.Kind(); k != kind && k != other {
		d.fail("wrong-type", "this has to be "+what)
		return nil
	}
	return v
}

// raw reads a string without its quotes and escapes; the bytes are valid until
// the next read. most < 0: it is a name, which may hold anything.
func (d *decoder) raw(kind jsontext.Kind, most int) []byte {
	v := d.value(kind, kind, "a string")
	if v == nil {
		return nil
	}
	if bytes.IndexByte(v, '\\') < 0 {
		v = v[1 : len(v)-1]
	} else {
		d.buf, _ = jsontext.AppendUnquote(d.buf[:0], v) // the decoder has checked it
		v = d.buf
	}
	if most >= 0 && (len(v) == 0 || len(v) > most || hasControl(v)) {
		d.fail("text-invalid", "this text has to have 1 to "+strconv.Itoa(most)+" bytes and no control characters; leave the member out if there is nothing to say")
		return nil
	}
	return v
}

// scan reads a code as a scanner sends it, separators of GS1 element strings included.
func (d *decoder) scan() string {
	v := d.raw('"', -1)
	if d.bad == nil && (len(v) == 0 || len(v) > itemcode.MaxScan || hasControl(bytes.ReplaceAll(v, gs1Separator, nil))) {
		d.fail("text-invalid", "a code has 1 to "+strconv.Itoa(itemcode.MaxScan)+" bytes and no control character but the separator of GS1, \\u001d; leave the member out if there is none")
		return ""
	}
	return string(v)
}

var gs1Separator = []byte{0x1d}

func hasControl(b []byte) bool {
	for _, c := range b {
		if c < 0x20 || c == 0x7f {
			return true
		}
	}
	return bytes.Contains(b, []byte("\u2028")) || bytes.Contains(b, []byte("\u2029"))
}

func (d *decoder) text(most int) string { return string(d.raw('"', most)) }

// clearable is text that may be empty, to take back what it was.
func (d *decoder) clearable(most int) string {
	v := d.value('"', '"', "a string")
	if len(v) <= len(`""`) {
		return ""
	}
	s, err := jsontext.AppendUnquote(nil, v)
	if err != nil || len(s) > most || hasControl(s) {
		d.fail("text-invalid", "this text may have at most "+strconv.Itoa(most)+" bytes and no control characters")
		return ""
	}
	return string(s)
}

// flag reads true or false.
func (d *decoder) flag() bool {
	v := d.value('t', 'f', "true or false")
	return len(v) == len("true")
}

// count reads an integer from 0 to most.
func (d *decoder) count(most int) int {
	v := d.value('0', '0', "an integer")
	if v == nil {
		return 0
	}
	n, err := strconv.Atoi(string(v))
	if err != nil || n < 0 || n > most {
		d.fail("value-invalid", string(clip(v))+" is not an integer from 0 to "+strconv.Itoa(most))
		return 0
	}
	return n
}

// money reads an integer number of minor units, zero or more.
func (d *decoder) money() pos.Money {
	m := d.signed()
	if m < 0 {
		d.fail("negative-amount", strconv.FormatInt(int64(m), 10)+" is below zero; send zero or more")
		return 0
	}
	return m
}

// signed reads an integer number of minor units.
func (d *decoder) signed() pos.Money {
	v := d.value('0', '0', "money: an integer number of minor units, 299 for 2.99")
	if v == nil {
		return 0
	}
	if bytes.ContainsAny(v, ".eE") {
		d.fail("fractional-money", string(clip(v))+" is not an integer number of minor units; send 299 for 2.99")
		return 0
	}
	n, err := strconv.ParseInt(string(v), 10, 64)
	if err != nil && v[0] == '-' {
		n = -int64(pos.MaxAmount) - 1
	}
	if (err != nil && v[0] != '-') || n > int64(pos.MaxAmount) {
		d.fail("number-too-large", string(clip(v))+" is more than "+strconv.FormatInt(int64(pos.MaxAmount), 10)+"; correct it")
		return 0
	}
	d.scanned(n)
	return pos.Money(n)
}

// scanned refuses the bar code of an item, scanned where a number is typed. It costs
// nothing below 10^7, and above it one in a million is a GTIN of the catalogue by chance.
func (d *decoder) scanned(n int64) {
	if d.items == nil || n < 1e7 || n >= 1e14 {
		return
	}
	if item, ok, _ := d.items.Lookup(itemcode.GTIN(n).String()); ok {
		d.fail("number-too-large", "this is the bar code of item "+strconv.Quote(item.Code)+"; scan it as an item, and type the number")
	}
}

// quantity reads "1.250" or 2. A number with a fraction is refused: many a front
// end would send 0.30000000000000004.
func (d *decoder) quantity() pos.Qty {
	v := d.value('"', '0', "a quantity: an integer, or a decimal string such as \"1.250\"")
	if v == nil {
		return 0
	}
	if v[0] == '"' {
		v = v[1 : len(v)-1]
	} else if bytes.ContainsAny(v, ".eE") {
		d.fail("quantity-invalid", string(clip(v))+" is a number with a fraction; send it as a string, \"1.250\"")
		return 0
	}
	q, err := pos.ParseQty(string(v))
	switch {
	case errors.Is(err, pos.ErrOverflow):
		d.fail("number-too-large", err.Error())
	case err != nil:
		d.fail("quantity-invalid", err.Error())
	case q%1000 == 0 && q > 0:
		d.scanned(int64(q / 1000))
	case q < 0:
		d.fail("negative-amount", "quantity "+q.String()+" is below zero; goods that come back are a line of a basket with return")
	}
	return q
}

// clip shortens what came from the network for a message.
func clip(b []byte) []byte {
	if len(b) > 40 {
		return append(append([]byte(nil), b[:40]...), "…"...)
	}
	return b
}

// linePointer is "/lines/<i>/<member>".
func linePointer(i int, member string) string {
	return strings.Join([]string{"/lines", strconv.Itoa(i), member}, "/")
}
