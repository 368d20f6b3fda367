package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"posd/packaging/lab/freeport"
)

// clone makes a second terminal on a copy of the first one's disk, which does not run.
func (w *world) clone(t *till) (*till, error) {
	c := &till{b: t.b, id: t.id, shard: t.shard, parts: t.parts, token: t.token, dir: filepath.Join(w.dir, t.id+"-copy"),
		client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 8}, Timeout: time.Minute}}
	c.process = &process{name: "posd " + t.id + "-copy", log: c.dir + ".log", path: t.path, args: []string{"--config", c.conf()}}
	var err error
	if c.link, err = newLink(t.id+"-copy", parcelLine, w.seed+99, w.servers.addrs...); err != nil {
		return nil, err
	}
	if c.web, err = freeport.Address(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(c.dir, 0o750); err != nil {
		return nil, err
	}
	file, err := os.Create(c.dir + ".acked")
	if err != nil {
		return nil, err
	}
	c.book = newBook(t.id+"-copy", file)
	w.tills = append(w.tills, c)
	return c, errors.Join(os.CopyFS(c.data(), os.DirFS(t.data())), c.configure())
}

// clonedDisk: a terminal's disk is copied, and both boards sell on at the same time,
// under one name.
func clonedDisk(ctx context.Context, w *world, events int) error {
	rng := rand.New(rand.NewPCG(w.seed, 12))
	o, t, err := w.opened(ctx, rng)
	if err != nil {
		return err
	}
	if err := errors.Join(t.sellMany(ctx, events/4, w.seed), t.drained(ctx), t.stop()); err != nil {
		return err
	}
	c, err := w.clone(t)
	if err != nil {
		return err
	}
	t.restarts, c.restarts = true, true
	var wg sync.WaitGroup
	errs := make([]error, 2)
	for i, one := range []*till{t, c} {
		wg.Go(func() {
			errs[i] = one.sellApart(ctx, events/8, w.seed+uint64(i))
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return w.judgeCopies(ctx, o, events/16, nil)
}

// sellApart makes n sales while there is no link, and as many when there is one again.
// Until head office has told it, a copied terminal gives the numbers of the other one.
func (t *till) sellApart(ctx context.Context, n int, seed uint64) error {
	t.link.set(true, weather{})
	err := errors.Join(t.ready(ctx), t.sellMany(ctx, n, seed))
	t.link.set(false, weather{})
	return errors.Join(err, t.sellMany(ctx, n, seed+10))
}

// restoredDisk: a terminal's disk is replaced by an older copy of itself, and sells on.
func restoredDisk(ctx context.Context, w *world, events int) error {
	rng := rand.New(rand.NewPCG(w.seed, 13))
	o, t, err := w.opened(ctx, rng)
	if err != nil {
		return err
	}
	if err := errors.Join(t.sellMany(ctx, events/4, w.seed), t.drained(ctx), t.stop()); err != nil {
		return err
	}
	backup := filepath.Join(w.dir, "backup")
	if err := os.CopyFS(backup, os.DirFS(t.data())); err != nil {
		return err
	}
	if err := errors.Join(t.ready(ctx), t.sellMany(ctx, events/4, w.seed+1), t.drained(ctx)); err != nil {
		return err
	}
	before, err := w.journals(ctx)
	if err != nil {
		return err
	}
	if err := errors.Join(os.RemoveAll(t.data()), os.CopyFS(t.data(), os.DirFS(backup))); err != nil {
		return err
	}
	t.book.restored()
	t.restarts = true
	if err := t.sellApart(ctx, events/8, w.seed+2); err != nil {
		return err
	}
	return w.judgeCopies(ctx, o, events/16, before)
}

// judgeCopies: all terminals come to an end; both histories are at head office, each
// event once, those that the disk has lost too; each receipt number that two sales have
// is flagged, at least so many, and no other.
func (w *world) judgeCopies(ctx context.Context, o *office, atLeast int, before *truth) error {
	if _, err := w.settled(ctx); err != nil {
		return err
	}
	journals := map[string]bool{}
	for _, t := range w.tills {
		s, err := t.status(ctx)
		if err != nil {
			return err
		}
		if s.Uplink.Held != "" || s.Uplink.Fork != "" {
			return found(stuck, "%s is held (%s) or sees a fork (%s)", t.name, s.Uplink.Held, s.Uplink.Fork)
		}
		journals[s.Journal.ID] = true
	}
	if len(journals) != len(w.tills) {
		return found(stuck, "%d terminals write %d journals", len(w.tills), len(journals))
	}
	t := newTruth()
	if before != nil {
		maps.Copy(t.events, before.events)
		t.money = before.money
	}
	if err := w.readJournals(ctx, t); err != nil {
		return err
	}
	for id := range t.ends {
		t.forked[id] = true
	}
	k := t.against()
	if err := w.auditEvents(ctx, o, k); err != nil {
		return err
	}
	s, err := o.status(ctx)
	if err != nil {
		return err
	}
	if s.Held > 0 || s.Waiting > 0 || s.Lost > 0 || s.Quarantined > 0 {
		return found(falseAlarm, "%s says: %+v", o.name, s)
	}
	n, err := w.compareCollisions(ctx, o, k)
	if err != nil {
		return err
	}
	if n < atLeast {
		return fmt.Errorf("only %d receipt numbers were given twice: there is nothing to flag", n)
	}
	w.b.say("%d terminals, %d events at head office, %d came as copies; %d receipt numbers were given twice, all of them are flagged",
		len(w.tills), s.Events, s.Copied, n)
	return w.compareEvents(ctx, nil)
}

// compareCollisions holds what head office flags against the receipt numbers of its
// sales and Z reports. It returns how many numbers several of them have.
func (w *world) compareCollisions(ctx context.Context, o *office, k *takings) (int, error) {
	sales := map[string]map[name]bool{} // by number
	for n, e := range k.ledger {
		s, err := parseSale([]byte(e.event))
		if err != nil {
			return 0, err
		}
		number := s.Data.Receipt
		if s.Type == "shift.closed" && s.Data.Z != 0 {
			number = fmt.Sprintf("%s-Z%d", e.terminal, s.Data.Z)
		} else if s.Type != "sale.completed" || number == "" {
			continue
		}
		if sales[number] == nil {
			sales[number] = map[name]bool{}
		}
		sales[number][n] = true
	}
	body, err := o.open(ctx, "/v1/collisions")
	if err != nil {
		return 0, err
	}
	defer body.Close()
	flagged := map[string]map[name]bool{}
	for dec := json.NewDecoder(body); dec.More(); {
		var c struct {
			Number string `json:"receipt"`
			Event  struct {
				Journal, Head string
				Seq           uint64
			} `json:"event"`
		}
		if err := dec.Decode(&c); err != nil {
			return 0, err
		}
		if flagged[c.Number] == nil {
			flagged[c.Number] = map[name]bool{}
		}
		flagged[c.Number][name{c.Event.Journal, c.Event.Seq, c.Event.Head}] = true
	}
	several := 0
	for _, number := range sortedKeys(sales) {
		of := sales[number]
		if len(of) == 1 {
			if flagged[number] != nil {
				return 0, found(falseAlarm, "receipt %s is flagged, only one sale has it", number)
			}
			continue
		}
		several++
		if !maps.Equal(of, flagged[number]) {
			return 0, found(lost, "receipt %s belongs to %d sales, head office flags %d", number, len(of), len(flagged[number]))
		}
	}
	if len(flagged) != several {
		return 0, found(falseAlarm, "head office flags %d receipt numbers, %d belong to several sales", len(flagged), several)
	}
	return several, nil
}
