package main

import (
	"math"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"posd/packaging/lab/place"

	"golang.org/x/sys/unix"
)

// sample is what one child measured.
type sample struct {
	Commits  int
	Seconds  float64
	P50, P99 float64 // µs
	CPU      float64 // µs a commit, user and system
	Allocs   float64 // a commit
	Bytes    float64 // written to the device in all; NaN travels as -1
	Segments uint64  // of our journal, that were recycled meanwhile
}

func (s sample) rate() float64 { return float64(s.Commits) / s.Seconds }

// roller is a store that tells how many segments it has recycled.
type roller interface{ rolled() uint64 }

func rolled(s store) uint64 {
	if r, ok := s.(roller); ok {
		return r.rolled()
	}
	return 0
}

// unmeasured commits come first: they make files, connections and pools.
const unmeasured = 100

// measureCommits times durable commits of a contender in its steady state.
func measureCommits(t task) (any, error) {
	c, err := find(t.Contender)
	if err != nil {
		return nil, err
	}
	s, err := c.open(t.Dir, t.Writers)
	if err != nil {
		return nil, err
	}
	defer s.close()
	if c.warm != nil {
		if err := c.warm(s); err != nil {
			return nil, err
		}
	}
	if _, err := drive(s, t.Writers, unmeasured, t.Limit); err != nil {
		return nil, err
	}
	return measured(t, s)
}

// measured drives the store between two readings of all counters.
func measured(t task, s store) (sample, error) {
	device, err := place.Count(t.Dir, t.Counter)
	if err != nil {
		return sample{}, err
	}
	segments := rolled(s)
	before := usageNow()
	begin := time.Now()
	latencies, err := drive(s, t.Writers, t.Commits, t.Limit)
	if err != nil {
		return sample{}, err
	}
	took := time.Since(begin)
	after := usageNow()
	written, err := device.Bytes()
	if err != nil {
		return sample{}, err
	}
	n := float64(len(latencies))
	return sample{
		Commits: len(latencies), Seconds: took.Seconds(),
		P50: quantile(latencies, 0.50), P99: quantile(latencies, 0.99),
		CPU: float64((after.cpu - before.cpu).Microseconds()) / n, Allocs: float64(after.mallocs-before.mallocs) / n,
		Bytes: written, Segments: rolled(s) - segments,
	}, nil
}

// drive has so many writers commit until they made n commits or time is up, and
// returns how long each commit took.
func drive(s store, writers, n int, limit time.Duration) ([]time.Duration, error) {
	var (
		wg     sync.WaitGroup
		taken  atomic.Int64
		errs   = make([]error, writers)
		each   = make([][]time.Duration, writers)
		finish = time.Now().Add(limit)
	)
	for w := range writers {
		each[w] = make([]time.Duration, 0, 2*n/writers) // so that few allocations are ours
	}
	for w := range writers {
		wg.Go(func() {
			r := newRecord(w)
			for begin := time.Now(); errs[w] == nil && begin.Before(finish); {
				seq := taken.Add(1)
				if seq > int64(n) {
					return
				}
				r.number(uint64(seq))
				errs[w] = s.commit(r)
				now := time.Now()
				each[w] = append(each[w], now.Sub(begin))
				begin = now
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return slices.Concat(each...), nil
}

// quantile in µs.
func quantile(d []time.Duration, q float64) float64 {
	if len(d) == 0 {
		return math.NaN()
	}
	slices.Sort(d)
	return float64(d[min(len(d)-1, int(q*float64(len(d))))].Nanoseconds()) / 1e3
}

type usage struct {
	cpu     time.Duration
	mallocs uint64
}

func usageNow() usage {
	var ru unix.Rusage
	unix.Getrusage(unix.RUSAGE_SELF, &ru)
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return usage{time.Duration(ru.Utime.Nano() + ru.Stime.Nano()), m.Mallocs}
}
