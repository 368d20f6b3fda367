package load

import (
	"cmp"
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// Times are those of one phase, in microseconds, sorted.
type Times struct {
	All    []int64 `json:"all"`
	Failed int     `json:"failed"`
	First  string  `json:"first,omitempty"` // failure
}

// At gives the time that this share of the calls kept to.
func (t *Times) At(share float64) time.Duration {
	if len(t.All) == 0 {
		return 0
	}
	return time.Duration(t.All[min(len(t.All)-1, int(share*float64(len(t.All))))]) * time.Microsecond
}

// Play calls one at rate times a second for so long, in an open loop: each call is
// due at a time of its own and is timed from then on, whatever became of the one
// before. Each comes at a random moment of its slot, so that the calls do not march
// in step with the periods of a quota.
func Play(ctx context.Context, rate int, long time.Duration, seed uint64, one func(ctx context.Context, n int) error) Times {
	var t Times
	var mu sync.Mutex
	var g sync.WaitGroup
	random := rand.New(rand.NewPCG(seed, 1))
	slot := time.Second / time.Duration(rate)
	begun := time.Now()
	for n := range int(long / slot) {
		due := begun.Add(time.Duration(n)*slot + time.Duration(random.Int64N(int64(slot))))
		if !SleepUntil(ctx, due) {
			break
		}
		g.Go(func() {
			err := one(ctx, n)
			took := time.Since(due)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				t.All = append(t.All, took.Microseconds())
			} else if ctx.Err() == nil {
				t.Failed++
				t.First = cmp.Or(t.First, err.Error())
			}
		})
	}
	SleepUntil(ctx, begun.Add(long))
	g.Wait()
	slices.Sort(t.All)
	return t
}

// SleepUntil is false if ctx ended before.
func SleepUntil(ctx context.Context, at time.Time) bool {
	t := time.NewTimer(time.Until(at))
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
