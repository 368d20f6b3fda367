package lab

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"time"
)

// shop is the reference model: what a till and its drawer are, as simply as it can be
// said. Its methods judge a command: the code of the refusal, or what it does.
type shop struct {
	coin    int64
	perLine bool
	today   string // the date that the clock shows, if it can be believed

	figures
	baskets []*basket
	sales   []*sale // durable ones only are ever added

	up     time.Duration // the terminal's
	scan   scan          // the last one
	scans  []scan        // the last one of each basket, at most mostScans
	repeat time.Duration // items.repeat
}

// mostScans is of how many baskets a till tells a scanner's repeat.
const mostScans = 4

// scan is what a scanner has just sent; a restart forgets it.
type scan struct {
	item, basket, version string
	n                     int
	up                    time.Duration
}

// repeatTime is items.repeat of terminals whose clock the lab turns.
const repeatTime = time.Hour

// figures are what a snapshot copies.
type figures struct {
	receipt, training, z, shift uint64
	open, implicit, counted     bool
	operator, date              string
	declared                    int64
	latest                      time.Time        // that an event shows
	totals                      map[string]int64 // by their names in the X report
	taxes                       []taxRow
}

type basket struct {
	id, version, name string
	parked, exclusive bool
	training          bool
	customer, note    string
	age, last         int
	lines             []line
	offs              []off
	tenders           []tender
	keys              []string // of its last steps
}

type sale struct {
	id, receipt string
	exclusive   bool
	training    bool
	void        bool // takes another one back
	lines       []line
	amounts     []int64
	tenders     []tender
	change      int64
	rounding    int64
	back        map[int]backSum // by line, from 1
}

type backSum struct{ qty, amount, tax int64 }

func (s backSum) plus(l line) backSum {
	return backSum{s.qty - l.qty, s.amount - l.amount, s.tax + l.back.tax}
}

// taxOf is the tax that line n of an exclusive sale was sold with.
func (m *shop) taxOf(of *sale, n int) int64 {
	rate := rates[of.lines[n-1].tax].ppm
	if m.perLine {
		return half(of.amounts[n-1]*rate, 1_000_000)
	}
	until := func(n int) int64 { // of the sale, up to line n
		base := int64(0)
		for i, l := range of.lines[:n] {
			if _, given := l.given(); l.tax == of.lines[n-1].tax && !given {
				base += of.amounts[i]
			}
		}
		return base
	}
	all := until(n)
	return half(all*rate, 1_000_000) - half((all-of.amounts[n-1])*rate, 1_000_000)
}

func newShop(coin int64, perLine bool) *shop {
	return &shop{repeat: repeatTime, coin: coin, perLine: perLine, figures: figures{totals: map[string]int64{}}}
}

// snapshot is what a step that need not be durable at once can change.
type snapshot struct {
	figures
	baskets []*basket
}

func (m *shop) snapshot() snapshot {
	s := snapshot{figures: m.figures}
	s.totals, s.taxes = maps.Clone(m.totals), slices.Clone(m.taxes)
	for _, b := range m.baskets {
		c := *b
		c.lines, c.offs = slices.Clone(b.lines), slices.Clone(b.offs)
		c.tenders, c.keys = slices.Clone(b.tenders), slices.Clone(b.keys)
		s.baskets = append(s.baskets, &c)
	}
	return s
}

func (m *shop) restore(s snapshot) { m.figures, m.baskets = s.figures, s.baskets }

// effect is what an event that was made must say, and does to the model.
type effect func(e *made) error

// judge is a command's outcome by the model: a code, or an effect.
type judge func() (code string, does effect)

func no(code string) (string, effect) { return code, nil }

func (m *shop) find(id string) *basket {
	for _, b := range m.baskets {
		if b.id == id {
			return b
		}
	}
	return nil
}

// seen is a basket in the version that a window has seen.
func (m *shop) seen(id, version string) (*basket, string) {
	b := m.find(id)
	switch {
	case b == nil:
		return nil, "basket-not-found"
	case version != "" && version != b.version:
		return nil, "version-conflict"
	}
	return b, ""
}

func (b *basket) counting() bool {
	return slices.ContainsFunc(b.tenders, func(t tender) bool { return t.state == "approved" })
}

func (b *basket) approved() (list []tender) {
	for _, t := range b.tenders {
		if t.state == "approved" {
			list = append(list, t)
		}
	}
	return list
}

func (b *basket) paid() (sum int64) {
	for _, t := range b.approved() {
		sum += t.amount
	}
	return sum
}

func (b *basket) line(n int) int {
	return slices.IndexFunc(b.lines, func(l line) bool { return l.n == n })
}

// stands checks what every step says of its basket.
func (m *shop) stands(b *basket, e *made, state string) error {
	s, _ := m.sumsOf(b.lines, b.offs, b.exclusive)
	d := &e.basket
	if d.Basket != b.id || d.State != state || d.Lines != len(b.lines) || d.Total != s.total || d.Due != s.total-b.paid() {
		return fmt.Errorf("%s says basket %s %s, %d lines, total %d, due %d; the model has %s %s, %d, %d, %d",
			e.kind, d.Basket, d.State, d.Lines, d.Total, d.Due, b.id, state, len(b.lines), s.total, s.total-b.paid())
	}
	b.version = d.Version
	return nil
}

func (m *shop) openBasket(name string, exclusive, training bool) judge {
	return func() (string, effect) {
		return "", func(e *made) error {
			b := &basket{id: e.basket.Basket, name: name, exclusive: exclusive, training: training}
			m.baskets = append(m.baskets, b)
			return m.stands(b, e, "open")
		}
	}
}

// edit judges a step that changes a copy of a basket.
func (m *shop) edit(id, version string, change func(b *basket) string, also func(b *basket, e *made) error) judge {
	return func() (string, effect) {
		b, code := m.seen(id, version)
		if code != "" {
			return no(code)
		}
		c := *b
		c.lines, c.offs, c.tenders = slices.Clone(b.lines), slices.Clone(b.offs), slices.Clone(b.tenders)
		if code := change(&c); code != "" {
			return no(code)
		}
		if _, ok := m.sumsOf(c.lines, c.offs, c.exclusive); !ok {
			return no("discount-invalid")
		}
		return "", func(e *made) error {
			*m.find(id) = c
			now := m.find(id)
			state := "open"
			if now.parked {
				state = "parked"
			}
			if err := m.stands(now, e, state); err != nil || also == nil {
				return err
			}
			return also(now, e)
		}
	}
}

func (b *basket) busy() string {
	if b.parked || b.counting() {
		return "basket-state"
	}
	return ""
}

func (m *shop) addLine(id, version string, l line) judge {
	return m.edit(id, version, func(b *basket) string {
		if code := b.busy(); code != "" {
			return code
		}
		if _, _, ok := l.own(); !ok {
			return "discount-invalid"
		}
		b.last++
		l.n = b.last
		l.amount, _, _ = l.own()
		b.lines = append(b.lines, l)
		return ""
	}, func(b *basket, e *made) error { return b.lines[len(b.lines)-1].is(&e.basket.Line) })
}

// scanned judges a bare code: again within the time it adds nothing, unless it is meant.
func (m *shop) scanned(id, version, item string, meant bool) judge {
	return func() (string, effect) {
		l := line{item: item, qty: 1000, price: items[item].price, tax: "A"}
		b := m.find(id)
		s := m.scanOf(id)
		if b == nil || meant || s == nil || s.item != item || s.version != b.version || m.up-s.up >= m.repeat {
			code, does := m.addLine(id, version, l)()
			if code != "" {
				return no(code)
			}
			return "", func(e *made) error {
				err := does(e)
				m.scan = scan{item, id, e.basket.Version, e.basket.Line.N, m.up}
				if s != nil {
					*s = m.scan
				} else if m.scans = append(m.scans, m.scan); len(m.scans) > mostScans {
					m.scans = m.scans[1:]
				}
				return err
			}
		}
		code, does := m.edit(id, version, func(*basket) string { return "" }, nil)()
		if code != "" {
			return no(code)
		}
		return "", func(e *made) error {
			if err := does(e); err != nil {
				return err
			}
			s.version = e.basket.Version
			m.scan = *s
			if e.kind != "line.repeated" {
				return fmt.Errorf("a scanner's repeat has made %s", e.kind)
			}
			return b.lines[b.line(s.n)].is(&e.basket.Line)
		}
	}
}

func (m *shop) scanOf(id string) *scan {
	i := slices.IndexFunc(m.scans, func(s scan) bool { return s.basket == id })
	if i < 0 {
		return nil
	}
	return &m.scans[i]
}

// addReturn judges goods of a sale of this till.
func (m *shop) addReturn(id, version string, of *sale, n int, qty int64) judge {
	return func() (string, effect) {
		b, code := m.seen(id, version)
		if code != "" {
			return no(code)
		}
		if b.exclusive != of.exclusive {
			return no("return-invalid")
		}
		if n < 1 || n > len(of.lines) {
			return no("line-not-found")
		}
		before := m.promised(b, of, n)
		sold := of.lines[n-1]
		if sold.back != nil || qty <= 0 || qty > sold.qty-before.qty || sold.qty%1000 == 0 && qty%1000 != 0 {
			return no("return-invalid")
		}
		amount := of.amounts[n-1] - before.amount
		if qty < sold.qty-before.qty {
			amount = max(0, half(of.amounts[n-1]*(before.qty+qty), sold.qty)-before.amount)
		}
		tax := int64(0)
		if of.exclusive {
			tax = m.taxOf(of, n)
			done := before.tax
			if sold.qty > 0 {
				done = max(done, half(tax*before.qty, sold.qty)-1)
			}
			if qty < sold.qty-before.qty {
				tax = half(tax*(before.qty+qty), sold.qty)
			}
			tax = max(0, tax-done)
		}
		return m.addLine(id, version, line{qty: -qty, price: -amount, fixed: true, tax: sold.tax, back: &backOf{of, n, tax}})()
	}
}

// promised is what has come back of a line, and what the basket and all others give back
// of it.
func (m *shop) promised(b *basket, of *sale, n int) backSum {
	sum := of.back[n]
	for _, other := range m.baskets { // money may be paid back for each
		for _, l := range other.lines {
			if l.back != nil && l.back.sale == of && l.back.n == n && (other.id == b.id || !other.training) {
				sum = sum.plus(l)
			}
		}
	}
	return sum
}

func (m *shop) changeLine(id, version string, n int, qty, price *int64, offs *[]off, note *string) judge {
	change := m.changedLine(id, version, n, qty, price, offs, note)
	return func() (string, effect) {
		code, does := change()
		if b := m.find(id); code == "" && qty != nil && *qty%1000 != 0 && b.lines[b.line(n)].item != "" {
			return no("quantity-invalid") // bottles are whole
		}
		return code, does
	}
}

func (m *shop) changedLine(id, version string, n int, qty, price *int64, offs *[]off, note *string) judge {
	var was line
	return m.edit(id, version, func(b *basket) string {
		if code := b.busy(); code != "" {
			return code
		}
		i := b.line(n)
		if i < 0 {
			return "line-not-found"
		}
		l := b.lines[i]
		was = l
		if l.back != nil && (qty != nil || price != nil || offs != nil) {
			return "return-invalid"
		}
		if qty != nil && *qty != l.qty {
			if l.fixed {
				return "label-quantity"
			}
			if l.qty = *qty; l.qty == 0 {
				return "quantity-invalid"
			}
		}
		if price != nil {
			if !l.changed {
				l.list, l.changed = l.price, true
			}
			l.fixed = false // of one piece, as all lines here that have an amount
			if l.price = *price; l.price == l.list {
				l.list, l.changed = 0, false
			}
		}
		if offs != nil {
			l.offs = *offs
		}
		if note != nil {
			l.note = *note
		}
		amount, _, ok := l.own()
		if l.back == nil && !ok {
			return "discount-invalid"
		}
		l.amount = amount
		b.lines[i] = l
		return ""
	}, func(b *basket, e *made) error {
		l := b.lines[b.line(n)]
		if l.qty < was.qty && !b.training {
			m.totals["lines_voided"]++
			m.totals["lines_voided_sum"] += half(was.amount*(was.qty-l.qty), was.qty)
		}
		return l.is(&e.basket.Line)
	})
}

func (m *shop) voidLine(id, version string, n int) judge {
	var gone line
	return m.edit(id, version, func(b *basket) string {
		if code := b.busy(); code != "" {
			return code
		}
		i := b.line(n)
		if i < 0 {
			return "line-not-found"
		}
		gone = b.lines[i]
		b.lines = slices.Delete(b.lines, i, i+1)
		return ""
	}, func(b *basket, e *made) error {
		if !b.training {
			m.totals["lines_voided"]++
			m.totals["lines_voided_sum"] += gone.amount
		}
		return gone.is(&e.basket.Line)
	})
}

func (m *shop) changeBasket(id, version string, customer, note *string, age *int, offs *[]off) judge {
	return m.edit(id, version, func(b *basket) string {
		if b.parked || b.counting() && offs != nil {
			return "basket-state"
		}
		if customer != nil {
			b.customer = *customer
		}
		if note != nil {
			b.note = *note
		}
		if age != nil {
			b.age = *age
		}
		if offs != nil {
			b.offs = *offs
		}
		return ""
	}, nil)
}

func (m *shop) park(id, version, name string) judge {
	return m.edit(id, version, func(b *basket) string {
		if code := b.busy(); code != "" {
			return code
		}
		if b.parked = true; name != "" {
			b.name = name
		}
		return ""
	}, nil)
}

func (m *shop) recall(id, version string) judge {
	return m.edit(id, version, func(b *basket) string {
		if !b.parked {
			return "basket-state"
		}
		b.parked = false
		return ""
	}, nil)
}

func (m *shop) voidBasket(id, version string) judge {
	return func() (string, effect) {
		b, code := m.seen(id, version)
		if code == "" && b.counting() {
			code = "basket-state"
		}
		if code != "" {
			return no(code)
		}
		return "", func(e *made) error {
			if err := m.stands(b, e, "void"); err != nil {
				return err
			}
			if !b.training {
				m.totals["baskets_voided"]++
				m.totals["baskets_voided_sum"] += e.basket.Total
			}
			m.drop(id)
			return nil
		}
	}
}

func (m *shop) drop(id string) {
	m.baskets = slices.DeleteFunc(m.baskets, func(b *basket) bool { return b.id == id })
}

func (m *shop) addTender(id, version string, t tender) judge {
	return m.edit(id, version, func(b *basket) string {
		switch {
		case b.parked:
			return "basket-state"
		case len(b.lines) == 0:
			return "no-lines"
		case len(b.tenders) >= 20:
			return "tender-invalid"
		}
		s, _ := m.sumsOf(b.lines, b.offs, b.exclusive)
		if code := m.fits(s.total, b.approved(), t); code != "" {
			return code
		}
		if twice(append(b.approved(), t)) {
			return "tender-invalid"
		}
		for _, l := range b.lines {
			if l.back == nil || l.back.sale == nil {
				continue
			}
			of, n := l.back.sale, l.back.n
			if sum := m.promised(b, of, n); sum.qty > of.lines[n-1].qty || sum.amount > of.amounts[n-1] {
				return "return-invalid"
			}
		}
		t.id, t.state = strconv.Itoa(len(b.tenders)+1), "approved"
		b.tenders = append(b.tenders, t)
		return ""
	}, func(_ *basket, e *made) error {
		if got := e.basket.Tender; got.ID != t.id || got.Kind != t.kind || got.Amount != t.amount || got.Reference != t.ref {
			return fmt.Errorf("tender %+v, the model has %+v", got, t)
		}
		return nil
	})
}

// twice says that there are two vouchers of one number.
func twice(list []tender) bool {
	spent := map[string]bool{}
	for _, t := range list {
		if t.kind == "voucher" {
			if spent[t.ref] {
				return true
			}
			spent[t.ref] = true
		}
	}
	return false
}

// fits says whether a tender may be added to those that count.
func (m *shop) fits(total int64, have []tender, t tender) string {
	if _, _, code := settle(total, have, m.coin); code == "" {
		return "tender-invalid" // all is paid
	}
	due := total
	others := int64(0)
	for _, h := range have {
		if due -= h.amount; h.kind != "cash" {
			others += h.amount
		}
	}
	if t.kind == "cash" {
		due += toCoin(total-others, m.coin)
	}
	switch {
	case t.amount == 0 && t.kind == "cash" && m.coin > 1 && due == 0:
		return ""
	case total >= 0 && t.amount <= 0, total < 0 && t.amount >= 0,
		t.kind == "cash" && t.amount%m.coin != 0: // no such coins
		return "tender-invalid"
	case total < 0 && t.amount < due, total >= 0 && t.amount > due && t.kind != "cash":
		return "change-without-cash"
	}
	return ""
}

func (m *shop) reverse(id, version, tenderID string) judge {
	return m.edit(id, version, func(b *basket) string {
		i := slices.IndexFunc(b.tenders, func(t tender) bool { return t.id == tenderID })
		if i < 0 {
			return "tender-not-found"
		}
		if b.tenders[i].state != "approved" {
			return "basket-state"
		}
		b.tenders[i].state = "reversed"
		return ""
	}, nil)
}

func (m *shop) complete(id, version, operator string) judge {
	return func() (string, effect) {
		b, code := m.seen(id, version)
		if code != "" {
			return no(code)
		}
		switch {
		case b.parked:
			return no("basket-state")
		case len(b.lines) == 0:
			return no("no-lines")
		}
		if tooYoung(b.lines, b.age) {
			return no("age-check-required")
		}
		x, code := m.sell(b.lines, b.offs, b.approved(), b.exclusive)
		if code != "" {
			return no(code)
		}
		here := map[*sale]map[int]backSum{}
		for _, l := range b.lines {
			if l.back == nil || l.back.sale == nil {
				continue
			}
			of, n := l.back.sale, l.back.n
			if here[of] == nil {
				here[of] = maps.Clone(of.back)
				if here[of] == nil {
					here[of] = map[int]backSum{}
				}
			}
			was := here[of][n]
			now := was.plus(l)
			if here[of][n] = now; now.qty > of.lines[n-1].qty || now.amount > of.amounts[n-1] {
				return no("return-invalid")
			}
		}
		x.training = b.training
		return "", func(e *made) error {
			if e.sale.Basket != id || e.sale.Customer != b.customer || e.sale.Note != b.note || e.sale.Age != b.age {
				return fmt.Errorf("the sale is of basket %q, customer %q, note %q, age %d", e.sale.Basket, e.sale.Customer, e.sale.Note, e.sale.Age)
			}
			m.drop(id)
			if !x.training {
				for of, back := range here {
					of.back = back
				}
			}
			return m.sold(x, e, operator)
		}
	}
}

func (m *shop) checkout(lines []line, offs []off, tenders []tender, exclusive bool, operator string) judge {
	return func() (string, effect) {
		if tooYoung(lines, 0) {
			return no("age-check-required")
		}
		x, code := m.sell(lines, offs, tenders, exclusive)
		if code != "discount-invalid" && (twice(tenders) || slices.ContainsFunc(tenders, func(t tender) bool { return t.kind == "cash" && t.amount%m.coin != 0 })) {
			code = "tender-invalid" // no such coins, or a voucher that is spent
		}
		if code == "" && needless(x.sums.total, tenders) {
			code = "tender-invalid"
		}
		if code != "" {
			return no(code)
		}
		return "", func(e *made) error { return m.sold(x, e, operator) }
	}
}

// needless says that cash stands beside what others pay whole.
func needless(total int64, tenders []tender) bool {
	byCash := false
	for _, t := range tenders {
		if t.kind == "cash" {
			byCash = true
		} else {
			total -= t.amount
		}
	}
	return byCash && total <= 0
}

func tooYoung(lines []line, age int) bool {
	return slices.ContainsFunc(lines, func(l line) bool { return l.back == nil && items[l.item].age > age })
}

// items are the lab's catalogue.
var items = map[string]struct {
	price int64
	age   int
}{"100": {129, 0}, "200": {999, 18}, "300": {450, 16}}

// soon is a sale that has no number yet, with what it says of itself.
type soon struct {
	sale
	sums sums
}

func (m *shop) sell(lines []line, offs []off, tenders []tender, exclusive bool) (x *soon, code string) {
	s, ok := m.sumsOf(lines, offs, exclusive)
	if !ok {
		return nil, "discount-invalid"
	}
	x = &soon{sums: s}
	x.sale = sale{exclusive: exclusive, lines: slices.Clone(lines), amounts: s.amounts, tenders: tenders}
	x.change, x.rounding, code = settle(s.total, tenders, m.coin)
	return x, code
}

func (m *shop) voidSale(id string, operator string) judge {
	return func() (string, effect) {
		i := slices.IndexFunc(m.sales, func(s *sale) bool { return s.id == id && !s.training })
		if i < 0 {
			return no("sale-not-found")
		}
		of := m.sales[i]
		if of.void || len(of.back) > 0 {
			return no("already-voided")
		}
		var lines []line
		for n, l := range of.lines {
			if l.back != nil {
				return no("return-invalid")
			}
			back := &backOf{of, n + 1, 0}
			if of.exclusive {
				back.tax = m.taxOf(of, n+1)
			}
			lines = append(lines, line{qty: -l.qty, price: -of.amounts[n], fixed: true, tax: l.tax, back: back})
		}
		x, code := m.sell(lines, nil, mirror(of), of.exclusive)
		if code != "" {
			return no(code)
		}
		for _, b := range m.baskets {
			if !b.training && slices.ContainsFunc(b.lines, func(l line) bool { return l.back != nil && l.back.sale == of }) {
				return no("basket-state")
			}
		}
		x.void = true
		return "", func(e *made) error {
			if e.sale.VoidOf != of.id || e.sale.VoidReceipt != of.receipt {
				return fmt.Errorf("it voids %s %s, not %s %s", e.sale.VoidOf, e.sale.VoidReceipt, of.id, of.receipt)
			}
			of.back = map[int]backSum{}
			for n, l := range of.lines {
				of.back[n+1] = backSum{l.qty, of.amounts[n], lines[n].back.tax}
			}
			return m.sold(x, e, operator)
		}
	}
}

// mirror pays a sale's tenders back as they were paid, cash without its change.
func mirror(of *sale) (list []tender) {
	cash := -of.change
	for _, t := range of.tenders {
		if t.kind == "cash" {
			cash += t.amount
			continue
		}
		list = append(list, tender{kind: t.kind, amount: -t.amount, ref: t.ref})
	}
	if cash != 0 || of.rounding != 0 {
		list = append(list, tender{kind: "cash", amount: -cash})
	}
	return list
}

// sold gives a sale its place, and checks all that it says.
func (m *shop) sold(x *soon, e *made, operator string) error {
	m.roll(operator)
	d := &e.sale
	var number uint64
	receipt := "T1-1-"
	if x.training {
		m.training++
		m.totals["trainings"]++
		number, receipt = m.training, receipt+"training-"
	} else {
		m.receipt++
		number = m.receipt
		m.count(x)
	}
	receipt += strconv.FormatUint(number, 10)
	if d.Receipt != receipt || d.Number != number || d.Shift != m.shift || d.Date != m.date || d.Operator != operator {
		return fmt.Errorf("sale %s, number %d, shift %d of %s, operator %s; the model has %s, %d, %d, %s, %s", d.Receipt, d.Number, d.Shift, d.Date, d.Operator, receipt, number, m.shift, m.date, operator)
	}
	if d.Total != x.sums.total || d.Change != x.change || d.Rounding != x.rounding || !reflect.DeepEqual(d.Taxes, x.sums.taxes) || d.Perpetual != m.totals["perpetual"] || d.Refunds != m.totals["perpetual_refunds"] {
		return fmt.Errorf("sale of %d, change %d, rounding %d, perpetual %d, refunds %d, taxes %+v\nthe model has %d, %d, %d, %d, %d, %+v", d.Total, d.Change, d.Rounding, d.Perpetual, d.Refunds, d.Taxes,
			x.sums.total, x.change, x.rounding, m.totals["perpetual"], m.totals["perpetual_refunds"], x.sums.taxes)
	}
	if err := x.says(d); err != nil {
		return err
	}
	x.id, x.receipt = d.Sale, d.Receipt
	s := x.sale
	m.sales = append(m.sales, &s)
	return nil
}

// says compares lines, discounts and tenders.
func (x *soon) says(d *saleData) error {
	if len(d.Lines) != len(x.lines) || len(d.Tenders) != len(x.tenders) || len(d.Discounts) != len(x.sums.offs) {
		return fmt.Errorf("%d lines, %d tenders, %d discounts; the model has %d, %d, %d", len(d.Lines), len(d.Tenders), len(d.Discounts), len(x.lines), len(x.tenders), len(x.sums.offs))
	}
	for i := range d.Lines {
		l := x.lines[i]
		l.n, l.amount = i+1, x.amounts[i]
		if err := l.is(&d.Lines[i]); err != nil {
			return err
		}
	}
	for i, t := range x.tenders {
		if got := d.Tenders[i]; got.Kind != t.kind || got.Amount != t.amount || got.Reference != t.ref {
			return fmt.Errorf("tender %d is %+v, the model has %+v", i+1, got, t)
		}
	}
	for i, take := range x.sums.offs {
		if d.Discounts[i].Amount != take {
			return fmt.Errorf("discount %d takes %d off, the model %d", i+1, d.Discounts[i].Amount, take)
		}
	}
	return nil
}

// count puts a sale into the shift.
func (m *shop) count(x *soon) {
	t := m.totals
	t["sales"]++
	t["gross"] += x.sums.total
	t["perpetual"] += x.sums.total
	if x.sums.total < 0 {
		t["refunds"]++
		t["refunded"] -= x.sums.total
		t["perpetual_refunds"] -= x.sums.total
	}
	if x.void {
		t["post_voids"]++
	}
	t["cash_rounding"] += x.rounding
	t["discounts"] += x.sums.lineOff
	for _, take := range x.sums.offs {
		t["discounts"] += take
	}
	for i, l := range x.lines {
		if l.changed {
			t["price_changes"]++
		}
		if l.back != nil {
			t["lines_returned"]++
			t["lines_returned_sum"] -= x.amounts[i]
		}
	}
	for _, p := range x.tenders {
		t[p.kind] += p.amount
	}
	t["cash"] -= x.change
	for _, row := range x.sums.taxes {
		m.tax(row)
	}
}

func (m *shop) tax(row taxRow) {
	for i := range m.taxes {
		if r := &m.taxes[i]; r.Code == row.Code {
			r.Net, r.Tax, r.Gross = r.Net+row.Net, r.Tax+row.Tax, r.Gross+row.Gross
			return
		}
	}
	m.taxes = append(m.taxes, row)
}

func (m *shop) drawer() int64 {
	return m.totals["float"] + m.totals["cash"] + m.totals["in"] - m.totals["out"] - m.totals["dropped"]
}

// roll opens the shift that nobody opened, and ends yesterday's.
func (m *shop) roll(operator string) {
	if m.open && m.implicit && m.today > m.date {
		m.z++
		m.closed()
	}
	m.begin(operator)
}

func (m *shop) begin(operator string) {
	if !m.open {
		m.opened(operator, 0)
		m.implicit = true
	}
}

// rolled takes in what a call has done to the shift before it was killed.
func (m *shop) rolled(e *made) {
	switch e.kind {
	case "shift.closed":
		m.z++
		m.closed()
	case "shift.opened":
		m.opened(e.shift.Operator, 0)
		m.implicit = true
	}
}

// saw takes in the time of an event.
func (m *shop) saw(now time.Time) {
	if now.After(m.latest) {
		m.latest = now
	}
}

// look tells the date. A clock that shows less than it has shown is not believed, once
// there was a date.
func (m *shop) look(now time.Time) {
	if m.today = now.Format(time.DateOnly); m.date != "" && now.Before(m.latest.Add(-2*time.Second)) {
		m.today = m.date
	}
}

func (m *shop) closed() {
	m.open, m.implicit, m.counted, m.declared, m.operator, m.taxes = false, false, false, 0, "", nil
	m.totals = map[string]int64{"perpetual": m.totals["perpetual"], "perpetual_refunds": m.totals["perpetual_refunds"]}
}

func (m *shop) opened(operator string, float int64) {
	m.shift++
	m.open, m.operator, m.date = true, operator, max(m.date, m.today)
	m.totals["float"] = float // voids since the last shift stay
}

func (m *shop) openShift(operator string, float int64) judge {
	return func() (string, effect) {
		if m.open {
			return no("shift-state")
		}
		return "", func(e *made) error {
			m.opened(operator, float)
			if d := e.shift; d.Shift != m.shift || d.Float != float || d.Date != m.date || d.Operator != operator {
				return fmt.Errorf("shift %+v, the model has %d", d, m.shift)
			}
			return nil
		}
	}
}

func (m *shop) closeShift() judge {
	return func() (string, effect) {
		if !m.open || slices.ContainsFunc(m.baskets, func(b *basket) bool { return b.counting() && !b.training }) {
			return no("shift-state")
		}
		return "", func(e *made) error {
			m.z++
			d := &e.shift
			counted := d.Declared != nil
			if d.Z != m.z || d.Shift != m.shift || d.Expected != m.drawer() || counted != m.counted || counted && *d.Declared != m.declared || d.Date != m.date {
				return fmt.Errorf("Z %d of shift %d, %d expected, counted %v; the model has %d, %d, %d, %v %d", d.Z, d.Shift, d.Expected, counted, m.z, m.shift, m.drawer(), m.counted, m.declared)
			}
			if err := m.same(d.Totals); err != nil {
				return err
			}
			m.closed()
			return nil
		}
	}
}

func (m *shop) hand(to string) judge {
	return func() (string, effect) {
		if !m.open || m.operator == to {
			return no("shift-state")
		}
		return "", func(e *made) error {
			if e.shift.From != m.operator || e.shift.To != to {
				return fmt.Errorf("handed from %s to %s, the model from %s", e.shift.From, e.shift.To, m.operator)
			}
			m.operator = to
			return nil
		}
	}
}

// cash judges a movement: what is one of in, out, drop, open and declare.
func (m *shop) cash(what, operator string, amount, counted int64) judge {
	return func() (string, effect) {
		switch {
		case counted >= 0 && counted != amount, what != "open" && what != "declare" && amount == 0:
			return no("value-invalid")
		case (what == "out" || what == "drop") && m.open && !m.implicit && m.drawer() < amount:
			return no("drawer-short")
		}
		return "", func(e *made) error {
			m.begin(operator) // yesterday's goes on: it is what the X report shows
			if e.cash.Shift != m.shift || e.cash.Amount != amount || e.cash.Operator != operator {
				return fmt.Errorf("cash %+v in shift %d", e.cash, m.shift)
			}
			switch what {
			case "declare":
				m.counted, m.declared = true, amount
			case "open":
				m.totals["drawer_opened"]++
			default:
				m.totals[map[string]string{"in": "in", "out": "out", "drop": "dropped"}[what]] += amount
			}
			return nil
		}
	}
}

// same compares the figures of a report.
func (m *shop) same(t totals) error {
	want, got := maps.Clone(m.totals), t.figures
	for _, b := range m.baskets {
		if !b.training && len(b.lines) > 0 {
			s, _ := m.sumsOf(b.lines, b.offs, b.exclusive)
			want["baskets_open"]++
			want["baskets_open_sum"] += s.total
		}
	}
	for name, v := range want {
		if v == 0 {
			delete(want, name)
		}
	}
	for name, v := range got {
		if v == 0 {
			delete(got, name)
		}
	}
	if !maps.Equal(want, got) || len(m.taxes) != len(t.taxes) || len(m.taxes) > 0 && !reflect.DeepEqual(m.taxes, t.taxes) {
		return fmt.Errorf("the report says %v %+v\nthe model has  %v %+v", got, t.taxes, want, m.taxes)
	}
	return nil
}

// is compares a line with what an event says of it.
func (l *line) is(d *lineData) error {
	price := d.Price
	if d.Fixed {
		price = l.price // an event tells the amount only
	}
	var list int64
	if d.List != nil {
		list = *d.List
	}
	if d.N != l.n || int64(d.Quantity) != l.qty || price != l.price || d.Fixed != l.fixed || d.Amount != l.amount || d.Tax != l.tax || d.Rate != rates[l.tax].text ||
		(d.List != nil) != l.changed || list != l.list || d.Note != l.note || (d.Return != nil) != (l.back != nil) {
		return fmt.Errorf("line %+v, the model has %+v", *d, *l)
	}
	if l.back != nil && l.back.sale != nil && (d.Return.Sale != l.back.sale.id || d.Return.Line != l.back.n) {
		return fmt.Errorf("line %d gives back %+v, the model line %d of %s", l.n, *d.Return, l.back.n, l.back.sale.id)
	}
	return nil
}
