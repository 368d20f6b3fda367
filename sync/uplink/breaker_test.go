package uplink

import (
	"testing"
	"time"
)

// TestBreaker walks through its states with a clock of its own.
func TestBreaker(t *testing.T) {
	now := time.Unix(0, 0)
	whole := func(d time.Duration) time.Duration { return d }
	b := breaker{now: func() time.Time { return now }, jitter: whole, first: time.Second, most: 5 * time.Second, least: 4 * time.Second, unknown: 8 * time.Second}
	check := func(what string, probe bool, wait time.Duration, s breakerState) {
		t.Helper()
		if p, w := b.ask(); p != probe || w != wait || b.state != s {
			t.Fatalf("%s: probe %v, wait %v, %v", what, p, w, b.state)
		}
	}
	check("new", false, 0, closed)
	b.bad()
	check("failed", false, time.Second, open)
	now = now.Add(time.Second)
	check("after the pause", true, 0, halfOpen)
	check("until something is known", true, 0, halfOpen)
	b.bad()
	check("the probe failed", false, 2*time.Second, open)
	b.another()
	check("another server", true, 0, halfOpen)
	for range 5 {
		b.bad()
	}
	check("no longer than the most", false, 5*time.Second, open)
	b.good(time.Second, 1000)
	check("good again", false, 0, closed)
	if b.opens != 3 {
		t.Errorf("opened %d times", b.opens)
	}
}

// slowLink: a link of so many bytes a second, and parcels of 20 kB. It reports
// whether one ever gets through, with the limits that the breaker gives.
func slowLink(rate int, b bug) bool {
	br := breaker{now: time.Now, jitter: fullJitter, first: 1, most: 1, least: 4 * time.Second, unknown: 8 * time.Second, bug: b}
	for range 20 { // small sales before, as on any day
		br.good(700*time.Millisecond+time.Duration(float64(900)/float64(rate)*float64(time.Second)), 900)
	}
	const size = 20_000
	took := 700*time.Millisecond + time.Duration(float64(size)/float64(rate)*float64(time.Second))
	for range 10 {
		if took <= br.limit(size) {
			return true
		}
		br.bad()
	}
	return false
}

// TestSlowLink: no link is so slow that a parcel is called late for ever; one
// limit for all links would do that.
func TestSlowLink(t *testing.T) {
	for _, rate := range []int{1_000_000, 20_000, 2_000, 600, 250} {
		if !slowLink(rate, noBug) {
			t.Errorf("%d bytes a second: nothing gets through", rate)
		}
	}
	if slowLink(600, bugFixedLimit) {
		t.Error("a fixed limit gets through as well: the check proves nothing")
	}
}

// TestLimit: where answers take milliseconds, silence is noticed at the least limit.
func TestLimit(t *testing.T) {
	b := breaker{least: 4 * time.Second, unknown: 8 * time.Second}
	if got := b.limit(1000); got != b.unknown {
		t.Errorf("nothing is known: %v", got)
	}
	for range 200 {
		b.good(10*time.Millisecond, 2000)
	}
	b.good(time.Minute, 2000) // one outlier changes nothing
	if got := b.limit(80_000); got != b.least {
		t.Errorf("a good link: %v", got)
	}
}
