package till

import (
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"posd/pos"
	"posd/pos/event"
)

// State is the fold of a journal's events. It holds nothing that the events and the
// opening state do not give again.
type State struct {
	Branch    uint64    // of this journal's receipts, from 1
	Receipt   uint64    // last number given
	Training  uint64    // likewise, in training
	Z         uint64    // last report given
	Perpetual pos.Money // Σ totals
	Refunds   pos.Money // Σ totals below zero, as a positive number
	Wall      int64     // Unix ms: latest time that the clock has shown
	Currency  pos.Currency
	Shift     Shift
	Date      string // business date of the last shift, YYYY-MM-DD
	Setback   uint64 // record that opened the last shift whose date is before the one before it, or a later one; 0: none did
	Baskets   []*Basket
	Returned  uint64 // sequence number of the last sale with goods that came back
	Wrong     []Wrong
	Offline   Offline
}

// Wrong are PINs that were wrong since the operator gave the last right one.
type Wrong struct {
	Operator string
	PINs     int
}

// mostWrong bounds them: there are as many as operators, and some that are gone.
const mostWrong = 256

// Shift is the one that is open, or the last one.
type Shift struct {
	Number   uint64 // 0: there was none
	Open     bool
	Implicit bool   // nobody opened it, the first sale did
	Operator string // who is answerable for the drawer
	Totals   event.ShiftTotals
	Counted  bool // Declared was counted
	Declared pos.Money
}

// Basket is a sale in the making.
type Basket struct {
	event.OpenBasket
	Keys []Key // idempotency keys of its last steps, the newest last
	size int   // of its JSON
}

// Key is an idempotency key and the event that it made.
type Key struct {
	ID   [16]byte
	Hash [8]byte // the first bytes of the hash of the call's body
	Seq  uint64
}

// mostKeys bounds them: whoever repeats a call repeats one of the last.
const mostKeys = 8

// Find returns the basket of that id, nil if it is neither open nor parked.
func (s *State) Find(id string) *Basket {
	for _, b := range s.Baskets {
		if b.Basket == id {
			return b
		}
	}
	return nil
}

// FindKey returns the event that a step of a basket made with that key.
func (s *State) FindKey(id [16]byte) (Key, bool) {
	for _, b := range s.Baskets {
		for _, k := range b.Keys {
			if k.ID == id && !planted("step-key") {
				return k, true
			}
		}
	}
	return Key{}, false
}

// Record is what a record adds to its event.
type Record struct {
	Seq   uint64
	KeyID [16]byte // of Header.Key; zero: none
}

// saw takes in what every event carries. A disciplined clock corrects a mark that a
// wrong one has set.
func (s *State) saw(h *event.Header) {
	at := h.Time.UnixMilli()
	if h.Clock == event.ClockSynced || at > s.Wall {
		s.Wall = at
	}
}

// Apply folds an event that the journal has taken as record r. e is one of those that
// this package makes, or a technical one, which only shows the time.
func (s *State) Apply(h *event.Header, r Record, e any) {
	s.saw(h)
	switch e := e.(type) {
	case *event.SaleCompleted:
		s.sold(e, r.Seq)
	case *event.ShiftOpened:
		s.opened(e, r.Seq)
	case *event.ShiftClosed:
		s.closed(e)
	case *event.ShiftHanded:
		s.Shift.Operator = e.To
	case *event.Cash:
		s.cash(e)
	case *event.CardForwarded:
		s.Offline.forwarded(e)
	case *event.Basket:
		s.step(h, r, e)
	case *event.Operator:
		s.operator(e)
	}
}

// Fold parses an event's data and applies it. Events that this release does not know
// are left out: a release writes only what its predecessor can do without.
func (s *State) Fold(h *event.Header, r Record, data []byte) (known bool, err error) {
	var e any
	switch h.Type {
	case event.TypeSaleCompleted, event.TypeTraining:
		v, bad := event.ParseSale(data)
		v.Training = h.Type == event.TypeTraining
		if bad == nil && !v.Training && v.Number != s.Receipt+1 {
			bad = fmt.Errorf("receipt %s follows number %d", v.Receipt, s.Receipt)
		}
		e, err = &v, bad
	case event.TypeShiftOpened:
		v, bad := event.ParseShiftOpened(data)
		e, err = &v, bad
	case event.TypeShiftClosed:
		v, bad := event.ParseShiftClosed(data)
		e, err = &v, bad
	case event.TypeShiftHanded:
		v, bad := event.ParseShiftHanded(data)
		e, err = &v, bad
	case event.TypeCardForwarded:
		v, bad := event.ParseCardForwarded(data)
		e, err = &v, bad
	case event.TypeTerminalStarted, event.TypeTerminalStopped, event.TypeClockStepped,
		event.TypeConfigApplied, event.TypeConfigRefused, event.TypeCommandExecuted, event.TypeCommandRefused, event.TypeRecordsLost,
		event.TypeCatalogueApplied, event.TypeCatalogueRefused:
	default:
		switch {
		case slices.Contains(event.BasketTypes[:], h.Type):
			v, bad := event.ParseBasket(h.Type, data)
			e, err = &v, bad
		case slices.Contains(event.CashTypes[:], h.Type):
			v, bad := event.ParseCash(h.Type, data)
			e, err = &v, bad
		case slices.Contains(event.OperatorTypes[:], h.Type):
			v, bad := event.ParseOperator(h.Type, data)
			e, err = &v, bad
		default:
			s.saw(h)
			return false, nil
		}
	}
	if err != nil {
		s.saw(h)
		return false, err
	}
	s.Apply(h, r, e)
	return true, nil
}

func (s *State) opened(e *event.ShiftOpened, seq uint64) {
	t := event.ShiftTotals{Perpetual: s.Perpetual, PerpetualRefunds: s.Refunds, Float: e.Float}
	if was := &s.Shift.Totals; !s.Shift.Open { // what was done between two shifts stands in the second
		t.LinesVoided, t.LinesVoidedSum, t.BasketsVoided, t.BasketsVoidedSum = was.LinesVoided, was.LinesVoidedSum, was.BasketsVoided, was.BasketsVoidedSum
		t.Copies = was.Copies
	}
	s.Shift = Shift{Number: e.Shift, Open: true, Implicit: e.Implicit, Operator: e.Operator, Totals: t}
	s.Currency = e.Currency
	if e.BusinessDate < s.Date {
		s.Setback = seq
	}
	s.Date = e.BusinessDate
}

func (s *State) closed(e *event.ShiftClosed) {
	if !planted("z-stands-still") {
		s.Z = max(s.Z, e.Z)
	}
	s.Shift = Shift{Number: s.Shift.Number, Totals: event.ShiftTotals{Perpetual: s.Perpetual, PerpetualRefunds: s.Refunds}}
}

func (s *State) cash(e *event.Cash) {
	t := &s.Shift.Totals
	switch e.Type {
	case event.TypeCashIn:
		t.In += e.Amount
	case event.TypeCashOut:
		t.Out += e.Amount
	case event.TypeCashDropped:
		t.Dropped += e.Amount
	case event.TypeDrawerOpened:
		t.DrawerOpened++
	case event.TypeCashDeclared:
		s.Shift.Counted, s.Shift.Declared = true, e.Amount
	}
}

func (s *State) operator(e *event.Operator) {
	switch e.Type {
	case event.TypeReceiptCopied:
		s.Shift.Totals.Copies++
	case event.TypeOperatorRefused, event.TypeOperatorLocked:
		i := slices.IndexFunc(s.Wrong, func(w Wrong) bool { return w.Operator == e.Operator })
		if i >= 0 {
			s.Wrong[i].PINs = e.Failures
			return
		}
		if len(s.Wrong) == mostWrong {
			s.Wrong = slices.Delete(s.Wrong, 0, 1)
		}
		s.Wrong = append(s.Wrong, Wrong{e.Operator, e.Failures})
	case event.TypeSignedIn, event.TypeOperatorUnlocked, event.TypeOperatorApproved:
		s.Wrong = slices.DeleteFunc(s.Wrong, func(w Wrong) bool { return w.Operator == e.Operator })
	}
}

func (s *State) sold(e *event.SaleCompleted, seq uint64) {
	s.remove(e.Basket)
	t := &s.Shift.Totals
	if e.Training {
		s.Training = e.Number
		t.Trainings++
		if planted("training-counts") {
			t.Gross += e.Total
		}
		return
	}
	s.Receipt, s.Perpetual, s.Refunds = e.Number, e.Perpetual, e.Refunds
	t.Sales++
	t.Gross += e.Total
	t.Perpetual, t.PerpetualRefunds = e.Perpetual, e.Refunds
	if e.Total < 0 {
		t.Refunds++
		t.Refunded -= e.Total
	}
	if e.VoidOf != "" {
		t.PostVoids++
	}
	t.CashRounding += e.CashRounding
	for i := range e.Taxes {
		addTax(t, &e.Taxes[i])
	}
	for i := range e.Lines {
		l := &e.Lines[i]
		for j := range l.Discounts {
			plus(&t.Discounts, l.Discounts[j].Amount)
		}
		if l.Changed {
			t.PriceChanges++
		}
		if l.Return != nil {
			s.Returned = seq
			t.LinesReturned++
			plus(&t.LinesReturnedSum, -l.Amount)
		}
	}
	for i := range e.Tenders {
		switch amount := e.Tenders[i].Amount; e.Tenders[i].Kind {
		case pos.Cash:
			t.Cash += amount
		case pos.Voucher:
			t.Voucher += amount
		case pos.Account:
			t.Account += amount
		default:
			t.Card += amount
		}
	}
	if !planted("change-stays") {
		t.Cash -= e.Change
	}
}

func addTax(t *event.ShiftTotals, add *pos.TaxTotal) {
	for i := range t.Taxes {
		if row := &t.Taxes[i]; row.Code == add.Code && row.Rate == add.Rate {
			plus(&row.Net, add.Net)
			plus(&row.Tax, add.Tax)
			plus(&row.Gross, add.Gross)
			return
		}
	}
	t.Taxes = append(t.Taxes, *add)
}

func (s *State) remove(id string) {
	if id == "" {
		return
	}
	s.Baskets = slices.DeleteFunc(s.Baskets, func(b *Basket) bool { return b.Basket == id })
}

// step folds an event of a basket. What refers to a basket, a line or a tender that is
// not there changes nothing: a journal that was salvaged may lack the one before.
func (s *State) step(h *event.Header, r Record, e *event.Basket) {
	if e.Type == event.TypeBasketOpened {
		s.remove(e.Basket)
		s.Baskets = append(s.Baskets, &Basket{OpenBasket: event.OpenBasket{
			Name: e.Name, Prices: e.Prices, Rounding: e.Rounding, Training: e.Training, Opened: e.Opened, Basket: e.Basket,
		}})
	}
	b := s.Find(e.Basket)
	if b == nil {
		return
	}
	b.Version, b.Operator, b.Total, b.Due = e.Version, e.Operator, e.Total, e.Due
	t := &s.Shift.Totals
	switch e.Type {
	case event.TypeBasketParked:
		b.Parked, b.Name = true, e.Name
	case event.TypeBasketRecalled:
		b.Parked = false
	case event.TypeBasketChanged:
		b.Customer, b.Note, b.Age, b.Discounts = e.Customer, e.Note, e.Age, e.Discounts
	case event.TypeBasketVoided:
		if !b.Training {
			t.BasketsVoided++
			plus(&t.BasketsVoidedSum, e.Total)
		}
		s.remove(e.Basket)
		return
	case event.TypeLineAdded, event.TypeLineChanged:
		if was := b.Line(e.N); was != nil && !b.Training && e.Line.Qty < was.Qty { // what is taken out is voided, as a line is
			t.LinesVoided++
			plus(&t.LinesVoidedSum, pos.Part(was.Amount, was.Qty-e.Line.Qty, was.Qty))
		}
		b.set(event.OpenLine{N: e.N, Line: e.Line, MinAge: e.MinAge})
	case event.TypeLineVoided:
		if !b.Training {
			t.LinesVoided++
			plus(&t.LinesVoidedSum, e.Line.Amount)
		}
		b.Lines = slices.DeleteFunc(b.Lines, func(l event.OpenLine) bool { return l.N == e.N })
	case event.TypeTenderPending, event.TypeTenderApproved, event.TypeTenderDeclined, event.TypeTenderUnknown, event.TypeTenderReversed, event.TypeTenderReversing:
		was := b.Tender(e.Tender.ID)
		x := openTender(was, e)
		if o := &s.Offline; was == nil && e.Offline > 0 && o.counts(e.Driver, e.Memory) {
			x.ForwardedBefore = o.Forwarded
		}
		x.OfflineDate = s.Offline.fold(was, e, s.Date)
		b.setTender(x)
	}
	if r.KeyID != [16]byte{} {
		b.remember(r, h.Hash)
	}
	b.size = 0
}

func (b *Basket) remember(r Record, hash string) {
	k := Key{ID: r.KeyID, Seq: r.Seq}
	if n := 2 * len(k.Hash); len(hash) > n {
		hex.Decode(k.Hash[:], []byte(hash[:n])) // of another form it matches no body
	}
	if len(b.Keys) >= mostKeys {
		b.Keys = slices.Delete(b.Keys, 0, len(b.Keys)-mostKeys+1)
	}
	b.Keys = append(b.Keys, k)
}

func (b *Basket) set(l event.OpenLine) {
	b.Last = max(b.Last, l.N)
	for i := range b.Lines {
		if b.Lines[i].N == l.N {
			b.Lines[i] = l
			return
		}
	}
	b.Lines = append(b.Lines, l)
}

func (b *Basket) setTender(t event.OpenTender) {
	for i := range b.Tenders {
		if b.Tenders[i].ID == t.ID {
			b.Tenders[i] = t
			return
		}
	}
	b.Tenders = append(b.Tenders, t)
}

// mostSum is what a shift's sales, its refunds and each way in which cash is moved beside
// them may come to, so that what is worked out of them all fits.
const mostSum = 1000 * pos.MaxAmount

// plus adds to a sum that has no such bound: goods that are voided, or that come back with
// others, may go on for ever. It stops where no figure of a shop is.
//
//go:noinline
func plus(to *pos.Money, by pos.Money) { *to = max(-4*mostSum, min(*to+by, 4*mostSum)) }

// Room says whether the perpetual totals, and those of the shift, can take one more sale.
func (s *State) Room(total pos.Money) bool {
	t := &s.Shift.Totals
	if g := t.Gross + total; g > mostSum || g < -mostSum || t.Refunded-total > mostSum {
		return false
	}
	if total < 0 {
		return s.Refunds <= math.MaxInt64+total && s.Perpetual >= math.MinInt64-total
	}
	return s.Perpetual <= math.MaxInt64-total
}

// check refuses a state that no fold can reach.
func (s *State) check() error {
	t := &s.Shift
	switch {
	case s.Branch == 0:
		return errors.New("branch is 0")
	case t.Open && t.Number == 0:
		return errors.New("shift 0 is open")
	case !t.Open && (t.Implicit || t.Operator != "" || t.Totals.Sales != 0):
		return errors.New("a closed shift has figures")
	case s.Currency.Exponent < 0 || s.Currency.Exponent > 8:
		return fmt.Errorf("currency with %d decimals", s.Currency.Exponent)
	case s.Refunds < 0:
		return errors.New("refunds are below zero")
	}
	if s.Date != "" {
		if _, err := time.Parse(time.DateOnly, s.Date); err != nil {
			return fmt.Errorf("business date: %w", err)
		}
	}
	return nil
}
