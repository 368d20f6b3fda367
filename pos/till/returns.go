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
}

// Plus is both together.
func (b Back) Plus(c Back) Back { return Back{b.Qty + c.Qty, b.Amount + c.Amount} }

// ReturnLine is the line that gives back qty of line n of a sale, when so much of it has
// come back before. Its amount is what was paid for it: given back in parts, the parts
// make the whole to the cent.
func ReturnLine(sale *event.SaleCompleted, n int, qty pos.Qty, before Back, reason string) (pos.Line, error) {
	if n < 1 || n > len(sale.Lines) {
		return pos.Line{}, refuse(CodeNoLine, fmt.Sprintf("sale %s has lines 1 to %d", sale.Receipt, len(sale.Lines)))
	}
	l := sale.Lines[n-1]
	left := l.Qty - before.Qty
	switch {
	case l.Return != nil:
		return pos.Line{}, refuse(CodeReturn, fmt.Sprintf("line %d of %s is itself a return", n, sale.Receipt))
	case qty < 0 || qty == 0 && l.Qty != 0:
		return pos.Line{}, refuse(CodeReturn, "the quantity that comes back has to be above zero")
	case qty > left:
		return pos.Line{}, refuse(CodeReturn, fmt.Sprintf("of line %d of %s, %s were sold and %s have come back: at most %s can", n, sale.Receipt, l.Qty, before.Qty, left))
	}
	amount := l.Amount - before.Amount // of all that is left
	if qty < left {
		amount = pos.Part(l.Amount, before.Qty+qty, l.Qty) - before.Amount
	}
	return pos.Line{
		Item: l.Item, Code: l.Code, Description: l.Description, Department: l.Department, Unit: l.Unit, Tax: l.Tax, Rate: l.Rate,
		Qty: -qty, Fixed: true, Price: -amount, Amount: -amount,
		Return: &pos.Return{Sale: sale.Sale, Receipt: sale.Receipt, Line: n, Reason: reason},
	}, nil
}

// Returning is what the basket gives back of each line of a sale.
func (b *Basket) Returning(sale string) map[int]Back {
	sum := map[int]Back{}
	for i := range b.Lines {
		if l := &b.Lines[i]; l.Return != nil && l.Return.Sale == sale && sale != "" {
			sum[l.Return.Line] = sum[l.Return.Line].Plus(Back{-l.Qty, -l.Amount})
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

// AddReturn puts into the basket what comes back of a sale of this till.
func (s *State) AddReturn(o Step, r Rules, sale *event.SaleCompleted, n int, qty pos.Qty, before Back) (*event.Basket, error) {
	b, err := s.seen(o)
	if err != nil {
		return nil, err
	}
	if b.Prices != sale.Prices {
		return nil, refuse(CodeReturn, "the sale was made with "+sale.Prices.String()+" prices, the basket has "+b.Prices.String()+" ones; open a basket with prices "+strconv.Quote(sale.Prices.String()))
	}
	l, err := ReturnLine(sale, n, qty, before.Plus(b.Returning(sale.Sale)[n]), o.Reason)
	if err != nil {
		return nil, err
	}
	return s.AddLine(o, r, l, 0)
}

// StillReturnable says whether what the basket gives back of a sale can still come
// back, now that so much of it has.
func (b *Basket) StillReturnable(sale *event.SaleCompleted, before map[int]Back) error {
	for n, here := range b.Returning(sale.Sale) {
		if n > len(sale.Lines) || before[n].Qty+here.Qty > sale.Lines[n-1].Qty || before[n].Amount+here.Amount > sale.Lines[n-1].Amount {
			return refuse(CodeReturn, fmt.Sprintf("line %d of %s has come back meanwhile; void the line in this basket", n, sale.Receipt))
		}
	}
	return nil
}

// VoidSale is the sale that takes back a whole one of this till, of which nothing has
// come back yet. Without tenders each of the sale's own is paid back as it was paid.
func VoidSale(sale *event.SaleCompleted, before map[int]Back, tenders []pos.Tender, r Rules, o Step) (*event.SaleCompleted, error) {
	switch {
	case sale.VoidOf != "":
		return nil, refuse(CodeAlreadyOut, "receipt "+sale.Receipt+" takes back another one; sell again instead")
	case len(before) > 0:
		return nil, refuse(CodeAlreadyOut, "something of receipt "+sale.Receipt+" has come back already, or all of it; return the rest instead")
	}
	e := &event.SaleCompleted{
		Operator: o.Operator, Approved: o.Approved, Prices: sale.Prices, Rounding: sale.Rounding, Customer: sale.Customer,
		VoidOf: sale.Sale, VoidReceipt: sale.Receipt, Note: o.Reason,
	}
	for n := range sale.Lines {
		if sale.Lines[n].Return != nil {
			return nil, refuse(CodeReturn, "receipt "+sale.Receipt+" took goods back itself; return its other lines one by one")
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
		e.Tenders = mirrored(sale)
	}
	settled, err := pos.CheckTenders(e.Total, e.Tenders, r.Coin)
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
