package till

import (
	"fmt"
	"slices"
	"strconv"

	"posd/pos"
	"posd/pos/event"
)

// Back is what has come back of one line of a sale, as positive numbers.
type Back struct {
	Qty    pos.Qty
	Amount pos.Money
	Tax    pos.Money // of Amount, beside it: with exclusive prices
}

// Plus is both together.
func (b Back) Plus(c Back) Back { return Back{b.Qty + c.Qty, b.Amount + c.Amount, b.Tax + c.Tax} }

// ReturnLine is the line that gives back qty of line n of a sale, when so much of it has
// come back before. Its amount, and with exclusive prices its tax, is what was paid for it:
// given back in parts, the parts make the whole to the cent.
func ReturnLine(sale *event.SaleCompleted, n int, qty pos.Qty, before Back, reason string) (pos.Line, error) {
	if n < 1 || n > len(sale.Lines) {
		return pos.Line{}, refuse(CodeNoLine, fmt.Sprintf("sale %s has lines 1 to %d", sale.Receipt, len(sale.Lines)))
	}
	l := sale.Lines[n-1]
	left := l.Qty - before.Qty
	switch {
	case l.Return != nil:
		return pos.Line{}, because(CodeReturn, CauseTakesBack, fmt.Sprintf("line %d of %s is itself a return", n, sale.Receipt))
	case qty < 0 || qty == 0 && l.Qty != 0:
		return pos.Line{}, refuse(CodeReturn, "the quantity that comes back has to be above zero")
	case qty > left:
		return pos.Line{}, because(CodeReturn, CauseTooMuch, fmt.Sprintf("of line %d of %s, %s were sold and %s have come back or stand in open and parked baskets: at most %s can", n, sale.Receipt, l.Qty, before.Qty, left))
	}
	if l.Qty%1000 == 0 && qty%1000 != 0 && (l.Unit == "" || l.Unit == "pc") {
		return pos.Line{}, refuse(CodeReturn, fmt.Sprintf("line %d of %s was sold in whole pieces; so they come back", n, sale.Receipt))
	}
	amount := l.Amount - before.Amount // of all that is left
	if qty < left {
		amount = max(0, pos.Part(l.Amount, before.Qty+qty, l.Qty)-before.Amount) // parts before it, voided since, may have moved a cent
	}
	of := &pos.Return{Sale: sale.Sale, Receipt: sale.Receipt, Line: n, Reason: reason}
	if sale.Prices == pos.Exclusive {
		tax := taxOf(sale, n)
		if before.Tax = max(before.Tax, pos.Part(tax, before.Qty, l.Qty)-1); qty < left { // a former release did not keep it
			tax = pos.Part(tax, before.Qty+qty, l.Qty)
		}
		of.Tax, of.Taxed = min(0, before.Tax-tax), true
	}
	return pos.Line{
		Item: l.Item, Code: l.Code, Description: l.Description, Department: l.Department, Unit: l.Unit, Tax: l.Tax, Rate: l.Rate,
		Qty: -qty, Fixed: true, Price: -amount, Amount: -amount, Return: of,
	}, nil
}

// taxOf is the tax that line n of a sale with exclusive prices was sold with: rounded per
// document, what it added to the tax of the lines before it.
func taxOf(sale *event.SaleCompleted, n int) pos.Money {
	l, base := &sale.Lines[n-1], pos.Money(0)
	for i := range n - 1 {
		if x := &sale.Lines[i]; sale.Rounding == pos.PerDocument && x.Tax == l.Tax && x.Rate == l.Rate && (x.Return == nil || !x.Return.Taxed) {
			base += x.Amount
		}
	}
	return taxAt(base+l.Amount, l.Rate) - taxAt(base, l.Rate)
}

// taxAt is the tax on a net amount.
func taxAt(net pos.Money, rate pos.Rate) pos.Money { return pos.Part(net, pos.Qty(rate), 1_000_000) }

// Returning is what the basket gives back of each line of a sale; of none with its name
// empty.
func (b *Basket) Returning(sale string) map[int]Back {
	sum := map[int]Back{}
	for i := range b.Lines {
		if l := &b.Lines[i]; l.Return != nil && l.Return.Sale == sale {
			back := Back{-l.Qty, -l.Amount, 0}
			if l.Return.Taxed {
				back.Tax = -l.Return.Tax
			} else if b.Prices == pos.Exclusive {
				back.Tax = taxAt(back.Amount, l.Rate)
			}
			sum[l.Return.Line] = sum[l.Return.Line].Plus(back)
		}
	}
	return sum
}

// returning is what the basket gives back of each line of a sale, and all others do: money
// may be paid back for each of them before any is a sale.
func (s *State) returning(b *Basket, sale string) map[int]Back {
	sum := b.Returning(sale)
	for _, other := range s.Baskets {
		if other == b || other.Training || planted("return-twice") {
			continue
		}
		for n, back := range other.Returning(sale) {
			sum[n] = sum[n].Plus(back)
		}
	}
	return sum
}

// Returns are the ids of the sales that the basket gives something back of.
func (b *Basket) Returns() (sales []string) {
	for i := range b.Lines {
		if r := b.Lines[i].Return; r != nil && r.Sale != "" && !slices.Contains(sales, r.Sale) {
			sales = append(sales, r.Sale)
		}
	}
	return sales
}

// AddReturn puts into the basket what comes back of a sale of this till, and stands in no
// other basket.
func (s *State) AddReturn(o Step, r Rules, sale *event.SaleCompleted, n int, qty pos.Qty, before Back) (*event.Basket, error) {
	b, err := s.Seen(o)
	if err != nil {
		return nil, err
	}
	if b.Prices != sale.Prices {
		return nil, because(CodeReturn, CauseOtherPrices, "the sale was made with "+sale.Prices.String()+" prices, the basket has "+b.Prices.String()+" ones; open a basket with prices "+strconv.Quote(sale.Prices.String()))
	}
	l, err := ReturnLine(sale, n, qty, before.Plus(s.returning(b, sale.Sale)[n]), o.Reason)
	if err != nil {
		return nil, err
	}
	return s.AddLine(o, r, l, 0)
}

// ReturnedIn names the basket that gives something of a sale back, empty if none does.
func (s *State) ReturnedIn(sale string) string {
	for _, b := range s.Baskets {
		if !b.Training && slices.Contains(b.Returns(), sale) && !planted("return-twice") {
			return b.Basket
		}
	}
	return ""
}

// Of names a line of a sale.
type Of struct {
	Sale string
	Line int
}

// By names, among lines of sales, what a sale took in by a kind of tender.
func By(sale string, kind pos.TenderKind) Of { return Of{Sale: sale + string(kind)} }

// TookIn is what a sale took in by a kind of tender; cash as it was owed, before that was
// rounded to coins. What has come back since counts as paid back by this kind: what it was
// paid back by stands in other sales.
func TookIn(sale *event.SaleCompleted, kind pos.TenderKind, since map[int]Back) pos.Money {
	sum := -gross(since)
	if kind == pos.Cash {
		sum -= sale.Change + sale.CashRounding
	}
	for i := range sale.Tenders {
		if t := &sale.Tenders[i]; t.Kind == kind {
			sum += t.Amount
		}
	}
	return sum
}

// gross is what was, or is, given back for lines, tax included.
func gross(lines map[int]Back) (sum pos.Money) {
	for _, back := range lines {
		sum += back.Amount + back.Tax
	}
	return sum
}

// Beyond is what a tender of a basket pays out beyond what the sales whose goods come back
// took in by its kind, each at most what comes back of it: left tells it. What stands in
// other baskets may be paid back by this kind too. What goods cost that come back without
// their sale may be paid out by any.
func (s *State) Beyond(t *pos.Tender, basket string, coin pos.Money, left map[Of]Back) pos.Money {
	b := s.Find(basket)
	out := -t.Amount - gross(b.Returning(""))
	for i := range b.Tenders {
		if x := &b.Tenders[i]; x.Kind == t.Kind && x.State == "approved" {
			out -= x.Amount
		}
	}
	for _, sale := range b.Returns() {
		here := gross(b.Returning(sale))
		others := gross(s.returning(b, sale)) - here
		out -= min(here, max(0, left[By(sale, t.Kind)].Amount-others))
	}
	if t.Kind == pos.Cash {
		out -= coin / 2
	}
	return max(0, out)
}

// Left is what can still come back of line n of a sale, when so much of it has; of a line
// that it does not have, nothing.
func Left(sale *event.SaleCompleted, n int, before Back) Back {
	if n < 1 || n > len(sale.Lines) {
		return Back{}
	}
	l := &sale.Lines[n-1]
	return Back{Qty: l.Qty - before.Qty, Amount: l.Amount - before.Amount}
}

// StillReturnable says whether what the basket gives back can still come back, now that
// so much is left of each of the lines. Before money is moved for it, nothing of it may
// stand in another basket either, so that each of them can be completed. known is false
// if left lacks a line that the basket has.
func (s *State) StillReturnable(b *Basket, left map[Of]Back, paying bool) (known bool, err error) {
	for _, sale := range b.Returns() {
		here := b.Returning(sale)
		all := here
		if paying {
			all = s.returning(b, sale)
		}
		for n := range here {
			of, ok := left[Of{sale, n}]
			if !ok {
				return false, nil
			}
			if sum := all[n]; (sum.Qty > of.Qty || sum.Amount > of.Amount) && !planted("return-twice") {
				return true, because(CodeReturn, CauseCameBack, "line "+strconv.Itoa(n)+" of "+b.receiptOf(sale)+" has come back meanwhile, or stands in another open or parked basket; void the line here or there")
			}
		}
	}
	return true, nil
}

// receiptOf is the receipt of a sale that the basket gives something of back.
func (b *Basket) receiptOf(sale string) string {
	for i := range b.Lines {
		if r := b.Lines[i].Return; r != nil && r.Sale == sale {
			return r.Receipt
		}
	}
	return sale
}

// VoidSale is the sale that takes back a whole one of this till, of which nothing has
// come back yet. Without tenders each of the sale's own is paid back as it was paid.
func VoidSale(sale *event.SaleCompleted, before map[int]Back, tenders []pos.Tender, r Rules, o Step) (*event.SaleCompleted, error) {
	switch {
	case sale.VoidOf != "":
		return nil, because(CodeAlreadyOut, CauseTakesBack, "receipt "+sale.Receipt+" takes back another one; sell again instead")
	case len(before) > 0:
		return nil, because(CodeAlreadyOut, CauseCameBack, "something of receipt "+sale.Receipt+" has come back already, or all of it; return the rest instead")
	}
	e := &event.SaleCompleted{
		Operator: o.Operator, Approved: o.Approved, Prices: sale.Prices, Rounding: sale.Rounding, Customer: sale.Customer,
		VoidOf: sale.Sale, VoidReceipt: sale.Receipt, Note: o.Reason, Print: o.Print,
	}
	for n := range sale.Lines {
		if sale.Lines[n].Return != nil {
			return nil, because(CodeReturn, CauseTakesBack, "receipt "+sale.Receipt+" took goods back itself; return its other lines one by one")
		}
		l, err := ReturnLine(sale, n+1, sale.Lines[n].Qty, Back{}, o.Reason)
		if err != nil {
			return nil, err
		}
		e.Lines = append(e.Lines, l)
	}
	t, err := pos.Compute(e.Lines, pos.ComputeOptions{Prices: e.Prices, Rounding: e.Rounding})
	if err != nil {
		return nil, Refusal(err, "")
	}
	e.Taxes, e.Total, e.Tenders = t.Taxes, t.Total, tenders
	if len(tenders) == 0 {
		for i := range sale.Tenders {
			if sale.Tenders[i].Card != nil { // it has to be asked, which takes a basket
				return nil, because(CodeTender, CauseCardPaid, "a payment terminal took money for receipt "+sale.Receipt+": return its lines in a basket and pay back with a card tender, or give tenders as it was paid back")
			}
		}
		e.Tenders, e.CashRounding = mirrored(sale), -sale.CashRounding // by the coin of then
		return e, nil
	}
	settled, err := pos.TakeTenders(e.Total, e.Tenders, r.Coin)
	if err != nil {
		return nil, Refusal(err, "/tenders")
	}
	e.Change, e.CashRounding = settled.Change, settled.Rounding
	return e, nil
}

// mirrored pays each tender back as it was paid, cash without its change.
func mirrored(sale *event.SaleCompleted) (list []pos.Tender) {
	cash := -sale.Change
	for _, t := range sale.Tenders {
		if t.Kind == pos.Cash {
			cash += t.Amount
			continue
		}
		list = append(list, pos.Tender{Kind: t.Kind, Amount: -t.Amount, Reference: t.Reference, Card: t.Card})
	}
	if cash != 0 || sale.CashRounding != 0 {
		list = append(list, pos.Tender{Kind: pos.Cash, Amount: -cash})
	}
	return list
}
