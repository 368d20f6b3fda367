package event

import (
	"fmt"
	"slices"

	"posd/pos"
)

// Types of what happens to the drawer beside sales.
const (
	TypeCashIn       = "cash.in"      // put in: change from the bank
	TypeCashOut      = "cash.out"     // paid out: a delivery, a refund of a deposit machine
	TypeCashDropped  = "cash.dropped" // to the safe
	TypeDrawerOpened = "drawer.opened"
	TypeCashDeclared = "cash.declared" // counted, without being told what should be there
)

// CashTypes are the types of a Cash event.
var CashTypes = [...]string{TypeCashIn, TypeCashOut, TypeCashDropped, TypeDrawerOpened, TypeCashDeclared}

// Cash is a movement of cash, a count of it, or the drawer opened without a sale.
type Cash struct {
	Type     string // one of CashTypes
	Shift    uint64
	Operator string
	Approved string
	Amount   pos.Money // above zero; 0 for drawer.opened
	Reason   string
	Counts   []Count // of cash.declared
}

// Count is how many coins or notes of one value were counted.
type Count struct {
	Value  pos.Money
	Pieces int
}

// AppendEvent is like SaleCompleted.AppendEvent.
func (e *Cash) AppendEvent(dst []byte, h Header) ([]byte, error) {
	if !slices.Contains(CashTypes[:], e.Type) {
		return dst, fmt.Errorf("%w: type %s", ErrValue, e.Type)
	}
	for i := range e.Counts {
		if e.Counts[i].Pieces < 0 {
			return dst, fmt.Errorf("%s: %w: count %d: %d pieces", e.Type, ErrValue, i+1, e.Counts[i].Pieces)
		}
	}
	dst = appendHeader(dst, e.Type, h)
	dst = appendUint(dst, `{"shift":`, e.Shift)
	dst = appendText(dst, `,"operator":`, e.Operator)
	dst = appendSome(dst, `,"approved":`, e.Approved)
	dst = appendInt(dst, `,"amount":`, e.Amount)
	dst = appendSome(dst, `,"reason":`, e.Reason)
	for i := range e.Counts {
		open := `,{"value":`
		if i == 0 {
			open = `,"counts":[{"value":`
		}
		dst = appendInt(dst, open, e.Counts[i].Value)
		dst = appendInt(dst, `,"pieces":`, e.Counts[i].Pieces)
		dst = append(dst, '}')
	}
	if len(e.Counts) > 0 {
		dst = append(dst, ']')
	}
	return append(dst, "}}"...), nil
}

// ParseCash reads the data of a Cash event, whose type the caller knows.
// Errors: ErrMalformed.
func ParseCash(kind string, data []byte) (Cash, error) {
	e := Cash{Type: kind}
	r := newReader(data)
	r.object(members{
		{"shift", &e.Shift, must},
		{"operator", &e.Operator, must},
		{"approved", &e.Approved, may},
		{"amount", &e.Amount, must},
		{"reason", &e.Reason, may},
		{"counts", func() { r.array(func() { e.Counts = append(e.Counts, r.counted()) }) }, may},
	})
	return finish(r, e)
}

func (r *reader) counted() (c Count) {
	r.object(members{
		{"value", &c.Value, must},
		{"pieces", &c.Pieces, must},
	})
	return c
}
