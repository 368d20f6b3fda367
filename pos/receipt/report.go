package receipt

import (
	"strconv"

	"posd/pos"
	"posd/pos/event"
)

// Z is the report of a shift that was closed.
func Z(e *event.ShiftClosed, o Options) Document {
	w := newWriter(o.Shop, e.Currency)
	number := strconv.FormatUint(e.Z, 10)
	w.doc.Title = join(w.say(wZ), number)
	w.header()
	w.text(Bold|Double|Center, w.doc.Title)
	w.shift(e, o)
	if o.Copy > 0 {
		w.text(Bold|Double|Center, w.say(wCopy), strconv.Itoa(o.Copy))
	}
	if o.Head != ([32]byte{}) && o.Record != "" {
		w.doc.Code(QR, Mark{Receipt: o.Terminal + "-Z" + number, Sale: o.Record, Head: o.Head}.String())
	}
	w.doc.Add(Cut, 0)
	return w.doc
}

// X is the report of a shift that goes on: e is what it would be if it ended now.
// With o.Blind, nothing stands in it from which follows what should be in the drawer.
func X(e *event.ShiftClosed, o Options) Document {
	w := newWriter(o.Shop, e.Currency)
	w.doc.Title = w.say(wX)
	w.header()
	w.text(Bold|Double|Center, w.doc.Title)
	w.shift(e, o)
	w.doc.Add(Cut, 0)
	return w.doc
}

func (w *writer) shift(e *event.ShiftClosed, o Options) {
	t := &e.Totals
	operator := e.Operator
	if operator == "" {
		operator = o.Operator
	}
	w.place(o, operator)
	w.row(0, join(w.say(wShift), strconv.FormatUint(e.Shift, 10)), join(w.say(wDay), e.BusinessDate))
	w.rule()
	w.count(wSales, int64(t.Sales), t.Gross, true)
	w.row(Bold, join(w.say(wTurnover), e.Currency.Code), w.plain(t.Gross))
	w.count(wRefunds, t.Refunds, -t.Refunded, true)
	w.count(wLinesReturned, t.LinesReturned, -t.LinesReturnedSum, true)
	w.count(wVoids, t.PostVoids, 0, false)
	w.some(wDiscounts, -t.Discounts)
	w.taxTable(t.Taxes)
	if !o.Blind {
		w.money(e)
	}
	w.rule()
	w.count(wOpened, t.DrawerOpened, 0, false)
	w.count(wLinesVoided, t.LinesVoided, t.LinesVoidedSum, true)
	w.count(wBasketsVoided, t.BasketsVoided, t.BasketsVoidedSum, true)
	w.count(wBasketsOpen, t.BasketsOpen, t.BasketsOpenSum, true)
	w.count(wPriceChanges, t.PriceChanges, 0, false)
	w.count(wCopies, t.Copies, 0, false)
	w.count(wTrainings, t.Trainings, 0, false)
	w.row(Bold, w.say(wGrandTotal), w.plain(t.Perpetual))
	w.some(wRefunds, -t.PerpetualRefunds)
	if e.Approved != "" {
		w.row(0, w.say(wApproved), e.Approved)
	}
}

// money is what came in by which means, and what should be in the drawer.
func (w *writer) money(e *event.ShiftClosed) {
	t := &e.Totals
	w.rule()
	w.row(0, w.say(wCash), w.plain(t.Cash))
	w.row(0, w.say(wCard), w.plain(t.Card))
	w.some(wVoucher, t.Voucher)
	w.some(wAccount, t.Account)
	w.some(wRounding, t.CashRounding)
	w.rule()
	w.row(0, w.say(wFloat), w.plain(t.Float))
	w.row(0, w.say(wCash), w.plain(t.Cash))
	w.some(wIn, t.In)
	w.some(wOut, -t.Out)
	w.some(wDropped, -t.Dropped)
	w.row(0, w.say(wExpected), w.plain(t.Drawer()))
	if e.Counted {
		w.row(0, w.say(wCounted), w.plain(e.Declared))
		w.row(Bold, w.say(wDifference), w.plain(e.Declared-e.Expected))
	}
}

// place says when and where a paper other than a sale was made.
func (w *writer) place(o Options, operator string) {
	w.row(0, join(w.say(wTill), o.Store+"/"+o.Terminal), join(w.say(wOperator), operator))
	if !o.Time.IsZero() {
		w.text(0, o.Time.Format("2006-01-02 15:04"))
	}
}

// count is how often something was done, and for how much. A report tells of what
// was not done too: a zero is a statement.
func (w *writer) count(n word, times int64, sum pos.Money, money bool) {
	if money {
		w.row(0, w.say(n), strconv.FormatInt(times, 10), w.plain(sum))
		return
	}
	w.row(0, w.say(n), strconv.FormatInt(times, 10))
}

func (w *writer) some(n word, m pos.Money) {
	if m != 0 {
		w.row(0, w.say(n), w.plain(m))
	}
}

var cashWords = map[string]word{event.TypeCashIn: wIn, event.TypeCashOut: wOut, event.TypeCashDropped: wDropped,
	event.TypeDrawerOpened: wOpened, event.TypeCashDeclared: wDeclared}

// CashSlip is the paper of cash that was put in, taken out or counted, to be signed. It
// does not tell what should have been counted.
func CashSlip(e *event.Cash, o Options) Document {
	w := newWriter(o.Shop, o.Currency)
	w.doc.Title = e.Type
	if n, known := cashWords[e.Type]; known {
		w.doc.Title = w.say(n)
	}
	if o.Drawer {
		w.doc.Add(Drawer, 0)
	}
	w.header()
	w.text(Bold|Double|Center, w.doc.Title)
	w.place(o, e.Operator)
	w.text(0, w.say(wShift), strconv.FormatUint(e.Shift, 10))
	w.rule()
	for i := range e.Counts {
		c := &e.Counts[i]
		sum := pos.Money(c.Pieces) * c.Value // of counts that the till has checked
		w.row(0, w.plain(c.Value), strconv.Itoa(c.Pieces)+" x", w.plain(sum))
	}
	if e.Type != event.TypeDrawerOpened {
		w.row(Bold|Double, w.doc.Title, w.plain(e.Amount))
	}
	if e.Reason != "" {
		w.row(0, w.say(wReason), e.Reason)
	}
	if e.Approved != "" {
		w.row(0, w.say(wApproved), e.Approved)
	}
	w.text(0, "")
	w.text(0, "")
	w.rule()
	w.text(0, w.say(wSignature))
	w.doc.Add(Cut, 0)
	return w.doc
}
