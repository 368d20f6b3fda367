package receipt

import (
	"strconv"
	"time"

	"posd/pos"
	"posd/pos/event"
)

// Shop is what all receipts of a shop have in common.
type Shop struct {
	Header, Footer []string // lines; the first one of the header is large
	TaxNumber      string
	Language       string // one of Languages
	DecimalComma   bool   // 1,99 instead of 1.99
}

// Options say which receipt of a sale is wanted.
type Options struct {
	Shop    *Shop     // nil: nothing is known of it
	Copy    int       // 0: the receipt; n: its copy n, which says so
	Time    time.Time // of the event, in the shop's time zone; zero: only the business day is told
	Head    [32]byte  // chain head of the event's record; zero: no QR code
	Barcode bool      // the receipt's number as a bar code, for till scanners
	Drawer  bool      // opens the drawer, before the paper comes
	Preview bool      // to be looked at: says that it is no receipt, and has no code

	// Of what is not a sale, which tells these itself.
	Store, Terminal, Operator string
	Currency                  pos.Currency
	Record                    string // of a report: the id of its record, formed like a sale's
	Blind                     bool   // of an X report: cash will be counted by somebody who must not know the sum
}

// Sale is the receipt of a sale, in training or real, with its returns, or of the
// void of a sale. The figures in its right column add up to the total.
func Sale(e *event.SaleCompleted, o Options) Document {
	w := newWriter(o.Shop, e.Currency)
	for i := range e.Lines {
		w.column = max(w.column, len(e.Lines[i].Tax))
	}
	w.doc.Title = join(w.say(wReceipt), e.Receipt)
	w.doc.Blocks = make([]Block, 0, 32+2*len(e.Lines))
	if o.Drawer {
		w.doc.Add(Drawer, 0)
	}
	w.header()
	w.marks(e, o)
	w.about(e, o)
	w.rule()
	for i := range e.Lines {
		w.line(&e.Lines[i])
	}
	w.rule()
	w.total(e)
	for i := range e.Tenders {
		w.tender(&e.Tenders[i])
	}
	if e.Change != 0 {
		w.row(0, w.say(wChange), w.amount(e.Change))
	}
	w.column = 0
	w.taxTable(e.Taxes)
	w.marks(e, o)
	w.footer(e, o)
	return w.doc
}

func (w *writer) header() {
	s := w.shop
	for i, line := range s.Header {
		if i == 0 {
			w.text(Bold|Double|Center, line)
		} else {
			w.text(Center, line)
		}
	}
	if s.TaxNumber != "" {
		w.text(Center, w.say(wTaxNumber), s.TaxNumber)
	}
}

// marks says what keeps this paper from being a receipt of goods. It stands at both
// ends, so that neither can be torn off.
func (w *writer) marks(e *event.SaleCompleted, o Options) {
	if e.Training {
		w.text(Bold|Double|Center, w.say(wTraining))
	}
	if e.VoidOf != "" {
		of := e.VoidReceipt
		if of == "" {
			of = e.VoidOf
		}
		w.text(Bold|Double|Center, w.say(wVoid), of)
	}
	if o.Copy > 0 {
		w.text(Bold|Double|Center, w.say(wCopy), strconv.Itoa(o.Copy))
	}
	if o.Preview {
		w.text(Bold|Double|Center, w.say(wPreview))
	}
}

// about says which sale it is.
func (w *writer) about(e *event.SaleCompleted, o Options) {
	when := e.BusinessDate
	if !o.Time.IsZero() {
		when = o.Time.Format("2006-01-02 15:04")
	}
	w.rule()
	w.row(0, join(w.say(wReceipt), e.Receipt), when)
	w.row(0, join(w.say(wTill), e.Store+"/"+e.Terminal), join(w.say(wOperator), e.Operator))
	shift := join(w.say(wShift), strconv.FormatUint(e.Shift, 10))
	if o.Time.IsZero() {
		w.text(0, shift)
	} else {
		w.row(0, shift, join(w.say(wDay), e.BusinessDate))
	}
	if e.Customer != "" {
		w.row(0, w.say(wCustomer), e.Customer)
	}
	if e.Age > 0 {
		w.row(0, w.say(wAge), strconv.Itoa(e.Age))
	}
}

// line shows what a line cost before discounts, and its own discounts below. Its
// shares of the sale's discounts are told once, for all lines.
func (w *writer) line(l *pos.Line) {
	name := l.Description
	if name == "" {
		name = l.Item
	}
	if name == "" {
		name = l.Department
	}
	if l.Return != nil {
		name = join(w.say(wReturn), name)
	}
	before := l.Amount
	for i := range l.Discounts {
		before += l.Discounts[i].Amount
	}
	w.row(0, name, w.coded(before, l.Tax))
	switch {
	case l.Fixed && l.Qty == 1000 && l.Unit == "pc":
	case l.Fixed:
		w.text(0, "  "+w.quantity(l.Qty), l.Unit)
	case l.Qty != 1000 || l.Unit != "pc" || l.Changed:
		unit := l.Unit
		if unit == "pc" {
			unit = ""
		}
		w.text(0, "  "+w.quantity(l.Qty), unit, "x", w.plain(l.Price))
	}
	if l.Changed {
		w.text(0, "  "+w.say(wInsteadOf), w.plain(l.List))
	}
	for i := range l.Discounts {
		if d := &l.Discounts[i]; d.Of == 0 {
			w.discount("  ", d)
		}
	}
	if l.Return != nil {
		w.returned(l.Return)
	}
	if l.Note != "" {
		w.text(0, "  "+l.Note)
	}
}

func (w *writer) discount(indent string, d *pos.Discount) {
	percent := ""
	if d.Percent > 0 {
		percent = w.percent(d.Percent)
	}
	w.row(0, join(indent+w.say(wDiscount), percent, d.Reason), w.amount(-d.Amount))
}

func (w *writer) returned(r *pos.Return) {
	line := ""
	if r.Line > 0 {
		line = w.say(wLine) + " " + strconv.Itoa(r.Line)
	}
	switch {
	case r.Receipt != "":
		w.text(0, "  "+w.say(wOfReceipt), r.Receipt, line)
	case r.Sale != "":
		w.text(0, "  "+w.say(wOfSale), r.Sale, line)
	}
	if r.Reason != "" {
		w.text(0, "  "+r.Reason)
	}
}

// total goes from the lines to what is owed.
func (w *writer) total(e *event.SaleCompleted) {
	if e.Prices == pos.Exclusive || len(e.Discounts) > 0 {
		var sum pos.Money
		for i := range e.Lines {
			l := &e.Lines[i]
			sum += l.Amount
			for j := range l.Discounts {
				if d := &l.Discounts[j]; d.Of > 0 {
					sum += d.Amount
				}
			}
		}
		w.row(0, w.say(wSubtotal), w.amount(sum))
		for i := range e.Discounts {
			w.discount("", &e.Discounts[i])
		}
	}
	if e.Prices == pos.Exclusive {
		for i := range e.Taxes {
			t := &e.Taxes[i]
			w.row(0, join(w.say(wTax), t.Code, w.percent(t.Rate)), w.amount(t.Tax))
		}
	}
	w.row(Bold|Double, join(w.say(wTotal), e.Currency.Code), w.plain(e.Total))
	if e.CashRounding != 0 {
		w.row(0, w.say(wRounding), w.amount(e.CashRounding))
	}
}

var kinds = map[pos.TenderKind]word{pos.Cash: wCash, pos.Card: wCard, pos.Voucher: wVoucher, pos.Account: wAccount}

func (w *writer) tender(t *pos.Tender) {
	name, known := string(t.Kind), false
	var n word
	if n, known = kinds[t.Kind]; known {
		name = w.say(n)
	}
	if t.Kind == pos.Voucher || t.Kind == pos.Account {
		name = join(name, t.Reference)
	}
	if t.Amount < 0 {
		name = join(name, w.say(wPaidOut))
	}
	w.row(0, name, w.amount(t.Amount))
	if t.Kind != pos.Card {
		return
	}
	if c := t.Card; c != nil {
		number, auth, offline := "", "", ""
		if c.Last4 != "" {
			number = "****" + c.Last4
		}
		if c.Auth != "" {
			auth = w.say(wAuth) + " " + c.Auth
		}
		if c.Offline {
			offline = w.say(wOffline)
		}
		if s := join(c.Brand, number, auth, offline); s != "" {
			w.text(0, "  "+s)
		}
	}
	if t.Reference != "" {
		w.text(0, "  "+w.say(wReference), t.Reference)
	}
}

func (w *writer) taxTable(taxes []pos.TaxTotal) {
	if len(taxes) == 0 {
		return
	}
	w.rule()
	w.row(0, w.say(wTax), w.say(wNet), w.say(wTax), w.say(wGross))
	for i := range taxes {
		t := &taxes[i]
		w.row(0, join(t.Code, w.percent(t.Rate)), w.plain(t.Net), w.plain(t.Tax), w.plain(t.Gross))
	}
}

func (w *writer) footer(e *event.SaleCompleted, o Options) {
	if e.Note != "" {
		w.rule()
		w.text(0, e.Note)
	}
	if len(w.shop.Footer) > 0 {
		w.rule()
		for _, line := range w.shop.Footer {
			w.text(Center, line)
		}
	}
	if o.Barcode && !o.Preview {
		w.doc.Code(Code128, e.Receipt)
	}
	// A training receipt has nothing that could be shown to an auditor.
	if o.Head != ([32]byte{}) && !e.Training && !o.Preview {
		w.doc.Code(QR, Mark{Receipt: e.Receipt, Sale: e.Sale, Head: o.Head}.String())
	}
	w.doc.Add(Cut, 0)
}
