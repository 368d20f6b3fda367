package register

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"posd/journal"
	"posd/journal/chain"
	"posd/pos"
	"posd/pos/event"
	"posd/pos/till"
	"posd/pos/view"
)

// Options of a register.
type Options struct {
	Store, Terminal string
	Operator        string // of a shift or a sale whose request names none
	Currency        pos.Currency
	Settings                       // at the start
	TimeZone        *time.Location // nil: UTC
	Release         string         // for terminal.started
	Queue           int            // sales that may wait for the loop, default 256
	Segment         int64          // bytes of one journal file; 0: the journal's default
	Opener          *Opener        // the one whose method the journal was opened with
	Log             *slog.Logger

	Now    func() time.Time     // wall clock; nil: the system's
	Uptime func() time.Duration // monotonic clock; nil: the system's
	Synced func() bool          // whether the wall clock is disciplined; nil: asks the kernel
}

// Register is the command loop and its state.
type Register struct {
	j       *journal.Journal
	v       *view.View
	o       Options
	set     atomic.Pointer[Settings] // changed by the loop only
	queue   chan *command
	pool    sync.Pool
	pending pending
	clock   clock
	name    string // with which names of this journal begin

	gate   sync.RWMutex // held for reading while a command is put in the queue
	closed bool

	mu    sync.Mutex // guards state against Status; only the loop changes it
	state till.State
	given uint64 // record of the last receipt given out since the start; guarded by mu

	scans   [mostWindows]scan // the last ones, each of another basket
	scanAt  int               // the oldest of them
	record  record            // reused by the loop
	receipt []byte

	turns    atomic.Uint64 // of the loop
	mostOpen int           // bytes of all baskets in an opening state

	bugDropKey bool // a mistake that the tests plant and must see
}

// Open folds the journal from its newest opening state on. It writes nothing.
// Errors: ErrCurrency, or a journal whose events do not fit together.
func Open(j *journal.Journal, v *view.View, o Options) (*Register, error) {
	o.fill()
	r := &Register{j: j, v: v, o: o, queue: make(chan *command, o.Queue), bugDropKey: planted("dropped-key")}
	r.set.Store(&o.Settings)
	r.record.id, r.record.start = j.ID(), j.Incarnation()
	r.name = j.ID().String()[:8]
	r.mostOpen = mostOpen(o.Segment)
	r.pool.New = func() any { return &command{done: make(chan result, 1)} }
	if err := r.load(); err != nil {
		return nil, fmt.Errorf("read the terminal's state from its journal: %w", err)
	}
	if c := r.state.Currency; c.Code != "" && c != o.Currency {
		return nil, fmt.Errorf("%w: %s, configured is %s; a terminal changes its currency with a new journal (posctl init)",
			ErrCurrency, c.Code, o.Currency.Code)
	}
	if o.Opener != nil {
		o.Opener.r.Store(r)
	}
	return r, nil
}

// mostOpen leaves room in each file for what it is there for, and in the opening state's
// record for all else that stands in it.
func mostOpen(segment int64) int {
	if segment <= 0 {
		segment = journal.DefaultSegmentSize
	}
	return int(min(segment/4, 96<<10))
}

func (o *Options) fill() {
	if o.TimeZone == nil {
		o.TimeZone = time.UTC
	}
	if o.Queue <= 0 {
		o.Queue = 256
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Uptime == nil {
		o.Uptime = uptime
	}
	if o.Synced == nil {
		o.Synced = Disciplined()
	}
}

// load is the fold. Keys further back that the index lacks are read when needed.
func (r *Register) load() error {
	from := max(r.j.LastOpening(), 1)
	p := &r.pending
	s, err := foldFrom(r.j, from, r.o.Log, func(k usedKey) {
		if !p.add(k, 0) { // more than memory takes: the index has to know what went
			from = max(from, p.queue[p.head].seq)
		}
	})
	if err != nil {
		return err
	}
	r.state = s
	p.from = max(p.from, from)
	return nil
}

// foldFrom folds all durable records from the given one on, which is an opening
// state, or the journal's first record. used is told of each key.
func foldFrom(j *journal.Journal, from uint64, log *slog.Logger, used func(usedKey)) (s till.State, err error) {
	rd, err := j.Reader(from)
	if err != nil {
		return s, err
	}
	defer rd.Close()
	for begun := false; ; {
		rec, err := rd.Next()
		if errors.Is(err, io.EOF) {
			return s, checkBegun(&s)
		}
		if err != nil {
			return s, err
		}
		switch {
		case rec.Type == chain.TypeOpening && !begun:
			s, err = till.ParseState(rec.Payload)
			begun = true
		case rec.Type == event.RecordType:
			err = foldRecord(&s, rec, log, used)
		case rec.Type == chain.TypeCopy:
			err = copiedKey(rec, used)
		}
		if err != nil {
			return s, fmt.Errorf("record %d: %w", rec.Seq, err)
		}
	}
}

func foldRecord(s *till.State, rec chain.Record, log *slog.Logger, used func(usedKey)) error {
	h, data, err := event.Parse(rec.Payload)
	if err != nil {
		return err
	}
	at := till.Record{Seq: rec.Seq}
	if h.Key != "" {
		at.KeyID = idOf(h.Key)
	}
	known, err := s.Fold(&h, at, data)
	if err == nil && !known {
		log.Warn("an event of a kind that this release does not know changes nothing here", "seq", rec.Seq, "type", h.Type)
	}
	if h.Key != "" && !stepOf(h.Type) {
		used(usedKey{at.KeyID, rec.Seq})
	}
	return err
}

// stepOf says that the event is a step of a basket that lives on, and the key with it.
func stepOf(kind string) bool {
	return kind != event.TypeBasketVoided && slices.Contains(event.BasketTypes[:], kind)
}

// copiedKey: a call that a former journal answered is not answered with a second
// sale. What the copy did to the state is in the opening state.
func copiedKey(rec chain.Record, used func(usedKey)) error {
	c, err := chain.ParseCopy(rec.Payload)
	if err != nil || c.Record.Type != event.RecordType {
		return err
	}
	if h, _, err := event.Parse(c.Record.Payload); err == nil && h.Key != "" {
		used(usedKey{idOf(h.Key), rec.Seq})
	}
	return nil
}

// checkBegun refuses a journal without an opening state, made by something else
// than posctl.
func checkBegun(s *till.State) error {
	if s.Branch == 0 {
		return errors.New("there is no opening state; make the journal with posctl init")
	}
	return nil
}

// Status is a snapshot for people and for metrics.
type Status struct {
	Branch, Receipt uint64 // last receipt number given
	Perpetual       pos.Money
	Currency        pos.Currency
	Shift           uint64
	Open, Implicit  bool
	Operator        string
	BusinessDate    string
	Overdue         bool // somebody opened the shift, and its date is neither today's nor yesterday's
	Totals          event.ShiftTotals
	Clock           event.Clock
	Now             time.Time
	Past            time.Time // over, though the wall clock may say otherwise
	Waiting         int       // sales in the queue
	Baskets         int       // open and parked
	Z               uint64
}

// Status returns a snapshot. Totals.Taxes is the caller's own.
func (r *Register) Status() Status {
	now := r.o.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	s := &r.state
	st := Status{
		Branch: s.Branch, Receipt: s.Receipt, Perpetual: s.Perpetual, Currency: r.o.Currency,
		Shift: s.Shift.Number, Open: s.Shift.Open, Implicit: s.Shift.Implicit, Operator: s.Shift.Operator, BusinessDate: s.Date,
		Totals: s.Shift.Totals, Clock: r.trust(now), Now: now, Waiting: len(r.queue), Baskets: len(s.Baskets), Z: s.Z,
	}
	if st.Past = now; now.Before(buildFloor) { // a clock that was reset: the journal has seen later times
		st.Past = time.UnixMilli(max(buildFloor.UnixMilli(), s.Wall))
	}
	st.Overdue = s.Shift.Open && !s.Shift.Implicit && r.overdue(now, st.Clock)
	st.Totals.Taxes = append([]pos.TaxTotal(nil), s.Shift.Totals.Taxes...)
	return st
}

// Run is the loop. It returns nil when ctx ends, after a terminal.stopped that
// says context.Cause; or journal.ErrFailed.
func (r *Register) Run(ctx context.Context) error {
	defer r.shut()
	r.started()
	tick := time.NewTicker(lookAtTime)
	defer tick.Stop()
	for {
		select {
		case c := <-r.queue:
			r.turns.Add(1)
			if c.held.CompareAndSwap(free, taken) {
				c.done <- r.handle(c)
			}
		case <-tick.C:
			r.lookAtClock()
		case <-r.j.Failed():
			return r.j.Err()
		case <-ctx.Done():
			r.shut()
			return r.stopped(context.Cause(ctx))
		}
	}
}

// Turns counts the commands that the loop has taken. If it stands still behind a
// full queue, the loop hangs.
func (r *Register) Turns() uint64 { return r.turns.Load() }

// shut answers what waits and lets nothing more in.
func (r *Register) shut() {
	r.gate.Lock()
	r.closed = true
	r.gate.Unlock()
	for {
		select {
		case c := <-r.queue:
			if c.held.CompareAndSwap(free, taken) {
				c.done <- result{err: ErrStopping}
			}
		default:
			return
		}
	}
}

func (r *Register) started() {
	now, trust := r.lookAtClock()
	e := event.TerminalStarted{
		Release: r.o.Release, Incarnation: r.j.Incarnation(), Config: r.Settings().Config, Recovered: r.j.Recovered(),
	}
	r.note(&e, now, trust)
}

func (r *Register) stopped(cause error) error {
	reason := "stopped"
	if cause != nil && !errors.Is(cause, context.Canceled) {
		reason = cause.Error()
	}
	now, trust := r.lookAtClock()
	r.note(&event.TerminalStopped{Reason: reason}, now, trust)
	if err := r.j.Err(); errors.Is(err, journal.ErrFailed) {
		return err
	}
	return nil
}

// lookAtClock records a step of the wall clock, and returns the time.
func (r *Register) lookAtClock() (time.Time, event.Clock) {
	now := r.o.Now()
	trust := r.trust(now)
	if expected, jumped := r.clock.look(now, r.o.Uptime()); jumped {
		r.o.Log.Warn("the clock was stepped", "expected", expected.UTC().Format(time.RFC3339), "found", now.UTC().Format(time.RFC3339))
		r.note(&event.ClockStepped{FromMilli: expected.UnixMilli(), ToMilli: now.UnixMilli()}, now, trust)
		trust = r.trust(now) // the step itself is a time seen
	}
	return now, trust
}

// note journals a technical event. One that finds no room is left out: it must
// not take the place of a sale.
func (r *Register) note(e Appender, now time.Time, trust event.Clock) {
	h := event.Header{Time: now, Clock: trust}
	if _, err := r.append(journal.Soon, e, h, 1024); err != nil {
		r.o.Log.Warn("a technical event was not journaled", "error", err)
		return
	}
	r.apply(&h, 0, e)
}

// stamped is the header as the journal holds it: with milliseconds.
func stamped(h event.Header) event.Header {
	h.Time = time.UnixMilli(h.Time.UnixMilli())
	return h
}

// Appender is an event of package event.
type Appender interface {
	AppendEvent(dst []byte, h event.Header) ([]byte, error)
}

// record is an event on its way into the journal, which gives it its name.
type record struct {
	e     Appender
	h     event.Header
	id    chain.ID
	start uint64 // incarnation
	kept  []byte // a copy of the payload, if keep
	keep  bool
}

// AppendRecord implements journal.Encoder.
func (c *record) AppendRecord(dst []byte, seq uint64) ([]byte, error) {
	switch e := c.e.(type) {
	case *event.SaleCompleted:
		e.Sale = event.SaleID(c.id, seq)
	case *event.Basket:
		if e.Type == event.TypeBasketOpened {
			e.Basket = event.SaleID(c.id, seq)
		}
		e.Version = strconv.FormatUint(c.start, 10) + "-" + strconv.FormatUint(seq, 10)
	}
	from := len(dst)
	dst, err := c.e.AppendEvent(dst, c.h)
	if c.keep && err == nil {
		c.kept = append(c.kept[:0], dst[from:]...)
	}
	return dst, err
}

func (r *Register) append(class journal.Class, e Appender, h event.Header, size int) (uint64, error) {
	r.record.e, r.record.h, r.record.keep = e, h, false
	seq, err := r.j.Append(event.RecordType, class, size, &r.record)
	r.record.e = nil
	return seq, err
}

// apply folds an event that the journal has taken.
func (r *Register) apply(h *event.Header, seq uint64, e Appender) {
	at := stamped(*h)
	of := till.Record{Seq: seq}
	if h.Key != "" {
		of.KeyID = idOf(h.Key)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.state.Apply(&at, of, e)
}

// appendReceipt appends "<terminal>-<branch>-<n>".
func (r *Register) appendReceipt(dst []byte, n uint64) []byte {
	dst = append(append(dst, r.o.Terminal...), '-')
	dst = append(strconv.AppendUint(dst, r.state.Branch, 10), '-')
	return strconv.AppendUint(dst, n, 10)
}
