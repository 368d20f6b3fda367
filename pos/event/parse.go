package event

import (
	"math"

	"posd/pos"
)

// ParseSale reads the data of a sale.completed, or of a training.completed, which
// differ in nothing but the event's type. Errors: ErrMalformed.
func ParseSale(data []byte) (SaleCompleted, error) {
	var e SaleCompleted
	r := newReader(data)
	r.object(members{
		{"sale", &e.Sale, must},
		{"receipt", &e.Receipt, must},
		{"number", &e.Number, must},
		{"store", &e.Store, must},
		{"terminal", &e.Terminal, must},
		{"shift", &e.Shift, must},
		{"business_date", &e.BusinessDate, must},
		{"operator", &e.Operator, must},
		{"currency", &e.Currency, must},
		{"prices", &e.Prices, must},
		{"rounding", &e.Rounding, must},
		{"lines", func() { r.array(func() { e.Lines = append(e.Lines, r.line(len(e.Lines)+1)) }) }, must},
		{"taxes", &e.Taxes, must},
		{"total", &e.Total, must},
		{"tenders", func() { r.array(func() { e.Tenders = append(e.Tenders, r.tender()) }) }, must},
		{"change", &e.Change, must},
		{"perpetual", &e.Perpetual, must},
		{"refunds", &e.Refunds, may},
		{"basket", &e.Basket, may},
		{"opened", &e.Opened, may},
		{"discounts", &e.Discounts, may},
		{"cash_rounding", &e.CashRounding, may},
		{"customer", &e.Customer, may},
		{"note", &e.Note, may},
		{"age", &e.Age, may},
		{"void_of", &e.VoidOf, may},
		{"void_receipt", &e.VoidReceipt, may},
		{"approved", &e.Approved, may},
		{"print", &e.Print, may},
	})
	return finish(r, e)
}

// ParseShiftOpened reads the data of a shift.opened. Errors: ErrMalformed.
func ParseShiftOpened(data []byte) (ShiftOpened, error) {
	var e ShiftOpened
	r := newReader(data)
	r.object(members{
		{"shift", &e.Shift, must},
		{"business_date", &e.BusinessDate, must},
		{"operator", &e.Operator, must},
		{"implicit", &e.Implicit, may},
		{"currency", &e.Currency, must},
		{"float", &e.Float, may},
		{"approved", &e.Approved, may},
	})
	return finish(r, e)
}

// ParseShiftHanded reads the data of a shift.handed. Errors: ErrMalformed.
func ParseShiftHanded(data []byte) (ShiftHanded, error) {
	var e ShiftHanded
	r := newReader(data)
	r.object(members{
		{"shift", &e.Shift, must},
		{"from", &e.From, must},
		{"to", &e.To, must},
		{"operator", &e.Operator, may},
		{"approved", &e.Approved, may},
	})
	return finish(r, e)
}

// ParseShiftClosed reads the data of a shift.closed. Errors: ErrMalformed.
func ParseShiftClosed(data []byte) (ShiftClosed, error) {
	var e ShiftClosed
	r := newReader(data)
	r.object(members{
		{"shift", &e.Shift, must},
		{"business_date", &e.BusinessDate, must},
		{"implicit", &e.Implicit, may},
		{"currency", &e.Currency, must},
		{"totals", &e.Totals, must},
		{"z", &e.Z, may},
		{"operator", &e.Operator, may},
		{"approved", &e.Approved, may},
		{"expected", &e.Expected, may},
		{"declared", func() { e.Declared, e.Counted = r.money(), true }, may},
	})
	return finish(r, e)
}

// ParseTotals reads what ShiftTotals.AppendData writes. Errors: ErrMalformed.
func ParseTotals(data []byte) (ShiftTotals, error) {
	r := newReader(data)
	return finish(r, r.totals())
}

// ParseTerminalStarted reads the data of a terminal.started. Errors: ErrMalformed.
func ParseTerminalStarted(data []byte) (TerminalStarted, error) {
	var e TerminalStarted
	r := newReader(data)
	r.object(members{
		{"release", &e.Release, must},
		{"incarnation", &e.Incarnation, must},
		{"config", &e.Config, must},
		{"recovered", &e.Recovered, may},
	})
	return finish(r, e)
}

// ParseTerminalStopped reads the data of a terminal.stopped. Errors: ErrMalformed.
func ParseTerminalStopped(data []byte) (TerminalStopped, error) {
	var e TerminalStopped
	r := newReader(data)
	r.object(members{{"reason", &e.Reason, must}})
	return finish(r, e)
}

// ParseClockStepped reads the data of a clock.stepped. Errors: ErrMalformed.
func ParseClockStepped(data []byte) (ClockStepped, error) {
	var e ClockStepped
	r := newReader(data)
	r.object(members{
		{"from_ms", &e.FromMilli, must},
		{"to_ms", &e.ToMilli, must},
	})
	return finish(r, e)
}

// finish hands out a value only if all of it was read without an error.
func finish[T any](r *reader, v T) (T, error) {
	if err := r.end(); err != nil {
		var zero T
		return zero, err
	}
	return v, nil
}

func (r *reader) money() pos.Money { return pos.Money(r.integer()) }

func (r *reader) currency() (c pos.Currency) {
	r.object(members{
		{"code", &c.Code, must},
		{"exponent", func() {
			n := r.integer()
			if n < 0 || n > maxExponent {
				r.fail("exponent %d is not 0 to %d", n, maxExponent)
			}
			c.Exponent = int(n)
		}, must},
	})
	return c
}

// maxExponent leaves room beyond ISO 4217, which has 4 at most.
const maxExponent = 8

func (r *reader) line(want int) (l pos.Line) {
	l, n := r.numberedLine()
	if n != int64(want) {
		r.fail("line %d stands at place %d", n, want)
	}
	return l
}

// lineFrom reads a line of a basket, with a number that is at least this.
func (r *reader) lineFrom(least int64) (pos.Line, int) {
	l, n := r.numberedLine()
	if n < least || n > MostLine {
		r.fail("line number %d", n)
	}
	return l, int(n)
}

func (r *reader) numberedLine() (l pos.Line, n int64) {
	priced := false
	r.object(members{
		{"n", func() { n = r.integer() }, must},
		{"item", &l.Item, may},
		{"code", &l.Code, may},
		{"description", &l.Description, may},
		{"department", &l.Department, may},
		{"quantity", &l.Qty, must},
		{"unit", &l.Unit, must},
		{"price", func() { l.Price, priced = r.money(), true }, may},
		{"fixed", &l.Fixed, may},
		{"list", func() { l.List, l.Changed = r.money(), true }, may},
		{"discounts", &l.Discounts, may},
		{"amount", &l.Amount, must},
		{"tax", &l.Tax, must},
		{"rate", &l.Rate, must},
		{"return", &l.Return, may},
		{"note", &l.Note, may},
		{"approved", &l.Approved, may},
	})
	if priced == l.Fixed {
		r.fail("line %d has to have either \"price\" or \"fixed\":true", n)
	}
	if l.Fixed {
		l.Price = l.Amount
		for i := range l.Discounts {
			l.Price += l.Discounts[i].Amount
		}
	}
	return l, n
}

func (r *reader) back() *pos.Return {
	var b pos.Return
	r.object(members{
		{"sale", &b.Sale, may},
		{"receipt", &b.Receipt, may},
		{"line", &b.Line, may},
		{"reason", &b.Reason, may},
		{"tax", func() { b.Tax, b.Taxed = r.money(), true }, may},
	})
	return &b
}

func (r *reader) discounts() (list []pos.Discount) {
	r.array(func() {
		var d pos.Discount
		r.object(members{
			{"amount", &d.Amount, must},
			{"percent", &d.Percent, may},
			{"reason", &d.Reason, may},
			{"of", &d.Of, may},
		})
		list = append(list, d)
	})
	return list
}

// count reads a number from 0 that an int of 32 bits holds.
func (r *reader) count() int {
	n := r.integer()
	if n < 0 || n > math.MaxInt32 {
		r.fail("%d is not 0 to %d", n, math.MaxInt32)
		return 0
	}
	return int(n)
}

func (r *reader) taxes() (taxes []pos.TaxTotal) {
	r.array(func() {
		var t pos.TaxTotal
		r.object(members{
			{"code", &t.Code, must},
			{"rate", &t.Rate, must},
			{"net", &t.Net, must},
			{"tax", &t.Tax, must},
			{"gross", &t.Gross, must},
		})
		taxes = append(taxes, t)
	})
	return taxes
}

func (r *reader) tender() (t pos.Tender) {
	r.object(members{
		{"kind", &t.Kind, must},
		{"amount", &t.Amount, must},
		{"reference", &t.Reference, may},
		{"id", &t.ID, may},
		{"card", &t.Card, may},
	})
	return t
}

func (r *reader) card() *pos.CardData {
	var c pos.CardData
	r.object(members{
		{"brand", &c.Brand, may},
		{"last4", &c.Last4, may},
		{"auth", &c.Auth, may},
		{"offline", &c.Offline, may},
	})
	return &c
}

func (r *reader) totals() (t ShiftTotals) {
	all := members{
		{"sales", &t.Sales, must},
		{"gross", &t.Gross, must},
		{"taxes", &t.Taxes, must},
		{"cash", &t.Cash, must},
		{"card", &t.Card, must},
		{"perpetual", &t.Perpetual, must},
	}
	for _, m := range t.more() {
		all = append(all, member{m.name, m.value, may})
	}
	r.object(all)
	return t
}
