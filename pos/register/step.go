package register

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"posd/journal"
	"posd/journal/chain"
	"posd/pos"
	"posd/pos/event"
	"posd/pos/till"
)

// Call is one request that changes something.
type Call struct {
	Key   string   // idempotency key
	Hash  [32]byte // SHA-256 of what was asked for
	Front string   // who asks
	Trace string   // W3C traceparent

	// Allow, where it is not nil, refuses what the caller may not do. It is asked before
	// the decision, with a nil event, and after it with what was decided, which it may
	// complete (who approved it). A repeated call is not asked again.
	Allow func(t *Turn, e Appender) error
}

// Turn is what a decision may look at: the state as it is now, which it must not
// change, and the moment.
type Turn struct {
	State    *till.State
	Rules    till.Rules
	Settings *Settings
	Currency pos.Currency
	Now      time.Time
	Date     string    // the business date of a shift that is opened now
	Other    pos.Money // what it pays out for goods that come back beyond what their sales took in by such a tender
	r        *Register
	trust    event.Clock
	scan     string        // see Scanned
	came     time.Duration // of it
	undo     func()        // what the decision has changed beside the state; nil: nothing
}

// Scanned says whether the code text has just added line n of a basket, and nothing has
// happened to the basket since: then the scanner has sent it twice. It is to be asked
// about each scan; what is decided then is remembered as what became of it.
// came is what Uptime said when it came: a scan that had to wait is no later for that, and
// may come before one that was decided earlier.
func (t *Turn) Scanned(basket, text string, came time.Duration) (n int, again bool) {
	t.scan, t.came = text, came
	s, b := t.r.scanOf(basket), t.State.Find(basket)
	if s == nil || b == nil {
		return 0, false
	}
	return s.n, s.text == text && s.version == b.Version && (came-s.up).Abs() < t.Settings.Repeat
}

// mostWindows is how many baskets may be scanned into at the same time for a repeat to
// be told in each.
const mostWindows = 4

// scan is the last one that has added a line to a basket. It belongs to the loop.
type scan struct {
	basket, text string
	version      string // of the basket behind it
	n            int
	up           time.Duration
}

// Uptime is the clock that scans are measured by: nobody can set it.
func (r *Register) Uptime() time.Duration { return r.o.Uptime() }

// scanned remembers what became of a scan.
func (r *Register) scanned(text string, came time.Duration, e Appender) {
	b, ok := e.(*event.Basket)
	switch {
	case !ok || text == "":
	case b.Type == event.TypeLineAdded:
		s := r.scanOf(b.Basket)
		if s == nil {
			s = &r.scans[r.scanAt]
			r.scanAt = (r.scanAt + 1) % mostWindows
		}
		*s = scan{b.Basket, text, b.Version, b.N, came}
	case b.Type == event.TypeLineRepeated:
		if s := r.scanOf(b.Basket); s != nil {
			s.version = b.Version // the time goes on from the first one
		}
	}
}

func (r *Register) scanOf(basket string) *scan {
	for i := range r.scans {
		if s := &r.scans[i]; s.basket == basket && basket != "" {
			return s
		}
	}
	return nil
}

// Journal is how the names of baskets and sales begin that this journal gives.
func (t *Turn) Journal() string { return t.r.name }

// Gave says that this journal, and no former one, gave a basket or a sale its name.
func (t *Turn) Gave(name string) bool { return strings.HasPrefix(name, t.r.name) }

// Day is the business date of a sale that is made now.
func (t *Turn) Day() string { return t.r.saleDate(t.Now, t.trust) }

// Shift makes sure that a shift is open, as a sale does.
func (t *Turn) Shift(operator string) error {
	return t.r.roll(t.Now, t.trust, operator, journal.Soon)
}

// Begun makes sure that some shift is open, whichever day's. Cash that is moved or counted
// is that of the shift which the X report shows: only a sale ends yesterday's.
func (t *Turn) Begun(operator string) error {
	return t.r.begin(t.Date, event.Header{Time: t.Now, Clock: t.trust}, operator, journal.Soon)
}

// Decision says what a call makes of the state: an event that is to be journaled, or
// why not. It runs in the loop, so it neither waits nor computes for long.
type Decision func(t *Turn) (Appender, error)

// Outcome is the event that a call has made.
type Outcome struct {
	Seq      uint64
	Replayed bool   // by an earlier call with this key
	Event    []byte // the event as it stands in the journal
	Journal  chain.ID
}

// Do has the loop decide, and returns when the event is as durable as its kind asks:
// steps of a basket that move no money within two seconds, everything else before Do
// returns. A call with a key takes effect once, as a checkout does; for the steps of a
// basket as long as the basket is open. Errors: as Checkout.
func (r *Register) Do(ctx context.Context, c Call, d Decision) (Outcome, error) {
	if err := r.awaitIndex(ctx); err != nil {
		return Outcome{}, err
	}
	cmd := r.pool.Get().(*command)
	cmd.ctx, cmd.decide, cmd.allow = ctx, d, c.Allow
	cmd.h = event.Header{Key: c.Key, Front: c.Front, Trace: c.Trace}
	if c.Key != "" {
		cmd.id, cmd.hash = idOf(c.Key), c.Hash
		cmd.h.Hash = hex.EncodeToString(c.Hash[:])
	}
	res, err := r.submit(cmd)
	if err == nil {
		err = res.err
	}
	if err != nil {
		return Outcome{}, err
	}
	if res.replay {
		return r.again(ctx, res.seq, c)
	}
	if res.soon {
		return Outcome{Seq: res.seq, Event: res.event, Journal: r.j.ID()}, nil
	}
	if err := r.j.Wait(ctx, res.seq); err != nil {
		return Outcome{}, fmt.Errorf("event is not known to be durable: %w", err)
	}
	return Outcome{Seq: res.seq, Event: res.event, Journal: r.j.ID()}, nil
}

// again answers with the event that a key has made before.
func (r *Register) again(ctx context.Context, seq uint64, c Call) (Outcome, error) {
	if err := r.j.Wait(ctx, seq); err != nil {
		return Outcome{}, fmt.Errorf("event is not known to be durable: %w", err)
	}
	o := Outcome{Seq: seq, Journal: r.j.ID(), Replayed: true}
	err := r.j.Read(seq, func(rec chain.Record) error {
		named, err := chain.Named(r.j.ID(), rec)
		if err != nil {
			return err
		}
		o.Journal, o.Seq = named.Journal, named.Record.Seq
		h, _, err := event.Parse(named.Record.Payload)
		if err == nil && (h.Key != c.Key || h.Hash != hex.EncodeToString(c.Hash[:])) {
			err = ErrKeyReused
		}
		o.Event = append([]byte(nil), named.Record.Payload...)
		return err
	})
	switch {
	case errors.Is(err, ErrKeyReused):
		return Outcome{}, ErrKeyReused
	case err != nil:
		return Outcome{}, fmt.Errorf("%w: event %s: %w", ErrUnreadable, event.SaleID(o.Journal, o.Seq), err)
	}
	return o, nil
}

// handleStep is one turn of the loop for Do.
func (r *Register) handleStep(c *command) result {
	if c.h.Key != "" {
		if k, ok := r.state.FindKey(c.id); ok {
			if k.Hash != [8]byte(c.hash[:8]) {
				return result{err: ErrKeyReused}
			}
			return result{seq: k.Seq, replay: true}
		}
		seq, ok, err := r.find(c.h.Key, c.id, 0)
		if err != nil || ok {
			return result{seq: seq, replay: ok, err: err}
		}
	}
	now, trust := r.lookAtClock()
	set := r.Settings()
	t := &Turn{
		State: &r.state, Rules: r.rules(set), Settings: set, Currency: r.o.Currency,
		Now: now, Date: r.businessDate(now, trust), r: r, trust: trust,
	}
	var res result
	if e, err := c.decided(t); err != nil {
		res.err = refusal(err, "")
	} else if res = r.take(c, e, now, trust); res.err == nil {
		r.scanned(t.scan, t.came, e)
	}
	if res.err != nil && t.undo != nil {
		t.undo()
	}
	return res
}

// decided is the decision, if the caller may have it.
func (c *command) decided(t *Turn) (Appender, error) {
	if c.allow == nil {
		return c.decide(t)
	}
	if err := c.allow(t, nil); err != nil {
		return nil, err
	}
	e, err := c.decide(t)
	if err == nil {
		err = c.allow(t, e)
	}
	return e, err
}

// take journals what was decided and folds it.
func (r *Register) take(c *command, e Appender, now time.Time, trust event.Clock) result {
	c.h.Time, c.h.Clock = now, trust
	class, size := journal.Durable, 1024
	switch e := e.(type) {
	case *event.SaleCompleted:
		if !r.state.Room(e.Total) {
			return result{err: &till.RefusalError{Code: till.CodeOverflow, Detail: "the totals of the terminal, or of the shift, cannot take this sale; close the shift first"}}
		}
		if e.Basket != "" { // what was paid for must be able to end
			class = journal.Finishing
		}
		if err := r.roll(now, trust, e.Operator, class); err != nil {
			return result{err: err}
		}
		r.number(e)
		size = sizeOf(e, &c.h)
	case *event.Basket:
		switch {
		case ends(e.Type, r.state.Find(e.Basket), e.Tender.ID):
			class = journal.Finishing
		case !movesMoney(e.Type):
			class = journal.Soon
		}
	case *event.ShiftClosed:
		class, size = journal.Finishing, 1280+160*len(e.Totals.Taxes)
	}
	r.record.e, r.record.h, r.record.keep = e, c.h, true
	seq, err := r.j.Append(event.RecordType, class, size, &r.record)
	r.record.e, r.record.keep = nil, false
	if err != nil {
		return result{err: refusal(err, "")}
	}
	kept := append([]byte(nil), r.record.kept...)
	r.apply(&c.h, seq, e)
	if b, ok := e.(*event.Basket); !ok || b.Type == event.TypeBasketVoided { // an open basket keeps its keys itself
		r.keep(&c.h, c.id, seq)
	}
	switch e := e.(type) {
	case *event.ShiftClosed:
		r.sign()
	case *event.Operator:
		r.gave(e, seq)
	}
	return result{seq: seq, event: kept, soon: class == journal.Soon}
}

// ends says that the event is the end of a tender that was begun, or takes one back.
func ends(kind string, b *till.Basket, tender string) bool {
	return b != nil && strings.HasPrefix(kind, "tender.") && b.Tender(tender) != nil
}

// movesMoney says that a step of a basket must be durable before anybody hears of it.
func movesMoney(kind string) bool {
	if planted("tender-soon") && kind == event.TypeTenderApproved {
		return false
	}
	switch kind {
	case event.TypeTenderPending, event.TypeTenderApproved, event.TypeTenderDeclined, event.TypeTenderUnknown, event.TypeTenderReversed, event.TypeTenderReversing,
		event.TypeBasketVoided, event.TypeBasketParked,
		event.TypeBasketOpened: // its id must not come again after a cut
		return true
	}
	return false
}

func (r *Register) rules(set *Settings) till.Rules {
	return till.Rules{Rounding: set.Rounding, Coin: set.Coin, MostOpen: r.mostOpen}
}

// Look lets fn read the state; it must keep nothing of it.
func (r *Register) Look(fn func(*till.State)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	fn(&r.state)
}

// Rules are those in force.
func (r *Register) Rules() till.Rules { return r.rules(r.Settings()) }

// Sold is a sale of this terminal's journal, and what has come back of it.
type Sold struct {
	Sale  event.SaleCompleted
	Back  map[int]till.Back // by line
	Until uint64            // the last record that Back and what follows know of

	Given, Copies int // times that its receipt was given out by a call; of these, as a copy
	Training      bool
}

// ErrNoSale: the journal does not hold the sale, or not any more.
var ErrNoSale = errors.New("no such sale in this terminal's journal")

// Sold finds a sale by its id, or by its receipt. Errors: ErrNoSale, ErrIndex.
func (r *Register) Sold(ctx context.Context, sale, receipt string) (s Sold, err error) {
	if s, err = r.sold(ctx, sale, receipt); err == nil && s.Training {
		err = ErrNoSale
	}
	return s, err
}

// sold finds sales in training too.
func (r *Register) sold(ctx context.Context, sale, receipt string) (s Sold, err error) {
	floor, _ := r.j.Floor()
	ctx, cancel := context.WithTimeout(ctx, indexWait)
	defer cancel()
	r.Look(func(t *till.State) { floor = max(floor, t.Returned, r.given) })
	if err := r.j.Wait(ctx, floor); err != nil {
		return s, fmt.Errorf("%w: %v", ErrIndex, err)
	}
	if err := r.v.WaitApplied(ctx, floor); err != nil {
		return s, fmt.Errorf("%w: %v", ErrIndex, err)
	}
	s.Until = r.v.Applied()
	seq, ok, err := r.v.BySale(sale)
	if sale == "" {
		seq, ok, err = r.v.ByReceipt(receipt)
	}
	if err != nil {
		return s, fmt.Errorf("%w: %w", ErrIndex, err)
	}
	if !ok {
		return s, ErrNoSale
	}
	err = r.j.Read(seq, func(rec chain.Record) error {
		named, err := chain.Named(r.j.ID(), rec)
		if err != nil {
			return err
		}
		h, data, err := event.Parse(named.Record.Payload)
		if err != nil {
			return err
		}
		s.Training = h.Type == event.TypeTraining
		if !s.Training && h.Type != event.TypeSaleCompleted {
			return ErrNoSale // a report
		}
		s.Sale, err = event.ParseSale(data)
		s.Sale.Training = s.Training
		return err
	})
	switch {
	case errors.Is(err, ErrNoSale), errors.Is(err, journal.ErrFreed):
		return s, ErrNoSale
	case err != nil:
		return s, err
	}
	if s.Back, err = r.v.Returned(s.Sale.Sale); err != nil {
		return s, fmt.Errorf("%w: %w", ErrIndex, err)
	}
	if s.Given, s.Copies, err = r.v.Receipts(s.Sale.Sale); err != nil {
		return s, fmt.Errorf("%w: %w", ErrIndex, err)
	}
	if r.v.Applied() < s.Until {
		return s, fmt.Errorf("%w: it is being built again", ErrIndex)
	}
	return s, nil
}

// Current says that nothing has come back of any sale since s was read. A decision that
// depends on s asks this, and is made anew where it is not so (errStale).
func (s *Sold) Current(t *Turn) bool { return current(t, s.Until) }

func current(t *Turn, until uint64) bool { return t.State.Returned <= until || planted("stale-return") }

// errStale: something came back between reading and deciding. Nothing happened.
var errStale = errors.New("something came back meanwhile")
