package printer

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"posd/pos/receipt"
)

// breaker refuses jobs after failures in a row, until a probe goes well.
type breaker struct {
	first, most time.Duration
	fails       int
	next        time.Time // of a probe
}

// failsToOpen in a row open the circuit: one is a hiccup.
const failsToOpen = 3

func (b *breaker) open() bool { return b.fails >= failsToOpen }

func (b *breaker) bad() {
	b.fails++
	b.next = time.Now().Add(min(b.first<<min(max(b.fails-failsToOpen, 0), 10), b.most))
}

// Run owns the printer until ctx ends. Jobs that wait then are not printed.
func (p *Printer) Run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		if ctx.Err() != nil {
			p.end()
			return
		}
		if e := p.take(); e != nil {
			p.print(ctx, e)
		} else {
			select {
			case <-p.wake:
				continue
			case <-timer.C:
				p.probe(ctx)
			case <-ctx.Done():
				continue
			}
		}
		wait := p.o.Idle
		if p.breaker.open() {
			wait = max(time.Until(p.breaker.next), 0)
		}
		timer.Reset(wait)
	}
}

const stopped = "posd was stopped"

// end refuses what waits and what will come.
func (p *Printer) end() {
	p.mu.Lock()
	p.refuse = true
	p.mu.Unlock()
	for e := p.take(); e != nil; e = p.take() {
		p.set(e, NotPrinted, stopped)
	}
}

// good and bad move the circuit breaker.
func (p *Printer) good() {
	p.breaker.fails = 0
	p.circuit()
}

func (p *Printer) bad(err error) {
	p.breaker.bad()
	p.condition(Unreachable, false, err.Error())
	p.circuit()
}

func (p *Printer) circuit() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuse, p.next = p.breaker.open(), p.breaker.next
}

// probe asks an idle printer how it is. One that answers nothing is only opened.
func (p *Printer) probe(ctx context.Context) {
	l, err := p.dial(ctx, ctx)
	if err != nil {
		p.bad(err)
		return
	}
	defer l.close()
	if p.o.Silent {
		p.condition(Unasked, false, "")
	} else if c, low, err := l.status(); err != nil {
		p.bad(err)
		return
	} else {
		p.condition(c, low, "")
	}
	p.good()
}

// lateDrawer is how long after the sale a drawer may still open by itself.
const lateDrawer = 5 * time.Second

// print does one job. Up to its first byte every failure is NotPrinted.
func (p *Printer) print(ctx context.Context, e *entry) {
	by := e.at.Add(e.Within)
	if time.Now().After(by) {
		p.set(e, NotPrinted, "it waited too long for the printer")
		return
	}
	if p.breaker.open() {
		p.set(e, NotPrinted, ErrDown.Error())
		return
	}
	p.set(e, Printing, "")
	d := &receipt.Document{Blocks: []receipt.Block{{Kind: receipt.Drawer}}}
	if e.Make != nil {
		var err error
		if d, err = e.Make(); err != nil {
			p.set(e, NotPrinted, err.Error())
			return
		}
	}
	l, why := p.ready(ctx, by, e)
	switch {
	case l == nil && e.done():
		p.set(e, Sent, "")
		return
	case l == nil && ctx.Err() != nil:
		p.set(e, NotPrinted, stopped)
		return
	case l == nil:
		p.set(e, NotPrinted, why)
		return
	}
	defer l.close()
	state, err := p.send(l, e, p.stream(e, d))
	switch {
	case ctx.Err() != nil && err != nil:
		p.set(e, state, stopped)
		return
	case err == nil:
		p.good()
		p.set(e, state, "")
		return
	case !errors.Is(err, errNotDone): // it was reached, it is only out of paper
		p.bad(err)
	}
	p.set(e, state, err.Error())
}

// errNotDone means that the printer answers, but does not finish.
var errNotDone = errors.New("the printer did not finish")

// shut says that the job is still to open the drawer, and somebody stands at it.
func (e *entry) shut() bool { return e.Drawer && !e.opened && time.Since(e.at) <= lateDrawer }

// done says that the job was to open the drawer, and has.
func (e *entry) done() bool { return e.Make == nil && e.opened }

// stream is the job's document as bytes, without a drawer that is open or that nobody
// stands at any more.
func (p *Printer) stream(e *entry, d *receipt.Document) []byte {
	if e.Drawer && !e.shut() {
		kept := *d
		kept.Blocks = slices.DeleteFunc(slices.Clone(d.Blocks), func(b receipt.Block) bool { return b.Kind == receipt.Drawer })
		d = &kept
	}
	e.opened = true
	return d.ESCPOS(p.o.Profile)
}

// open opens the drawer though the printer cannot print, for the job that holds it up and
// for those behind: customers wait for their change, and paper may be far away.
func (p *Printer) open(l *link, e *entry) error {
	pulse := p.o.Profile.Pulse()
	if pulse == nil {
		return nil
	}
	p.mu.Lock()
	drawers := append([]*entry{e}, p.waiting...)
	p.mu.Unlock()
	drawers = slices.DeleteFunc(drawers, func(e *entry) bool { return !e.shut() })
	if len(drawers) == 0 {
		return nil
	}
	n, err := l.write(pulse, p.o.Stall)
	if n == 0 {
		return err
	}
	for _, d := range drawers { // there is one drawer
		d.opened = true
		if d != e && d.done() { // it takes the place of no paper
			p.mu.Lock()
			p.waiting = slices.DeleteFunc(p.waiting, func(w *entry) bool { return w == d })
			p.mu.Unlock()
			p.set(d, Sent, "")
		}
	}
	return err
}

// ready opens the printer and waits until it says that it can print: not beyond by.
func (p *Printer) ready(ctx context.Context, by time.Time, e *entry) (l *link, why string) {
	stop := ctx
	ctx, cancel := context.WithDeadline(ctx, by)
	defer cancel()
	for {
		l, err := p.dial(ctx, stop)
		if err == nil && p.o.Silent {
			p.condition(Unasked, false, "") // it is there again, and tells no more than that
			return l, ""
		}
		if err == nil {
			var c Condition
			if c, why, err = p.settle(ctx, l, e); err == nil && c == Ready {
				return l, ""
			}
			l.close()
			if err == nil && e.done() {
				return nil, ""
			}
		}
		if err != nil {
			why = err.Error()
			p.bad(err)
			if p.breaker.open() {
				return nil, why
			}
		}
		select {
		case <-ctx.Done():
			return nil, why
		case <-time.After(time.Second / 4):
		}
	}
}

// settle asks until the printer is ready, or ctx ends, or there is nothing left to do.
func (p *Printer) settle(ctx context.Context, l *link, e *entry) (c Condition, why string, err error) {
	for {
		var low bool
		if c, low, err = l.status(); err != nil {
			return c, "", err
		}
		p.condition(c, low, "")
		if c == Ready {
			return c, "", nil
		}
		if err := p.open(l, e); err != nil || e.done() {
			return c, "", err
		}
		why = "the printer says " + string(c)
		select {
		case <-ctx.Done():
			return c, why, nil
		case <-time.After(time.Second / 2):
		}
	}
}

// send writes a job and waits for the printer to confirm it.
func (p *Printer) send(l *link, e *entry, stream []byte) (State, error) {
	if !p.o.Silent {
		stream = append(append([]byte(noUnasked), stream...), confirm...)
	}
	n, err := l.write(stream, p.o.Stall)
	switch {
	case err != nil && n == 0:
		return NotPrinted, err
	case err != nil:
		return Unknown, fmt.Errorf("%d of %d bytes were sent: %w", n, len(stream), err)
	case p.o.Silent:
		return Sent, nil
	}
	late := p.owed
	state, err := p.confirmed(l, e)
	// What comes after a job that was not confirmed may be its confirmation: it is not the
	// next one's. If one came that was not counted, and then none for so long that the
	// printer is taken for one that cannot confirm, it was this job's: the one before it is
	// lost.
	p.owed = state == Unknown || state == Sent && !(late && !p.owed)
	return state, err
}

// confirmed waits for the answer to confirm. Until then the printer is asked how it
// is: it may be out of paper, and go on when it has some.
func (p *Printer) confirmed(l *link, e *entry) (State, error) {
	begun := time.Now()
	ready := time.Time{} // since when
	for {
		done, err := l.listen(p.o.Answer / 4)
		now := time.Now()
		switch {
		case done && l.empty:
			p.condition(PaperOut, false, "")
			return Unknown, fmt.Errorf("%w: behind it, it says that there is no paper; look whether it is whole", errNotDone)
		case done:
			p.mute = false
			return Printed, nil
		case err != nil && !errors.Is(err, os.ErrDeadlineExceeded):
			return Unknown, fmt.Errorf("the link broke before the printer confirmed: %w", err)
		case now.Sub(l.last) > p.o.Answer:
			return Unknown, errors.New("the printer stopped answering before it confirmed")
		case now.Sub(begun) > p.o.Patience:
			return Unknown, fmt.Errorf("%w within %v: it says %s", errNotDone, p.o.Patience, p.Status().Condition)
		}
		if c, low, fresh := l.heard(); fresh {
			p.condition(c, low, "")
			switch {
			case c != Ready:
				ready = time.Time{}
				if err := p.open(l, e); err != nil {
					return Unknown, fmt.Errorf("the link broke before the printer confirmed: %w", err)
				}
			case ready.IsZero():
				ready = now
			}
			if c == Ready && (p.mute || now.Sub(ready) > p.o.Settle) {
				p.mute = true
				return Sent, nil
			}
		}
		if err := l.askNext(p.o.Answer); err != nil {
			return Unknown, fmt.Errorf("the link broke before the printer confirmed: %w", err)
		}
	}
}
