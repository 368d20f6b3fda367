package card

import (
	"context"
	"errors"
	"time"

	"posd/pos"
	"posd/pos/event"
	"posd/pos/register"
	"posd/pos/till"
)

// Begin has the payment terminal asked for amount, or to pay back what is below zero,
// and returns when that it will be asked is durable: a tender.pending. How it ends is
// told by Await, and by the basket. Errors: ErrDown, ErrBusy, as register.Do.
func (d *Desk) Begin(ctx context.Context, c register.Call, o till.Step, amount pos.Money) (register.Outcome, error) {
	why := ErrBusy // which is not said of a basket that is not there
	if d.there(o.Basket) {
		why = d.hold(ctx, o.Basket)
	}
	held := why == nil
	var l Link
	if held {
		l, why = d.reach(ctx, false)
	}
	var begun *event.Basket
	out, err := d.o.Register.Pay(ctx, c, o.Basket, func(t *register.Turn) (register.Appender, error) {
		by, tender := till.Driver{Name: "-", Journal: t.Journal()}, pos.Tender{Kind: pos.Card, Amount: amount}
		if _, err := t.State.BeginTender(o, t.Rules, tender, by); err != nil {
			return nil, err
		}
		if why != nil {
			return nil, why
		}
		if err := t.Shift(o.By(t.State)); err != nil { // whose business date the payment counts for
			return nil, err
		}
		g := l.Greeting()
		by.Name, by.Memory, by.Limits = g.Terminal, g.Memory, t.Settings.Offline
		e, err := t.State.BeginTender(o, t.Rules, tender, by)
		if err == nil {
			begun = e
			d.early(ctx, l, e)
		}
		return register.Made(e, err)
	})
	crash("pending")
	if err == nil && !out.Replayed && begun != nil {
		d.mu.Lock()
		stopped := d.stopped
		if !stopped {
			d.count.asked++
			d.wg.Add(1)
		}
		d.mu.Unlock()
		if !stopped {
			go func() {
				defer d.wg.Done()
				d.ask(l, begun)
				d.release()
			}()
			return out, nil
		}
	}
	if l != nil {
		l.Close()
	}
	if held {
		d.release()
	}
	return out, err
}

// early is a planted bug: the payment terminal is asked before that is durable.
func (d *Desk) early(ctx context.Context, l Link, begun *event.Basket) {
	if planted("card-early") {
		t := event.OpenTender{Tender: begun.Tender}
		t.ID = "1"
		l.Ask(ctx, d.request(AskAuthorise, begun.Basket, &t, statusTime), d.show)
		crash("early")
	}
}

// there says that there is such a basket: for any other the payment terminal is not held.
func (d *Desk) there(basket string) (yes bool) {
	d.o.Register.Look(func(s *till.State) { yes = s.Find(basket) != nil })
	return yes
}

// hold takes the payment terminal for a basket. One whose customer is done is about to be
// free: that is waited for.
func (d *Desk) hold(ctx context.Context, basket string) error {
	for by := time.Now().Add(freeTime); ; {
		d.mu.Lock()
		busy := d.front
		if busy == "" {
			d.front = basket
		}
		d.mu.Unlock()
		switch {
		case busy == "":
			return nil
		case d.waits(busy), time.Now().After(by), ctx.Err() != nil:
			return ErrBusy
		}
		time.Sleep(freeTime / 400)
	}
}

// waits says that a basket has a payment of which it is not known what becomes of it.
func (d *Desk) waits(basket string) (yes bool) {
	d.o.Register.Look(func(s *till.State) {
		s.Unsettled(func(b *till.Basket, _ *event.OpenTender) { yes = yes || b.Basket == basket })
	})
	return yes
}

func (d *Desk) release() {
	d.mu.Lock()
	d.front, d.shown, d.cut = "", "", func() {}
	d.mu.Unlock()
	d.Wake()
}

// ask has the payment made, and what becomes of it journaled.
func (d *Desk) ask(l Link, begun *event.Basket) {
	defer l.Close()
	t := event.OpenTender{Tender: begun.Tender, State: "pending", Driver: begun.Driver, Memory: begun.Memory, Offline: begun.Offline}
	wait := d.o.Register.Settings().CardTimeout
	r := d.request(AskAuthorise, begun.Basket, &t, wait)
	if t.Amount < 0 {
		r.Ask, r.OfflineMost = AskRefund, 0
	}
	ctx, cancel := context.WithTimeout(d.life, wait+min(wait, graceTime))
	defer cancel()
	d.mu.Lock()
	d.cut = cancel
	d.mu.Unlock()
	a, err := l.Ask(ctx, r, d.show)
	if d.life.Err() != nil || errors.Is(ctx.Err(), context.Canceled) {
		return // the next start asks what became of it; or it was reversed meanwhile
	}
	crash("answered")
	if err == nil {
		d.good(true)
		if v := d.judge(begun.Basket, &t, &a, l.Greeting()); v.kind != "" {
			d.settle(d.life, begun.Basket, &t, v)
			return
		}
		err = errors.New("it says " + a.State)
	} else {
		d.failed(err, true)
	}
	v := verdict{kind: event.TypeTenderUnknown, reason: "the payment terminal did not answer: " + plain(err.Error(), 160)}
	switch {
	case planted("card-declined"):
		v.kind = event.TypeTenderDeclined
	case planted("card-again"):
		d.askAgain(r)
	}
	d.settle(d.life, begun.Basket, &t, v)
}

// askAgain is a planted bug: the payment is asked for once more, by another reference.
func (d *Desk) askAgain(r *Request) {
	ctx, cancel := context.WithTimeout(d.life, statusTime)
	defer cancel()
	if l, err := d.o.Driver.Open(ctx); err == nil {
		defer l.Close()
		r.Reference += "-2"
		l.Ask(ctx, r, d.show)
	}
}

func (d *Desk) show(text string) {
	d.mu.Lock()
	d.shown = text
	d.mu.Unlock()
}

// Wake says that a tender is to be reversed, or was ended by hand.
func (d *Desk) Wake() {
	d.mu.Lock()
	d.news()
	d.mu.Unlock()
	select {
	case d.kick <- struct{}{}:
	default:
	}
}

// news has whoever waits look again. d.mu is held.
func (d *Desk) news() {
	close(d.changed)
	d.changed = make(chan struct{})
}

// Await returns the event that ended the tender that out began or began to reverse, or
// out, if that has not happened when ctx ends, or is not remembered. At most mostAwait
// calls wait at a time, the others return at once: each holds a connection.
func (d *Desk) Await(ctx context.Context, out register.Outcome) register.Outcome {
	h, data, err := event.Parse(out.Event)
	if err != nil || h.Type != event.TypeTenderPending && h.Type != event.TypeTenderReversing {
		return out
	}
	e, err := event.ParseBasket(h.Type, data)
	if err != nil {
		return out
	}
	ref := referenceOf(e.Basket, e.Tender.ID)
	if d.waiting.Add(1) > mostAwait {
		d.waiting.Add(-1)
		return out
	}
	defer d.waiting.Add(-1)
	for {
		ended := true
		d.o.Register.Look(func(s *till.State) {
			b := s.Find(e.Basket)
			ended = b == nil || b.Ended(e.Tender.ID)
		})
		d.mu.Lock()
		end, ok := d.ends[ref]
		changed := d.changed
		told := d.telling[ref] > 0
		d.mu.Unlock()
		if ok && end.Seq > out.Seq {
			end.Replayed = out.Replayed
			return end
		}
		if ended && !told { // by hand, or before the last start
			return out
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return out
		case <-d.life.Done():
			return out
		}
	}
}

// Open is a tender that is not settled.
type Open struct {
	_ [0]func() // not compared: see docs/maintain.md on the size

	Basket, Tender, State string
	Amount                pos.Money
	For                   time.Duration // that this process knows of it
	Attempts              int
	Last                  string // what came of asking
	Stuck                 bool   // a person has to look
}

// Status is a snapshot for people.
type Status struct {
	Terminal, Memory string // of the last greeting
	Reachable        bool
	Breaker          string    // closed: it is asked; open: only tried now and then
	Next             time.Time // of these tries, while it is open; else zero
	Failure          string
	Basket, Shown    string // for which it is being asked, and what it shows
	Open             []Open
	Outstanding, Day pos.Money // approved offline, or possibly so
	Limits           till.Limits
	Since            string // business date that is over, since when nothing was added to what is outstanding
}

// Status returns a snapshot.
func (d *Desk) Status() Status {
	var s Status
	s.Limits = d.o.Register.Settings().Offline
	d.mu.Lock()
	defer d.mu.Unlock()
	s.Terminal, s.Memory, s.Failure = d.greeting.Terminal, d.greeting.Memory, d.failure
	s.Reachable, s.Breaker = d.failure == "" && !d.heard.IsZero(), "closed"
	if d.breaker.open() {
		s.Breaker, s.Next = "open", d.breaker.next
	}
	s.Basket, s.Shown = d.front, d.shown
	d.o.Register.Look(func(t *till.State) {
		s.Outstanding, s.Day = t.Exposure()
		if o := &t.Offline; o.Outstanding > 0 && o.Date < t.Date {
			s.Since = o.Date
		}
		t.Unsettled(func(b *till.Basket, x *event.OpenTender) {
			o := Open{Basket: b.Basket, Tender: x.ID, State: x.State, Amount: x.Amount, Last: x.Reason}
			if j := d.jobs[referenceOf(b.Basket, x.ID)]; j != nil {
				o.For, o.Attempts, o.Stuck, o.Last = time.Since(j.since), j.attempts, j.stuck, or(j.last, x.Reason)
			}
			s.Open = append(s.Open, o)
		})
	})
	return s
}

// Long are those that need somebody's eye: stuck, or not settled for minutes.
func (s *Status) Long() (list []Open) {
	for _, o := range s.Open {
		if o.Stuck || o.For > longOpen {
			list = append(list, o)
		}
	}
	return list
}

// Old says that payments were approved offline of which nobody has heard since an earlier
// business date that the acquirer has them; empty if there are none.
func (s *Status) Old() string {
	if s.Since == "" {
		return ""
	}
	return "payments approved offline until " + s.Since + " are not known to be with the acquirer: look at the payment terminal and at the acquirer's report, and take them off by hand"
}
