package printer

import (
	"context"
	"errors"
	"fmt"
	"os"
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
		select {
		case e := <-p.queue:
			p.print(ctx, &e)
		case <-timer.C:
			p.probe(ctx)
		case <-ctx.Done():
			p.end()
			return
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
	for {
		select {
		case e := <-p.queue:
			p.set(&e, NotPrinted, stopped)
		default:
			return
		}
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
	p.refuse = p.breaker.open()
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
	stream, err := p.stream(e)
	if err != nil {
		p.set(e, NotPrinted, err.Error())
		return
	}
	l, why := p.ready(ctx, by)
	if l == nil && ctx.Err() != nil {
		why = stopped
	}
	if l == nil {
		p.set(e, NotPrinted, why)
		return
	}
	defer l.close()
	state, err := p.send(l, stream)
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

// stream is the job's document as bytes.
func (p *Printer) stream(e *entry) ([]byte, error) {
	d, err := e.Make()
	if err != nil {
		return nil, err
	}
	if time.Since(e.at) > lateDrawer {
		kept := *d
		kept.Blocks = make([]receipt.Block, 0, len(d.Blocks))
		for _, b := range d.Blocks {
			if b.Kind != receipt.Drawer {
				kept.Blocks = append(kept.Blocks, b)
			}
		}
		d = &kept
	}
	return d.ESCPOS(p.o.Profile), nil
}

// ready opens the printer and waits until it says that it can print: not beyond by.
func (p *Printer) ready(ctx context.Context, by time.Time) (l *link, why string) {
	stop := ctx
	ctx, cancel := context.WithDeadline(ctx, by)
	defer cancel()
	for {
		l, err := p.dial(ctx, stop)
		if err == nil && p.o.Silent {
			return l, ""
		}
		if err == nil {
			var c Condition
			if c, why, err = p.settle(ctx, l); err == nil && c == Ready {
				return l, ""
			}
			l.close()
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

// settle asks until the printer is ready, or ctx ends.
func (p *Printer) settle(ctx context.Context, l *link) (c Condition, why string, err error) {
	for {
		var low bool
		if c, low, err = l.status(); err != nil {
			return c, "", err
		}
		p.condition(c, low, "")
		if c == Ready {
			return c, "", nil
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
func (p *Printer) send(l *link, stream []byte) (State, error) {
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
	return p.confirmed(l)
}

// confirmed waits for the answer to confirm. Until then the printer is asked how it
// is: it may be out of paper, and go on when it has some.
func (p *Printer) confirmed(l *link) (State, error) {
	begun := time.Now()
	ready := time.Time{} // since when
	for {
		done, err := l.listen(p.o.Answer / 4)
		now := time.Now()
		switch {
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
