package register

import (
	"strconv"
	"strings"

	"posd/journal"
	"posd/journal/chain"
	"posd/pos/event"
	"posd/pos/till"
)

// Successor folds a former journal, as much of it as is left, into what the
// terminal's next journal begins from: the next branch of receipt numbers, the
// perpetual total, the shift that is open. Unlike the register it takes gaps.
type Successor struct {
	s    till.State
	last uint64
}

// Add takes the next record of the former journal that is left. What cannot be
// understood changes nothing: it is copied all the same.
func (f *Successor) Add(rec chain.Record) {
	f.last = rec.Seq
	switch rec.Type {
	case chain.TypeOpening:
		if s, err := till.ParseState(rec.Payload); err == nil {
			f.s = s // whatever was missing before, this was so
		}
	case event.RecordType:
		h, data, err := event.Parse(rec.Payload)
		if err != nil {
			return
		}
		if h.Type == event.TypeSaleCompleted {
			f.skipTo(data)
		}
		f.s.Fold(&h, till.Record{Seq: rec.Seq}, data)
	}
}

// skipTo makes the sale the next one, though others may be missing before it.
func (f *Successor) skipTo(data []byte) {
	e, err := event.ParseSale(data)
	if err != nil || e.Number == 0 {
		return
	}
	f.s.Receipt = e.Number - 1
	if _, rest, ok := strings.Cut(strings.TrimSuffix(e.Receipt, "-"+strconv.FormatUint(e.Number, 10)), "-"); ok {
		if branch, err := strconv.ParseUint(rest[strings.LastIndexByte(rest, '-')+1:], 10, 64); err == nil {
			f.s.Branch = max(f.s.Branch, branch)
		}
	}
}

// Opening is the opening state of the next journal, for journal.Create.
func (f *Successor) Opening() journal.Opening {
	s := f.s
	s.Branch, s.Receipt, s.Returned = max(s.Branch, 1)+1, 0, 0
	if s.Setback != 0 { // it may be among the copies: before this, with the records between them
		s.Setback = 2*f.last + 8
	}
	if !s.Shift.Open { // its beginning may be lost, though sales of it are left
		s.Shift = till.Shift{Number: s.Shift.Number, Totals: event.ShiftTotals{Perpetual: s.Perpetual, PerpetualRefunds: s.Refunds}}
	}
	for _, b := range s.Baskets {
		b.Keys = nil // they name records of the former journal; the copies have them
	}
	return func(dst []byte, _ uint64) []byte { return s.Append(dst) }
}
