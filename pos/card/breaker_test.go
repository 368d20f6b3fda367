package card

import (
	"testing"
	"time"
)

// One that greets and never answers is found out as well as one that is not there.
func TestBreaker(t *testing.T) {
	now := time.Unix(1795253400, 0)
	var b breaker
	fail := func(mute bool, n int) {
		for range n {
			b.greeted(true)
			b.bad(now, mute)
		}
	}
	for _, mute := range []bool{false, true} {
		for range failsToOpen - 1 {
			b.bad(now, mute)
		}
		if b.open() {
			t.Error("open too early")
		}
		b.bad(now, mute)
		if !b.open() || b.next != now.Add(firstPause) || b.try(now) || !b.try(b.next) {
			t.Errorf("mute %v: %+v", mute, b)
		}
		b.greeted(true)
		if b.open() != mute {
			t.Errorf("mute %v, after a greeting: %+v", mute, b)
		}
		b.greeted(false) // nothing is left to be asked about: the next payment tries it
		if b.open() || (b.fails > 0) != mute {
			t.Errorf("mute %v, after a greeting with nothing unsettled: %+v", mute, b)
		}
		b.bad(now, mute)
		if b.open() != mute {
			t.Errorf("mute %v, a further failure: %+v", mute, b)
		}
		b.answered()
		if b.open() || b.fails != 0 {
			t.Errorf("%+v", b)
		}
	}
	fail(true, 100) // it greets each time, and never answers
	if b.next != now.Add(mostPause) {
		t.Errorf("%+v", b)
	}
}
