package lab

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// most keeps the shop small enough to be looked at after each step.
const (
	mostBaskets = 5
	mostLines   = 8
)

// body writes a request's members.
func body(members ...string) string {
	return "{" + strings.Join(slices.DeleteFunc(members, func(s string) bool { return s == "" }), ",") + "}"
}

func member(name string, value any) string { return fmt.Sprintf("%q:%v", name, value) }

func text(name, value string) string {
	if value == "" {
		return ""
	}
	return cleared(name, value)
}

// cleared writes a text that may be empty.
func cleared(name, value string) string {
	b, err := json.Marshal(value)
	if err != nil {
		panic(err) // no text does that
	}
	return member(name, string(b))
}

// odd texts have broken others' tills.
var odd = []string{"table 4", "O'Brien \"the\" 4th", "Crème brûlée \\ 20 %", "漢字 👩‍👩‍👧 \u202e", `{"total":0}`, strings.Repeat("ß", 32)}

func (p *player) one(of ...string) string { return of[p.rng.IntN(len(of))] }

func (p *player) operator() string { return p.one("7", "8") }

// command draws the next one, and what the model says of it.
func (p *player) command() (call, judge) {
	m := p.m
	if len(m.baskets) == 0 || len(m.baskets) < mostBaskets && p.rng.IntN(12) == 0 {
		if p.rng.IntN(3) > 0 {
			return p.openBasket()
		}
		return p.checkout()
	}
	switch n := p.rng.IntN(100); {
	case n < 15 && !m.open:
		return p.openShift()
	case n < 6:
		return p.checkout()
	case n < 9:
		return p.voidSale()
	case n < 17:
		return p.drawer()
	}
	return p.basketStep()
}

func (p *player) openBasket() (call, judge) {
	name, exclusive, training := p.one("", p.one(odd...)), p.rng.IntN(3) == 0, p.rng.IntN(8) == 0
	b := body(text("operator", p.operator()), text("name", name), prices(exclusive), member("training", training))
	return call{path: "/v1/baskets", body: b}, p.m.openBasket(name, exclusive, training)
}

func prices(exclusive bool) string {
	if exclusive {
		return `"prices":"exclusive"`
	}
	return `"prices":"inclusive"`
}

// window is a basket, mostly in the version that it has, and as seen by somebody.
func (p *player) window() (b *basket, id, version string) {
	b = p.m.baskets[p.rng.IntN(len(p.m.baskets))]
	switch n := p.rng.IntN(40); {
	case n == 0 && len(p.versions) > 0:
		old := p.versions[p.rng.IntN(len(p.versions))]
		return b, old.basket, old.version
	case n < 8:
		return b, b.id, b.version
	}
	return b, b.id, ""
}

func (p *player) basketStep() (call, judge) {
	b, id, version := p.window()
	if s := p.m.scan; s.item != "" && p.rng.IntN(12) == 0 && p.m.find(s.basket) != nil && len(p.m.find(s.basket).lines) < mostLines {
		return p.scan(id, version) // once more
	}
	m, at, op := p.m, "/v1/baskets/"+id, text("operator", p.operator())
	to := func(path, members string, j judge) (call, judge) {
		if members != "" {
			members = "," + members
		}
		return call{path: at + path, body: "{" + op + members + "}", match: version}, j
	}
	n := p.rng.IntN(100)
	if b.counting() && n < 60 {
		n = 60 + p.rng.IntN(40) // go on with paying
	}
	lineNo := 1 + p.rng.IntN(b.last+1)
	switch {
	case n > 86 && tooYoung(b.lines, b.age) && !b.parked:
		v := 18
		return to("", member("age", v), m.changeBasket(id, version, nil, nil, &v, nil))
	case n < 5 && len(b.lines) < mostLines:
		return p.scan(id, version)
	case n < 24 && len(b.lines) < mostLines:
		l := p.line()
		return to("/lines", l.request(), m.addLine(id, version, l))
	case n < 34:
		return p.returns(to, id, version)
	case n < 42:
		return p.changeLine(to, id, version, lineNo)
	case n < 47:
		return to(fmt.Sprint("/lines/", lineNo, "/void"), text("reason", "not wanted"), m.voidLine(id, version, lineNo))
	case n < 54:
		return p.changeBasket(to, id, version)
	case n < 58:
		name := p.one("", p.one(odd...))
		return to("/park", text("name", name), m.park(id, version, name))
	case n < 64 || b.parked:
		return to("/recall", "", m.recall(id, version))
	case n < 66:
		return to("/void", text("reason", "left"), m.voidBasket(id, version))
	case n < 83:
		return p.tender(to, b, id, version)
	case n < 86:
		t := fmt.Sprint(1 + p.rng.IntN(len(b.tenders)+1))
		return to("/tenders/"+t+"/reverse", "", m.reverse(id, version, t))
	}
	op2 := p.operator()
	return call{path: at + "/complete", body: body(text("operator", op2)), match: version}, m.complete(id, version, op2)
}

// scan draws what a scanner sends, mostly what it has just sent.
func (p *player) scan(id, version string) (call, judge) {
	item, meant := p.one("100", "300"), p.rng.IntN(4) == 0
	if s := p.m.scan; s.item != "" && p.m.find(s.basket) != nil && p.rng.IntN(4) > 0 {
		item, id, version = s.item, s.basket, ""
	}
	b := body(text("item", item))
	if meant {
		b = body(text("item", item), member("again", true))
	}
	return call{path: "/v1/baskets/" + id + "/lines", body: b, match: version}, p.m.scanned(id, version, item, meant)
}

type target func(path, members string, j judge) (call, judge)

// line is an article without a catalogue.
func (p *player) line() line {
	l := line{tax: p.one("A", "B", "E"), qty: 1000, price: int64(p.rng.IntN(3000))}
	switch p.rng.IntN(6) {
	case 0:
		l.qty = int64(1+p.rng.IntN(9)) * 1000
	case 1:
		l.qty = int64(1 + p.rng.IntN(4000))
	case 2:
		l.fixed = true
	case 3:
		if p.rng.IntN(10) == 0 { // petrol by the millilitre, or a house
			l.qty, l.price = int64(1+p.rng.IntN(1000))*1000, int64(p.rng.IntN(1_000_000))
		}
	}
	if p.rng.IntN(10) == 0 { // of the catalogue
		l = line{item: p.one("100", "200", "300"), tax: "A", qty: int64(1+p.rng.IntN(3)) * 1000}
		l.price = items[l.item].price
		if by := int64(p.rng.IntN(500)); p.rng.IntN(3) == 0 && by != l.price {
			l.list, l.changed, l.price = l.price, true, by
		}
	}
	if p.rng.IntN(5) == 0 {
		l.offs = p.offs(2)
	}
	return l
}

// offs are discounts, now and then too large.
func (p *player) offs(most int) (list []off) {
	list = []off{}
	for range p.rng.IntN(most + 1) {
		if p.rng.IntN(2) == 0 {
			list = append(list, off{percent: int64(1+p.rng.IntN(1000)) * 500})
		} else {
			list = append(list, off{amount: int64(p.rng.IntN(400))})
		}
	}
	return list
}

func offsRequest(list []off) string {
	var parts []string
	for _, d := range list {
		if d.percent > 0 {
			parts = append(parts, fmt.Sprintf(`{"percent":"%d.%04d","reason":"r"}`, d.percent/10000, d.percent%10000))
		} else {
			parts = append(parts, fmt.Sprintf(`{"amount":%d,"reason":"r"}`, d.amount))
		}
	}
	return `"discounts":[` + strings.Join(parts, ",") + "]"
}

// request writes the line's members.
func (l *line) request() string {
	price := member("price", l.price)
	if l.fixed {
		price = member("amount", l.price)
	}
	list := []string{`"description":"article"`, text("tax", l.tax), price, member("quantity", quantity(l.qty))}
	if l.item != "" {
		if list = []string{text("item", l.item), member("quantity", quantity(l.qty))}; l.changed {
			list = append(list, price)
		}
	}
	if l.offs != nil {
		list = append(list, offsRequest(l.offs))
	}
	return strings.Join(list, ",")
}

// returns draws goods that come back: of a sale, or without one.
func (p *player) returns(to target, id, version string) (call, judge) {
	m := p.m
	if len(m.sales) == 0 || p.rng.IntN(6) == 0 {
		l := line{tax: p.one("A", "B"), qty: -int64(1+p.rng.IntN(3)) * 1000, price: int64(p.rng.IntN(900)), back: &backOf{}}
		receipt := p.one("", "T9-1-44")
		members := fmt.Sprintf(`"description":"article","tax":%q,"price":%d,"quantity":%s,"reason":"sour","return":{%s}`, l.tax, l.price, quantity(-l.qty), text("receipt", receipt))
		return to("/lines", members, m.addLine(id, version, l))
	}
	of := m.sales[len(m.sales)-1-p.rng.IntN(min(len(m.sales), 12))]
	n := 1 + p.rng.IntN(len(of.lines)+p.rng.IntN(2))
	qty := int64(1000)
	if n <= len(of.lines) && p.rng.IntN(2) == 0 {
		qty = max(1, of.lines[n-1].qty)
		if p.rng.IntN(2) == 0 {
			qty = 1 + p.rng.Int64N(qty)
		}
	}
	where := fmt.Sprintf(`"receipt":%q`, of.receipt)
	if p.rng.IntN(2) == 0 {
		where = fmt.Sprintf(`"sale":%q`, of.id)
	}
	j := m.addReturn(id, version, of, n, qty)
	if of.training {
		j = func() (string, effect) { return no("sale-not-found") }
	}
	return to("/lines", fmt.Sprintf(`"quantity":%s,"reason":"sour","return":{%s,"line":%d}`, quantity(qty), where, n), j)
}

func (p *player) changeLine(to target, id, version string, n int) (call, judge) {
	var qty, price *int64
	var offs *[]off
	var note *string
	var members []string
	if p.rng.IntN(2) == 0 {
		v := int64(p.rng.IntN(5)) * 500
		qty, members = &v, append(members, member("quantity", quantity(v)))
	}
	if p.rng.IntN(3) == 0 {
		v := int64(p.rng.IntN(12)) * 100
		price, members = &v, append(members, member("price", v))
	}
	if p.rng.IntN(4) == 0 {
		list := p.offs(2)
		offs, members = &list, append(members, offsRequest(list))
	}
	if p.rng.IntN(5) == 0 {
		v := p.one(odd...)
		note, members = &v, append(members, text("note", v))
	}
	return to(fmt.Sprint("/lines/", n), strings.Join(members, ","), p.m.changeLine(id, version, n, qty, price, offs, note))
}

func (p *player) changeBasket(to target, id, version string) (call, judge) {
	var customer, note *string
	var age *int
	var offs *[]off
	var members []string
	if p.rng.IntN(3) == 0 {
		v := p.one("", p.one(odd...))
		customer, members = &v, append(members, cleared("customer", v))
	}
	if p.rng.IntN(3) == 0 {
		v := p.one("", p.one(odd...))
		note, members = &v, append(members, cleared("note", v))
	}
	if p.rng.IntN(3) == 0 {
		v := []int{0, 16, 30}[p.rng.IntN(3)]
		age, members = &v, append(members, member("age", v))
	}
	if p.rng.IntN(2) == 0 {
		list := p.offs(2)
		offs, members = &list, append(members, offsRequest(list))
	}
	return to("", strings.Join(members, ","), p.m.changeBasket(id, version, customer, note, age, offs))
}

func (p *player) tender(to target, b *basket, id, version string) (call, judge) {
	s, _ := p.m.sumsOf(b.lines, b.offs, b.exclusive)
	t := p.payment(s.total - b.paid())
	return to("/tenders", t.request(), p.m.addTender(id, version, t))
}

// payment draws a tender for what is due.
func (p *player) payment(due int64) tender {
	t := tender{kind: p.one("cash", "cash", "card", "voucher", "account"), amount: due}
	switch p.rng.IntN(6) {
	case 0:
		t.amount = due / 2
	case 1:
		t.amount = due + int64(p.rng.IntN(1000))
	case 2:
		t.amount = (due/500 + 1) * 500
	}
	switch {
	case t.kind != "cash":
		t.ref = p.one("slip 0042", "slip 0043", "slip 0044", "slip 0045")
	case p.rng.IntN(6) > 0:
		t.amount += toCoin(t.amount, p.m.coin)
	}
	return t
}

func (t *tender) request() string {
	list := []string{text("kind", t.kind), member("amount", t.amount)}
	if t.ref != "" {
		list = append(list, text("reference", t.ref))
	}
	return strings.Join(list, ",")
}

// checkout draws a sale in one call.
func (p *player) checkout() (call, judge) {
	var lines []line
	var parts []string
	for range 1 + p.rng.IntN(4) {
		l := p.line()
		lines, parts = append(lines, l), append(parts, "{"+l.request()+"}")
	}
	exclusive, op := p.rng.IntN(3) == 0, p.operator()
	var offs []off
	if p.rng.IntN(4) == 0 {
		offs = p.offs(2)
	}
	s, _ := p.m.sumsOf(lines, offs, exclusive)
	var tenders []tender
	var paid []string
	for due := s.total; due > 0 && len(tenders) < 3; {
		t := p.payment(due)
		due -= t.amount
		tenders, paid = append(tenders, t), append(paid, "{"+t.request()+"}")
	}
	b := body(text("operator", op), prices(exclusive), `"lines":[`+strings.Join(parts, ",")+"]", `"tenders":[`+strings.Join(paid, ",")+"]", offsRequest(offs))
	return call{path: "/v1/checkout", body: b}, p.m.checkout(lines, offs, tenders, exclusive, op)
}

func (p *player) voidSale() (call, judge) {
	if len(p.m.sales) == 0 {
		return p.checkout()
	}
	id, op := p.m.sales[len(p.m.sales)-1-p.rng.IntN(min(len(p.m.sales), 10))].id, p.operator()
	return call{path: "/v1/sales/" + id + "/void", body: body(text("operator", op), text("reason", "wrong"))}, p.m.voidSale(id, op)
}

func (p *player) openShift() (call, judge) {
	op, amount := p.operator(), int64(p.rng.IntN(3))*5000
	return call{path: "/v1/shift/open", body: body(text("operator", op), member("float", amount))}, p.m.openShift(op, amount)
}

// drawer draws what is done with the shift and the cash.
func (p *player) drawer() (call, judge) {
	op := p.operator()
	switch p.rng.IntN(10) {
	case 0:
		return p.openShift()
	case 1, 2:
		return call{path: "/v1/shift/close", body: body(text("operator", op))}, p.m.closeShift()
	case 4:
		return call{path: "/v1/shift/hand", body: body(text("to", op))}, p.m.hand(op)
	case 5:
		return call{path: "/v1/cash/open", body: body(text("operator", op), text("reason", "change"))}, p.m.cash("open", op, 0, -1)
	case 6:
		pieces := int64(p.rng.IntN(9))
		amount := pieces * 500
		if p.rng.IntN(5) == 0 {
			amount++
		}
		return call{path: "/v1/cash/declare", body: body(text("operator", op), member("amount", amount), fmt.Sprintf(`"counts":[{"value":500,"pieces":%d}]`, pieces))},
			p.m.cash("declare", op, amount, pieces*500)
	}
	what, amount := p.one("in", "out", "drop"), int64(p.rng.IntN(6))*700
	return call{path: "/v1/cash/" + what, body: body(text("operator", op), member("amount", amount))}, p.m.cash(what, op, amount, -1)
}
