package cgroup

import (
	"context"
	"log/slog"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// The shares of the quota that background work may fill, in thousandths. What is
// above stays free for sales, which come without notice.
const (
	leastShare   = 200
	shareSelling = 500 // while somebody sells
	shareAlone   = 900 // when nobody has for a while
	shareStep    = 25

	sellingFor = 10 * time.Second // after a sale, the next is expected for so long
	sampleTime = 2 * time.Second
	shedFor    = 10 * time.Second
	// A turn of background work never waits longer than this: a terminal that sells
	// without pause must still reach head office.
	mostWait     = time.Second
	mostWaitShed = 5 * time.Second
	longRest     = 2 * time.Second
	// paceBurst is the processor time that may be used ahead of the share: about
	// what one turn takes.
	paceBurst = time.Millisecond
	// shedPressure is the part of a sample, in percent, in which some task stood
	// waiting for memory: below, it is the page cache that comes and goes.
	shedPressure = 10
	// lateThrottle is the part of a sample, in percent of its periods, that may end in
	// throttling before background work gives way to sales.
	lateThrottle = 10
)

// Pacer keeps background work (uplink, scrub, segment making, index) below the
// sales: under a CPU quota whoever uses it up stops the whole group for the rest
// of the period. It counts the processor time of the whole process, sales and
// garbage collection included, and lets background work on only while that stays
// below a share of the quota. So sales come first without being asked.
type Pacer struct {
	limits Limits
	log    *slog.Logger
	rate   int64         // processor nanoseconds a second; 0: no quota, no pacing
	turn   chan struct{} // one waits at a time, the others behind it

	share    atomic.Int64 // in thousandths of the quota
	sold     atomic.Int64 // when the last sale came, ns after start; 0: none did
	shedding atomic.Bool
	waits    atomic.Int64 // nanoseconds that background work has waited

	start   time.Time
	mu      sync.Mutex
	debt    int64 // processor nanoseconds used ahead of the share
	cpu     int64
	at      time.Time
	now     func() time.Time
	process func() int64 // processor nanoseconds of this process

	last     Usage
	lastAt   time.Time
	shedTill time.Time
	state    PacerState
}

// PacerState is what the last sample told.
type PacerState struct {
	Throttled     int    // percent of all periods that ended throttled
	CPUWaiting    int    // percent of the time in which some task waited for the processor
	MemoryWaiting int    // percent of the time in which some task waited for memory
	IOWaiting     int    // percent of the time in which some task waited for the device
	Share         int    // percent of the quota that background work may fill; 100 without a quota
	Shedding      bool   // memory is short: what can be left out is
	Why           string // it is shed
	Usage         Usage
}

// NewPacer returns a pacer for limits that Read has found. log may be nil.
func NewPacer(l Limits, log *slog.Logger) *Pacer {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	p := &Pacer{limits: l, log: log, turn: make(chan struct{}, 1), now: time.Now, process: processTime}
	if l.CPU.Path != "" {
		p.rate = l.CPU.Micros * int64(time.Second) / l.CPU.Period
	}
	p.share.Store(shareSelling)
	p.start = p.now()
	p.at, p.cpu = p.start, p.process()
	p.last, _ = l.Usage()
	p.lastAt = p.at
	p.state = PacerState{Share: p.percent(), Usage: p.last}
	return p
}

func processTime() int64 {
	var ts unix.Timespec
	if unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &ts) != nil {
		return 0
	}
	return ts.Nano()
}

// Selling says that a front end is at work.
func (p *Pacer) Selling() { p.sold.Store(max(1, int64(p.now().Sub(p.start)))) }

// selling says that the next sale is to be expected.
func (p *Pacer) selling() bool {
	sold := p.sold.Load()
	return sold != 0 && int64(p.now().Sub(p.start))-sold < int64(sellingFor)
}

// Shedding says that memory is short.
func (p *Pacer) Shedding() bool { return p.shedding.Load() }

// Tight says that turns of background work must be short: there is a CPU quota, or
// memory is short.
func (p *Pacer) Tight() bool { return p.rate > 0 || p.shedding.Load() }

// Spent is the processor time that this process has used.
func (p *Pacer) Spent() time.Duration { return time.Duration(p.process()) }

// Waited is how long background work has been held back, in all.
func (p *Pacer) Waited() time.Duration { return time.Duration(p.waits.Load()) }

// Pace is called by background work after each turn of at most about 1 ms of
// processor time. It returns when the next may begin, or when done is closed.
// Without a quota it returns at once.
func (p *Pacer) Pace(done <-chan struct{}) {
	if p.rate == 0 && !p.shedding.Load() {
		return
	}
	began := p.now()
	select {
	case p.turn <- struct{}{}:
		defer func() { <-p.turn }()
	case <-done:
		return
	}
	most := mostWait
	if p.shedding.Load() {
		most = mostWaitShed
	}
	for slack := int64(0); ; slack = int64(paceBurst) / 2 {
		// Waiting itself costs: without slack, waking up would be a reason to wait again.
		wait := min(p.owed(slack), most-p.now().Sub(began))
		if wait <= 0 {
			break
		}
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-done:
			t.Stop()
			return
		}
	}
	p.waits.Add(int64(p.now().Sub(began)))
}

// owed brings the account up to date and returns how long to wait until no more
// than slack is owed.
func (p *Pacer) owed(slack int64) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	now, cpu := p.now(), p.process()
	rate := p.rate * p.share.Load() / 1000
	if rate == 0 {
		return mostWait // memory is short, and there is no quota
	}
	if passed := now.Sub(p.at); passed > longRest {
		p.debt = 0 // whoever has used the processor meanwhile, it was not the background
	} else {
		p.debt += cpu - p.cpu - passed.Microseconds()*rate/int64(time.Second/time.Microsecond)
	}
	// Nothing is saved up for a long burst, and no debt outlives a second.
	p.debt = min(max(p.debt, -int64(paceBurst)), rate)
	p.at, p.cpu = now, cpu
	if p.debt <= slack {
		return 0
	}
	return max(time.Duration(p.debt*int64(time.Second)/rate), time.Millisecond)
}

// Run samples what the kernel did, until ctx ends.
func (p *Pacer) Run(ctx context.Context) error {
	tick := time.NewTicker(sampleTime)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			was := p.Shedding()
			u, _ := p.limits.Usage() // what cannot be read is 0, and was logged at the start
			p.sample(u)
			if p.Shedding() && !was {
				debug.FreeOSMemory() // what Go has free, the kernel needs now
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// sample adapts share and shedding to what has happened since the last one.
func (p *Pacer) sample(u Usage) {
	if s, changed := p.take(u); changed { // nobody waits for the log: mu is free
		p.log.Warn("memory pressure: background work is held back", "on", s.Shedding, "why", s.Why,
			"memory", u.MemoryCurrent, "waiting_percent", s.MemoryWaiting)
	}
}

func (p *Pacer) take(u Usage) (s PacerState, changed bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now()
	passed := now.Sub(p.lastAt).Microseconds()
	if passed <= 0 {
		return p.state, false
	}
	s = PacerState{
		Throttled:     percent(u.Throttled-p.last.Throttled, p.periods(passed)),
		CPUWaiting:    percent(u.CPUPressure.SomeMicros-p.last.CPUPressure.SomeMicros, passed),
		MemoryWaiting: percent(u.MemoryPressure.SomeMicros-p.last.MemoryPressure.SomeMicros, passed),
		IOWaiting:     percent(u.IOPressure.SomeMicros-p.last.IOPressure.SomeMicros, passed),
		Usage:         u,
	}
	share := int64(shareAlone) // throttling hurts nobody while nobody sells
	if p.selling() {
		share = min(p.share.Load(), shareSelling)
		if s.Throttled > lateThrottle {
			share = share * 7 / 10
		} else {
			share += shareStep
		}
		share = min(max(share, leastShare), shareSelling)
	}
	p.share.Store(share)

	switch {
	case u.OOMKills > p.last.OOMKills:
		s.Why = "a process of the slice was killed for want of memory"
	case u.MemoryMax > p.last.MemoryMax && p.limits.MemoryHigh.Path != "": // without it, page cache goes up to max
		s.Why = "the slice has reached memory.max"
	case s.MemoryWaiting > shedPressure:
		s.Why = "tasks stand waiting for memory"
	}
	if s.Why != "" {
		p.shedTill = now.Add(shedFor)
	} else if now.Before(p.shedTill) {
		s.Why = p.state.Why
	}
	s.Shedding = now.Before(p.shedTill)
	changed = s.Shedding != p.state.Shedding
	p.shedding.Store(s.Shedding)
	s.Share = p.percent()
	p.last, p.lastAt, p.state = u, now, s
	return s, changed
}

// periods is how many CPU periods there are in so many microseconds. The kernel
// counts only those in which the group ran.
func (p *Pacer) periods(micros int64) int64 {
	if p.limits.CPU.Period == 0 {
		return 0
	}
	return micros / p.limits.CPU.Period
}

func (p *Pacer) percent() int {
	if p.rate == 0 {
		return 100
	}
	return int(p.share.Load() / 10)
}

func percent(part, of int64) int {
	if of <= 0 || part <= 0 {
		return 0
	}
	return int(min(100, part*100/of))
}

// State is what the last sample told, at most a few seconds old.
func (p *Pacer) State() PacerState {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.state
}
