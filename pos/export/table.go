package export

import (
	"bytes"
	"encoding/hex"
	"strconv"
	"strings"
	"time"

	"posd/pos"
	"posd/pos/event"
)

// encoder turns events into lines.
type encoder struct {
	j   *Job
	buf []byte

	first bool // the next cell is the first of its row
	c     pos.Currency
}

// columns of each table. docs/integrate.md says what stands in them.
var columns = map[string]string{
	"sales":   "sale,receipt,number,time,business_date,shift,operator,currency,lines,net,tax,total,cash_rounding,cash,card,voucher,account,discounts,prices,basket,customer,age,note,void_of,void_receipt,approved",
	"lines":   "sale,receipt,time,business_date,shift,operator,line,item,code,description,department,quantity,unit,price,list,discounts,amount,tax,rate,return_sale,return_receipt,return_line,return_reason,note,approved",
	"tenders": "sale,receipt,time,business_date,shift,operator,tender,kind,amount,reference,brand,last4,auth,offline",
	"taxes":   "sale,receipt,time,business_date,shift,operator,code,rate,net,tax,gross",
}

func (e *encoder) begin() {
	if e.j.Format == CSV {
		e.buf = append(append(e.buf, columns[e.j.Rows]...), "\r\n"...)
	}
}

func (e *encoder) flush(w *file) error {
	err := w.write(e.buf)
	e.buf = e.buf[:0]
	return err
}

// event appends a record as the job wants it. A sale that cannot be read is an event of a
// newer release: a table leaves it out.
func (e *encoder) event(r *record) {
	e.j.Read++
	if e.j.Format == JSONL {
		if bytes.ContainsAny(r.payload, "\r\n") { // which no release writes
			return
		}
		e.buf = append(e.buf, `{"journal":"`...)
		e.buf = append(hex.AppendEncode(e.buf, r.journal[:]), `","seq":`...)
		e.buf = append(strconv.AppendUint(e.buf, r.seq, 10), `,"head":"`...)
		e.buf = append(hex.AppendEncode(e.buf, r.head[:]), `","event":`...)
		e.buf = append(append(e.buf, r.payload...), "}\n"...)
		e.j.Written++
		return
	}
	if r.kind != event.TypeSaleCompleted { // training is outside of all tables
		return
	}
	h, data, err := event.Parse(r.payload)
	if err != nil {
		return
	}
	s, err := event.ParseSale(data)
	if err != nil {
		return
	}
	e.c = s.Currency
	switch e.j.Rows {
	case "sales":
		e.sale(&s, h.Time)
	case "lines":
		for i := range s.Lines {
			e.line(&s, h.Time, i)
		}
	case "tenders":
		e.tenders(&s, h.Time)
	default:
		for i := range s.Taxes {
			t := &s.Taxes[i]
			e.of(&s, h.Time)
			e.text(t.Code)
			e.rate(t.Rate)
			e.money(t.Net)
			e.money(t.Tax)
			e.money(t.Gross)
			e.end()
		}
	}
}

func (e *encoder) sale(s *event.SaleCompleted, at time.Time) {
	var net, tax pos.Money
	for i := range s.Taxes {
		net, tax = net+s.Taxes[i].Net, tax+s.Taxes[i].Tax
	}
	paid := map[pos.TenderKind]pos.Money{pos.Cash: -s.Change}
	for i := range s.Tenders {
		paid[s.Tenders[i].Kind] += s.Tenders[i].Amount
	}
	e.row()
	e.text(s.Sale)
	e.text(s.Receipt)
	e.number(s.Number)
	e.time(at)
	e.text(s.BusinessDate)
	e.number(s.Shift)
	e.text(s.Operator)
	e.text(s.Currency.Code)
	e.number(uint64(len(s.Lines)))
	for _, m := range []pos.Money{net, tax, s.Total, s.CashRounding, paid[pos.Cash], paid[pos.Card], paid[pos.Voucher], paid[pos.Account], taken(s)} {
		e.money(m)
	}
	e.text(s.Prices.String())
	e.text(s.Basket)
	e.text(s.Customer)
	e.some(s.Age)
	e.text(s.Note)
	e.text(s.VoidOf)
	e.text(s.VoidReceipt)
	e.text(s.Approved)
	e.end()
}

// taken is what discounts took off.
func taken(s *event.SaleCompleted) (sum pos.Money) {
	for i := range s.Lines {
		sum += takenOff(s.Lines[i].Discounts)
	}
	return sum
}

func takenOff(list []pos.Discount) (sum pos.Money) {
	for i := range list {
		sum += list[i].Amount
	}
	return sum
}

// of begins a row of a part of a sale.
func (e *encoder) of(s *event.SaleCompleted, at time.Time) {
	e.row()
	e.text(s.Sale)
	e.text(s.Receipt)
	e.time(at)
	e.text(s.BusinessDate)
	e.number(s.Shift)
	e.text(s.Operator)
}

func (e *encoder) line(s *event.SaleCompleted, at time.Time, i int) {
	l := &s.Lines[i]
	e.of(s, at)
	e.number(uint64(i + 1))
	e.text(l.Item)
	e.text(l.Code)
	e.text(l.Description)
	e.text(l.Department)
	e.cell()
	e.buf = l.Qty.Append(e.buf)
	e.text(l.Unit)
	if l.Fixed {
		e.cell()
	} else {
		e.money(l.Price)
	}
	if l.Changed {
		e.money(l.List)
	} else {
		e.cell()
	}
	e.money(takenOff(l.Discounts))
	e.money(l.Amount)
	e.text(l.Tax)
	e.rate(l.Rate)
	r := l.Return
	if r == nil {
		r = &pos.Return{}
	}
	e.text(r.Sale)
	e.text(r.Receipt)
	e.some(r.Line)
	e.text(r.Reason)
	e.text(l.Note)
	e.text(l.Approved)
	e.end()
}

// tenders writes the change as one more, so that they add up to what was owed.
func (e *encoder) tenders(s *event.SaleCompleted, at time.Time) {
	list := s.Tenders
	if s.Change != 0 {
		list = append(list[:len(list):len(list)], pos.Tender{Kind: "change", Amount: -s.Change})
	}
	for i := range list {
		t := &list[i]
		c := t.Card
		if c == nil {
			c = &pos.CardData{}
		}
		e.of(s, at)
		e.number(uint64(i + 1))
		e.text(string(t.Kind))
		e.money(t.Amount)
		e.text(t.Reference)
		e.text(c.Brand)
		e.text(c.Last4)
		e.text(c.Auth)
		e.cell()
		if c.Offline {
			e.buf = append(e.buf, '1')
		}
		e.end()
	}
}

func (e *encoder) row() { e.first = true }

func (e *encoder) end() {
	e.buf = append(e.buf, "\r\n"...)
	e.j.Written++
}

func (e *encoder) cell() {
	if !e.first {
		e.buf = append(e.buf, ',')
	}
	e.first = false
}

// text is a cell with what somebody has written. A spreadsheet takes what begins with one
// of these characters for a formula, which is to be no till's doing: an apostrophe keeps
// it a text.
func (e *encoder) text(s string) {
	e.cell()
	if s == "" {
		return
	}
	formula := strings.IndexByte("=+-@\t\r", s[0]) >= 0
	if !formula && !strings.ContainsAny(s, "\",\r\n") && s[0] != ' ' && s[len(s)-1] != ' ' {
		e.buf = append(e.buf, s...)
		return
	}
	e.buf = append(e.buf, '"')
	if formula {
		e.buf = append(e.buf, '\'')
	}
	for i := 0; i < len(s); i++ {
		if s[i] == '"' {
			e.buf = append(e.buf, '"')
		}
		e.buf = append(e.buf, s[i])
	}
	e.buf = append(e.buf, '"')
}

func (e *encoder) number(n uint64) {
	e.cell()
	e.buf = strconv.AppendUint(e.buf, n, 10)
}

// some is a number of which 0 is none.
func (e *encoder) some(n int) {
	e.cell()
	if n != 0 {
		e.buf = strconv.AppendInt(e.buf, int64(n), 10)
	}
}

func (e *encoder) money(m pos.Money) {
	e.cell()
	e.buf = m.Append(e.buf, e.c)
}

func (e *encoder) rate(r pos.Rate) {
	e.cell()
	e.buf = r.Append(e.buf)
}

func (e *encoder) time(t time.Time) {
	e.cell()
	e.buf = t.UTC().AppendFormat(e.buf, "2006-01-02T15:04:05.000Z")
}
