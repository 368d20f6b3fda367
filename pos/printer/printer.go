package printer

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"posd/pos/receipt"
)

// Why a job is refused.
var (
	ErrFull = errors.New("too many papers are waiting for the printer")
	ErrDown = errors.New("the printer cannot be reached")
)

// Options say which printer it is. Durations may be zero for what is usual.
type Options struct {
	Address string // "/dev/usb/lp0" or "host:port"
	Profile receipt.Profile
	Silent  bool // it answers no questions
	Log     *slog.Logger
	Done    func(Outcome) // is told of each end, by the owner; it must not wait

	Answer   time.Duration // how long an answer may take: 3 s
	Stall    time.Duration // how long it may take no bytes: 20 s
	Patience time.Duration // how long a job that has begun may wait for paper: 5 min
	Settle   time.Duration // how long it must say that it is ready to be taken for one that cannot confirm: 20 s
	Idle     time.Duration // how often an idle printer is asked: 15 s
}

// Job is one paper.
type Job struct {
	Name   string                            // by which Outcome finds it, the sale's id for example
	Make   func() (*receipt.Document, error) // called by the owner when it is printed; nil: only the drawer opens
	Drawer bool                              // the document opens the drawer
	Within time.Duration                     // it must begin by then; zero: 30 s
}

// State is what became of a job.
type State string

const (
	Waiting    State = "waiting"
	Printing   State = "printing"
	Printed    State = "printed"     // the printer says so
	Sent       State = "sent"        // the printer took it and cannot say more
	NotPrinted State = "not_printed" // for sure: nothing was sent
	Unknown    State = "unknown"     // it may be on paper, in part or whole
)

// Outcome is how far a job is.
type Outcome struct {
	Name  string
	State State
	Why   string // of NotPrinted and Unknown: what happened, for people
	At    time.Time
}

// OnPaper reports whether the job is or may be on paper, so that what is printed
// again must be marked as a copy.
func (o Outcome) OnPaper() bool { return o.State != NotPrinted }

// Ended reports whether the job is at its end.
func (o Outcome) Ended() bool { return o.State != Waiting && o.State != Printing }

// Condition is what the printer said of itself, or failed to.
type Condition string

const (
	Unasked     Condition = "unknown" // not yet asked, or it cannot answer
	Ready       Condition = "ready"
	PaperOut    Condition = "paper_out"
	CoverOpen   Condition = "cover_open"
	Offline     Condition = "offline"
	Fault       Condition = "fault"       // knife, voltage, temperature
	Unreachable Condition = "unreachable" // no link, or no answer
)

// Status is the printer's condition.
type Status struct {
	Condition Condition
	PaperLow  bool
	Why       string    // of Unreachable
	Since     time.Time // of the condition
	Waiting   int       // jobs
	Next      time.Time // when it is tried, where jobs are refused meanwhile; else zero
}

const (
	mostWaiting = 16
	mostKept    = 64 // outcomes
)

// Printer is one printer. Its methods may be called by any goroutine.
type Printer struct {
	o    Options
	wake chan struct{} // a job came

	mu      sync.Mutex
	waiting []*entry
	status  Status
	kept    []Outcome // the newest last
	refuse  bool      // the circuit is open
	next    time.Time // when it is tried then
	breaker breaker   // of the owner
	mute    bool      // of the owner: it does not answer GS r
	owed    bool      // of the owner: it has not answered the last one
}

type entry struct {
	Job
	at     time.Time
	opened bool // of the owner: the drawer, or its pulse is on the way
}

// New returns a printer that prints once Run is called.
func New(o Options) *Printer {
	set := func(d *time.Duration, usual time.Duration) {
		if *d == 0 {
			*d = usual
		}
	}
	set(&o.Answer, 3*time.Second)
	set(&o.Stall, 20*time.Second)
	set(&o.Patience, 5*time.Minute)
	set(&o.Settle, 20*time.Second)
	set(&o.Idle, 15*time.Second)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Printer{
		o: o, wake: make(chan struct{}, 1), breaker: breaker{first: 2 * time.Second, most: time.Minute},
		status: Status{Condition: Unasked, Since: time.Now()},
	}
}

// Print hands a job to the printer and returns at once. Errors: ErrFull, ErrDown; the
// job is then not printed, and never will be.
func (p *Printer) Print(j Job) error {
	if j.Within == 0 {
		j.Within = 30 * time.Second
	}
	j.Drawer = j.Drawer || j.Make == nil
	e := &entry{Job: j, at: time.Now()}
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.refuses(); err != nil {
		return err
	}
	p.waiting = append(p.waiting, e)
	p.keep(Outcome{Name: j.Name, State: Waiting, At: e.at})
	select {
	case p.wake <- struct{}{}:
	default:
	}
	return nil
}

// take gives the owner the next job, nil if there is none.
func (p *Printer) take() *entry {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.waiting) == 0 {
		return nil
	}
	e := p.waiting[0]
	p.waiting = slices.Delete(p.waiting, 0, 1)
	return e
}

// Outcome finds the newest job of a name. It knows the last 64.
func (p *Printer) Outcome(name string) (Outcome, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := len(p.kept) - 1; i >= 0; i-- {
		if p.kept[i].Name == name {
			return p.kept[i], true
		}
	}
	return Outcome{}, false
}

// Status is what is known of the printer. It does not ask it.
func (p *Printer) Status() Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.status
	s.Waiting = len(p.waiting)
	if p.refuse {
		s.Next = p.next
	}
	return s
}

// keep remembers an outcome. A job that is waiting or printing is changed in place.
func (p *Printer) keep(o Outcome) {
	for i := range p.kept {
		if k := &p.kept[i]; o.State != Waiting && k.Name == o.Name && (k.State == Waiting || k.State == Printing) {
			*k = o
			return
		}
	}
	if len(p.kept) == mostKept {
		p.kept = append(p.kept[:0], p.kept[1:]...)
	}
	p.kept = append(p.kept, o)
}

func (p *Printer) set(e *entry, s State, why string) {
	o := Outcome{Name: e.Name, State: s, Why: why, At: time.Now()}
	p.mu.Lock()
	p.keep(o)
	p.mu.Unlock()
	if !o.Ended() {
		return
	}
	level := slog.LevelDebug
	if why != "" {
		level = slog.LevelWarn
	}
	p.o.Log.Log(context.Background(), level, "printer", "job", e.Name, "outcome", string(s), "why", why)
	if p.o.Done != nil {
		p.o.Done(o)
	}
}

// condition notes what the printer is like.
func (p *Printer) condition(c Condition, low bool, why string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.status.Condition != c {
		p.o.Log.Info("printer", "condition", string(c), "before", string(p.status.Condition), "why", why)
		p.status.Since = time.Now()
	}
	p.status.Condition, p.status.PaperLow, p.status.Why = c, low, why
}

// Refuses says why Print would refuse a job now; nil: it would not.
func (p *Printer) Refuses() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.refuses()
}

func (p *Printer) refuses() error {
	switch {
	case p.refuse:
		return ErrDown
	case len(p.waiting) >= mostWaiting:
		return ErrFull
	}
	return nil
}

// Busy says that a job waits or is being printed.
func (p *Printer) Busy() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.ContainsFunc(p.kept, func(o Outcome) bool { return o.State == Waiting || o.State == Printing })
}

// Recent are the outcomes that it knows, the newest first.
func (p *Printer) Recent() []Outcome {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := slices.Clone(p.kept)
	slices.Reverse(list)
	return list
}
