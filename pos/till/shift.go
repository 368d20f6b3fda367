package till

import (
	"fmt"
	"slices"

	"posd/pos"
	"posd/pos/event"
)

// OpenShift begins a shift with so much in the drawer. A shift that nobody opened goes
// on as this one's predecessor: it must be closed first.
func (s *State) OpenShift(operator, date string, c pos.Currency, float pos.Money) (*event.ShiftOpened, error) {
	switch {
	case s.Shift.Open:
		return nil, because(CodeShift, CauseShiftOpen, fmt.Sprintf("shift %d is open; close it first", s.Shift.Number))
	case float < 0 || float > pos.MaxAmount:
		return nil, refuse(CodeValue, "float has to be zero or more")
	}
	return &event.ShiftOpened{Shift: s.Shift.Number + 1, BusinessDate: date, Operator: operator, Currency: c, Float: float}, nil
}

// CloseShift ends the shift: the event is its Z report. What was declared stands
// beside what should be in the drawer.
func (s *State) CloseShift(operator, approved string) (*event.ShiftClosed, error) {
	if err := s.open(); err != nil {
		return nil, err
	}
	for _, b := range s.Baskets {
		if b.counting() && !b.Training {
			return nil, &RefusalError{Code: CodeShift, Cause: CauseBeingPaid, Basket: b.Basket, Detail: "basket " + b.Basket + " is being paid for; complete it or reverse its tenders first"}
		}
	}
	e := s.Closing()
	e.Operator, e.Approved = operator, approved
	return e, nil
}

// Closing is the Z report as it would be now: the end of a shift that nobody opened.
func (s *State) Closing() *event.ShiftClosed {
	t := s.Shift.Totals
	t.Taxes = slices.Clone(t.Taxes)
	for _, b := range s.Baskets {
		if !b.Training && len(b.Lines) > 0 {
			t.BasketsOpen++
			plus(&t.BasketsOpenSum, b.Total)
		}
	}
	return &event.ShiftClosed{
		Shift: s.Shift.Number, BusinessDate: s.Date, Implicit: s.Shift.Implicit, Currency: s.Currency, Totals: t, Z: s.Z + 1,
		Counted: s.Shift.Counted, Declared: s.Shift.Declared, Expected: t.Drawer(),
	}
}

func (s *State) open() error {
	if !s.Shift.Open {
		return because(CodeShift, CauseShiftClosed, "no shift is open; open one first")
	}
	return nil
}

// HandShift makes another operator answerable for the drawer.
func (s *State) HandShift(to string) (*event.ShiftHanded, error) {
	if err := s.open(); err != nil {
		return nil, err
	}
	if to == s.Shift.Operator {
		return nil, because(CodeShift, CauseSameOperator, "operator "+to+" has the shift already")
	}
	return &event.ShiftHanded{Shift: s.Shift.Number, From: s.Shift.Operator, To: to}, nil
}

// MoveCash is a movement of cash beside sales, a count, or the drawer opened. What goes
// out must be there, as far as the till knows: a shift that nobody opened began with
// an unknown float. blind: for somebody whom a refusal would tell what should be there; the
// report shows what was too much.
func (s *State) MoveCash(e event.Cash, blind bool) (*event.Cash, error) {
	if err := s.open(); err != nil {
		return nil, err
	}
	if err := CheckCash(&e); err != nil {
		return nil, err
	}
	e.Shift = s.Shift.Number
	t := &s.Shift.Totals
	if e.Type != event.TypeCashDeclared && max(t.In, t.Out, t.Dropped) > mostSum-e.Amount {
		return nil, refuse(CodeOverflow, "no more cash can be moved in this shift; close it first")
	}
	if !blind && (e.Type == event.TypeCashOut || e.Type == event.TypeCashDropped) && !s.Shift.Implicit && t.Drawer() < e.Amount {
		return nil, refuse(CodeDrawer, "the drawer should hold less than that; count it, or correct the amount")
	}
	return &e, nil
}

// CheckCash refuses figures that no state of the till makes right.
func CheckCash(e *event.Cash) error {
	var sum pos.Money
	for _, c := range e.Counts {
		if c.Value <= 0 || c.Pieces < 0 || c.Pieces > 1_000_000 || c.Value > pos.MaxAmount/1_000_000 {
			return refuse(CodeValue, fmt.Sprintf("%d pieces of %d cannot be counted", c.Pieces, c.Value))
		}
		sum += c.Value * pos.Money(c.Pieces)
	}
	switch {
	case e.Amount < 0 || e.Amount > pos.MaxAmount:
		return refuse(CodeValue, "amount has to be zero or more")
	case len(e.Counts) > 0 && sum != e.Amount:
		return refuse(CodeValue, fmt.Sprintf("the counts make %d, amount is %d; correct one of them", sum, e.Amount))
	case e.Type == event.TypeDrawerOpened && e.Amount != 0:
		return refuse(CodeValue, "opening the drawer moves no cash; leave amount out")
	case e.Type != event.TypeDrawerOpened && e.Type != event.TypeCashDeclared && e.Amount == 0:
		return refuse(CodeValue, "amount has to be above zero")
	}
	return nil
}
