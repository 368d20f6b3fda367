package till

import (
	"testing"

	"posd/pos"
	"posd/pos/event"
)

// Sums beside the sales are bounded as those of the sales are: cash by a refusal, what is
// voided, given off or brought back by a sum that stops.
func TestSumsHaveABound(t *testing.T) {
	for _, kind := range []string{event.TypeCashIn, event.TypeCashOut, event.TypeCashDropped} {
		f := newFold(t)
		f.take(&event.ShiftOpened{Shift: 1, Operator: "7", Currency: euro, Implicit: true, Float: pos.MaxAmount}, "")
		moved := pos.Money(0)
		for range 9300 {
			e, err := f.MoveCash(event.Cash{Type: kind, Operator: "7", Amount: pos.MaxAmount}, false)
			if err != nil {
				refused(t, err, CodeOverflow)
				break
			}
			f.take(e, "")
			moved += pos.MaxAmount
		}
		if _, err := f.MoveCash(event.Cash{Type: event.TypeCashDeclared, Operator: "7", Amount: pos.MaxAmount}, false); err != nil {
			t.Errorf("and it cannot be counted: %v", err)
		}
		in, x := moved, f.Shift.Totals
		if kind != event.TypeCashIn {
			in = -moved
		}
		if moved < 100*pos.MaxAmount || x.Drawer() != in+pos.MaxAmount {
			t.Errorf("%s of %d makes a drawer of %d", kind, moved, x.Drawer())
		}
	}

	f := newFold(t)
	f.take(&event.ShiftOpened{Shift: 1, Operator: "7", Currency: euro}, "")
	last := f.Shift.Totals
	h := &event.Header{}
	for range 9300 {
		f.Apply(h, Record{}, &event.Basket{Type: event.TypeBasketOpened, Basket: "b", Version: "1"})
		f.Apply(h, Record{}, &event.Basket{Type: event.TypeLineAdded, Basket: "b", Version: "2", N: 1, Line: pos.Line{Qty: 1000, Amount: pos.MaxAmount}})
		f.Apply(h, Record{}, &event.Basket{Type: event.TypeLineVoided, Basket: "b", Version: "3", N: 1, Line: pos.Line{Qty: 1000, Amount: pos.MaxAmount}})
		f.Apply(h, Record{}, &event.Basket{Type: event.TypeBasketVoided, Basket: "b", Version: "4", Total: pos.MaxAmount})
		f.Apply(h, Record{}, &event.SaleCompleted{Lines: []pos.Line{
			{Qty: 1000, Amount: pos.MaxAmount, Discounts: []pos.Discount{{Amount: pos.MaxAmount}}},
			{Qty: -1000, Amount: -pos.MaxAmount, Return: &pos.Return{}},
		}, Taxes: []pos.TaxTotal{{Code: "A", Net: pos.MaxAmount, Gross: pos.MaxAmount}, {Code: "B", Net: -pos.MaxAmount, Gross: -pos.MaxAmount}}})
		x := f.Shift.Totals
		if x.LinesVoidedSum < last.LinesVoidedSum || x.BasketsVoidedSum < last.BasketsVoidedSum || x.Discounts < last.Discounts || x.LinesReturnedSum < last.LinesReturnedSum || x.Taxes[0].Gross < 0 || x.Taxes[1].Net > 0 {
			t.Fatalf("after\n%+v came\n%+v", last, x)
		}
		last = x
	}
	if got, err := ParseState(f.Append(nil)); err != nil || got.Shift.Totals.LinesVoidedSum != last.LinesVoidedSum {
		t.Errorf("%+v, %v", got.Shift.Totals, err)
	}

	sales := 0
	for f.Room(pos.MaxAmount) && f.Room(-pos.MaxAmount) && sales < 20000 {
		sales++
		f.Apply(h, Record{}, &event.SaleCompleted{Total: pos.MaxAmount, Perpetual: pos.MaxAmount, Tenders: []pos.Tender{{Kind: pos.Cash, Amount: pos.MaxAmount}}})
		f.Apply(h, Record{}, &event.SaleCompleted{Total: -pos.MaxAmount, Refunds: f.Refunds + pos.MaxAmount, Tenders: []pos.Tender{{Kind: pos.Card, Amount: -pos.MaxAmount}}})
		if x := f.Shift.Totals; x.Drawer() < 0 || x.Card > 0 || x.Refunded < 0 {
			t.Fatalf("after %d sales: %+v", sales, x)
		}
	}
	if sales < 100 {
		t.Errorf("no room after %d sales", sales)
	}
}
