package card

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"posd/pos"
	"posd/pos/event"
	"posd/pos/register"
	"posd/pos/till"
)

var (
	// ErrDown: the payment terminal cannot be reached, or could not be just now. It was
	// not asked: nobody is charged.
	ErrDown = errors.New("the payment terminal cannot be reached")
	// ErrBusy: it is busy with another basket of this till. It was not asked.
	ErrBusy = errors.New("the payment terminal is busy with another basket")
	// errMoved: the tender is not any more what it was when the payment terminal was asked.
	errMoved = errors.New("the tender has changed meanwhile")
)

const (
	graceTime  = 2 * time.Second // beyond what it was told
	freeTime   = 2 * time.Second // for a payment terminal whose customer is done to be free
	idleTime   = time.Minute     // after which it is looked whether it is still there
	askFirst   = time.Second / 4 // until a payment is asked about again
	askMost    = time.Minute     // at most, after ever longer pauses
	again      = 50 * time.Millisecond
	mostAwait  = 16
	mostEnds   = 64 // that are remembered for whoever waits
	mostTaken  = 128
	longOpen   = 5 * time.Minute
	outageText = "posd was stopped before the payment terminal answered"
)

// Options of a desk. Register is required.
type Options struct {
	Register *register.Register
	Driver   Driver // nil: there is no payment terminal that posd speaks to
	Terminal string // name that the payment terminal has to have; empty: any
	Currency pos.Currency
	Metrics  *metrics.Set // nil: none
	Log      *slog.Logger
}

// Desk is where card payments of a till are made. Begin, Await, Wake and Status are for
// any goroutine; Run owns all that goes on behind them.
type Desk struct {
	o    Options
	kick chan struct{} // something is to be done now
	life context.Context
	end  context.CancelFunc
	wg   sync.WaitGroup // payments that are being asked for

	mu       sync.Mutex
	stopped  bool
	front    string // basket that the payment terminal is asked for
	cut      func() // ends that
	shown    string // to its customer
	breaker  breaker
	greeting Greeting // the last one
	heard    time.Time
	failure  string
	jobs     map[string]*job
	ends     map[string]register.Outcome // the last event of tenders that are settled
	order    []string                    // of ends
	telling  map[string]int              // what becomes of them is being journaled
	changed  chan struct{}               // closed when there is something new to see
	waiting  atomic.Int32                // calls of Await
	count    counts
	day      string              // business date
	taken    [mostTaken]approval // the last ones of it
	next     int                 // of taken
}

// job is a tender that is not settled.
type job struct {
	basket   string
	tender   event.OpenTender
	since    time.Time // that this process knows of it
	next     time.Time
	pause    time.Duration
	attempts int
	last     string // what came of asking
	stuck    bool
	seen     bool
}

// approval is a payment's name at its payment terminal, and here.
type approval struct{ name, reference string }

type counts struct {
	asked, approved, offline, declined, unknown, reversed, failures uint64
}

// New prepares a desk. It asks nothing before Run.
func New(o Options) *Desk {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	d := &Desk{o: o, kick: make(chan struct{}, 1), jobs: map[string]*job{}, ends: map[string]register.Outcome{}, telling: map[string]int{}, changed: make(chan struct{}), cut: func() {}}
	d.life, d.end = context.WithCancel(context.Background())
	if o.Metrics != nil {
		d.meter(o.Metrics)
	}
	return d
}

// Asks says that there is a payment terminal to be asked.
func (d *Desk) Asks() bool { return d.o.Driver != nil }

// referenceOf names a payment to the payment terminal, for ever.
func referenceOf(basket, tender string) string { return basket + "-" + tender }

// Run finds out what is not known and does what is to be reversed, until ctx ends.
// What is still unsettled then, the next start takes up.
func (d *Desk) Run(ctx context.Context) error {
	defer d.close()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-d.kick:
		case <-timer.C:
		}
		timer.Reset(d.turn(ctx))
	}
}

func (d *Desk) close() {
	d.mu.Lock()
	d.stopped = true
	d.mu.Unlock()
	d.end()
	d.wg.Wait()
}

// turn does what is due and returns after how long it wants another one.
func (d *Desk) turn(ctx context.Context) time.Duration {
	for _, j := range d.look() {
		if ctx.Err() != nil {
			return 0
		}
		if !d.work(ctx, j) {
			break // it cannot be reached: nor can it for the others
		}
	}
	now := time.Now()
	d.mu.Lock()
	probe := d.breaker.try(now) || !d.breaker.open() && now.Sub(d.heard) >= idleTime
	d.mu.Unlock()
	if probe && d.Asks() {
		if l, err := d.reach(ctx, true); err == nil {
			l.Close()
			d.soon()
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	next := d.heard.Add(idleTime)
	if !d.Asks() {
		next = now.Add(idleTime)
	}
	if d.breaker.open() {
		next = d.breaker.next
	} else {
		for _, j := range d.jobs {
			if j.next.Before(next) {
				next = j.next
			}
		}
	}
	return max(time.Until(next), again)
}

// soon has everything asked about at once: the payment terminal is there again.
func (d *Desk) soon() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, j := range d.jobs {
		if !j.stuck {
			j.next, j.pause = time.Now(), askFirst
		}
	}
}

// look makes jobs of what the state has unsettled and returns those that are due.
func (d *Desk) look() (due []*job) {
	now := time.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, j := range d.jobs {
		j.seen = false
	}
	d.o.Register.Look(func(s *till.State) {
		s.Unsettled(func(b *till.Basket, t *event.OpenTender) {
			if t.State == "pending" && b.Basket == d.front {
				return // it is being asked for
			}
			ref := referenceOf(b.Basket, t.ID)
			j := d.jobs[ref]
			if j == nil {
				j = &job{basket: b.Basket, since: now}
				d.jobs[ref] = j
			}
			if j.tender.State != t.State {
				j.next, j.pause, j.stuck, j.last = now, askFirst, false, ""
			}
			j.tender, j.seen = *t, true
		})
	})
	for ref, j := range d.jobs {
		switch {
		case !j.seen:
			delete(d.jobs, ref)
		case !j.next.After(now) && (!d.breaker.open() || j.tender.State == "pending"), d.breaker.mute && d.breaker.try(now):
			due = append(due, j) // of a circuit that is to be tried, whatever its own time: the first that fails ends it
		}
	}
	return due
}

// work asks about one tender. It returns false if nobody can be asked.
func (d *Desk) work(ctx context.Context, j *job) (reached bool) {
	t := j.tender
	if t.State == "pending" {
		v := verdict{kind: event.TypeTenderUnknown, reason: outageText}
		if planted("card-restart") {
			v.kind = event.TypeTenderDeclined
		}
		d.settle(ctx, j.basket, &t, v)
		d.later(j, "")
		d.Wake() // and now ask
		return true
	}
	if !d.Asks() {
		d.mu.Lock()
		j.stuck = true
		d.mu.Unlock()
		d.later(j, "no payment terminal is configured: look at its own records, or at the acquirer's, and end the tender by hand")
		return true
	}
	l, err := d.reach(ctx, true)
	if err != nil {
		d.later(j, err.Error())
		return false
	}
	defer l.Close()
	r := d.request(AskStatus, j.basket, &t, statusTime)
	if t.State == "reversing" {
		r.Ask = AskReverse
		crash("reversing")
	}
	asking, cancel := context.WithTimeout(ctx, statusTime)
	defer cancel()
	a, err := l.Ask(asking, r, func(string) {})
	if ctx.Err() != nil {
		return false
	}
	if err != nil {
		d.failed(err, true)
		d.later(j, err.Error())
		return false
	}
	d.good(true)
	crash(r.Ask + "-answered")
	if err := d.forwarded(ctx, &t, &a); err != nil {
		d.later(j, err.Error())
		return false
	}
	v := d.judge(j.basket, &t, &a, l.Greeting())
	if v.kind != "" {
		d.settle(ctx, j.basket, &t, v)
	}
	d.mu.Lock()
	j.stuck = v.stuck
	if d.front == j.basket && v.kind != "" { // its customer is let go
		d.cut()
	}
	d.mu.Unlock()
	d.later(j, or(v.reason, "the payment terminal says "+a.State))
	return true
}

// judge is judge, careful, and twice.
func (d *Desk) judge(basket string, t *event.OpenTender, a *Answer, g Greeting) verdict {
	v := careful(t, judge(t, a, g, d.o.Currency))
	if a.State != Approved || t.Reference != "" || a.Number == "" || a.Auth == "" {
		return v
	}
	d.mu.Lock()
	other := d.twice(referenceOf(basket, t.ID), t, a, g.Terminal)
	d.mu.Unlock()
	if other != "" {
		v = doubtful(t, "the payment terminal names what it approved for "+other+", number "+a.Number+", authorised "+a.Auth+": it may have made one payment, not two; look there and end the tender by hand")
	}
	return v
}

// twice returns for which other payment the payment terminal has approved one of this
// number, authorisation and amount, and remembers it. One that answers with its last
// payment, whatever it is asked about, has made that one only. Numbers that begin anew may
// come again: without the acquirer's authorisation nothing is compared, and what is
// remembered not beyond its business date. d.mu is held.
func (d *Desk) twice(own string, t *event.OpenTender, a *Answer, terminal string) (other string) {
	amount := a.Amount
	if t.Amount < 0 {
		amount = min(amount, -amount)
	}
	name := nameOf(terminal, a.Number, a.Auth, amount)
	d.o.Register.Look(func(s *till.State) {
		if d.day != s.Date {
			d.day, d.taken = s.Date, [mostTaken]approval{}
		}
		for _, b := range s.Baskets {
			for i := range b.Tenders {
				x := &b.Tenders[i]
				if x.Card != nil && nameOf(x.Driver, x.Reference, x.Card.Auth, x.Amount) == name {
					other = referenceOf(b.Basket, x.ID) // t has no reference yet
				}
			}
		}
	})
	for i := range d.taken {
		if x := &d.taken[i]; x.name == name && x.reference != own {
			return x.reference
		}
	}
	d.taken[d.next%mostTaken] = approval{name, or(other, own)}
	d.next++
	return other
}

// nameOf is the name that a payment has at its payment terminal.
//
//go:noinline
func nameOf(terminal, number, auth string, amount pos.Money) string {
	return terminal + "\n" + number + "\n" + auth + "\n" + strconv.FormatInt(int64(amount), 10)
}

// careful leaves to a person what would be taken back unasked, where it may have been
// another customer's: of before a backup, or of the till that the disk was copied from.
func careful(t *event.OpenTender, v verdict) verdict {
	if v.kind != event.TypeTenderReversing || v.stuck || !till.Heirs(t) {
		return v
	}
	return doubtful(t, v.reason+": it may be another customer's, of this basket in a former journal; look there, then reverse it or end it by hand")
}

// doubtful leaves a payment to a person.
func doubtful(t *event.OpenTender, reason string) verdict {
	v := verdict{reason: reason, stuck: true}
	if t.State == "pending" {
		v.kind = event.TypeTenderUnknown
	}
	return v
}

// later puts a job off, ever longer.
func (d *Desk) later(j *job, last string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	j.attempts++
	j.last = last
	j.next = time.Now().Add(j.pause)
	j.pause = min(2*j.pause, askMost)
	if j.stuck {
		j.pause = askMost
	}
}

func (d *Desk) request(ask, basket string, t *event.OpenTender, wait time.Duration) *Request {
	return &Request{
		Ask: ask, Reference: referenceOf(basket, t.ID), Amount: max(t.Amount, -t.Amount), Currency: d.o.Currency,
		OfflineMost: t.Offline, Seconds: int(wait / time.Second),
	}
}

// reach opens the way to the payment terminal. Probe: although the circuit is open.
func (d *Desk) reach(ctx context.Context, probe bool) (Link, error) {
	d.mu.Lock()
	refuse, why := d.breaker.open() && !probe, d.failure
	d.mu.Unlock()
	if refuse {
		return nil, fmt.Errorf("%w: %s", ErrDown, why)
	}
	within, cancel := context.WithTimeout(ctx, greetTime)
	defer cancel()
	l, err := d.o.Driver.Open(within)
	if err == nil {
		if g := l.Greeting(); d.o.Terminal != "" && g.Terminal != d.o.Terminal {
			l.Close()
			err = fmt.Errorf("the payment terminal there is %s, card.terminal wants %s", g.Terminal, d.o.Terminal)
		}
	}
	if err != nil {
		if ctx.Err() == nil {
			d.failed(err, false)
		}
		return nil, fmt.Errorf("%w: %w", ErrDown, err)
	}
	d.greeted(ctx, l.Greeting())
	return l, nil
}

// greeted notes who answers, and journals what of its offline approvals was forwarded.
func (d *Desk) greeted(ctx context.Context, g Greeting) {
	d.mu.Lock()
	d.greeting = g
	d.mu.Unlock()
	d.good(false)
	news := false
	d.o.Register.Look(func(s *till.State) { news = s.Forwarded(g.Terminal, g.Memory, g.Forwarded) != nil })
	if !news || d.o.Register.Settings().Offline == (till.Limits{}) && !d.owes() {
		return
	}
	_, err := d.o.Register.Do(ctx, register.Call{}, func(t *register.Turn) (register.Appender, error) {
		e := t.State.Forwarded(g.Terminal, g.Memory, g.Forwarded)
		if e == nil {
			return nil, errMoved
		}
		return e, nil
	})
	if err != nil && !errors.Is(err, errMoved) && ctx.Err() == nil {
		d.o.Log.Warn("what the payment terminal has forwarded was not journaled, it is asked again", "error", err)
	}
}

// forwarded finds out whether t was, where its answer leaves that open. One that was taken
// back was not, if too little was, though a payment terminal that is asked again may not
// say so any more. What t may be of the forwarded payments is kept from being taken off
// others'. How much was forwarded is asked for once more: t may have been since the
// greeting before the answer.
func (d *Desk) forwarded(ctx context.Context, t *event.OpenTender, a *Answer) error {
	back := a.State == Reversed && t.Card != nil && t.Card.Offline
	if a.Offline || !back && (!till.InDoubt(t) || a.State != Approved && a.State != Reversed) {
		return nil
	}
	l, err := d.reach(ctx, true)
	if err != nil {
		return err
	}
	g := l.Greeting()
	l.Close()
	if back {
		a.Offline = till.NeverForwarded(t, g.Terminal, g.Memory, g.Forwarded)
		return nil
	}
	_, err = d.o.Register.Do(ctx, register.Call{}, func(turn *register.Turn) (register.Appender, error) {
		e := turn.State.Share(g.Terminal, g.Memory, g.Forwarded, t)
		if e == nil {
			return nil, errMoved
		}
		return e, nil
	})
	if errors.Is(err, errMoved) {
		return nil
	}
	return err
}

// owes says that something was approved offline that may not have been forwarded.
func (d *Desk) owes() (yes bool) {
	d.o.Register.Look(func(s *till.State) { yes = s.Offline.Outstanding > 0 })
	return yes
}

// good notes that the payment terminal has greeted, or answered.
func (d *Desk) good(answered bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.heard = time.Now()
	if answered {
		d.breaker.answered()
	} else if d.breaker.greeted(len(d.jobs) > 0); d.breaker.mute {
		return
	}
	if d.failure != "" {
		d.o.Log.Info("the payment terminal answers again", "terminal", d.greeting.Terminal)
	}
	d.failure = ""
}

// failed notes that it has not; mute: though it had greeted.
func (d *Desk) failed(err error, mute bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.failure == "" {
		d.o.Log.Warn("the payment terminal does not answer as it should", "error", err)
	}
	d.count.failures++
	d.failure = err.Error()
	d.breaker.bad(time.Now(), mute)
}

// settle journals a verdict about a tender that is still what it was. While there is no
// room for it, or no time, it does not give up: what is known must not be forgotten.
func (d *Desk) settle(ctx context.Context, basket string, was *event.OpenTender, v verdict) {
	ref, ended := referenceOf(basket, was.ID), false
	if v.kind == event.TypeTenderReversed { // the cashier may not have asked for that
		v.reason = or(v.reason, was.Reason)
	}
	d.tell(ref, true)
	defer d.tell(ref, false)
	for told := false; ctx.Err() == nil; told = true {
		out, err := d.o.Register.Do(ctx, register.Call{}, func(t *register.Turn) (register.Appender, error) {
			b := t.State.Find(basket)
			if b == nil || !b.Still(was) {
				ended = b == nil || b.Ended(was.ID)
				return nil, errMoved
			}
			o := till.Step{Basket: basket, Operator: b.Operator, Reason: v.reason}
			return register.Made(t.State.EndTender(o, t.Rules, was.ID, v.kind, v.learned))
		})
		switch {
		case err == nil:
			d.settled(ref, v, out)
			return
		case errors.Is(err, errMoved) && ended && v.kind == event.TypeTenderApproved:
			d.o.Log.Error("the payment terminal has charged what was ended by hand meanwhile: if it counts in no sale, pay it back there", "basket", basket, "tender", was.ID, "amount", was.Amount)
			return
		case errors.Is(err, errMoved), errors.Is(err, register.ErrStopping):
			return
		}
		if !told {
			d.o.Log.Error("what became of a card payment cannot be journaled yet", "basket", basket, "tender", was.ID, "event", v.kind, "error", err)
		}
		var refused *till.RefusalError
		if errors.As(err, &refused) {
			return // it will be asked about again
		}
		select {
		case <-ctx.Done():
		case <-time.After(askFirst):
		}
	}
}

func (d *Desk) tell(ref string, begins bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if begins {
		d.telling[ref]++
		return
	}
	if d.telling[ref]--; d.telling[ref] == 0 {
		delete(d.telling, ref)
	}
	d.news()
}

// settled tells whoever waits.
func (d *Desk) settled(ref string, v verdict, out register.Outcome) {
	crash("ended")
	d.mu.Lock()
	defer d.mu.Unlock()
	c := &d.count
	switch v.kind {
	case event.TypeTenderApproved:
		c.approved++
		if v.learned != nil && v.learned.Card != nil && v.learned.Card.Offline {
			c.offline++
		}
	case event.TypeTenderDeclined:
		c.declined++
	case event.TypeTenderReversed:
		c.reversed++
	default:
		if v.kind == event.TypeTenderUnknown {
			c.unknown++
		}
		return
	}
	if _, known := d.ends[ref]; !known {
		if len(d.order) == mostEnds {
			delete(d.ends, d.order[0])
			d.order = append(d.order[:0], d.order[1:]...)
		}
		d.order = append(d.order, ref)
	}
	d.ends[ref] = out
	d.news()
}
