package register

import (
	"errors"
	"fmt"
	"math"
	"time"

	"posd/pos"
	"posd/pos/event"
)

// state is the fold of a journal's events. It holds nothing that the events and
// the opening state do not give again.
type state struct {
	branch    uint64 // of this journal's receipts, from 1
	receipt   uint64 // last number given
	perpetual pos.Money
	wall      int64        // Unix ms: latest time that the clock has shown
	currency  pos.Currency // of perpetual; empty until the first shift
	shift     uint64       // last one opened
	open      bool
	implicit  bool
	operator  string // who opened the shift
	date      string // business date of the last shift, YYYY-MM-DD
	totals    event.ShiftTotals
}

// saw takes in what every event carries. A disciplined clock corrects a mark
// that a wrong one has set.
func (s *state) saw(h event.Header) {
	at := h.Time.UnixMilli()
	if h.Clock == event.ClockSynced || at > s.wall {
		s.wall = at
	}
}

func (s *state) opened(e *event.ShiftOpened) {
	s.shift, s.open, s.implicit = e.Shift, true, e.Implicit
	s.operator, s.currency = e.Operator, e.Currency
	s.date = max(s.date, e.BusinessDate)
	s.totals = event.ShiftTotals{Perpetual: s.perpetual}
}

func (s *state) closed(*event.ShiftClosed) {
	s.open, s.implicit, s.operator = false, false, ""
	s.totals = event.ShiftTotals{}
}

func (s *state) sold(e *event.SaleCompleted) {
	s.receipt, s.perpetual = e.Number, e.Perpetual
	t := &s.totals
	t.Sales++
	t.Gross += e.Total
	t.Perpetual = e.Perpetual
	for i := range e.Taxes {
		addTax(t, &e.Taxes[i])
	}
	for i := range e.Tenders {
		if e.Tenders[i].Kind == pos.Cash {
			t.Cash += e.Tenders[i].Amount
		} else {
			t.Card += e.Tenders[i].Amount
		}
	}
	t.Cash -= e.Change
}

func addTax(t *event.ShiftTotals, add *pos.TaxTotal) {
	for i := range t.Taxes {
		if row := &t.Taxes[i]; row.Code == add.Code && row.Rate == add.Rate {
			row.Net, row.Tax, row.Gross = row.Net+add.Net, row.Tax+add.Tax, row.Gross+add.Gross
			return
		}
	}
	t.Taxes = append(t.Taxes, *add)
}

// room says whether the perpetual total can take one more sale. All running sums
// of a shift are at most as large.
func (s *state) room(total pos.Money) bool { return s.perpetual <= math.MaxInt64-total }

// fold applies one event of the journal. Events that this release does not know
// are left out: a release writes only what its predecessor reads.
func (s *state) fold(h event.Header, data []byte) (known bool, err error) {
	s.saw(h)
	switch h.Type {
	case event.TypeSaleCompleted:
		e, err := event.ParseSale(data)
		if err != nil {
			return false, err
		}
		if e.Number != s.receipt+1 {
			return false, fmt.Errorf("receipt %s follows number %d", e.Receipt, s.receipt)
		}
		s.sold(&e)
	case event.TypeShiftOpened:
		e, err := event.ParseShiftOpened(data)
		if err != nil {
			return false, err
		}
		s.opened(&e)
	case event.TypeShiftClosed:
		e, err := event.ParseShiftClosed(data)
		if err != nil {
			return false, err
		}
		s.closed(&e)
	case event.TypeTerminalStarted, event.TypeTerminalStopped, event.TypeClockStepped,
		event.TypeConfigApplied, event.TypeConfigRefused, event.TypeCommandExecuted, event.TypeCommandRefused,
		event.TypeRecordsLost:
	default:
		return false, nil
	}
	return true, nil
}

// check refuses a state that no fold can reach.
func (s *state) check() error {
	switch {
	case s.branch == 0:
		return errors.New("branch is 0")
	case s.open && s.shift == 0:
		return errors.New("shift 0 is open")
	case !s.open && (s.implicit || s.operator != "" || s.totals.Sales != 0):
		return errors.New("a closed shift has figures")
	case s.currency.Exponent < 0 || s.currency.Exponent > 8:
		return fmt.Errorf("currency with %d decimals", s.currency.Exponent)
	case s.perpetual < 0:
		return errors.New("perpetual total is below zero")
	}
	if s.date != "" {
		if _, err := time.Parse(time.DateOnly, s.date); err != nil {
			return fmt.Errorf("business date: %w", err)
		}
	}
	return nil
}
