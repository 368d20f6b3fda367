package register

import (
	"context"
	"fmt"
	"time"

	"posd/journal"
	"posd/pos"
	"posd/pos/event"
	"posd/pos/itemcode"
)

// Settings are what head office may change while sales go on. A sale is made of one
// set, whatever comes while it is being made. No set is changed once it is in force.
type Settings struct {
	Prices   pos.PriceMode // of a sale that does not say
	Rounding pos.Rounding
	DayStart time.Duration // after local midnight; before it, a sale belongs to the day before
	Taxes    []pos.Tax
	Coin     pos.Money       // the smallest one in cash, in minor units; 0 or 1: cash is not rounded
	Codes    *itemcode.Rules // how codes of items are read; nil: without patterns
	Config   string          // hash of the configuration that they come from
}

// Rate is the rate of a tax code.
func (s *Settings) Rate(code string) (pos.Rate, bool) {
	for i := range s.Taxes {
		if s.Taxes[i].Code == code {
			return s.Taxes[i].Rate, true
		}
	}
	return 0, false
}

// Settings are those in force. A caller that prices lines with them names them in
// Checkout.Settings, and begins anew at ErrSettings.
func (r *Register) Settings() *Settings { return r.set.Load() }

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
