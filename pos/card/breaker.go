package card

import "time"

// breaker keeps a dead payment terminal from costing each customer the time that it
// takes to find out: after failures in a row it is refused at once, but for a try now
// and then, which Desk.Run makes.
type breaker struct {
	fails int
	next  time.Time
	mute  bool // the last failure was of a request: the payment terminal greets and does not answer
}

const (
	failsToOpen = 3
	firstPause  = time.Second
	mostPause   = time.Minute
)

func (b *breaker) open() bool { return b.fails >= failsToOpen }

// greeted: one that greets is there. Whether it answers shows at the next request: that
// about a payment that is not settled, if there is one.
func (b *breaker) greeted(unsettled bool) {
	switch {
	case !b.mute:
		b.fails = 0
	case !unsettled:
		b.fails = min(b.fails, failsToOpen-1)
	}
}

// try says that an open circuit may be tried now.
func (b *breaker) try(now time.Time) bool { return b.open() && !now.Before(b.next) }

func (b *breaker) answered() { b.fails, b.mute = 0, false }

func (b *breaker) bad(now time.Time, mute bool) {
	b.fails++
	b.mute = mute
	b.next = now.Add(min(firstPause<<min(max(b.fails-failsToOpen, 0), 10), mostPause))
}
