package itemcode

import (
	"strings"

	"posd/pos"
)

// MaxScan is how long a code may be.
const MaxScan = 512

// separator is FNC1 as scanners send it between element strings: ASCII GS.
const separator = '\x1d'

// Code is what a code says. Only Items is always there.
type Code struct {
	// Items are what to look up, in this order, until one is found; "" ends them. A
	// GTIN stands in them as it was read: any form finds the item.
	Items [3]string
	GTIN  GTIN   // the first reading's; 0: it is no GTIN
	Whole string // all digits of a code that fits a pattern: to look up before Items
	Doubt *Error // why the code is probably not what was meant, if no item is found

	Measures  [4]Measure // what the code carries; Unit "" ends them
	Amount    pos.Money  // price of the whole, if Priced
	UnitPrice pos.Money  // price per unit of measure, if UnitPriced
	Priced    bool
	UnitPriced,
	Label bool // of a scale or of a packer: it is one piece, to be sold as it is

	Batch, Serial string
	AddOn         string // of a periodical: two or five digits
	BestBefore    Date
	SellBy        Date
	Expiry        Date // use by; after it the item must not be sold
}

// Measure is a quantity with its unit: "pc", "kg", "m", "m2", "l", "m3", "lb" and so on.
type Measure struct {
	Qty  pos.Qty
	Unit string
}

// Date is a day of the calendar; zero is none.
type Date struct {
	Year       int16
	Month, Day uint8
}

// Number is the day as a number that orders, 20261121; 0 is none.
func (d Date) Number() int { return int(d.Year)*10000 + int(d.Month)*100 + int(d.Day) }

// String is "2026-11-21", or empty.
func (d Date) String() string {
	if d == (Date{}) {
		return ""
	}
	b := make([]byte, 0, 10)
	n := d.Number()
	for i, unit := 0, 10_000_000; i < 8; i, unit = i+1, unit/10 {
		if i == 4 || i == 6 {
			b = append(b, '-')
		}
		b = append(b, byte('0'+n/unit%10))
	}
	return string(b)
}

// Measure is what the code carries in the unit in which the item is sold.
func (c *Code) Measure(unit string) (pos.Qty, bool) {
	for i := range c.Measures {
		m := &c.Measures[i]
		if m.Unit == "" {
			break
		}
		if m.Unit == unit {
			return m.Qty, true
		}
		if n := inThousandths(m.Unit, unit); n != 0 && m.Qty <= pos.MaxQty/n {
			return m.Qty * n, true
		}
	}
	return 0, false
}

// inThousandths is how many of the unit to are one of from, if that is whole.
func inThousandths(from, to string) pos.Qty {
	switch from + ">" + to {
	case "kg>g", "l>ml", "m>mm":
		return 1000
	case "m>cm":
		return 100
	}
	return 0
}

// Rules are how one terminal reads codes. They are never changed, so that all
// goroutines may use them.
type Rules struct {
	patterns []pattern
	currency pos.Currency
}

// NewRules takes the patterns of variable-measure codes, the first that fits a code
// decides, and the currency that prices in codes are in. See CheckPattern.
func NewRules(patterns []string, currency pos.Currency) (*Rules, error) {
	r := &Rules{currency: currency}
	for _, text := range patterns {
		p, bad := parsePattern(text)
		if bad != nil {
			return nil, bad
		}
		r.patterns = append(r.patterns, p)
	}
	return r, nil
}

// Read says what a code means. Year is that of today: dates in codes have two digits
// for theirs. Strings of the result are parts of scan. Errors: *Error; of the code there
// is what Plain takes, at most.
func (r *Rules) Read(scan string, year int) (Code, error) {
	c, bad := r.read(scan, year)
	if bad != nil {
		return Code{Whole: c.Whole, AddOn: c.AddOn}, bad
	}
	return c, nil
}

func (r *Rules) read(scan string, year int) (c Code, bad *Error) {
	if scan == "" {
		return c, wrong(0, "the code is empty; scan again")
	}
	if len(scan) > MaxScan {
		return c, wrong(0, "the code is too long for an item's; look which label was scanned")
	}
	for i := 0; i < len(scan); i++ {
		if ch := scan[i]; (ch < ' ' && ch != separator) || ch == 0x7f {
			return c, wrong(i+1, "a control character; look at the scanner's prefix and suffix settings")
		}
	}
	text, symbology := scan, ""
	if len(scan) > 3 && scan[0] == ']' && letter(scan[1]) && scan[2] >= '0' && scan[2] <= '9' {
		symbology, text = scan[1:3], scan[3:]
	}
	p := parser{rules: r, text: text, from: len(scan) - len(text), year: year}
	switch symbology {
	case "C1", "e0", "d2", "Q3", "J1":
		p.elements()
	case "E0", "E1", "E2", "E3", "E4", "X0":
		p.retail(symbology)
	default:
		p.unnamed()
	}
	return p.code, p.bad
}

// Plain is the code where Whole is an item's number of its own, and no label's.
func (c *Code) Plain() Code {
	g, _ := Normal(c.Whole)
	return Code{Items: [3]string{c.Whole}, GTIN: g, AddOn: c.AddOn}
}

func letter(ch byte) bool { return ch >= 'A' && ch <= 'Z' || ch >= 'a' && ch <= 'z' }

// parser fills code from one scan. The first error stays.
type parser struct {
	rules *Rules
	code  Code
	text  string
	from  int // where text begins in the scan
	year  int
	bad   *Error
	seen  uint64 // what was given already, a bit each
}

// fail notes what is wrong at a place in text, from 0; below 0: no place.
func (p *parser) fail(at int, what string) {
	if p.bad == nil {
		p.bad = wrong(0, what)
		if at >= 0 {
			p.bad.At = p.from + at + 1
		}
	}
}

// retail reads EAN and UPC symbols, whose digits the scanner has checked and says so.
func (p *parser) retail(symbology string) {
	switch symbology {
	case "E1", "E2": // an add-on alone
		p.fail(-1, "only the add-on of a periodical was read; scan the whole symbol")
		return
	case "E3":
		if n := len(p.text) - 13; n == 2 || n == 5 {
			p.text, p.code.AddOn = p.text[:13], p.text[13:]
		}
	}
	g, bad := parseGTIN(p.text)
	if bad != nil {
		p.fail(bad.At-1, bad.What)
		return
	}
	if !p.pattern() {
		p.gtin(g)
	}
}

// unnamed reads what comes without a symbology identifier, or with one that says nothing.
func (p *parser) unnamed() {
	s := p.text
	switch {
	case strings.IndexByte(s, separator) >= 0 || elementLike(s):
		p.elements()
	case strings.HasPrefix(s, "(0") && strings.IndexByte(s, ')') > 0:
		p.printed()
	case strings.HasPrefix(s, "http://") || strings.HasPrefix(s, "https://") || strings.HasPrefix(s, "HTTPS://"):
		p.link()
	case notDigit(s) >= 0:
		p.code.Items[0] = s
	default:
		p.digits()
	}
}

// elementLike tells element strings without a separator from other long codes.
func elementLike(s string) bool {
	return len(s) >= 16 && (s[:2] == "01" || s[:2] == "02") && notDigit(s[2:16]) < 0 && s[15] == checkDigit(s[2:15])
}

// digits reads a number: a label's, a GTIN, or one of the shop's own.
func (p *parser) digits() {
	s := p.text
	if p.pattern() || p.bad != nil {
		return
	}
	p.code.Items[0] = s
	if !gtinLength(len(s)) {
		return
	}
	if g, bad := parseGTIN(s); bad == nil {
		p.code.GTIN = g
	} else {
		bad.At += min(bad.At, 1) * p.from
		p.code.Doubt = bad
	}
	if len(s) != 8 {
		return
	}
	if g, err := ExpandUPCE(s); err == nil {
		p.code.Items[1] = g.Short()
		if p.code.GTIN == 0 {
			p.code.GTIN, p.code.Doubt = g, nil
		}
	}
}

func (p *parser) gtin(g GTIN) { p.code.GTIN, p.code.Items[0] = g, p.text }

// measure notes a quantity; a fifth is not looked at, for no label has more.
func (p *parser) measure(q pos.Qty, unit string) {
	for i := range p.code.Measures {
		if m := &p.code.Measures[i]; m.Unit == "" {
			*m = Measure{q, unit}
			return
		}
	}
}

// scaled reads digits with so many decimals as an integer with want decimals.
func scaled(digits string, decimals, want int, limit int64) (int64, *Error) {
	n := int64(number(digits))
	for ; decimals > want; decimals-- {
		if n%10 != 0 {
			return 0, wrong(0, "more decimals than the till counts; it has to be sold by hand")
		}
		n /= 10
	}
	for ; decimals < want; decimals++ {
		if n *= 10; n > limit {
			return 0, wrong(0, "too large")
		}
	}
	if n > limit {
		return 0, wrong(0, "too large")
	}
	return n, nil
}
