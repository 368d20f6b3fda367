package uplink

import (
	"time"
)

// breaker decides whether a parcel may go, and how long its acknowledgement may
// take. While parcels go through it is closed. The first that fails opens it:
// no parcel goes until a back-off with full jitter is over, or another server is
// tried. Then it is half open: one small parcel probes the way. If that one goes
// through, the breaker closes; if not, it opens for about twice as long.
//
// How long a parcel may take is learned: a multiple of the 95th percentile of
// the last ones, scaled by their bytes, so that a server that stopped answering
// is noticed in seconds where answers take milliseconds, and a link that needs a
// minute for a parcel is given it. It is not safe for concurrent use.
type breaker struct {
	now    func() time.Time
	jitter func(time.Duration) time.Duration // a random part of it
	first  time.Duration                     // longest first back-off
	most   time.Duration                     // longest of all

	state   breakerState
	until   time.Time // open: before it, no parcel goes
	fails   int       // in a row
	opens   uint64    // since the start
	window  window
	least   time.Duration // an acknowledgement may always take so long
	unknown time.Duration // and so long while little is known
	bug     bug
}

type breakerState uint8

const (
	closed breakerState = iota
	open
	halfOpen
)

func (s breakerState) String() string { return [...]string{"closed", "open", "half open"}[s] }

// ask says what may go now: any parcel, a small one as a probe, or nothing for
// so long.
func (b *breaker) ask() (probe bool, wait time.Duration) {
	if b.state == open {
		if wait = b.until.Sub(b.now()); wait > 0 {
			return false, wait
		}
		b.state = halfOpen
	}
	return b.state == halfOpen, 0
}

// good: a parcel of n bytes was acknowledged, after so long.
func (b *breaker) good(took time.Duration, n int) {
	b.window.add(took, n)
	b.state, b.fails = closed, 0
}

// bad: a parcel was not acknowledged in time, or refused.
func (b *breaker) bad() {
	if b.state != open {
		b.opens++
	}
	b.fails++
	b.state = open
	b.until = b.now().Add(b.jitter(min(b.first<<min(b.fails-1, 20), b.most)))
}

// another: a server is tried that is not known to be bad. The probe may go at once.
func (b *breaker) another() {
	if b.state == open {
		b.state = halfOpen
	}
}

// Limits of what an acknowledgement may take.
const (
	ackFactor  = 4
	ackMost    = 2 * time.Minute
	fewSamples = 5
)

// limit is how long the acknowledgement of a parcel of n bytes may take. It
// doubles with each failure in a row, so that a link that has become slower than
// all that is known of it is not given up for ever.
func (b *breaker) limit(n int) time.Duration {
	if b.bug == bugFixedLimit {
		return b.least
	}
	d := max(ackFactor*b.window.p95(n), b.least)
	if b.window.n < fewSamples {
		d = max(d, b.unknown)
	}
	return min(d<<min(b.fails, 6), ackMost)
}

// window holds the newest acknowledgements.
type window struct {
	samples [64]sample
	n       int // of them in use
	at      int // the oldest, once all are
}

type sample struct {
	took  time.Duration
	bytes int
}

func (w *window) add(took time.Duration, n int) {
	w.samples[w.at] = sample{took, max(n, fewBytes)}
	w.at = (w.at + 1) % len(w.samples)
	w.n = min(w.n+1, len(w.samples))
}

// fewBytes: what is smaller than this is slow for other reasons than its bytes.
const fewBytes = 4 << 10

// p95 is the 95th percentile of what a parcel of n bytes would have taken. A
// smaller one is taken to have been slow for its bytes alone, which errs on the
// side of patience.
func (w *window) p95(n int) time.Duration {
	if w.n == 0 {
		return 0
	}
	var buf [len(w.samples)]time.Duration
	took := buf[:0]
	for _, s := range w.samples[:w.n] {
		t := s.took
		if n > s.bytes {
			t = time.Duration(float64(s.took) * float64(n) / float64(s.bytes))
		}
		at := len(took)
		took = append(took, t)
		for ; at > 0 && took[at-1] > t; at-- {
			took[at] = took[at-1]
		}
		took[at] = t
	}
	return took[(w.n*95+99)/100-1]
}
