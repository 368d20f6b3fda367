package cgroup

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"
)

// world is a slice of 10 % in fake time: work costs processor time, of which a
// period of 100 ms has 10 ms; who asks for more stands still until the next.
type world struct {
	cpu    int64 // used, ns
	period int64 // number of the present one
	used   int64 // within it
	stood  int64 // periods that ended throttled
	began  time.Time
}

const quota = int64(10 * time.Millisecond)

// work spends d of processor time, and the wall time that this takes.
func (w *world) work(d time.Duration) {
	for left := int64(d); left > 0; {
		now := int64(time.Since(w.began))
		if p := now / int64(100*time.Millisecond); p != w.period {
			w.period, w.used = p, 0
		}
		step := min(left, quota-w.used, int64(100*time.Millisecond)-now%int64(100*time.Millisecond))
		if step <= 0 {
			w.stood++
			time.Sleep(time.Duration(int64(100*time.Millisecond) - now%int64(100*time.Millisecond)))
			continue
		}
		w.used += step
		w.cpu += step
		left -= step
		time.Sleep(time.Duration(step))
	}
}

func (w *world) pacer() *Pacer {
	w.began = time.Now()
	p := NewPacer(Limits{CPU: Quota{Micros: 10000, Period: 100000, Path: "/s"}}, nil)
	p.process = func() int64 { return w.cpu }
	p.cpu = 0
	return p
}

// Background work fills its share of the quota and no more; a sale that comes
// meanwhile finds the rest of the period free.
func TestPaceLeavesRoomForSales(t *testing.T) {
	run := func(paced bool) (slowest time.Duration, background int64) {
		synctest.Test(t, func(t *testing.T) {
			var w world
			p := w.pacer()
			p.share.Store(shareSelling)
			next := time.Now()
			for time.Since(w.began) < 20*time.Second {
				if !time.Now().Before(next) {
					at := next
					w.work(3 * time.Millisecond) // a sale
					slowest = max(slowest, time.Since(at))
					next = next.Add(210 * time.Millisecond)
				}
				before := w.cpu
				w.work(time.Millisecond)
				background += w.cpu - before
				if paced {
					p.Pace(nil)
				}
			}
		})
		return slowest, background
	}
	slowest, background := run(true)
	share := float64(background) / float64(20*time.Second/10)
	// A sale's 3 ms and a turn's 1 ms, each with what Pace waited while one loop did both.
	if slowest > 60*time.Millisecond {
		t.Errorf("the slowest sale took %v", slowest)
	}
	if share < 0.25 || share > 0.51 {
		t.Errorf("background work filled %.2f of the quota, want nearly the half that sales leave", share)
	}
	if worst, _ := run(false); worst <= 60*time.Millisecond {
		t.Errorf("without pacing the slowest sale took %v: this test sees nothing", worst)
	}
}

// However much is sold, background work gets a turn within a second.
func TestPaceStarvesNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w world
		p := w.pacer()
		w.cpu += int64(time.Hour)
		began := time.Now()
		p.Pace(nil)
		if took := time.Since(began); took == 0 || took > mostWait {
			t.Errorf("a turn waited %v", took)
		}
		done := make(chan struct{})
		close(done)
		w.cpu += int64(time.Hour)
		began = time.Now()
		p.Pace(done)
		if took := time.Since(began); took != 0 {
			t.Errorf("Pace went on for %v after done", took)
		}
	})
}

func TestPaceWithoutQuota(t *testing.T) {
	p := NewPacer(Limits{}, nil)
	p.process = func() int64 { t.Error("it counts"); return 0 }
	p.Pace(nil)
	if p.Tight() || p.State().Share != 100 {
		t.Error("no quota is not tight")
	}
}

func TestPacerAdapts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w world
		p := w.pacer()
		u := Usage{}
		step := func(periods, throttled int64) {
			time.Sleep(sampleTime)
			u.Periods += periods
			u.Throttled += throttled
			p.sample(u)
		}
		step(20, 20)
		if got := p.State().Share; got != shareAlone/10 {
			t.Errorf("share %d %% when nobody sells", got)
		}
		p.Selling()
		step(20, 0)
		if got := p.State().Share; got != shareSelling/10 {
			t.Errorf("share %d %% after a sale", got)
		}
		for range 20 {
			p.Selling()
			step(20, 20)
		}
		if s := p.State(); s.Share != leastShare/10 || s.Throttled != 100 {
			t.Errorf("share %d %%, throttled %d %% after twenty samples of throttling", s.Share, s.Throttled)
		}
	})
}

func TestShedding(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w world
		p := w.pacer()
		u := Usage{}
		step := func(change func(*Usage)) PacerState {
			time.Sleep(sampleTime)
			change(&u)
			p.sample(u)
			return p.State()
		}
		if s := step(func(u *Usage) { u.MemoryHigh += 1000; u.MemoryPressure.SomeMicros += 100_000 }); s.Shedding {
			t.Error("shed because the page cache was trimmed at memory.high")
		}
		if s := step(func(u *Usage) { u.MemoryMax += 1000 }); s.Shedding {
			t.Error("shed because the page cache was trimmed at memory.max, where there is no memory.high")
		}
		for name, change := range map[string]func(*Usage){
			"pressure": func(u *Usage) { u.MemoryPressure.SomeMicros += 500_000 },
			"max":      func(u *Usage) { p.limits.MemoryHigh.Path = "/s"; u.MemoryMax++ },
			"kill":     func(u *Usage) { u.OOMKills++ },
		} {
			if s := step(change); !s.Shedding || s.Why == "" || !p.Shedding() {
				t.Errorf("%s: not shed: %+v", name, s)
			}
			if s := step(func(*Usage) {}); !s.Shedding || s.Why == "" {
				t.Errorf("%s: shed for one sample only", name)
			}
			for range 6 {
				step(func(*Usage) {})
			}
			if s := p.State(); s.Shedding || p.Shedding() || s.Why != "" {
				t.Errorf("%s: still shed after %v: %+v", name, shedFor, s)
			}
		}
	})
}

// What sales have used during a long rest of the background is not its debt, and
// the account does not overflow on a machine with many cores.
func TestPaceAfterRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, percent := range []int64{10, 100, 400, 6400} {
			w := world{}
			p := w.pacer()
			p.rate = percent * int64(time.Second) / 100
			time.Sleep(time.Minute)
			w.cpu += int64(time.Minute) / 100 * percent / 100
			if owed := p.owed(0); owed != 0 {
				t.Errorf("%d %%: %v are owed after a quiet minute", percent, owed)
			}
		}
	})
}

// A log that does not flow holds nobody up but who writes to it.
func TestPacerBesideStuckLog(t *testing.T) {
	w := world{}
	stuck := make(chan struct{})
	p := w.pacer()
	p.log = slog.New(blocked{slog.DiscardHandler, stuck})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		time.Sleep(time.Millisecond)
		p.sample(Usage{OOMKills: 1})
	}()
	for deadline := time.Now().Add(30 * time.Second); !p.Shedding(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("not shed")
		}
	}
	free := make(chan struct{})
	go func() { defer close(free); p.State(); p.owed(0) }()
	select {
	case <-free:
	case <-time.After(30 * time.Second):
		t.Error("the pacer hangs with the log")
	}
	close(stuck)
	<-ended
}

type blocked struct {
	slog.Handler
	until chan struct{}
}

func (b blocked) Enabled(context.Context, slog.Level) bool { return true }

func (b blocked) Handle(context.Context, slog.Record) error { <-b.until; return nil }

// Waking up costs processor time too: it must not be waited for again.
func TestPaceWakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w world
		p := w.pacer()
		p.process = func() int64 { w.cpu += int64(80 * time.Microsecond); return w.cpu } // each look
		p.cpu = 0
		began := time.Now()
		for range 20 {
			w.work(2 * time.Millisecond)
			p.Pace(nil)
		}
		if took := time.Since(began); took > 2*time.Second { // 40 ms of work at 5 % of a core are 0.8 s
			t.Errorf("20 turns took %v", took)
		}
	})
}
