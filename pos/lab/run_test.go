package lab

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

var (
	steps = flag.Int("steps", 6000, "steps of the model in all")
	seed  = flag.Uint64("seed", 0, "plays the one shop of this seed; 0: shops from 1 on")
)

// stepsOfShop bounds one shop, which is read again as a whole after each restart.
const stepsOfShop = 1000

// oneShop plays the shop of a seed, n steps of it.
func oneShop(dir string, seed uint64, n int) (counts map[string]int, err error) {
	rng := rand.New(rand.NewPCG(seed, 17))
	coin, perLine := []int64{1, 5, 10}[rng.IntN(3)], rng.IntN(3) == 0
	t, err := newInside(dir, coin, perLine, rng)
	if err != nil {
		return nil, err
	}
	p := newPlayer(t, newShop(coin, perLine), rng)
	defer t.stop()
	return p.counts, p.play(n)
}

// shops plays many of them, some at a time, until one fails or all steps are done.
func shops(t *testing.T, steps int) (counts map[string]int, failed error) {
	first, last := uint64(1), uint64((steps+stepsOfShop-1)/stepsOfShop)
	if *seed != 0 {
		first, last = *seed, *seed
	}
	var next atomic.Uint64
	next.Store(first)
	var mu sync.Mutex
	var wg sync.WaitGroup
	counts = map[string]int{}
	for range 4 {
		wg.Go(func() {
			for {
				n := next.Add(1) - 1
				mu.Lock()
				over := n > last || failed != nil
				mu.Unlock()
				if over {
					return
				}
				dir, err := os.MkdirTemp(t.TempDir(), "shop")
				if err != nil {
					t.Error(err)
					return
				}
				c, err := oneShop(dir, n, min(steps, stepsOfShop))
				os.RemoveAll(dir)
				mu.Lock()
				for what, k := range c {
					counts[what] += k
				}
				if err != nil && failed == nil {
					failed = fmt.Errorf("seed %d: %w", n, err)
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return counts, failed
}

// TestModel is the proof; see the package's doc.
func TestModel(t *testing.T) {
	n := *steps
	if testing.Short() {
		n = min(n, 2000)
	}
	began := time.Now()
	counts, err := shops(t, n)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for name := range counts {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		t.Logf("%8d %s", counts[name], name)
	}
	t.Logf("%d steps, %.0f a second", n, float64(n)/time.Since(began).Seconds())
	for _, name := range []string{"sale.completed", "training.completed", "shift.closed", "kills", "restarts", "repeated", "unanswered", "lost soon",
		"tender.reversed", "basket.parked", "basket.voided", "cash.dropped", "refused return-invalid", "refused version-conflict"} {
		if counts[name] == 0 && *seed == 0 {
			t.Errorf("%q never happened: the run proves nothing about it", name)
		}
	}
}
