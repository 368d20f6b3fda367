package register

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"math"
	"time"

	"posd/pos"
	"posd/pos/event"
)

// keepKeys is how many idempotency keys travel in the opening state, so that a
// retry across the change of a segment is known even without the index.
const keepKeys = 128

// keyID stands for an idempotency key: the first half of its SHA-256.
type keyID [16]byte

func idOf(key string) keyID {
	sum := sha256.Sum256([]byte(key))
	return keyID(sum[:16])
}

type usedKey struct {
	id  keyID
	seq uint64
}

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
	keys      []usedKey // ascending seq; the last keepKeys count
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

func (s *state) sold(seq uint64, h event.Header, e *event.SaleCompleted) {
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
	if h.Key != "" {
		s.remember(usedKey{idOf(h.Key), seq})
	}
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

// remember moves the last keys to the front only once in keepKeys calls.
func (s *state) remember(k usedKey) {
	if len(s.keys) >= 2*keepKeys {
		s.keys = s.keys[:copy(s.keys, s.keys[len(s.keys)-keepKeys+1:])]
	}
	s.keys = append(s.keys, k)
}

func (s *state) liveKeys() []usedKey {
	return s.keys[max(0, len(s.keys)-keepKeys):]
}

// room says whether the perpetual total can take one more sale. All running sums
// of a shift are at most as large.
func (s *state) room(total pos.Money) bool { return s.perpetual <= math.MaxInt64-total }

// fold applies one event of the journal. Events that this release does not know
// are left out: a release writes only what its predecessor reads.
func (s *state) fold(seq uint64, payload []byte) (known bool, err error) {
	h, data, err := event.Parse(payload)
	if err != nil {
		return false, err
	}
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
		s.sold(seq, h, &e)
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
	case event.TypeTerminalStarted, event.TypeTerminalStopped, event.TypeClockStepped:
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
	case len(s.keys) > keepKeys:
		return fmt.Errorf("more than %d keys", keepKeys)
	}
	if s.date != "" {
		if _, err := time.Parse(time.DateOnly, s.date); err != nil {
			return fmt.Errorf("business date: %w", err)
		}
	}
	for i := 1; i < len(s.keys); i++ {
		if s.keys[i].seq <= s.keys[i-1].seq {
			return errors.New("keys are not in the order of their records")
		}
	}
	return nil
}
