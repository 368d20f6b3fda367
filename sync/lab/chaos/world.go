package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"posd/sync/outbox"
	"posd/sync/wire"
)

// world is all that runs in one history or scene.
type world struct {
	b       *bench
	dir     string
	seed    uint64
	servers *cluster
	hubs    []*office
	tills   []*till
	ledger  string // --ledger of the hubs, "" = each its own
	shards  int    // that the terminals are spread over
	hubEnv  []string

	tally tally
}

// tally is what happened.
type tally struct {
	cuts, hubCuts                               [blows]int
	lates                                       int
	leaders                                     int
	tillKills, hubKills, serverKills, blackouts int
	baseKills                                   int
	sales, replays                              int
	events                                      int // that were published
	rewinds                                     uint64
}

func (t *tally) add(o tally) {
	for i := range blows {
		t.cuts[i] += o.cuts[i]
		t.hubCuts[i] += o.hubCuts[i]
	}
	t.lates += o.lates
	t.leaders += o.leaders
	t.tillKills += o.tillKills
	t.hubKills += o.hubKills
	t.serverKills += o.serverKills
	t.blackouts += o.blackouts
	t.baseKills += o.baseKills
	t.events += o.events
	t.sales += o.sales
	t.replays += o.replays
	t.rewinds += o.rewinds
}

func (t *tally) all() (n int) {
	for i := range blows {
		n += t.cuts[i] + t.hubCuts[i]
	}
	return n
}

// newWorld starts servers. Hubs and terminals are added to it.
func (b *bench) newWorld(ctx context.Context, name string, seed uint64, servers int, syncInterval string) (*world, error) {
	dir, err := b.room(name)
	if err != nil {
		return nil, err
	}
	w := &world{b: b, dir: dir, seed: seed, shards: 1}
	if w.servers, err = newCluster(b.bin, filepath.Join(dir, "nats"), servers, syncInterval); err != nil {
		return nil, err
	}
	return w, w.servers.start(ctx)
}

// keepIn says where hubs keep the ledger.
func (w *world) keepIn(ctx context.Context, store string) (err error) {
	if store == postgres {
		w.ledger, err = w.b.database(ctx)
	}
	return err
}

func (w *world) addHub(ctx context.Context, build string, env ...string) (*office, error) {
	n := fmt.Sprintf("hub%d", len(w.hubs)+1)
	o, err := w.b.newOffice(w.dir, n, build, w.servers, w.ledger, w.shards, w.seed+uint64(len(w.hubs)+1)*1000, append(w.hubEnv, env...)...)
	if err != nil {
		return nil, err
	}
	w.hubs = append(w.hubs, o)
	return o, o.ready(ctx)
}

func (w *world) addTill(ctx context.Context, id, build string, env ...string) (*till, error) {
	t, err := w.b.newTill(ctx, w.dir, id, build, len(w.tills)%w.shards, w.servers, w.seed+uint64(len(w.tills)+1)*2000, env...)
	if err != nil {
		return nil, err
	}
	w.tills = append(w.tills, t)
	return t, t.ready(ctx)
}

// close ends everything that runs.
func (w *world) close() {
	for _, t := range w.tills {
		t.close()
	}
	for _, o := range w.hubs {
		o.kill()
		o.link.close()
		o.client.CloseIdleConnections()
	}
	w.servers.stop()
}

// play is one history.
func (b *bench) play(ctx context.Context, h *history) (t tally, err error) {
	w, err := b.newWorld(ctx, fmt.Sprintf("history-%d", h.seed), h.seed, h.servers, "always")
	if w == nil {
		return t, err
	}
	defer func() {
		w.close()
		if cerr := b.clear(w.dir, err); err == nil {
			err = cerr
		}
		if err != nil {
			err = fmt.Errorf("%v: %w", h, err)
		}
	}()
	if err != nil {
		return t, err
	}
	if err := w.keepIn(ctx, h.ledger); err != nil {
		return t, err
	}
	w.shards = h.hubs
	if err := w.populate(ctx, h); err != nil {
		return t, err
	}
	err = w.storm(ctx, h)
	w.count()
	if err == nil {
		err = w.judge(ctx, true)
	}
	return w.tally, err
}

func (w *world) populate(ctx context.Context, h *history) error {
	for range h.hubs {
		if _, err := w.addHub(ctx, hubNow); err != nil {
			return err
		}
	}
	build := posdNow
	if h.powered {
		build = posdLab
	}
	for i := range h.tills {
		if _, err := w.addTill(ctx, fmt.Sprintf("t%d", i+1), build); err != nil {
			return err
		}
	}
	return nil
}

// storm lets everything happen while the terminals sell, until there were enough cuts.
func (w *world) storm(ctx context.Context, h *history) error {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	weather, clear := context.WithCancel(ctx)
	defer clear()
	var fronts, bad sync.WaitGroup
	do := func(wg *sync.WaitGroup, fn func() error) {
		wg.Go(func() {
			if err := fn(); err != nil {
				fail(err)
			}
		})
	}
	selling, close := context.WithCancel(ctx)
	defer close()
	for i, t := range w.tills {
		do(&fronts, func() error { return t.sell(selling, h.seed*100+uint64(i)) })
	}
	p := h.pace()
	var left atomic.Int64
	left.Store(int64(h.cuts))
	for i, t := range w.tills {
		rng := rand.New(rand.NewPCG(h.seed, uint64(200+i)))
		do(&bad, func() error { w.batter(weather, t.link, rng, p.cuts, blowsOften, &left, clear); return nil })
	}
	for i, o := range w.hubs {
		rng := rand.New(rand.NewPCG(h.seed, uint64(300+i)))
		do(&bad, func() error {
			w.batter(weather, o.link, rng, p.hubCuts, blowsOften, &left, clear)
			return nil
		})
		do(&bad, func() error { return w.killHubs(weather, o, rng, p.hubs) })
	}
	do(&bad, func() error { return w.killTills(weather, rand.New(rand.NewPCG(h.seed, 400)), p.tills) })
	do(&bad, func() error { return w.killServers(weather, rand.New(rand.NewPCG(h.seed, 500)), p.servers) })
	if w.ledger != "" {
		do(&bad, func() error { return w.killBase(weather, rand.New(rand.NewPCG(h.seed, 700)), p.servers) })
	}
	for _, stream := range w.streams() {
		do(&bad, func() error { w.servers.watch(weather, stream); return nil })
	}
	if p.leaders > 0 {
		do(&bad, func() error { w.depose(weather, rand.New(rand.NewPCG(h.seed, 600)), p.leaders); return nil })
	}
	bad.Wait()
	sleep(ctx, maxLate+settle) // some sales in good weather; what lands late has landed
	close()
	fronts.Wait()
	return context.Cause(ctx)
}

// batter strikes one link again and again, as long as there are cuts left for the
// history; the last one ends the storm.
func (w *world) batter(ctx context.Context, l *link, rng *rand.Rand, mean time.Duration, of []blow, left *atomic.Int64, end func()) {
	defer l.set(false, weather{})
	for ctx.Err() == nil {
		sleep(ctx, about(rng, mean))
		if l.live() == 0 { // nothing to cut
			sleep(ctx, 50*time.Millisecond)
			continue
		}
		if left.Add(-1) < 0 || ctx.Err() != nil {
			end()
			return
		}
		l.strike(ctx, pick(rng, of), time.Duration(500+rng.IntN(2000))*time.Millisecond)
		var sky weather
		switch rng.IntN(5) {
		case 0:
			sky.latency = time.Duration(1+rng.IntN(150)) * time.Millisecond
		case 1:
			sky.rate = 8<<10 + rng.IntN(256<<10)
		}
		if rng.IntN(4) == 0 {
			l.set(true, sky)
			sleep(ctx, time.Duration(rng.IntN(1500))*time.Millisecond)
		}
		l.set(false, sky)
	}
}

func (w *world) killHubs(ctx context.Context, o *office, rng *rand.Rand, mean time.Duration) error {
	for ctx.Err() == nil {
		sleep(ctx, about(rng, mean))
		if ctx.Err() == nil && o.kill() {
			w.tallyUp(&w.tally.hubKills)
		}
		sleep(ctx, time.Duration(rng.IntN(1500))*time.Millisecond)
		if err := o.tend(); err != nil {
			return err
		}
	}
	return nil
}

func (w *world) killTills(ctx context.Context, rng *rand.Rand, mean time.Duration) error {
	for ctx.Err() == nil {
		sleep(ctx, about(rng, mean))
		t := pick(rng, w.tills)
		if ctx.Err() == nil {
			if err := t.tend(); err != nil {
				return err
			}
			if t.kill() {
				w.tallyUp(&w.tally.tillKills)
			}
		}
		sleep(ctx, time.Duration(rng.IntN(500))*time.Millisecond)
		if err := t.tend(); err != nil {
			return err
		}
	}
	return nil
}

// killServers kills one server, seldom all, and starts them again.
func (w *world) killServers(ctx context.Context, rng *rand.Rand, mean time.Duration) error {
	for ctx.Err() == nil {
		sleep(ctx, about(rng, mean))
		if err := w.servers.alive(); err != nil {
			return err
		}
		victims := w.servers.servers
		if len(victims) > 1 && rng.IntN(5) > 0 {
			victims = []*process{pick(rng, victims)}
		}
		if ctx.Err() == nil {
			for _, s := range victims {
				if s.kill() {
					w.tallyUp(&w.tally.serverKills)
				}
			}
			if len(victims) == w.servers.replicas() {
				w.tallyUp(&w.tally.blackouts)
			}
		}
		sleep(ctx, time.Duration(rng.IntN(2500))*time.Millisecond)
		for _, s := range w.servers.servers {
			if err := s.start(); err != nil {
				return err
			}
		}
	}
	return nil
}

// killBase kills the database that the hubs share, and starts it again.
func (w *world) killBase(ctx context.Context, rng *rand.Rand, mean time.Duration) error {
	for ctx.Err() == nil {
		sleep(ctx, about(rng, mean))
		if ctx.Err() != nil {
			return nil
		}
		if err := w.b.base.Kill(); err != nil {
			return err
		}
		w.tallyUp(&w.tally.baseKills)
		sleep(ctx, time.Duration(rng.IntN(1500))*time.Millisecond)
		// What served connections outlives the kill for a moment, and holds the shared memory.
		if err := await(context.WithoutCancel(ctx), "PostgreSQL", w.b.base.Start); err != nil {
			return err
		}
	}
	return nil
}

// streams are those of parcels, and behind them the one of events.
func (w *world) streams() (all []string) {
	for n := range w.shards {
		all = append(all, fmt.Sprintf("POS_UP_%d", n))
	}
	return append(all, outbox.Stream)
}

func (w *world) depose(ctx context.Context, rng *rand.Rand, mean time.Duration) {
	for ctx.Err() == nil {
		sleep(ctx, about(rng, mean))
		all := w.streams()
		stream := pick(rng, all[:len(all)-1]) // most often one of parcels
		switch rng.IntN(8) {
		case 0:
			stream = wire.BucketStream
		case 1, 2:
			stream = outbox.Stream
		}
		w.servers.stepDown(ctx, stream) // there may be no leader now: nothing to depose
	}
}

var tallyMu sync.Mutex

func (w *world) tallyUp(n *int) {
	tallyMu.Lock()
	*n++
	tallyMu.Unlock()
}

// count sums up what happened to the links.
func (w *world) count() {
	for _, t := range w.tills {
		t.link.mu.Lock()
		for i := range blows {
			w.tally.cuts[i] += t.link.count[i]
		}
		w.tally.lates += t.link.late
		t.link.mu.Unlock()
		w.tally.sales += t.book.sales()
		w.tally.replays += t.book.replays
	}
	for _, o := range w.hubs {
		o.link.mu.Lock()
		for i := range blows {
			w.tally.hubCuts[i] += o.link.count[i]
		}
		o.link.mu.Unlock()
	}
	w.tally.leaders = w.servers.leaderChanges()
}

// judge brings everything up, waits until all is settled, and compares. faithful says
// that the servers have kept what they acknowledged: then the stream, too, has each
// record once.
func (w *world) judge(ctx context.Context, faithful bool) error {
	if err := w.servers.start(ctx); err != nil {
		return err
	}
	for _, o := range w.hubs {
		if err := o.ready(ctx); err != nil {
			return err
		}
	}
	sent, err := w.settled(ctx)
	if err != nil {
		return err
	}
	if err := w.compareLedger(ctx); err != nil {
		return err
	}
	return errors.Join(w.compareStream(ctx, faithful, sent), w.compareEvents(ctx, nil))
}

// settled waits until what was asked for is answered, and head office has it. It returns
// how far each journal says that it was sent.
func (w *world) settled(ctx context.Context) (sent map[string]uint64, err error) {
	rng := rand.New(rand.NewPCG(w.seed, 999))
	for _, t := range w.tills {
		if err := t.ready(ctx); err != nil {
			return nil, err
		}
		for pending := true; pending; { // what was asked for is asked for until there is an answer
			if err := t.sellMore(ctx, 1, rng); err != nil {
				return nil, err
			}
			t.book.mu.Lock()
			pending = len(t.book.open) > 0
			t.book.mu.Unlock()
		}
	}
	sent = map[string]uint64{}
	for _, t := range w.tills {
		if err := t.drained(ctx); err != nil {
			return nil, err
		}
		s, err := t.status(ctx)
		if err != nil {
			return nil, err
		}
		sent[s.Journal.ID] = s.Uplink.Sent
		n, err := t.metric(ctx, "posd_uplink_rewinds_total")
		if err != nil {
			return nil, err
		}
		w.tally.rewinds += n
	}
	return sent, nil
}

// compareLedger stops the terminals and compares their journals with the ledger, and
// with what their front ends were told.
func (w *world) compareLedger(ctx context.Context) error {
	t, err := w.journals(ctx)
	if err != nil {
		return err
	}
	for _, o := range w.hubs { // of one ledger they say the same
		if err := w.audit(ctx, o, t); err != nil {
			return err
		}
	}
	return nil
}

// journals stops the terminals in order and reads all that they hold.
func (w *world) journals(ctx context.Context) (*truth, error) {
	t := newTruth()
	return t, w.readJournals(ctx, t)
}

func (w *world) readJournals(ctx context.Context, t *truth) error {
	for _, till := range w.tills {
		st, err := till.status(ctx)
		if err != nil {
			return err
		}
		if err := till.stop(); err != nil {
			return err
		}
		// The stop adds to the journal; that goes out at the next start.
		if err := till.dump(ctx, t, place{st.Journal.ID, st.Journal.Floor}); err != nil {
			return err
		}
	}
	return nil
}

// audit compares one hub's word with the truth.
func (w *world) audit(ctx context.Context, o *office, t *truth) error {
	k := t.against()
	if err := w.auditEvents(ctx, o, k); err != nil {
		return err
	}
	s, err := o.status(ctx)
	if err == nil && (s.Quarantined > 0 || s.Held > 0 || s.Waiting > 0 || s.Collisions > 0) {
		err = found(falseAlarm, "%s says: %+v", o.name, s)
	}
	return err
}

// auditEvents compares all but the alarms.
func (w *world) auditEvents(ctx context.Context, o *office, k *takings) error {
	if err := o.events(ctx, k.add); err != nil {
		return err
	}
	ends, err := o.chains(ctx)
	if err != nil {
		return err
	}
	if err := k.done(ends); err != nil {
		return err
	}
	for _, till := range w.tills {
		if err := till.book.settle(k); err != nil {
			return err
		}
	}
	return nil
}

// compareStream reads the stream past all links. Each record must be in it, once and in
// order, as far as it was sent, if the servers have kept all.
func (w *world) compareStream(ctx context.Context, faithful bool, sent map[string]uint64) error {
	if !faithful {
		return nil
	}
	s := newParcels()
	all := w.streams()
	for _, stream := range all[:len(all)-1] {
		if err := w.readStream(ctx, stream, func(m jetstream.Msg, at uint64) error {
			p, err := wire.Decode(m.Data(), nil)
			if err != nil {
				return found(phantom, "message %d of stream %s: %v", at, stream, err)
			}
			return s.add(at, p.Journal.String(), p.First, p.Last, p.Prev.String(), p.Head.String())
		}, nil); err != nil {
			return err
		}
	}
	return s.done(sent)
}

// readStream calls fn with each message that the stream has when enough says so; nil:
// at once.
func (w *world) readStream(ctx context.Context, stream string, fn func(m jetstream.Msg, at uint64) error, enough func() bool) error {
	js, err := w.servers.client()
	if err != nil {
		return err
	}
	rctx, cancel := context.WithTimeout(ctx, giveUp)
	defer cancel()
	st, err := js.Stream(rctx, stream)
	if err != nil {
		return err
	}
	cons, err := st.OrderedConsumer(rctx, jetstream.OrderedConsumerConfig{})
	if err != nil {
		return err
	}
	it, err := cons.Messages()
	if err != nil {
		return err
	}
	defer it.Stop()
	last, known, at := uint64(0), false, uint64(0)
	for {
		if !known && (enough == nil || enough()) {
			i, err := st.Info(rctx)
			if err != nil {
				return err
			}
			if last, known = i.State.LastSeq, true; i.State.Msgs == 0 {
				return nil
			}
		}
		if known && at >= last {
			return nil
		}
		m, err := it.Next(jetstream.NextContext(rctx))
		if err != nil {
			return fmt.Errorf("read stream %s: %w", stream, err)
		}
		meta, err := m.Metadata()
		if err != nil {
			return err
		}
		at = meta.Sequence.Stream
		if err := fn(m, at); err != nil {
			return err
		}
	}
}
