package register

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"posd/journal"
	"posd/pos"
	"posd/pos/event"
	"posd/pos/till"
)

// Checkout is a sale to be made. The lines' prices and tax rates are filled in;
// their amounts are computed unless Fixed. No slice of it is kept.
type Checkout struct {
	Key            string   // idempotency key; empty: none
	Hash           [32]byte // SHA-256 of the call's body
	Front          string   // who asks
	Trace          string   // W3C traceparent
	Operator       string   // empty: the configured one
	Prices         pos.PriceMode
	Lines          []pos.Line
	Tenders        []pos.Tender
	Discounts      []pos.Discount // off the whole; amounts are filled in
	Customer, Note string
	Age            int       // years that the operator has made sure of
	Print          bool      // the printer will be given its receipt
	Asked          uint64    // what Replay has said of the key
	Buf            []byte    // Answer.Event is made in its room; may be nil
	Settings       *Settings // that the lines were priced with; nil: those in force, whichever they are
	Date           string    // the business date that they were priced for; empty: whichever it is

	// Allow, where it is not nil, refuses a sale that the caller may not make. It may
	// complete the event (who approved it). A repeated call is not asked again.
	Allow func(e *event.SaleCompleted) error
}

// Answer names a sale that is durable.
type Answer struct {
	Seq      uint64
	Sale     string
	Replayed bool   // the sale was made by an earlier call with this key
	Event    []byte // as it stands in the journal; nil if Replayed
}

type command struct {
	ctx    context.Context
	ping   bool
	id     keyID
	h      event.Header
	e      event.SaleCompleted
	size   int
	set    *Settings // that the sale was prepared with, or that a note puts into force
	note   Appender  // nil: a sale, or what decide says
	decide Decision
	allow  func(*Turn, Appender) error // with decide; may be nil
	hash   [32]byte
	asked  uint64       // the index has no such key up to this record
	kept   []byte       // a copy of the sale's event, in the caller's room
	held   atomic.Int32 // free, taken by the loop, or given up by its caller
	done   chan result
}

const (
	free int32 = iota
	taken
	givenUp
)

type result struct {
	seq    uint64
	replay bool
	soon   bool   // the event need not be durable before it is answered
	event  []byte // as it stands in the journal
	err    error
}

// Replay returns the answer to an earlier call with this key, and false if there
// was none. It is for callers that would otherwise refuse a repeated request
// because the world has changed since. What it has learned of a key that is new spares
// Checkout.Asked a second look into the index. Errors: ErrKeyReused, or as Checkout.
func (r *Register) Replay(ctx context.Context, key string, hash [32]byte) (a Answer, known bool, asked uint64, err error) {
	if err := r.awaitIndex(ctx); err != nil {
		return Answer{}, false, 0, err
	}
	asked = r.pending.after() // what comes later, memory knows
	seq, ok, err := r.find(key, idOf(key), 0)
	if !ok {
		return Answer{}, false, asked, err
	}
	a, err = r.replay(ctx, seq, key, hash)
	return a, err == nil, 0, err
}

// Checkout makes the sale, or finds the one that its key has made, and returns
// when it is durable. Errors: *till.RefusalError, ErrKeyReused, ErrBusy, ErrStopping,
// journal.ErrNoSpace, ErrSettings: nothing happened. journal.ErrFailed, or ctx's error: the
// sale may have been made or not, and only the same key may be used again.
func (r *Register) Checkout(ctx context.Context, c Checkout) (Answer, error) {
	if err := r.awaitIndex(ctx); err != nil {
		return Answer{}, err
	}
	res, err := r.attempt(ctx, &c)
	for c.Settings == nil && c.Date == "" && errors.Is(err, ErrSettings) {
		res, err = r.attempt(ctx, &c)
	}
	if err != nil {
		return Answer{}, err
	}
	if res.replay {
		return r.replay(ctx, res.seq, c.Key, c.Hash)
	}
	if err := r.j.Wait(ctx, res.seq); err != nil {
		return Answer{}, fmt.Errorf("sale is not known to be durable: %w", err)
	}
	return Answer{Seq: res.seq, Sale: event.SaleID(r.j.ID(), res.seq), Event: res.event}, nil
}

// attempt has the loop make the sale with one set of settings.
func (r *Register) attempt(ctx context.Context, c *Checkout) (result, error) {
	cmd := r.pool.Get().(*command)
	if err := r.prepare(cmd, c); err != nil {
		r.pool.Put(cmd)
		return result{}, err
	}
	cmd.ctx = ctx
	res, err := r.submit(cmd)
	if err == nil {
		err = res.err
	}
	return res, err
}

// Alive returns when the loop has answered: for a watchdog.
func (r *Register) Alive(ctx context.Context) error {
	cmd := r.pool.Get().(*command)
	cmd.ctx, cmd.ping = ctx, true
	res, err := r.submit(cmd)
	if err != nil {
		return err
	}
	return res.err
}

// submit hands cmd to the loop and waits. When ctx ends first, the loop leaves
// the command alone; if it has taken it already, its answer is waited for, so
// that no slice of the caller is in use when submit returns.
func (r *Register) submit(cmd *command) (result, error) {
	r.gate.RLock()
	if r.closed {
		r.gate.RUnlock()
		return result{}, ErrStopping
	}
	select {
	case r.queue <- cmd:
		r.gate.RUnlock()
	default:
		r.gate.RUnlock()
		return result{}, ErrBusy
	}
	select {
	case res := <-cmd.done:
		return r.recycle(cmd, res), nil
	case <-cmd.ctx.Done():
	}
	if cmd.held.CompareAndSwap(free, givenUp) {
		return result{}, fmt.Errorf("sale was given up before it was begun: %w", cmd.ctx.Err())
	}
	return r.recycle(cmd, <-cmd.done), nil
}

func (r *Register) recycle(cmd *command, res result) result {
	cmd.ctx, cmd.ping, cmd.h, cmd.e = nil, false, event.Header{}, event.SaleCompleted{}
	cmd.kept, cmd.asked = nil, 0
	cmd.set, cmd.note, cmd.decide, cmd.allow = nil, nil, nil, nil
	cmd.held.Store(free)
	r.pool.Put(cmd)
	return res
}

// prepare does what needs no state: the sums and the tenders.
func (r *Register) prepare(cmd *command, c *Checkout) error {
	set := c.Settings
	if set == nil {
		set = r.Settings()
	}
	t, err := pos.Compute(c.Lines, pos.ComputeOptions{Prices: c.Prices, Rounding: set.Rounding, Discounts: c.Discounts})
	if err != nil {
		return refusal(err, "/lines")
	}
	settled, err := pos.TakeTenders(t.Total, c.Tenders, set.Coin)
	if err != nil {
		return refusal(err, "/tenders")
	}
	operator := c.Operator
	if operator == "" {
		operator = r.o.Operator
	}
	cmd.set, cmd.kept, cmd.asked = set, c.Buf, c.Asked
	cmd.e = event.SaleCompleted{
		Operator: operator, BusinessDate: c.Date,
		Prices: c.Prices, Rounding: set.Rounding, Lines: c.Lines, Taxes: t.Taxes, Total: t.Total,
		Tenders: c.Tenders, Discounts: c.Discounts, Customer: c.Customer, Note: c.Note, Age: c.Age,
		Change: settled.Change, CashRounding: settled.Rounding, Print: c.Print,
	}
	if c.Allow != nil {
		if err := c.Allow(&cmd.e); err != nil {
			return err
		}
	}
	cmd.h = event.Header{Key: c.Key, Front: c.Front, Trace: c.Trace}
	if c.Key != "" {
		cmd.id = idOf(c.Key)
		cmd.h.Hash = hex.EncodeToString(c.Hash[:])
	}
	cmd.size = sizeOf(&cmd.e, &cmd.h)
	return nil
}

// sizeOf is a little more than the event's bytes, unless its texts are full of
// quotes. More than needed would make the journal touch pages for nothing.
func sizeOf(e *event.SaleCompleted, h *event.Header) int {
	n := 800 + len(h.Key) + len(h.Front) + len(h.Trace) + len(e.Operator) + len(e.Store) + 2*len(e.Terminal)
	for i := range e.Lines {
		l := &e.Lines[i]
		n += 160 + len(l.Item) + len(l.Description) + len(l.Department) + len(l.Unit) + len(l.Tax)
	}
	for i := range e.Tenders {
		n += 56 + len(e.Tenders[i].Reference)
	}
	return n + 110*len(e.Taxes)
}

// handle is one turn of the loop.
func (r *Register) handle(c *command) result {
	if c.ping {
		return result{}
	}
	if c.note != nil {
		return r.handleNote(c)
	}
	if c.decide != nil {
		return r.handleStep(c)
	}
	if c.h.Key != "" {
		if _, ok := r.state.FindKey(c.id); ok {
			return result{err: ErrKeyReused}
		}
		seq, ok, err := r.find(c.h.Key, c.id, c.asked)
		if err != nil {
			return result{err: err}
		}
		if ok {
			return result{seq: seq, replay: true}
		}
	}
	if c.set != r.Settings() {
		return result{err: ErrSettings}
	}
	if !r.state.Room(c.e.Total) {
		return result{err: &till.RefusalError{Code: till.CodeOverflow, Detail: "the totals of the terminal, or of the shift, cannot take this sale; close the shift first"}}
	}
	now, trust := r.lookAtClock()
	if err := r.roll(now, trust, c.e.Operator, journal.Soon); err != nil {
		return result{err: err}
	}
	if c.e.BusinessDate != "" && c.e.BusinessDate != r.state.Date { // a day has begun since
		return result{err: ErrSettings}
	}
	return r.sell(c, now, trust)
}

// find looks for the sale of a key, first in memory, then in the index. As long
// as neither can tell, a repeated request could be taken for a new one: ErrIndex.
// The index need not be asked if it was, up to a record from which on memory knows all.
func (r *Register) find(key string, id keyID, asked uint64) (seq uint64, ok bool, err error) {
	if r.bugDropKey || key == "" {
		return 0, false, nil
	}
	upTo := r.pending.after() // before the look into memory: it may grow downwards meanwhile
	if seq, ok = r.pending.find(id); ok {
		return seq, true, nil
	}
	if asked != 0 && asked >= upTo {
		return 0, false, nil
	}
	seq, ok, err = r.v.ByKey(key, upTo)
	if err != nil {
		return 0, false, fmt.Errorf("%w: %w", ErrIndex, err)
	}
	return seq, ok, nil
}

// indexWait is how long a call waits for an index that catches up.
const indexWait = 5 * time.Second

// awaitIndex returns when memory and index together know all keys.
func (r *Register) awaitIndex(ctx context.Context) error {
	if r.v.Applied() >= r.pending.after() {
		return nil
	}
	r.cover()
	ctx, cancel := context.WithTimeout(ctx, indexWait)
	defer cancel()
	if err := r.v.WaitApplied(ctx, r.pending.after()); err != nil {
		return fmt.Errorf("%w: %v", ErrIndex, err)
	}
	return nil
}

// roll makes sure that a shift of today is open, for an event of a class.
func (r *Register) roll(now time.Time, trust event.Clock, operator string, class journal.Class) error {
	date := r.businessDate(now, trust)
	h := event.Header{Time: now, Clock: trust}
	s := &r.state
	if s.Shift.Open && s.Shift.Implicit && date != s.Date && !planted("shift-goes-on") {
		e := s.Closing()
		seq, err := r.append(class, e, h, 1280+160*len(e.Totals.Taxes))
		if err != nil {
			return err
		}
		r.apply(&h, seq, e)
		r.sign()
	}
	return r.begin(date, h, operator, class)
}

// begin opens a shift, unless one is.
func (r *Register) begin(date string, h event.Header, operator string, class journal.Class) error {
	s := &r.state
	if s.Shift.Open {
		return nil
	}
	e := event.ShiftOpened{Shift: s.Shift.Number + 1, BusinessDate: date, Operator: operator, Implicit: true, Currency: r.o.Currency}
	seq, err := r.append(class, &e, h, 1024)
	if err != nil {
		return err
	}
	r.apply(&h, seq, &e)
	return nil
}

// sign puts a signature behind the end of a shift.
func (r *Register) sign() {
	if err := r.j.Checkpoint(); err != nil { // the chain is whole without it
		r.o.Log.Warn("the end of the shift is not signed", "error", err)
	}
}

// sell gives the sale its numbers and journals it.
func (r *Register) sell(c *command, now time.Time, trust event.Clock) result {
	c.h.Time, c.h.Clock = now, trust
	r.number(&c.e)
	// The answer is made of what was journaled, not of what the journal gives back: that
	// would check the group of all sales that became durable together, for each of them.
	own := r.record.kept
	r.record.e, r.record.h, r.record.keep, r.record.kept = &c.e, c.h, true, c.kept
	seq, err := r.j.Append(event.RecordType, journal.Durable, c.size, &r.record)
	kept := r.record.kept
	r.record.e, r.record.keep, r.record.kept = nil, false, own
	if err != nil {
		return result{err: refusal(err, "")}
	}
	r.apply(&c.h, seq, &c.e)
	r.keep(&c.h, c.id, seq)
	return result{seq: seq, event: kept}
}

// number gives a sale what the shift and the receipts' sequence say.
func (r *Register) number(e *event.SaleCompleted) {
	s := &r.state
	e.Store, e.Terminal, e.Currency = r.o.Store, r.o.Terminal, r.o.Currency
	e.Shift, e.BusinessDate = s.Shift.Number, s.Date
	e.Perpetual, e.Refunds = s.Perpetual, s.Refunds
	if e.Training {
		e.Number = s.Training + 1
		e.Receipt = r.o.Terminal + "-" + strconv.FormatUint(s.Branch, 10) + "-training-" + strconv.FormatUint(e.Number, 10)
		return
	}
	e.Number = s.Receipt + 1
	if planted("receipt-gap") && e.Number%20 == 0 {
		e.Number++
	}
	r.receipt = r.appendReceipt(r.receipt[:0], e.Number)
	e.Receipt = string(r.receipt)
	e.Perpetual += e.Total
	if e.Total < 0 {
		e.Refunds -= e.Total
	}
}

// keep remembers what the key has made until the index does.
func (r *Register) keep(h *event.Header, id keyID, seq uint64) {
	if h.Key != "" && !r.pending.add(usedKey{id, seq}, r.v.Applied()) {
		r.o.Log.Error("the index stands still: repeated requests older than the last sales may be taken for new ones", "kept", mostPending)
	}
}

// replay answers with the sale that a key has made, once that is durable.
func (r *Register) replay(ctx context.Context, seq uint64, key string, hash [32]byte) (Answer, error) {
	o, err := r.again(ctx, seq, Call{Key: key, Hash: hash})
	if err != nil {
		return Answer{}, err
	}
	return Answer{Seq: seq, Sale: event.SaleID(o.Journal, o.Seq), Replayed: true}, nil
}
