package register

import (
	"context"
	"fmt"
	"time"

	"posd/journal"
	"posd/pos"
	"posd/pos/event"
	"posd/pos/itemcode"
	"posd/pos/operator"
	"posd/pos/receipt"
	"posd/pos/till"
)

// Settings are what head office may change while sales go on. A sale is made of one
// set, whatever comes while it is being made. No set is changed once it is in force.
type Settings struct {
	Prices   pos.PriceMode // of a sale that does not say
	Rounding pos.Rounding
	DayStart time.Duration // after local midnight; before it, a sale belongs to the day before
	Taxes    []pos.Tax
	Coin     pos.Money // the smallest one in cash, in minor units; 0 or 1: cash is not rounded
	Papers   Papers
	Repeat   time.Duration   // a scan that comes again within it is a scanner's repeat; 0: none is
	Codes    *itemcode.Rules // how codes of items are read; nil: without patterns
	Config   string          // hash of the configuration that they come from

	Operators   operator.Rules // for a till whose operators sign in
	Offline     till.Limits    // of what a payment terminal may approve offline
	CardTimeout time.Duration  // how long a customer may take at it
}

// Papers say what the till's papers look like, and which are printed unasked.
type Papers struct {
	Shop    receipt.Shop
	Barcode bool // the receipt's number as a bar code
	Sales   bool // each sale's receipt is printed, unless its call says otherwise
	Others  bool // so are Z reports and slips of cash
}

// Rate is the rate of a tax code on a business date.
func (s *Settings) Rate(code, date string) (pos.Rate, bool) {
	for i := range s.Taxes {
		if s.Taxes[i].Code == code {
			return s.Taxes[i].On(date), true
		}
	}
	return 0, false
}

// Settings are those in force. A caller that prices lines with them names them in
// Checkout.Settings, and begins anew at ErrSettings.
func (r *Register) Settings() *Settings { return r.set.Load() }

// BusinessDate is the date of a sale made now, YYYY-MM-DD: whose prices and rates hold. A
// caller that prices lines names it in Checkout.Date or asks Turn.Day, and begins anew at
// ErrSettings if the day has ended meanwhile.
func (r *Register) BusinessDate() string {
	now := r.o.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.saleDate(now, r.trust(now))
}

// saleDate is the date of the shift that a sale made now belongs to.
func (r *Register) saleDate(now time.Time, trust event.Clock) string {
	if s := &r.state.Shift; s.Open && !s.Implicit {
		return r.state.Date
	}
	return r.businessDate(now, trust)
}

// Note journals a technical event that did not come from the loop itself and returns
// when it is durable. If s is not nil it comes into force in the same turn of the
// loop: the sales behind the event are made with it, those before are not. It does so
// even where the event finds no room; then the error says so.
func (r *Register) Note(ctx context.Context, e Appender, s *Settings) error {
	cmd := r.pool.Get().(*command)
	cmd.ctx, cmd.note, cmd.set = ctx, e, s
	res, err := r.submit(cmd)
	if err == nil {
		err = res.err
	}
	if err != nil {
		return err
	}
	return r.j.Wait(ctx, res.seq)
}

func (r *Register) handleNote(c *command) result {
	now, trust := r.lookAtClock()
	h := event.Header{Time: now, Clock: trust}
	seq, err := uint64(0), error(nil)
	if b, e := c.note.AppendEvent(nil, h); e != nil {
		err = e
	} else {
		seq, err = r.append(journal.Durable, c.note, h, len(b))
	}
	if err == nil {
		r.apply(&h, seq, c.note)
		if _, ok := c.note.(*event.RecordsLost); ok {
			r.sign() // here and not elsewhere: a signature may begin a segment, with the state as it is
		}
	} else {
		err = fmt.Errorf("event was not journaled: %w", err)
	}
	if c.set != nil {
		r.set.Store(c.set)
	}
	return result{seq: seq, err: err}
}
