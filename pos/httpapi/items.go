package httpapi

import (
	"net/http"
	"strconv"
	"time"

	"posd/pos"
	"posd/pos/catalogue"
	"posd/pos/event"
	"posd/pos/itemcode"
	"posd/pos/till"
)

// scanned is an item, with what the code that named it carries.
type scanned struct {
	item catalogue.Item
	code itemcode.Code
	// Of the code, in the item's unit and the till's currency. A quantity that the code
	// does not carry is 0.
	qty           pos.Qty
	price, amount pos.Money
	priced, fixed bool          // whether the code carries a price per unit, and one of the whole
	says          bool          // that price, and enough to compare it with the catalogue's
	today, day    itemcode.Date // the calendar's, and the business day that prices hold for
}

// fills tells whether the code says how much it is, or what it costs: then it is one
// piece as it was weighed or packed.
func (f *scanned) fills() bool { return f.qty != 0 || f.fixed }

func (f *scanned) expired() bool {
	return f.code.Expiry.Number() != 0 && f.code.Expiry.Number() < f.today.Number()
}

// scan finds the item that a scanned or typed code means. In the problem a pointer is
// missing, which the caller knows.
func (s *Server) scan(text string, set *terms) (f scanned, bad *problem) {
	f.today, f.day = s.days(set)
	rules := set.Codes
	if rules == nil {
		rules = s.codes
	}
	var err error
	f.code, err = rules.Read(text, int(f.today.Year))
	if f.code.Whole != "" && s.whole(&f, err) {
		return f, nil
	}
	if err != nil {
		return f, refuse("code-invalid", err.Error())
	}
	if bad := s.find(&f); bad != nil {
		return f, bad
	}
	return f, f.carried()
}

// whole finds the item that has this very code: patterns may fit more than labels. Of goods
// by weight, a code that cannot be read as a label is a label still, with nothing in it.
func (s *Server) whole(f *scanned, label error) bool {
	item, ok, _ := s.o.Catalogue.Lookup(f.code.Whole) // find says what is wrong
	if !ok || label != nil && measured(item.Unit) {
		return false
	}
	f.item, f.code = item, f.code.Plain()
	return true
}

// find tries the readings of the code in their order.
func (s *Server) find(f *scanned) *problem {
	for _, key := range f.code.Items {
		if key == "" {
			break
		}
		item, ok, err := s.o.Catalogue.Lookup(key)
		if err != nil {
			s.o.Log.Error("catalogue cannot be read", "error", err)
			return refuse("internal", "the catalogue cannot be read; import it again with posctl catalogue import")
		}
		if ok {
			f.item = item
			return nil
		}
	}
	if err := s.o.Catalogue.Err(); err != nil && s.o.Catalogue.Len() == 0 {
		return refuse("unknown-item", err.Error())
	}
	if d := f.code.Doubt; d != nil {
		return refuse("unknown-item", "the catalogue has no item "+strconv.Quote(f.code.Items[0])+"; if it was to be a GTIN, "+d.Error())
	}
	return refuse("unknown-item", "the catalogue has no item "+strconv.Quote(f.code.Items[0])+
		"; import it, or send description, tax and price instead of item")
}

// carried brings what the code carries into the item's terms.
func (f *scanned) carried() *problem {
	c := &f.code
	unit := f.item.Unit
	if unit == "" {
		unit = c.Measures[0].Unit
	}
	if first := c.Measures[0].Unit; first != "" {
		qty, ok := c.Measure(unit)
		if !ok && !c.Priced {
			return refuse("unit-mismatch", "item "+strconv.Quote(f.item.Code)+" is sold by "+strconv.Quote(unit)+", its label says how many "+first+
				" there are; correct the unit in the catalogue, or send the item's own number with a quantity")
		}
		f.qty = qty
	}
	f.amount, f.fixed = c.Amount, c.Priced
	f.price, f.priced = c.UnitPrice, c.UnitPriced && !c.Priced
	f.says = f.priced || f.fixed && (f.qty != 0 || !measured(unit))
	if price := f.item.PriceOn(f.day); f.fixed && f.qty == 0 && price > 0 && measured(unit) {
		f.qty = weightOf(f.amount, price)
	}
	return nil
}

// list is the price that the line has without anybody's doing: of the whole where the line
// has one of the whole. That of an open item is in its code.
func (f *scanned) list(l *pos.Line) pos.Money {
	price := f.item.PriceOn(f.day)
	if price == 0 || f.item.Open {
		if price = f.price; f.fixed {
			return f.amount
		}
	}
	if l.Fixed && l.Qty != 0 {
		price = min(pos.Part(price, l.Qty, 1000), pos.MaxAmount)
	}
	return price
}

// labelCoin is how far the price that a scale has printed may be from weight times price: to
// a coin, and with more digits of the weight than it prints.
const labelCoin pos.Money = 5

// differs tells a line's price from the one that it has without anybody's doing, and notes
// that.
func (f *scanned) differs(l *pos.Line, by pos.Money) bool {
	list := f.list(l)
	if d := list - l.Price; d <= by && -d <= by {
		return false
	}
	l.List, l.Changed = list, true
	return true
}

// measured tells units of which there are parts.
func measured(unit string) bool { return unit != "" && unit != "pc" }

// weightOf is how much was weighed for an amount, rounded: labels with a price do not
// say it, and stock is kept by weight. It decides no money. 0: it cannot be told.
func weightOf(amount, price pos.Money) pos.Qty {
	if amount > pos.MaxAmount/1000 {
		return 0
	}
	return pos.Qty((amount*1000 + price/2) / price)
}

// days are the calendar's day in the shop, and the business day.
func (s *Server) days(set *terms) (today, business itemcode.Date) {
	now := time.Now()
	if zone := s.o.Terminal.TimeZone; zone != nil {
		now = now.In(zone)
	}
	year, month, day := now.Date()
	today, business = itemcode.Date{Year: int16(year), Month: uint8(month), Day: uint8(day)}, dayOf(set.date)
	// A clock that was reset, and that nothing has set since, is not believed here either.
	if today.Number() < business.Number() && s.o.Register.Status().Clock != event.ClockSynced {
		today = business
	}
	return today, business
}

// dayOf reads YYYY-MM-DD, as the register writes it.
func dayOf(date string) (d itemcode.Date) {
	if len(date) == len("2026-11-21") {
		n := func(s string) (v int) {
			for i := range len(s) {
				v = 10*v + int(s[i]-'0')
			}
			return v
		}
		d = itemcode.Date{Year: int16(n(date[:4])), Month: uint8(n(date[5:7])), Day: uint8(n(date[8:]))}
	}
	return d
}

// fromCatalogue fills in what the request leaves open.
func (s *Server) fromCatalogue(l *pos.Line, r *requestLine, i int, set *terms) *problem {
	at := func(p *problem, member string) *problem {
		p.detail = "line " + strconv.Itoa(i+1) + ": " + p.detail
		return p.at(linePointer(i, member))
	}
	f, bad := s.scan(r.item, set)
	switch {
	case bad != nil:
		return at(bad, "item")
	case f.expired() && !r.back: // which is why it comes back, perhaps
		return at(refuse("item-expired", "the label of "+strconv.Quote(f.item.Code)+" says use by "+f.code.Expiry.String()+
			"; do not sell it. If the label is wrong, send the item's own number"), "item")
	case f.fills() && r.counted && l.Qty != 1000 && l.Qty != f.qty:
		return at(refuse(till.CodeLabel, "the label of "+strconv.Quote(f.item.Code)+" is that of one piece, which says how much it is; leave quantity out, and scan each piece"), "quantity")
	case f.qty == 0 && r.counted && !f.item.Takes(l.Qty):
		return at(refuse("quantity-invalid", "item "+strconv.Quote(f.item.Code)+" is sold with at most "+strconv.Itoa(int(f.item.Decimals))+
			" decimals, not "+l.Qty.String()), "quantity")
	}
	if l.Item = f.item.Code; r.item != l.Item {
		l.Code = r.item
	}
	r.byHand = another(r.tax, f.item.Tax) || another(r.unit, f.item.Unit) ||
		!f.item.Open && (another(r.description, f.item.Description) || another(r.department, f.item.Department))
	setDefault(&l.Description, f.item.Description)
	setDefault(&l.Department, f.item.Department)
	setDefault(&l.Unit, f.item.Unit)
	setDefault(&l.Tax, f.item.Tax)
	if f.qty != 0 {
		l.Qty = f.qty
		setDefault(&l.Unit, f.code.Measures[0].Unit)
	}
	r.minAge = int(f.item.Age)
	switch {
	case r.priced || r.fixed:
		if r.open = f.item.Open && !f.fixed && !f.priced; !r.open {
			differs := f.differs(l, 0)
			r.byHand = r.byHand || differs || r.fixed || f.fixed || f.priced
		}
	case f.fixed || f.priced: // anybody can print a code
		by := pos.Money(0)
		if l.Price, l.Fixed = f.price, f.fixed; f.fixed {
			l.Price = f.amount
			if measured(l.Unit) {
				by = labelCoin
			}
		}
		r.byHand = f.says && f.differs(l, by) || r.byHand
	case f.item.Open:
		return at(refuse("price-required", "item "+strconv.Quote(f.item.Code)+" has no fixed price; send price or amount"), "price")
	default:
		l.Price = f.item.PriceOn(f.day)
	}
	return nil
}

// another tells what a front end says of an item from what the catalogue has.
func another(said, has string) bool { return said != "" && has != "" && said != has }

const (
	itemsPath = "/v1/items"
	itemPath  = itemsPath + "/"

	usualFound = 20 // items by name, if nobody says how many
)

// items answers GET /v1/items/{code}, /v1/items?code= and /v1/items?name=.
func (s *Server) items(w http.ResponseWriter, r *http.Request) int {
	if len(r.URL.Path) > len(itemPath) {
		if r.URL.RawQuery != "" {
			return s.refused(w, refuse("query-invalid", "this resource takes no query; a code with a question mark has to be escaped"))
		}
		return s.byCode(w, r.URL.Path[len(itemPath):])
	}
	q, ok := queryOf(r, "code", "name", "limit")
	code, name, limit := q.Get("code"), q.Get("name"), q.Get("limit")
	switch {
	case ok && code != "" && len(q) == 1:
		return s.byCode(w, code)
	case ok && name != "" && (len(q) == 1 || len(q) == 2 && limit != ""):
		return s.byName(w, name, limit)
	}
	return s.refused(w, refuse("query-invalid", "name one code, /v1/items?code=4006381333931, or a name and perhaps a limit, /v1/items?name=choc+milk&limit=10"))
}

// byName answers with the items whose names have words that begin so.
func (s *Server) byName(w http.ResponseWriter, name, limit string) int {
	most := usualFound
	if limit != "" {
		if most = number(limit); most < 1 || most > catalogue.MaxFound {
			return s.refused(w, refuse("query-invalid", "limit goes from 1 to "+strconv.Itoa(catalogue.MaxFound)))
		}
	}
	if len(name) > maxText {
		return s.refused(w, refuse("query-invalid", "a name has at most "+strconv.Itoa(maxText)+" bytes"))
	}
	found, more, err := s.o.Catalogue.Find(name, most)
	if err != nil {
		s.o.Log.Error("catalogue cannot be searched", "error", err)
		return s.refused(w, refuse("internal", "the catalogue cannot be searched by name; import it again with posctl catalogue import"))
	}
	set := s.terms()
	_, day := s.days(&set)
	x := s.exchange()
	defer s.done(x)
	x.out = append(x.out, `{"items":[`...)
	for i := range found {
		if i > 0 {
			x.out = append(x.out, ',')
		}
		x.out = appendItem(x.out, &found[i], day)
	}
	x.out = append(strconv.AppendBool(append(x.out, `],"more":`...), more), "}\n"...)
	return writeJSON(w, http.StatusOK, x.out)
}

// byCode answers with the item that a code means, and what the code says besides.
func (s *Server) byCode(w http.ResponseWriter, code string) int {
	set := s.terms()
	f, bad := s.scan(code, &set)
	if bad != nil {
		if bad.kind.slug == "unknown-item" {
			bad = refuse("item-not-found", bad.detail)
		}
		return s.refused(w, bad)
	}
	x := s.exchange()
	defer s.done(x)
	x.out = append(appendItem(append(x.out, `{"item":`...), &f.item, f.day), ',')
	x.out = append(f.append(append(x.out, `"code":`...), code), "}\n"...)
	return writeJSON(w, http.StatusOK, x.out)
}

// appendItem appends an item as the catalogue has it, with its price on a day.
func appendItem(b []byte, it *catalogue.Item, day itemcode.Date) []byte {
	b = event.AppendString(append(b, `{"item":`...), it.Code)
	b = event.AppendString(append(b, `,"description":`...), it.Description)
	b = appendSome(b, "department", it.Department)
	b = appendSome(b, "unit", it.Unit)
	b = strconv.AppendInt(append(b, `,"decimals":`...), int64(it.Decimals), 10)
	b = event.AppendString(append(b, `,"tax":`...), it.Tax)
	if it.Age > 0 {
		b = strconv.AppendInt(append(b, `,"age":`...), int64(it.Age), 10)
	}
	if it.Open {
		return append(b, `,"open":true}`...)
	}
	b = strconv.AppendInt(append(b, `,"price":`...), int64(it.PriceOn(day)), 10)
	if it.From.Number() > day.Number() {
		b = strconv.AppendInt(append(b, `,"next_price":`...), int64(it.Next), 10)
		b = appendSome(b, "next_from", it.From.String())
	}
	return append(b, '}')
}

// append appends what the code says.
func (f *scanned) append(b []byte, text string) []byte {
	c := &f.code
	b = event.AppendString(append(b, `{"text":`...), text)
	if c.GTIN != 0 {
		b = append(append(append(b, `,"gtin":"`...), c.GTIN.String()...), '"')
	}
	if f.qty != 0 {
		b = append(f.qty.Append(append(b, `,"quantity":"`...)), '"')
	}
	if f.fixed {
		b = strconv.AppendInt(append(b, `,"amount":`...), int64(f.amount), 10)
	}
	if f.priced {
		b = strconv.AppendInt(append(b, `,"price":`...), int64(f.price), 10)
	}
	b = appendSome(b, "batch", c.Batch)
	b = appendSome(b, "serial", c.Serial)
	b = appendSome(b, "add_on", c.AddOn)
	b = appendSome(b, "best_before", c.BestBefore.String())
	b = appendSome(b, "sell_by", c.SellBy.String())
	b = appendSome(b, "use_by", c.Expiry.String())
	if f.expired() {
		b = append(b, `,"expired":true`...)
	}
	return append(b, '}')
}

// appendSome appends a member that has something to say.
func appendSome(b []byte, name, value string) []byte {
	if value == "" {
		return b
	}
	b = append(append(append(b, ',', '"'), name...), '"', ':')
	return event.AppendString(b, value)
}
