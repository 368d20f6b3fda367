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
	r.object(saleMembers, func(name string) bool { return r.saleMember(&e, name) })
	return finish(r, e)
}

var saleMembers = []string{
	"sale", "receipt", "number", "store", "terminal", "shift", "business_date", "operator", "currency",
	"prices", "rounding", "lines", "taxes", "total", "tenders", "change", "perpetual",
}

func (r *reader) saleMember(e *SaleCompleted, name string) bool {
	switch name {
	case "sale":
		e.Sale = r.text()
	case "receipt":
		e.Receipt = r.text()
	case "number":
		e.Number = r.unsigned()
	case "store":
		e.Store = r.text()
	case "terminal":
		e.Terminal = r.text()
	case "shift":
		e.Shift = r.unsigned()
	case "business_date":
		e.BusinessDate = r.text()
	case "operator":
		e.Operator = r.text()
	case "currency":
		e.Currency = r.currency()
	case "prices":
		e.Prices = parsed(r, pos.ParsePriceMode)
	case "rounding":
		e.Rounding = parsed(r, pos.ParseRounding)
	case "lines":
		r.array(func() { e.Lines = append(e.Lines, r.line(len(e.Lines)+1)) })
	case "taxes":
		e.Taxes = r.taxes()
	case "total":
		e.Total = r.money()
	case "tenders":
		r.array(func() { e.Tenders = append(e.Tenders, r.tender()) })
	case "change":
		e.Change = r.money()
	case "perpetual":
		e.Perpetual = r.money()
	case "refunds":
		e.Refunds = r.money()
	case "basket":
		e.Basket = r.text()
	case "opened":
		e.Opened = r.time()
	case "discounts":
		e.Discounts = r.discounts()
	case "cash_rounding":
		e.CashRounding = r.money()
	case "customer":
		e.Customer = r.text()
	case "note":
		e.Note = r.text()
	case "age":
		e.Age = r.count()
	case "void_of":
		e.VoidOf = r.text()
	case "void_receipt":
		e.VoidReceipt = r.text()
	case "approved":
		e.Approved = r.text()
	default:
		return false
	}
	return true
}

// ParseShiftOpened reads the data of a shift.opened. Errors: ErrMalformed.
func ParseShiftOpened(data []byte) (ShiftOpened, error) {
	var e ShiftOpened
	r := newReader(data)
	r.object([]string{"shift", "business_date", "operator", "currency"}, func(name string) bool {
		switch name {
		case "shift":
			e.Shift = r.unsigned()
		case "business_date":
			e.BusinessDate = r.text()
		case "operator":
			e.Operator = r.text()
		case "implicit":
			e.Implicit = r.flag()
		case "currency":
			e.Currency = r.currency()
		case "float":
			e.Float = r.money()
		default:
			return false
		}
		return true
	})
	return finish(r, e)
}

// ParseShiftHanded reads the data of a shift.handed. Errors: ErrMalformed.
func ParseShiftHanded(data []byte) (ShiftHanded, error) {
	var e ShiftHanded
	r := newReader(data)
	r.object([]string{"shift", "from", "to"}, func(name string) bool {
		switch name {
		case "shift":
			e.Shift = r.unsigned()
		case "from":
			e.From = r.text()
		case "to":
			e.To = r.text()
		default:
			return false
		}
		return true
	})
	return finish(r, e)
}

// ParseShiftClosed reads the data of a shift.closed. Errors: ErrMalformed.
func ParseShiftClosed(data []byte) (ShiftClosed, error) {
	var e ShiftClosed
	r := newReader(data)
	r.object([]string{"shift", "business_date", "currency", "totals"}, func(name string) bool {
		switch name {
		case "shift":
			e.Shift = r.unsigned()
		case "business_date":
			e.BusinessDate = r.text()
		case "implicit":
			e.Implicit = r.flag()
		case "currency":
			e.Currency = r.currency()
		case "totals":
			e.Totals = r.totals()
		case "z":
			e.Z = r.unsigned()
		case "operator":
			e.Operator = r.text()
		case "approved":
			e.Approved = r.text()
		case "expected":
			e.Expected = r.money()
		case "declared":
			e.Declared, e.Counted = r.money(), true
		default:
			return false
		}
		return true
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
	r.object([]string{"release", "incarnation", "config"}, func(name string) bool {
		switch name {
		case "release":
			e.Release = r.text()
		case "incarnation":
			e.Incarnation = r.unsigned()
		case "config":
			e.Config = r.text()
		case "recovered":
			e.Recovered = r.text()
		default:
			return false
		}
		return true
	})
	return finish(r, e)
}

// ParseTerminalStopped reads the data of a terminal.stopped. Errors: ErrMalformed.
func ParseTerminalStopped(data []byte) (TerminalStopped, error) {
	var e TerminalStopped
	r := newReader(data)
	r.object([]string{"reason"}, func(name string) bool {
		if name != "reason" {
			return false
		}
		e.Reason = r.text()
		return true
	})
	return finish(r, e)
}

// ParseClockStepped reads the data of a clock.stepped. Errors: ErrMalformed.
func ParseClockStepped(data []byte) (ClockStepped, error) {
	var e ClockStepped
	r := newReader(data)
	r.object([]string{"from_ms", "to_ms"}, func(name string) bool {
		switch name {
		case "from_ms":
			e.FromMilli = r.integer()
		case "to_ms":
			e.ToMilli = r.integer()
		default:
			return false
		}
		return true
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
	r.object([]string{"code", "exponent"}, func(name string) bool {
		switch name {
		case "code":
			c.Code = r.text()
		case "exponent":
			n := r.integer()
			if n < 0 || n > maxExponent {
				r.fail("exponent %d is not 0 to %d", n, maxExponent)
			}
			c.Exponent = int(n)
		default:
			return false
		}
		return true
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

func (r *reader) numberedLine() (l pos.Line, n int64) {
	priced := false
	r.object([]string{"n", "quantity", "unit", "amount", "tax", "rate"}, func(name string) bool {
		switch name {
		case "n":
			n = r.integer()
		case "item":
			l.Item = r.text()
		case "code":
			l.Code = r.text()
		case "description":
			l.Description = r.text()
		case "department":
			l.Department = r.text()
		case "quantity":
			l.Qty = parsed(r, pos.ParseQty)
		case "unit":
			l.Unit = r.text()
		case "price":
			l.Price, priced = r.money(), true
		case "fixed":
			l.Fixed = r.flag()
		case "list":
			l.List, l.Changed = r.money(), true
		case "discounts":
			l.Discounts = r.discounts()
		case "amount":
			l.Amount = r.money()
		case "tax":
			l.Tax = r.text()
		case "rate":
			l.Rate = parsed(r, pos.ParseRate)
		case "return":
			l.Return = r.back()
		case "note":
			l.Note = r.text()
		case "approved":
			l.Approved = r.text()
		default:
			return false
		}
		return true
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
	r.object(nil, func(name string) bool {
		switch name {
		case "sale":
			b.Sale = r.text()
		case "receipt":
			b.Receipt = r.text()
		case "line":
			b.Line = r.count()
		case "reason":
			b.Reason = r.text()
		default:
			return false
		}
		return true
	})
	return &b
}

func (r *reader) discounts() (list []pos.Discount) {
	r.array(func() {
		var d pos.Discount
		r.object([]string{"amount"}, func(name string) bool {
			switch name {
			case "amount":
				d.Amount = r.money()
			case "percent":
				d.Percent = parsed(r, pos.ParseRate)
			case "reason":
				d.Reason = r.text()
			case "of":
				d.Of = r.count()
			default:
				return false
			}
			return true
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
		r.object([]string{"code", "rate", "net", "tax", "gross"}, func(name string) bool {
			switch name {
			case "code":
				t.Code = r.text()
			case "rate":
				t.Rate = parsed(r, pos.ParseRate)
			case "net":
				t.Net = r.money()
			case "tax":
				t.Tax = r.money()
			case "gross":
				t.Gross = r.money()
			default:
				return false
			}
			return true
		})
		taxes = append(taxes, t)
	})
	return taxes
}

func (r *reader) tender() (t pos.Tender) {
	r.object([]string{"kind", "amount"}, func(name string) bool {
		switch name {
		case "kind":
			t.Kind = pos.TenderKind(r.text())
		case "amount":
			t.Amount = r.money()
		case "reference":
			t.Reference = r.text()
		case "id":
			t.ID = r.text()
		case "card":
			t.Card = r.card()
		default:
			return false
		}
		return true
	})
	return t
}

func (r *reader) card() *pos.CardData {
	var c pos.CardData
	r.object(nil, func(name string) bool {
		switch name {
		case "brand":
			c.Brand = r.text()
		case "last4":
			c.Last4 = r.text()
		case "auth":
			c.Auth = r.text()
		case "offline":
			c.Offline = r.flag()
		default:
			return false
		}
		return true
	})
	return &c
}

func (r *reader) totals() (t ShiftTotals) {
	r.object([]string{"sales", "gross", "taxes", "cash", "card", "perpetual"}, func(name string) bool {
		switch name {
		case "sales":
			t.Sales = r.unsigned()
		case "gross":
			t.Gross = r.money()
		case "taxes":
			t.Taxes = r.taxes()
		case "cash":
			t.Cash = r.money()
		case "card":
			t.Card = r.money()
		case "perpetual":
			t.Perpetual = r.money()
		default:
			for _, m := range t.more() {
				if m.name == name {
					*m.value = r.integer()
					return true
				}
			}
			return false
		}
		return true
	})
	return t
}
