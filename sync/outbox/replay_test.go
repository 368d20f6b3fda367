package outbox

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"posd/journal/chain"
	"posd/sync/ledger"
)

func (r *rig) order(from time.Time) error {
	return r.led.Update(context.Background(), func(tx ledger.Tx) error { return Replay(tx, from, time.Now().UTC()) })
}

// replayed waits for the end of the replay.
func (r *rig) replayed() (s ReplayState, err error) {
	err = r.eventually("the replay is done", func() bool {
		r.led.View(context.Background(), func(tx ledger.Tx) error {
			p, err := ReadReplay(tx)
			if p != nil {
				s = *p
			}
			return err
		})
		return !s.Done.IsZero()
	})
	return s, err
}

// each checks that the stream holds each of the events once, in whatever order.
func (r *rig) each() error {
	seen := map[string]int{}
	for _, c := range r.read() {
		if seen[c.ID]++; seen[c.ID] > 1 {
			return fmt.Errorf("%s is there twice", c.ID)
		}
	}
	for _, name := range r.due {
		if seen[name] == 0 {
			return fmt.Errorf("%s is missing", name)
		}
	}
	if len(seen) != len(r.due) {
		return fmt.Errorf("%d events, want %d", len(seen), len(r.due))
	}
	return nil
}

// replays has a stream that is deleted with all it held. A replay brings back what it held,
// while more is sold and the publisher is killed again and again.
func replays(r *rig, b bug) error {
	r.enter(laneA, 1, 1, 2500)
	r.enter(laneB, 2, 1, 1500)
	r.start(b)
	if err := r.settled(); err != nil {
		return err
	}
	r.stop()
	if err := r.js.DeleteStream(context.Background(), r.cfg.Name); err != nil {
		return err
	}
	r.makeStream()
	if err := r.order(time.Time{}); err != nil {
		return err
	}
	if err := r.order(time.Time{}); !errors.Is(err, ErrReplaying) {
		return fmt.Errorf("a second order: %w", err)
	}
	rnd := rand.New(rand.NewPCG(3, 4))
	next := uint64(2501)
	for range 8 {
		r.enter(laneA, 1, next, next+40)
		next += 41
		left := 100 + rnd.IntN(900)
		run := r.start(b, func(o *Options) {
			o.onSend = func() error {
				if left--; left < 0 {
					return errPlanted
				}
				return nil
			}
		})
		r.enter(laneB, 3, next, next+20)
		if err := r.eventually("killed or done", func() bool { return r.noted() && r.last() >= uint64(len(r.due)) || len(run.done) > 0 }); err != nil {
			return err
		}
		r.stop()
	}
	r.start(b)
	s, err := r.replayed()
	if err != nil {
		return err
	}
	if err := r.eventually("all is published", r.noted); err != nil {
		return err
	}
	if s.Sent+s.Held < 4000 || s.Journal != s.Journals {
		return fmt.Errorf("%+v", s)
	}
	if err := r.each(); err != nil {
		return err
	}
	// Again: the stream holds all of it.
	if err := r.order(time.Time{}); err != nil {
		return err
	}
	if s, err = r.replayed(); err != nil || s.Sent != 0 || s.Held != uint64(len(r.due)) {
		return fmt.Errorf("%+v, want all of %d held: %w", s, len(r.due), err)
	}
	return r.each()
}

func TestReplay(t *testing.T) {
	if err := replays(newRig(t), noBug); err != nil {
		t.Error(err)
	}
	if replays(newRig(t), bugBlindReplay) == nil {
		t.Error("passes without a look at what the stream holds: the check proves nothing")
	}
}

// replaysAnew has a stream that is deleted while a replay fills it. The publisher is killed
// as soon as it goes on in the new one.
func replaysAnew(r *rig, b bug) error {
	r.enter(laneA, 1, 1, 2500)
	r.start(b)
	if err := r.settled(); err != nil {
		return err
	}
	r.stop()
	again := func() {
		if err := r.js.DeleteStream(context.Background(), r.cfg.Name); err != nil {
			r.t.Error(err)
		}
		r.makeStream()
	}
	again()
	if err := r.order(time.Time{}); err != nil {
		return err
	}
	sent := 0
	run := r.start(b, func(o *Options) {
		o.onSend = func() error {
			switch sent++; sent {
			case 3*maxBatch + 1:
				again()
			case 4*maxBatch + 1: // the batch behind that one is the first into the new stream
				return errPlanted
			}
			return nil
		}
	})
	if err := r.eventually("killed", func() bool { return len(run.done) > 0 }); err != nil {
		return err
	}
	r.stop()
	r.start(b)
	if _, err := r.replayed(); err != nil {
		return err
	}
	return r.each()
}

// replayGone has a stream that holds all, and is deleted when the replay has seen that.
func replayGone(r *rig, b bug) error {
	r.enter(laneA, 1, 1, 300)
	r.start(b)
	if err := r.settled(); err != nil {
		return err
	}
	r.stop()
	base := time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC)
	at := func(n int) func(*Options) { // delete at the nth look at the clock
		i := 0
		return func(o *Options) {
			o.now = func() time.Time {
				if i++; i == n {
					if err := r.js.DeleteStream(context.Background(), r.cfg.Name); err != nil {
						r.t.Error(err)
					}
					r.makeStream()
				}
				return base.Add(time.Duration(i) * time.Millisecond)
			}
		}
	}
	if err := r.order(time.Time{}); err != nil {
		return err
	}
	r.start(b, at(0))
	s, err := r.replayed()
	if err != nil || s.Held != 300 {
		return fmt.Errorf("%+v, %w", s, err)
	}
	r.stop()
	if err := r.order(time.Time{}); err != nil {
		return err
	}
	r.start(b, at(int(s.Done.Sub(base)/time.Millisecond)))
	if s, err = r.replayed(); err != nil || s.Sent != 300 {
		return fmt.Errorf("%+v, %w", s, err)
	}
	return r.each()
}

// TestReplayAnew: a replay that is done has brought back all, whatever became of the stream
// meanwhile.
func TestReplayAnew(t *testing.T) {
	for name, c := range map[string]struct {
		play func(*rig, bug) error
		bug  bug
	}{"deleted in its middle": {replaysAnew, bugReplayGoesOn}, "deleted at its end": {replayGone, bugBlindDone}} {
		t.Run(name, func(t *testing.T) {
			if err := c.play(newRig(t), noBug); err != nil {
				t.Error(err)
			}
		})
		t.Run(name+", control", func(t *testing.T) {
			if c.play(newRig(t), c.bug) == nil {
				t.Error("passes: the check proves nothing")
			}
		})
	}
}

// TestReplayFrom: what happened before is left out, and those whose journal is continued
// come before those that continue it.
func TestReplayFrom(t *testing.T) {
	r := newRig(t)
	at := func(day int) func(chain.ID, uint64) []byte {
		return func(id chain.ID, seq uint64) []byte {
			return fmt.Appendf(nil, `{"v":1,"type":"sale.completed","time":"2026-11-%02dT09:30:00Z","data":{"n":%d,"of":"%s"}}`, day, seq, id)
		}
	}
	r.enterWith(laneA, 1, 1, 20, at(3))
	r.due = nil
	r.enterWith(laneA, 9, 1, 10, at(5)) // continued by 2
	r.enterWith(laneA, 2, 1, 10, at(6))
	parent := chain.ID{9}
	if err := r.led.Update(t.Context(), func(tx ledger.Tx) error {
		c, _, err := tx.Chain(chain.ID{2})
		c.Parent = &chain.Parent{Journal: parent.String()}
		return errors.Join(err, tx.PutChain(c))
	}); err != nil {
		t.Fatal(err)
	}
	r.start(noBug)
	if err := r.eventually("all is published", r.noted); err != nil {
		t.Fatal(err)
	}
	r.stop()
	if err := r.js.DeleteStream(t.Context(), r.cfg.Name); err != nil {
		t.Fatal(err)
	}
	r.makeStream()
	if err := r.order(time.Date(2026, 11, 4, 0, 0, 0, 0, time.UTC)); err != nil {
		t.Fatal(err)
	}
	run := r.start(noBug)
	s, err := r.replayed()
	if err != nil || s.Sent != 20 {
		t.Fatalf("%+v, %v, %+v", s, err, run.o.State())
	}
	if err := r.once(); err != nil {
		t.Error(err)
	}
	if all := r.read(); len(all) != 20 || all[0].Journal != parent.String() {
		t.Errorf("%d events, the first of %s", len(all), all[0].Journal)
	}
}
