package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"posd/journal/internal/hook"
	"posd/journal/lab"
)

// history is what one journal went through on one disk, in several lives.
type history struct {
	seed     uint64
	bug      hook.Bug
	segment  int64
	maxBytes int64
	base     []byte // the empty file system
	log      []entry
	lives    int
	killed   int
	failed   int // lives that ended with a failed sync
	records  int
}

// end is how a life ends.
type end uint8

const (
	inOrder end = iota
	killed
	killedAtNames // right after a file got a name
	syncFailed
)

// ends are drawn from for each life. A planted bug that shows only after a
// certain end gets more of it.
func ends(b hook.Bug) []end {
	switch b {
	case hook.RetrySync, hook.CachedRead:
		return []end{syncFailed, syncFailed, syncFailed, inOrder}
	case hook.NoStartSync:
		return []end{killedAtNames, killedAtNames, killedAtNames, killed}
	}
	return []end{inOrder, inOrder, inOrder, killed, killed, killedAtNames, syncFailed}
}

// live plays a history on the slot and returns it with its log. A wrong verdict
// at one of its starts is an error of type wrongStart.
func (s *slot) live(seed uint64, b hook.Bug, templates [][]byte) (*history, error) {
	rng := rand.New(rand.NewPCG(seed, 6))
	h := &history{seed: seed, bug: b, base: templates[rng.IntN(len(templates))]}
	h.segment = []int64{64 << 10, 64 << 10, 128 << 10, 256 << 10, 1 << 20}[rng.IntN(5)]
	h.maxBytes = 8 << 20
	if rng.IntN(3) == 0 { // hardly any room: spares are recycled, not made
		h.maxBytes = 5 * h.segment
	}
	s.d.load(true, func(img []byte) { copy(img, h.base) })
	if err := s.mount([]string{"", "commit=1"}[rng.IntN(2)]); err != nil {
		return nil, err
	}
	err := s.lives(h, rng)
	if e := s.unmount(); err == nil {
		err = e
	}
	h.log = s.d.take()
	return h, err
}

// wrongStart: the oracle found something wrong without any cut.
type wrongStart struct {
	kind lab.Kind
	why  string
}

func (w wrongStart) Error() string { return "a start without a cut: " + w.why }

func (s *slot) lives(h *history, rng *rand.Rand) error {
	n := 2 + rng.IntN(4)
	for i := range n {
		l := Life{Till: s.till(h), Seed: h.seed*100 + uint64(i), Create: i == 0,
			Duration: time.Duration(50+rng.IntN(350)) * time.Millisecond}
		l.Heard = s.d.heard()
		e := ends(h.bug)[rng.IntN(len(ends(h.bug)))]
		if i == 0 {
			e = inOrder // so that there is a journal when it ends
		}
		stop := s.arrange(e, &l, rng)
		var out Lived
		err := s.call("Player.Live", l, &out)
		stop()
		s.d.inject()
		switch {
		case out.Kind != lab.OK:
			return wrongStart{out.Kind, out.Why}
		case err != nil && (e == killed || e == killedAtNames) && errors.Is(err, errDied):
			h.killed++
		case err != nil:
			return fmt.Errorf("life %d of history %d: %w", i, h.seed, err)
		}
		if out.Failed && e != syncFailed {
			return fmt.Errorf("life %d of history %d failed, but nothing was injected: %s", i, h.seed, out.Closed)
		}
		h.lives++
		h.records += out.Records
		if out.Failed {
			h.failed++
		}
	}
	return nil
}

// arrange sees to it that the life ends as it should.
func (s *slot) arrange(e end, l *Life, rng *rand.Rand) (stop func()) {
	after := time.Duration(rng.Int64N(int64(l.Duration)))
	switch e {
	case killed:
		p := s.player
		t := time.AfterFunc(after, func() { p.cmd.Process.Kill() })
		return func() { t.Stop() }
	case killedAtNames:
		l.Suicide = true
	case syncFailed:
		// After the start: a start that cannot write may say so.
		before, ended := s.d.count(restarted), make(chan struct{})
		what := []string{"PRG1", "PRG1", "PRG1", "POSDSEG1", "POSDNOTE"}[rng.IntN(5)]
		var wg sync.WaitGroup
		wg.Go(func() {
			for s.d.count(restarted) == before {
				if isClosed(ended, time.Millisecond) {
					return
				}
			}
			if !isClosed(ended, after) {
				s.d.inject(&Fault{Prefix: what, Count: 1})
			}
		})
		return func() { close(ended); wg.Wait() }
	}
	return func() {}
}

func isClosed(c chan struct{}, within time.Duration) bool {
	select {
	case <-c:
		return true
	case <-time.After(within):
		return false
	}
}
