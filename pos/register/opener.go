package register

import (
	"sync/atomic"

	"posd/journal"
	"posd/pos"
	"posd/pos/till"
)

// Start is what a new journal begins from. A terminal's first journal has
// branch 1 and nothing else; one with a parent has the next branch and goes on
// with the parent's perpetual total, in its currency.
type Start struct {
	Branch    uint64
	Perpetual pos.Money
	Refunds   pos.Money
	Z         uint64
	Currency  pos.Currency
}

// Opening is the opening state of a new journal, for journal.Create.
func Opening(s Start) journal.Opening {
	first := till.State{Branch: max(s.Branch, 1), Perpetual: s.Perpetual, Refunds: s.Refunds, Z: s.Z, Currency: s.Currency}
	return func(dst []byte, _ uint64) []byte { return first.Append(dst) }
}

// Opener lets a journal be opened before the register that owns it: its method
// is given to journal.Open, and the register to Opener by Options.
type Opener struct{ r atomic.Pointer[Register] }

// Opening appends the state before record seq. The journal calls it from within
// the register's own Append, so that nothing moves meanwhile.
func (o *Opener) Opening(dst []byte, _ uint64) []byte {
	if r := o.r.Load(); r != nil {
		return r.state.Append(dst)
	}
	return dst
}
