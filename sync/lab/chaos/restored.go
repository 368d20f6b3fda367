package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"posd/journal"
)

// backup keeps a copy of a hub's ledger, whose hub does not run. The function puts it
// back.
func (w *world) backup(ctx context.Context, o *office) (restore func() error, err error) {
	if w.ledger == "" {
		file := filepath.Join(o.dir, "ledger.db")
		b, err := os.ReadFile(file)
		return func() error { return os.WriteFile(file, b, 0o600) }, err
	}
	u, err := url.Parse(w.ledger)
	if err != nil {
		return nil, err
	}
	base, name := w.b.base, strings.TrimPrefix(u.Path, "/")
	file := filepath.Join(base.Dir(), name+".backup")
	if _, err := base.Run(ctx, "pg_dump", "-Fc", "-f", file, name); err != nil {
		return nil, err
	}
	return func() error {
		if err := errors.Join(base.Exec(ctx, "drop database "+name), base.Exec(ctx, "create database "+name)); err != nil {
			return err
		}
		_, err := base.Run(ctx, "pg_restore", "--exit-on-error", "-d", name, file)
		return err
	}, nil
}

// restoredLedger puts an older backup of the ledger back: once while the stream still has
// what the ledger lacks, once when it was deleted too. Terminal t1 has kept all; t2 has
// freed what head office had confirmed, since it was allowed to.
func restoredLedger(ctx context.Context, w *world, events int) error {
	rng := rand.New(rand.NewPCG(w.seed, 10))
	o, err := w.addHub(ctx, hubNow)
	if err != nil {
		return err
	}
	var tills []*till
	for _, id := range []string{"t1", "t2"} {
		t, err := w.addTill(ctx, id, posdNow)
		if err != nil {
			return err
		}
		tills = append(tills, t)
	}
	t2 := tills[1]
	gone := map[string]span{}
	whole := newTruth() // what was ever in a journal
	for round, lose := range []bool{false, true} {
		begin := time.Now()
		if err := w.sellAll(ctx, events/4, rng); err != nil {
			return err
		}
		if err := o.stop(); err != nil {
			return err
		}
		restore, err := w.backup(ctx, o)
		if err != nil {
			return err
		}
		if err := o.ready(ctx); err != nil {
			return err
		}
		ends, err := o.chains(ctx)
		if err != nil {
			return err
		}
		if err := w.sellAll(ctx, events/4, rng); err != nil {
			return err
		}
		before, err := o.list(ctx)
		if err != nil {
			return err
		}
		st, err := t2.status(ctx)
		if err != nil {
			return err
		}
		if err := errors.Join(o.stop(), w.readJournals(ctx, whole)); err != nil {
			return err
		}
		oldest, err := t2.free(st.Uplink.Settled)
		if err != nil {
			return err
		}
		t2.book.restored() // an answer lives as long as its record
		if err := restore(); err != nil {
			return err
		}
		if lose {
			js, err := w.servers.client()
			if err != nil {
				return err
			}
			if err := js.DeleteStream(ctx, streamName); err != nil {
				return err
			}
			if oldest <= ends[st.Journal.ID].Last+1 {
				return fmt.Errorf("t2 still holds all from record %d on, the backup ends at %d: sell more", oldest, ends[st.Journal.ID].Last)
			}
			gone[st.Journal.ID] = span{ends[st.Journal.ID].Last + 1, oldest - 1}
		}
		if err := o.ready(ctx); err != nil {
			return err
		}
		if _, err := w.settled(ctx); err != nil {
			return err
		}
		if err := w.judgeRestored(ctx, o, whole, gone, before); err != nil {
			return err
		}
		w.b.say("restored ledger, round %d: the stream %s; %d sales a terminal since the backup; declared lost: %d records of t2; %.1f s",
			round+1, map[bool]string{false: "has what is missing", true: "was deleted"}[lose], events/4, gone[st.Journal.ID].count(), time.Since(begin).Seconds())
	}
	return nil
}

// sellAll has all terminals make n sales, settles and publishes them.
func (w *world) sellAll(ctx context.Context, n int, rng *rand.Rand) error {
	for _, t := range w.tills {
		if err := t.ready(ctx); err != nil {
			return err
		}
		if err := t.sellMany(ctx, n, rng.Uint64()); err != nil {
			return err
		}
	}
	if _, err := w.settled(ctx); err != nil {
		return err
	}
	return w.compareEvents(ctx, nil)
}

// free has the journal of a terminal that does not run give back all that it may, as if
// the time for which it keeps settled records had passed. It returns the oldest record
// that is left.
func (t *till) free(settled uint64) (oldest uint64, err error) {
	dir := filepath.Join(t.data(), "journal")
	j, err := journal.Open(dir, journal.Options{SegmentSize: 64 << 10, Retention: time.Nanosecond, ScrubEvery: -1})
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, j.Close()) }()
	j.Settle(settled)
	for still := 0; still < 20; still++ { // until it frees no more for two seconds
		if now := j.Oldest(); now != oldest {
			oldest, still = now, 0
		}
		time.Sleep(100 * time.Millisecond)
	}
	return oldest, nil
}

// judgeRestored: the ledger has all but what is gone, and says how much that is; the
// stream of events has each event once, also those that the ledger has lost.
func (w *world) judgeRestored(ctx context.Context, o *office, whole *truth, gone map[string]span, before map[name]entry) error {
	t := newTruth()
	t.gone = gone
	for n, e := range whole.events {
		if gone[n.journal].has(n.seq) {
			continue
		}
		t.events[n] = e
		t.counts[n.journal]++
		s, err := parseSale([]byte(e))
		if err != nil {
			return err
		}
		t.money += s.Data.Total
	}
	if err := w.readJournals(ctx, t); err != nil {
		return err
	}
	k := t.against()
	for n, e := range before { // what is gone was acknowledged to a front end, and published
		if !gone[n.journal].has(n.seq) {
			continue
		}
		if s, err := parseSale([]byte(e.event)); err == nil && s.Key != "" && s.Type == "sale.completed" {
			k.sales[s.Key] = append(k.sales[s.Key], e.event)
		}
	}
	if err := w.auditEvents(ctx, o, k); err != nil {
		return err
	}
	s, err := o.status(ctx)
	if err != nil {
		return err
	}
	var want uint64
	for _, g := range gone {
		want += g.count()
	}
	if s.Lost != want || s.Quarantined > 0 || s.Held > 0 || s.Waiting > 0 || s.Collisions > 0 {
		return found(falseAlarm, "%d records are gone, %s says: %+v", want, o.name, s)
	}
	return w.compareEvents(ctx, before)
}
