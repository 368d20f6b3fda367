package main

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"posd/journal/internal/hook"
	"posd/journal/lab"
)

// cutsPerHistory: recording takes a second, a cut some ten milliseconds.
const cutsPerHistory = 100

// bench is all that a campaign needs.
type bench struct {
	rack      *rack
	recorder  *slot
	judges    chan *slot // free ones
	all       []*slot
	templates [][]byte
	keep      string // folder for images that were judged wrong, "" = none
	progress  io.Writer
}

// tally counts what came out.
type tally struct {
	mu        sync.Mutex
	cuts      int // first and second ones
	seconds   int
	flips     int
	lives     int
	killed    int
	failed    int
	records   int
	kinds     [5]int // by lab.Kind
	first     string // the first thing that was wrong
	broken    error  // the lab itself failed
	histories int
}

func (t *tally) wrong() int {
	return t.kinds[lab.Lost] + t.kinds[lab.Phantom] + t.kinds[lab.FalseAlarm] + t.kinds[lab.Undetected]
}

func (t *tally) add(k lab.Kind, why string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.kinds[k]++
	if k != lab.OK && t.first == "" {
		t.first = k.String() + ": " + why
	}
}

// stopped says whether to go on: a planted bug need be seen only once.
func (t *tally) stopped(b hook.Bug) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.broken != nil || (b != 0 && t.wrong() > 0)
}

func (t *tally) fail(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.broken == nil {
		t.broken = err
	}
}

func newBench(tmp, fsType string, judges int) (*bench, error) {
	b := &bench{judges: make(chan *slot, judges)}
	dir := filepath.Join(tmp, "rack")
	err := os.Mkdir(dir, 0o700)
	if err != nil {
		return nil, err
	}
	if b.rack, err = newRack(dir); err != nil {
		return nil, err
	}
	size, formats := 16<<20, [][]string{{"-b", "4096"}, {"-b", "4096"}, {"-b", "1024"}}
	if fsType == "f2fs" {
		size, formats = 64<<20, [][]string{nil}
	}
	for _, f := range formats {
		img, err := format(fsType, size, tmp, f...)
		if err != nil {
			return nil, err
		}
		b.templates = append(b.templates, img)
	}
	for i := range judges + 1 {
		s, err := newSlot(b.rack, tmp, fsType, size)
		if err != nil {
			return nil, err
		}
		b.all = append(b.all, s)
		if i == 0 {
			b.recorder = s
		} else {
			b.judges <- s
		}
	}
	return b, nil
}

func (b *bench) close() {
	for _, s := range b.all {
		s.close()
	}
	b.rack.close()
}

// run records histories and cuts them, until so many cuts are judged.
func (b *bench) run(seed uint64, bug hook.Bug, cuts int) *tally {
	t := &tally{}
	tapes := make(chan *history, 1)
	go func() { // the next history is recorded while the last one is judged
		defer close(tapes)
		for i := range (cuts + cutsPerHistory - 1) / cutsPerHistory {
			if t.stopped(bug) {
				return
			}
			h, err := b.recorder.live(seed+uint64(i), bug, b.templates)
			var w wrongStart
			if errors.As(err, &w) {
				t.add(w.kind, fmt.Sprintf("history %d: %v", seed+uint64(i), err))
			} else if err != nil {
				t.fail(err)
				return
			}
			tapes <- h
		}
	}()
	for h := range tapes {
		t.count(h)
		b.cutUp(t, h, min(cutsPerHistory, cuts-(t.histories-1)*cutsPerHistory))
		if bug == 0 && t.histories%20 == 0 {
			fmt.Fprintf(b.progress, "%d of %d cuts, %d wrong\n", t.cuts-t.seconds, cuts, t.wrong())
		}
	}
	return t
}

func (t *tally) count(h *history) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.histories++
	t.lives += h.lives
	t.killed += h.killed
	t.failed += h.failed
	t.records += h.records
}

// cutUp judges n cuts of one history.
func (b *bench) cutUp(t *tally, h *history, n int) {
	rng := rand.New(rand.NewPCG(h.seed, 7))
	tape := newTape(slices.Clone(h.base), h.log, nil)
	var wg sync.WaitGroup
	for _, at := range positions(h.log, n, rng) {
		if t.stopped(h.bug) {
			break
		}
		tape.forward(at)
		s := <-b.judges
		c := cut{h: h, at: at, heard: slices.Clip(tape.heard), seed: rng.Uint64(), second: rng.IntN(5) == 0}
		s.d.load(c.second, func(img []byte) { tape.cut(img, rng) })
		wg.Go(func() {
			defer func() { b.judges <- s }()
			if err := b.judge(t, s, c); err != nil {
				t.fail(err)
			}
		})
	}
	wg.Wait()
}

// cut is one image to be judged.
type cut struct {
	h      *history
	at     int
	heard  []byte
	seed   uint64
	second bool // the disk is cut again after the start
}

func (b *bench) judge(t *tally, s *slot, c cut) error {
	var first []byte
	if c.second {
		first = slices.Clone(s.d.image)
	}
	ok, err := b.judgeOnce(t, s, c)
	if err != nil || !ok || !c.second {
		return err
	}
	rng := rand.New(rand.NewPCG(c.seed, 8))
	tape := newTape(first, s.d.take(), c.heard)
	tape.forward(positions(tape.log, 1, rng)[0])
	s.d.load(false, func(img []byte) { tape.cut(img, rng) })
	c.heard, c.second = tape.heard, false
	t.mu.Lock()
	t.seconds++
	t.mu.Unlock()
	_, err = b.judgeOnce(t, s, c)
	return err
}

// judgeOnce mounts the image, so that the file system repairs itself, and lets
// the slot's process judge the journal there.
func (b *bench) judgeOnce(t *tally, s *slot, c cut) (ok bool, err error) {
	rng := rand.New(rand.NewPCG(c.seed, 9))
	trial := Trial{Till: s.till(c.h), Seed: c.seed, Append: rng.IntN(6)}
	trial.Heard = c.heard
	if !c.second && rng.IntN(3) == 0 {
		trial.Flips, trial.Append = 3, trial.Append+1
	}
	var image []byte
	if b.keep != "" {
		image = slices.Clone(s.d.image)
	}
	if err := s.mount(""); err != nil {
		if b.keep != "" {
			b.save(c, image)
		}
		return false, fmt.Errorf("history %d, cut at %d: %w", c.h.seed, c.at, err)
	}
	var out Judged
	failed := s.call("Player.Judge", trial, &out)
	if err := s.unmount(); err != nil {
		return false, err
	}
	if failed != nil {
		out.Kind, out.Why = lab.FalseAlarm, failed.Error()
	}
	t.mu.Lock()
	t.cuts++
	t.flips += out.Flips
	t.mu.Unlock()
	t.add(out.Kind, fmt.Sprintf("history %d, cut at %d of %d: %s", c.h.seed, c.at, len(c.h.log), out.Why))
	if out.Kind != lab.OK && b.keep != "" {
		b.save(c, image)
	}
	return out.Kind == lab.OK, nil
}

// save keeps an image that was judged wrong, to be mounted and looked at.
func (b *bench) save(c cut, image []byte) {
	path := filepath.Join(b.keep, fmt.Sprintf("history-%d-cut-%d.img", c.h.seed, c.at))
	if err := os.WriteFile(path, image, 0o600); err == nil {
		fmt.Fprintln(os.Stderr, "kept", path)
	}
}
