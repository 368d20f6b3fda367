package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"posd/sync/outbox"
)

// offline: a terminal that head office knows sells for 30 days without a link, is
// restarted on each third of them, and then has its link again.
func offline(ctx context.Context, w *world, events int) error {
	rng := rand.New(rand.NewPCG(w.seed, 14))
	o, t, err := w.opened(ctx, rng)
	if err != nil {
		return err
	}
	if err := errors.Join(o.stop(), t.stop()); err != nil {
		return err
	}
	w.servers.servers[0].kill()
	const days, part = 30, 3
	day := time.Now()
	for d := 0; d < days; d += part {
		end := day.Add(part * 24 * time.Hour)
		if err := t.stock(ctx, events/(days/part), day, end); err != nil {
			return err
		}
		day = end
		// By the clock of this machine all that lies in the future: posd must sell all the same.
		if err := errors.Join(t.ready(ctx), t.sellMore(ctx, 5, rng), t.stop()); err != nil {
			return err
		}
	}
	begin := time.Now()
	if err := errors.Join(w.servers.start(ctx), o.ready(ctx), t.ready(ctx), t.drained(ctx)); err != nil {
		return err
	}
	w.b.say("offline: %d sales of %d days came to head office in %.1f s", events+t.book.sales(), days, time.Since(begin).Seconds())
	return w.judge(ctx, true)
}

// A drain's limits. Anonymous memory is what counts against the slice and cannot be
// dropped; pages of mapped files can.
const (
	posdMemory = 20_000_000
	// A hub takes what its batches and its collector need, which a small backlog does not
	// show yet; above that, hubGrowth is how much more it may take for ten times the backlog.
	hubPlateau = 160_000_000
	hubGrowth  = 1.5
)

// drain watches the memory of posd and of the hub while a backlog comes to head office:
// first a tenth of it, from a fresh terminal to a fresh hub, then all of it.
func drain(ctx context.Context, w *world, events int) error {
	var small, large usage
	for i, n := range []int{events / 10, events} {
		u, err := w.drainOnce(ctx, fmt.Sprintf("t%d", i+1), n)
		if err != nil {
			return err
		}
		small, large = large, u
	}
	if large.hub.anonymous > hubPlateau && float64(large.hub.anonymous) > hubGrowth*float64(small.hub.anonymous) {
		return found(falseAlarm, "the hub took %.1f MB of memory for %d events and %.1f MB for a tenth of them", mb(large.hub.anonymous), events, mb(small.hub.anonymous))
	}
	return nil
}

// usage is the most that was seen in a drain.
type usage struct{ posd, hub footprint }

type footprint struct{ anonymous, file int64 }

func mb(n int64) float64 { return float64(n) / 1e6 }

func (w *world) drainOnce(ctx context.Context, id string, events int) (u usage, err error) {
	for _, o := range w.hubs { // a fresh one: what an earlier backlog left must not count
		if err := o.stop(); err != nil {
			return u, err
		}
	}
	t, err := w.b.newTill(ctx, w.dir, id, posdNow, 0, w.servers, w.seed+uint64(events))
	if err != nil {
		return u, err
	}
	defer t.close()
	t.parts = "4MiB"
	if err := t.configure(); err != nil {
		return u, err
	}
	begin := time.Now()
	if err := t.stock(ctx, events, begin.Add(-30*24*time.Hour), begin); err != nil {
		return u, err
	}
	stocked := time.Since(begin)
	// The index has to catch up once after the lab's; that is not the drain's.
	t.link.set(true, weather{})
	if err := errors.Join(t.ready(ctx), t.sellMore(ctx, 1, rand.New(rand.NewPCG(w.seed, 15))), t.stop()); err != nil {
		return u, err
	}
	t.link.set(false, weather{})
	var o *office
	if len(w.hubs) == 0 {
		o, err = w.addHub(ctx, hubNow)
	} else {
		o = w.hubs[0]
		err = o.ready(ctx)
	}
	if err != nil {
		return u, err
	}
	watch, end := context.WithCancel(ctx)
	var wg sync.WaitGroup
	var perr, herr error
	begin = time.Now()
	if err := t.start(); err != nil {
		end()
		return u, err
	}
	wg.Go(func() { u.posd, perr = t.most(watch) })
	wg.Go(func() { u.hub, herr = o.most(watch) })
	err = t.drained(ctx)
	took := time.Since(begin)
	if err == nil {
		err = w.allOut(ctx, o)
	}
	end()
	wg.Wait()
	if err := errors.Join(err, perr, herr); err != nil {
		return u, err
	}
	w.b.say("drain of %d events (made in %.0f s): settled in %.1f s, %.0f events/s, published %.1f s later; most anonymous memory: posd %.1f MB (and %.1f MB of mapped files), hub %.1f MB (and %.1f MB)",
		events, stocked.Seconds(), took.Seconds(), float64(events)/took.Seconds(), time.Since(begin).Seconds()-took.Seconds(),
		mb(u.posd.anonymous), mb(u.posd.file), mb(u.hub.anonymous), mb(u.hub.file))
	if u.posd.anonymous > posdMemory {
		return u, found(falseAlarm, "posd took %.1f MB of anonymous memory for a backlog of %d events", mb(u.posd.anonymous), events)
	}
	return u, w.compareLong(ctx, o, t, events)
}

// allOut waits until all of the ledger is published.
func (w *world) allOut(ctx context.Context, o *office) error {
	js, err := w.servers.client()
	if err != nil {
		return err
	}
	return await(ctx, "the publishing of all events", func() error {
		s, err := o.status(ctx)
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

// most looks at a process's memory until ctx ends, and keeps the most that it saw.
func (p *process) most(ctx context.Context) (m footprint, err error) {
	for ; ctx.Err() == nil; sleep(ctx, 20*time.Millisecond) {
		p.mu.Lock()
		pid := 0
		if p.cmd != nil && p.state == nil {
			pid = p.cmd.Process.Pid
		}
		p.mu.Unlock()
		if pid == 0 {
			return m, found(falseAlarm, "%s ended%s", p.name, p.tail())
		}
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
		if err != nil {
			return m, err
		}
		now := footprint{}
		var rss int64
		for row := range strings.Lines(string(b)) {
			name, value, _ := strings.Cut(row, ":")
			var kib int64
			fmt.Sscan(value, &kib)
			switch name {
			case "Rss":
				rss = kib << 10
			case "Anonymous":
				now.anonymous = kib << 10
			}
		}
		if now.anonymous == 0 {
			return m, fmt.Errorf("/proc/%d/smaps_rollup tells nothing of anonymous memory", pid)
		}
		m.anonymous, m.file = max(m.anonymous, now.anonymous), max(m.file, rss-now.anonymous)
	}
	return m, nil
}

// compareLong holds a long journal, the ledger and the stream of events against each
// other, event by event and side by side: nothing is kept in memory.
func (w *world) compareLong(ctx context.Context, o *office, t *till, events int) error {
	st, err := t.status(ctx)
	if err != nil {
		return err
	}
	if err := t.stop(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	dump := exec.CommandContext(ctx, t.b.path("posctl"), "dump", "-journal", filepath.Join(t.data(), "journal"))
	out, err := dump.StdoutPipe()
	if err != nil {
		return err
	}
	if err := dump.Start(); err != nil {
		return err
	}
	defer dump.Wait() // ends with the pipe or with cancel
	ledger, err := o.open(ctx, "/v1/events?journal="+st.Journal.ID)
	if err != nil {
		return err
	}
	defer ledger.Close()
	published := make(chan line, 1024)
	var readErr error
	var wg sync.WaitGroup
	wg.Go(func() {
		defer close(published)
		readErr = w.readStream(ctx, outbox.Stream, func(m jetstream.Msg, at uint64) error {
			return sendEvent(ctx, published, m.Data(), st.Journal.ID, at)
		}, nil)
	})
	n, last := 0, ""
	inLedger := newLineReader(ledger)
	err = lines(out, func(l line) error {
		if l.Seq <= st.Journal.Floor {
			last = l.Head
		}
		if l.Type != "event" || l.Seq > st.Journal.Floor {
			return nil
		}
		n++
		got, err := inLedger.next()
		if err != nil {
			return found(lost, "the ledger ends before record %d: %v", l.Seq, err)
		}
		if err := sameEvent("the ledger", l, got); err != nil {
			return err
		}
		if got, ok := <-published; ok {
			return sameEvent("the stream of events", l, got)
		}
		return found(lost, "the stream of events ends before record %d", l.Seq)
	})
	if err == nil {
		if l, more := inLedger.next(); more == nil {
			err = found(twice, "the ledger has record %d behind the last one", l.Seq)
		}
	}
	if err == nil {
		if l, more := <-published; more {
			err = found(twice, "the stream of events has record %d behind the last one", l.Seq)
		}
	}
	if err != nil {
		cancel()
	}
	wg.Wait()
	if err = errors.Join(err, readErr); err != nil {
		return err
	}
	ends, err := o.chains(ctx)
	if err != nil {
		return err
	}
	if end := ends[st.Journal.ID]; n < events || end.Last != st.Journal.Floor || end.Head != last || end.Events != uint64(n) || end.Lost > 0 {
		return found(lost, "the journal has %d events up to record %d with head %s, the ledger says %+v", n, st.Journal.Floor, last, end)
	}
	return nil
}

// sendEvent passes an event of one journal on.
func sendEvent(ctx context.Context, to chan<- line, body []byte, journal string, at uint64) error {
	var c cloudEvent
	if err := json.Unmarshal(body, &c); err != nil {
		return found(phantom, "message %d of the stream of events: %v", at, err)
	}
	n, err := parseID(c.ID)
	if err != nil {
		return found(phantom, "message %d of the stream of events: %v", at, err)
	}
	if n.journal != journal {
		return nil
	}
	select {
	case to <- line{Journal: n.journal, Seq: n.seq, Head: n.head, Event: c.Data}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// sameEvent compares what somebody has next with what the journal has next.
func sameEvent(who string, want, got line) error {
	switch {
	case got.Seq < want.Seq:
		return found(twice, "%s has record %d where record %d belongs", who, got.Seq, want.Seq)
	case got.Seq > want.Seq:
		return found(lost, "%s has record %d where record %d belongs", who, got.Seq, want.Seq)
	case got.Head != want.Head || string(got.Event) != string(want.Event):
		return found(lost, "%s has record %d as %.300s with head %s, the journal as %.300s with head %s", who, got.Seq, got.Event, got.Head, want.Event, want.Head)
	}
	return nil
}

// lineReader reads lines one by one.
type lineReader struct{ sc *bufio.Scanner }

func newLineReader(r io.Reader) *lineReader {
	sc := bufio.NewScanner(r)
	sc.Buffer(nil, 4<<20)
	return &lineReader{sc}
}

func (r *lineReader) next() (l line, err error) {
	if !r.sc.Scan() {
		return l, errors.Join(r.sc.Err(), io.EOF)
	}
	return l, json.Unmarshal(r.sc.Bytes(), &l)
}
