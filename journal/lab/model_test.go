package lab

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"posd/journal/internal/hook"
)

var (
	states = flag.Int64("states", 0, "cut states to recover and judge; 0 = a few, as in every go test")
	seed   = flag.Uint64("seed", 0, "repeats a run; 0 = from the clock")
	only   = flag.Int64("history", -1, "plays only this history of the seed")
	mutant = flag.String("mutant", "", "with -history: the bug to plant, by name")
)

const (
	someStates   = 30_000
	shortStates  = 3_000
	mutantStates = 400_000 // a planted bug that lives so long is not caught
)

// summary is the last line of a run.
var summary string

func TestMain(m *testing.M) {
	flag.Parse()
	code := m.Run()
	if summary != "" {
		fmt.Println(summary)
	}
	os.Exit(code)
}

// run plays histories of one seed on all processors.
type run struct {
	seed     uint64
	next     atomic.Int64 // history
	mu       sync.Mutex
	total    Tally
	bad      []string
	caught   map[hook.Bug]string
	uncaught []string
	loud     bool
}

// bubbles runs fn on each processor, in a bubble where the clock moves only when
// all wait for it: so a seed plays the same on a slow machine.
func bubbles(t *testing.T, name string, fn func()) {
	t.Run(name, func(t *testing.T) {
		for i := range runtime.GOMAXPROCS(0) {
			t.Run(fmt.Sprint(i), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(*testing.T) { fn() })
			})
		}
	})
}

// mutants plants each bug until it is caught.
func (r *run) mutants() {
	for {
		b := hook.Bug(r.next.Add(1))
		if int(b) > len(hook.Bugs()) {
			return
		}
		var t Tally
		v, n := Verdict{}, uint64(0)
		for ; v.Kind == OK && t.States < mutantStates; n++ {
			var one Tally
			one, v = Play(r.seed, n, b)
			t.Add(one)
		}
		r.mu.Lock()
		if v.Kind == OK {
			r.uncaught = append(r.uncaught, fmt.Sprintf("%v: not caught in %d states", b, t.States))
		} else {
			r.caught[b] = fmt.Sprintf("%v: caught after %d states, in history %d: %v", b, t.States, n-1, v)
		}
		r.mu.Unlock()
	}
}

// histories plays the journal as it is.
func (r *run) histories(want int64) {
	for {
		n := r.next.Add(1) - 1
		if n*statesPerHistory >= want {
			return
		}
		t, v := Play(r.seed, uint64(n), 0)
		r.mu.Lock()
		r.total.Add(t)
		if v.Kind != OK {
			r.bad = append(r.bad, fmt.Sprintf("history %d: %v (repeat with -seed=%d -history=%d)", n, v, r.seed, n))
			if r.loud {
				fmt.Println(r.bad[len(r.bad)-1])
			}
		}
		r.mu.Unlock()
	}
}

func (r *run) progress(stop <-chan struct{}, begin time.Time) {
	tick := time.NewTicker(10 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return
		case <-tick.C:
			r.mu.Lock()
			n, bad := r.total.States, len(r.bad)
			r.mu.Unlock()
			fmt.Printf("%d states, %.0f/s, %d wrong\n", n, float64(n)/time.Since(begin).Seconds(), bad)
		}
	}
}

// TestModel plays cuts of every kind against the journal, after it has seen that
// each planted bug is caught.
func TestModel(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(1000)) // files live for one state
	r := &run{seed: *seed, caught: map[hook.Bug]string{}, loud: *states > 0}
	if r.seed == 0 {
		r.seed = uint64(time.Now().UnixNano())
	}
	want := *states
	switch {
	case want == 0 && testing.Short():
		want = shortStates
	case want == 0:
		want = someStates
	}
	if *only >= 0 {
		r.one(t, uint64(*only))
		return
	}
	say := t.Logf
	if r.loud {
		say = func(format string, args ...any) { fmt.Printf(format+"\n", args...) }
	}
	say("seed %d (repeat with -seed=%d)", r.seed, r.seed)
	bubbles(t, "mutants", r.mutants)
	for _, b := range hook.Bugs() {
		if s, ok := r.caught[b]; ok {
			say("%s", s)
		}
	}
	begin := time.Now()
	stop := make(chan struct{})
	if r.loud {
		go r.progress(stop, begin)
	}
	r.next.Store(0)
	bubbles(t, "journal", func() { r.histories(want) })
	close(stop)
	n := r.total
	say("%d power cuts, %d kills, %d failed syncs, %d orderly stops, %d damaged states in %.1f s",
		n.Cuts, n.Kills, n.Fails, n.Stops, n.Flips, time.Since(begin).Seconds())
	line := fmt.Sprintf("lab-model: %d states, %d lost, %d phantom, %d false alarms, %d undetected flips, mutants caught %d of %d",
		n.States, n.Bad[Lost], n.Bad[Phantom], n.Bad[FalseAlarm], n.Bad[Undetected], len(r.caught), len(hook.Bugs()))
	if r.loud {
		summary = line
	} else {
		t.Log(line)
	}
	if bad := append(r.bad, r.uncaught...); len(bad) > 0 {
		t.Errorf("%s", strings.Join(bad[:min(len(bad), 20)], "\n"))
	}
	if want < shortStates {
		return
	}
	if n.Cuts == 0 || n.Kills == 0 || n.Fails == 0 || n.Stops == 0 || n.Flips == 0 {
		t.Error("a kind of fault was never tried")
	}
}

// one repeats a single history.
func (r *run) one(t *testing.T, n uint64) {
	var bug hook.Bug
	for _, b := range hook.Bugs() {
		if b.String() == *mutant {
			bug = b
		}
	}
	synctest.Test(t, func(t *testing.T) {
		tally, v := Play(r.seed, n, bug)
		t.Logf("%+v", tally)
		if v.Kind != OK {
			t.Errorf("%v", v)
		}
	})
}
