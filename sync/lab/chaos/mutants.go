package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"posd/sync/outbox"
)

// mutant is a planted mistake, the scene in which it must do its damage, and the kind of
// damage that it must be caught by. The scene without the bug must come out whole.
type mutant struct {
	name  string
	env   string // that plants it
	shows kind
	scene scene
}

type scene func(ctx context.Context, w *world, env ...string) error

var mutants = []mutant{
	{"no fence", "POSD_PLANTED_BUG=no-fence", twice, lateLanding},
	{"fence on the first parcel only", "POSD_PLANTED_BUG=first-fence", twice, lateLanding},
	{"Msg-Id instead of the fence", "POSD_PLANTED_BUG=msg-id", twice, lateLanding},
	{"last message trusted without its head", "POSD_PLANTED_BUG=trust-last", lost, restoredTill},
	{"freed on the acknowledgement", "POSD_PLANTED_BUG=free-on-ack", lost, forgetfulServer},
	{"commit not idempotent", notIdempotent, twice, rolledBack},
	{"position outside the transaction", "POSHUB_PLANTED_BUG=position-first", lost, killedHub},
	{"events published without a fence", "POSHUB_PLANTED_BUG=outbox-no-fence", twice, lateEvent},
	{"events that were sent count as published", "POSHUB_PLANTED_BUG=outbox-sent-is-out", lost, tornEvent},
	{"a name without its head", "POSHUB_PLANTED_BUG=no-heads", lost, clonedSmall},
	{"copies and originals not compared", "POSHUB_PLANTED_BUG=no-names", twice, clonedSmall},
}

const notIdempotent = "POSHUB_PLANTED_BUG=not-idempotent"

// plant runs each scene with its bug, and each once without, two at a time. It returns
// how many bugs were caught of how many.
func (b *bench) plant(ctx context.Context, seed uint64, only string) (caught, planted int, err error) {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	jobs := make(chan func() error)
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for job := range jobs {
				if err := job(); err != nil {
					fail(err)
				}
			}
		})
	}
	var mu sync.Mutex
	whole := map[string]bool{}
	send := func(job func() error) {
		select {
		case jobs <- job:
		case <-ctx.Done():
		}
	}
	for i, m := range mutants {
		for _, store := range m.stores() {
			what := fmt.Sprintf("%q on %s", m.name, store)
			if !strings.Contains(what, only) {
				continue
			}
			planted++
			id := bugName(m.env) + "-" + store
			name := fmt.Sprintf("%p %s", m.scene, store)
			if !whole[name] {
				whole[name] = true
				send(func() error {
					begin := time.Now()
					if err := b.stage(ctx, "sound-"+id, store, seed, m.scene); err != nil {
						return fmt.Errorf("the scene of %s without the bug: %w", what, err)
					}
					b.say("scene of %s without the bug: whole, %.1f s", what, time.Since(begin).Seconds())
					return nil
				})
			}
			send(func() error {
				begin := time.Now()
				err := b.stage(ctx, "planted-"+id, store, seed+uint64(i), m.scene, m.env)
				switch k := kindOf(err); {
				// Head office that goes back while it takes the same in again lacks what is
				// yet to come, until it has it twice: which is seen first is chance.
				case err == nil || k != 0 && k != m.shows && !(k == lost && m.env == notIdempotent):
					b.say("planted %s: NOT CAUGHT as %q: %v", what, m.shows, err)
					return nil
				case k == 0:
					return fmt.Errorf("planted %s: %w", what, err)
				}
				b.say("planted %s: caught, %.1f s: %.220s", what, time.Since(begin).Seconds(), err.Error())
				mu.Lock()
				caught++
				mu.Unlock()
				return nil
			})
		}
	}
	close(jobs)
	wg.Wait()
	return caught, planted, context.Cause(ctx)
}

// stores are the kinds of ledger that a bug is planted beside: a hub's beside both. A
// commit that is not idempotent does no damage in PostgreSQL: the index of names refuses
// it, and the hub stands still until the stream is as long as it was.
func (m *mutant) stores() []string {
	if strings.HasPrefix(m.env, "POSHUB_") && m.env != "POSHUB_PLANTED_BUG=not-idempotent" {
		return []string{bbolt, postgres}
	}
	return []string{bbolt}
}

func bugName(env string) string {
	_, name, _ := strings.Cut(env, "=")
	return name
}

// stage plays a scene on one server of its own. What a planted bug leaves is not kept.
func (b *bench) stage(ctx context.Context, name, store string, seed uint64, s scene, env ...string) error {
	w, err := b.newWorld(ctx, name, seed, 1, "always")
	if w == nil {
		return err
	}
	if err == nil {
		err = w.keepIn(ctx, store)
	}
	if err == nil {
		err = s(ctx, w, env...)
	}
	w.close()
	wrong := err
	if len(env) > 0 && kindOf(err) != 0 {
		wrong = nil
	}
	return errors.Join(err, b.clear(w.dir, wrong))
}

// opened is a hub and one terminal with some sales that are settled.
func (w *world) opened(ctx context.Context, rng *rand.Rand, env ...string) (*office, *till, error) {
	o, err := w.addHub(ctx, hubLab)
	if err != nil {
		return nil, nil, err
	}
	t, err := w.addTill(ctx, "t1", posdLab, env...)
	if err == nil {
		err = t.sellMore(ctx, 10, rng)
	}
	if err == nil {
		err = t.drained(ctx)
	}
	return o, t, err
}

// lateLanding: a parcel is under way when the link breaks. The terminal connects again
// and sends it again; then, after the duplicate window, the first one arrives after all.
func lateLanding(ctx context.Context, w *world, env ...string) error {
	rng := rand.New(rand.NewPCG(w.seed, 1))
	o, t, err := w.opened(ctx, rng, env...)
	if err != nil {
		return err
	}
	if err := w.shortWindow(ctx); err != nil {
		return err
	}
	struck := make(chan bool, 1)
	go func() {
		struck <- t.link.aim(ctx, &armed{blow: late, after: 1500 * time.Millisecond, done: make(chan struct{})}, giveUp)
	}()
	if err := t.sellUntil(ctx, struck, rng); err != nil {
		return err
	}
	if err := t.drained(ctx); err != nil {
		return err
	}
	if err := t.link.landed(ctx); err != nil {
		return err
	}
	if err := t.sellMore(ctx, 3, rng); err != nil {
		return err
	}
	_ = o
	return w.judge(ctx, true)
}

// sellUntil makes sales until a blow has struck. (One alone may be one that was answered
// before, which sends nothing.)
func (t *till) sellUntil(ctx context.Context, struck <-chan bool, rng *rand.Rand) error {
	for {
		if err := t.sellMore(ctx, 1, rng); err != nil {
			return err
		}
		select {
		case ok := <-struck:
			if !ok {
				return errors.New("nothing was under way that could be struck")
			}
			return nil
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// shortWindow makes the stream's duplicate window shorter than a landing is late: the
// real one, two minutes, is as short beside a night.
func (w *world) shortWindow(ctx context.Context) error {
	js, err := w.servers.client()
	if err != nil {
		return err
	}
	s, err := js.Stream(ctx, streamName)
	if err != nil {
		return err
	}
	c := s.CachedInfo().Config
	c.Duplicates = 200 * time.Millisecond
	_, err = js.UpdateStream(ctx, c)
	return err
}

// lateEvent: head office's link breaks while an event is on its way to the stream of
// events. It is published again; then the first copy arrives after all.
func lateEvent(ctx context.Context, w *world, env ...string) error {
	return w.struckEvent(ctx, late, env...)
}

// tornEvent: head office's link breaks in the middle of an event.
func tornEvent(ctx context.Context, w *world, env ...string) error {
	return w.struckEvent(ctx, torn, env...)
}

// hubBack is longer than a hub takes to connect again and to publish what it had under
// way. Nothing is judged by it: an event that lands before that is no test.
const hubBack = 5 * time.Second

// clonedSmall is clonedDisk with few sales.
func clonedSmall(ctx context.Context, w *world, env ...string) error {
	w.hubEnv = env
	return clonedDisk(ctx, w, 200)
}

func (w *world) struckEvent(ctx context.Context, b blow, env ...string) error {
	rng := rand.New(rand.NewPCG(w.seed, 6))
	o, err := w.addHub(ctx, hubLab, env...)
	if err != nil {
		return err
	}
	t, err := w.addTill(ctx, "t1", posdNow)
	if err != nil {
		return err
	}
	if err := errors.Join(t.sellMore(ctx, 10, rng), t.drained(ctx)); err != nil {
		return err
	}
	if err := w.published(ctx); err != nil {
		return err
	}
	struck := make(chan bool, 1)
	go func() {
		struck <- o.link.aim(ctx, &armed{blow: b, after: hubBack, done: make(chan struct{})}, giveUp)
	}()
	if err := t.sellUntil(ctx, struck, rng); err != nil {
		return err
	}
	if b == late {
		if err := o.link.landed(ctx); err != nil {
			return err
		}
	}
	if err := t.sellMore(ctx, 3, rng); err != nil {
		return err
	}
	return w.judge(ctx, true)
}

// published waits until the stream of events has as many messages as the ledger events.
func (w *world) published(ctx context.Context) error {
	js, err := w.servers.client()
	if err != nil {
		return err
	}
	return await(ctx, "the publishing of all events", func() error {
		s, err := w.hubs[0].status(ctx)
		if err != nil {
			return err
		}
		st, err := js.Stream(ctx, outbox.Stream)
		if err == nil && st.CachedInfo().State.Msgs < s.Events {
			err = fmt.Errorf("%d of %d are", st.CachedInfo().State.Msgs, s.Events)
		}
		return err
	})
}

// allSent waits until the server has acknowledged all that the terminal holds.
func (t *till) allSent(ctx context.Context) error {
	return await(ctx, "the sending of what "+t.name+" sold", func() error {
		if err := t.tend(); err != nil {
			return err
		}
		s, err := t.status(ctx)
		if err == nil && s.Uplink.Sent != s.Journal.Floor {
			err = fmt.Errorf("sent is %d, the end %d: %s", s.Uplink.Sent, s.Journal.Floor, s.Uplink.LastError)
		}
		return err
	})
}

// restoredTill: an older backup of a terminal's disk is put back while head office is
// away; the terminal sells on until all is sent, then it burns. What the server has
// acknowledged is all that is left, and must be all.
func restoredTill(ctx context.Context, w *world, env ...string) error {
	rng := rand.New(rand.NewPCG(w.seed, 2))
	o, t, err := w.opened(ctx, rng, env...)
	if err != nil {
		return err
	}
	if err := errors.Join(o.stop(), t.stop()); err != nil {
		return err
	}
	backup := filepath.Join(w.dir, "backup")
	if err := os.CopyFS(backup, os.DirFS(t.data())); err != nil {
		return err
	}
	if err := t.sellMore(ctx, 30, rng); err != nil {
		return err
	}
	if err := t.allSent(ctx); err != nil {
		return err
	}
	t.kill()
	if err := errors.Join(os.RemoveAll(t.data()), os.CopyFS(t.data(), os.DirFS(backup))); err != nil {
		return err
	}
	t.book.restored()
	t.restarts = true // head office's word makes it begin a new journal
	if err := t.sellMore(ctx, 60, rng); err != nil {
		return err
	}
	if err := t.allSent(ctx); err != nil {
		return err
	}
	truth, err := w.journals(ctx)
	if err != nil {
		return err
	}
	for id := range truth.ends {
		truth.forked[id] = true
	}
	return w.fromStream(ctx, o, truth)
}

// fromStream has head office read the stream to its end, and compares.
func (w *world) fromStream(ctx context.Context, o *office, t *truth) error {
	if err := o.ready(ctx); err != nil {
		return err
	}
	js, err := w.servers.client()
	if err != nil {
		return err
	}
	if err := await(ctx, "the reading of the stream", func() error {
		s, err := js.Stream(ctx, streamName)
		if err != nil {
			return err
		}
		st, err := o.status(ctx)
		if last := s.CachedInfo().State.LastSeq; err == nil && st.Position != last {
			err = fmt.Errorf("at %d of %d", st.Position, last)
		}
		return err
	}); err != nil {
		return err
	}
	k := t.against()
	k.more = true // what the terminal lost with its disk is at head office
	if err := o.events(ctx, k.add); err != nil {
		return err
	}
	ends, err := o.chains(ctx)
	if err == nil {
		err = k.done(ends)
	}
	for _, till := range w.tills {
		if err == nil {
			err = till.book.settle(k)
		}
	}
	return err
}

// forgetfulServer: while head office is away the server acknowledges and then loses what
// it had acknowledged. A terminal that calls all of it settled may be scrapped.
func forgetfulServer(ctx context.Context, w *world, env ...string) error {
	rng := rand.New(rand.NewPCG(w.seed, 3))
	o, t, err := w.opened(ctx, rng, env...)
	if err != nil {
		return err
	}
	if err := o.stop(); err != nil {
		return err
	}
	old, err := w.copyStore(ctx)
	if err != nil {
		return err
	}
	if err := t.sellMore(ctx, 50, rng); err != nil {
		return err
	}
	if err := t.allSent(ctx); err != nil {
		return err
	}
	s, err := t.status(ctx)
	if err != nil {
		return err
	}
	w.servers.servers[0].kill()
	scrapped := s.Uplink.Settled == s.Journal.Floor
	if !scrapped {
		if err := w.rollBack(ctx, old); err != nil {
			return err
		}
		return w.judge(ctx, true)
	}
	truth, err := w.journals(ctx)
	if err == nil {
		err = w.rollBack(ctx, old)
	}
	if err != nil {
		return err
	}
	return w.fromStream(ctx, o, truth)
}

// rolledBack: the stream is rolled back to an older copy, and head office reads it from
// its start, over what it has entered already.
func rolledBack(ctx context.Context, w *world, env ...string) error {
	rng := rand.New(rand.NewPCG(w.seed, 4))
	o, t, err := w.opened(ctx, rng)
	if err != nil {
		return err
	}
	old, err := w.copyStore(ctx)
	if err != nil {
		return err
	}
	if err := t.sellMore(ctx, 30, rng); err != nil {
		return err
	}
	if err := errors.Join(t.drained(ctx), o.stop()); err != nil {
		return err
	}
	w.servers.servers[0].kill()
	if err := w.rollBack(ctx, old); err != nil {
		return err
	}
	o.env = env
	return w.judge(ctx, false)
}

// killedHub: head office reads what a terminal has sent, and is killed between one
// durable step and the next. The terminal has burned meanwhile: the stream is all that
// is left.
func killedHub(ctx context.Context, w *world, env ...string) error {
	rng := rand.New(rand.NewPCG(w.seed, 5))
	o, t, err := w.opened(ctx, rng)
	if err != nil {
		return err
	}
	if err := o.stop(); err != nil {
		return err
	}
	if err := t.sellMore(ctx, 30, rng); err != nil {
		return err
	}
	if err := t.allSent(ctx); err != nil {
		return err
	}
	truth, err := w.journals(ctx)
	if err != nil {
		return err
	}
	o.env = append(env, "POSHUB_LAB_KILL=1")
	if err := o.start(); err != nil {
		return err
	}
	if err := await(ctx, "the kill of "+o.name, func() error {
		if up, _ := o.running(); up {
			return errors.New("it runs")
		}
		return nil
	}); err != nil {
		return err
	}
	o.env = nil
	return w.fromStream(ctx, o, truth)
}

// copyStore keeps a copy of what the only server has now.
func (w *world) copyStore(ctx context.Context) (string, error) {
	old := filepath.Join(w.dir, "older")
	w.servers.servers[0].kill()
	if err := os.CopyFS(old, os.DirFS(w.servers.store(0))); err != nil {
		return "", err
	}
	return old, w.servers.start(ctx)
}

// rollBack puts an older copy of the only server's store in its place.
func (w *world) rollBack(ctx context.Context, old string) error {
	store := w.servers.store(0)
	if err := errors.Join(os.RemoveAll(store), os.CopyFS(store, os.DirFS(old))); err != nil {
		return err
	}
	return w.servers.start(ctx)
}
