package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"posd/sync/outbox"
)

// place is where a journal carries an event: as a record of its own, or as a copy of
// another journal's.
type place struct {
	journal string
	seq     uint64
}

// entry is one event of the ledger.
type entry struct {
	store, terminal string
	event           string
	in              place
}

func entryOf(l line) entry {
	e := entry{l.Store, l.Terminal, string(l.Event), place{l.Journal, l.Seq}}
	if l.Copy != nil {
		e.in = place{l.Copy.Journal, l.Copy.Seq}
	}
	return e
}

// list is all that the ledger has.
func (o *office) list(ctx context.Context) (map[name]entry, error) {
	k := newTruth().against()
	k.more = true
	return k.ledger, o.events(ctx, k.add)
}

// cloudEvent is a message of the stream of events.
type cloudEvent struct {
	SpecVersion string          `json:"specversion"`
	ID          string          `json:"id"`
	Source      string          `json:"source"`
	Type        string          `json:"type"`
	ContentType string          `json:"datacontenttype"`
	Data        json.RawMessage `json:"data"`
}

// published is the stream of events, held against the ledger message by message: each
// event of the ledger once, as it is there, those of one journal in their order.
type published struct {
	ledger map[name]entry
	seen   map[name]uint64
	at     map[string]uint64 // by journal that carries: the newest
	ends   map[place]bool    // the last of each journal, which have not come yet
	wrong  error             // the first thing that is more than missing
}

func newPublished(ledger map[name]entry) *published {
	p := &published{ledger: ledger, seen: map[name]uint64{}, at: map[string]uint64{}, ends: map[place]bool{}}
	last := map[string]uint64{}
	for _, e := range ledger {
		last[e.in.journal] = max(last[e.in.journal], e.in.seq)
	}
	for journal, seq := range last {
		p.ends[place{journal, seq}] = true
	}
	return p
}

// enough: the last event of each journal has come, so no earlier one will.
func (p *published) enough() bool { return len(p.ends) == 0 }

func (p *published) add(at uint64, subject string, body []byte) error {
	var c cloudEvent
	if err := json.Unmarshal(body, &c); err != nil {
		return found(phantom, "message %d of the stream of events is no CloudEvent: %v: %.300s", at, err, body)
	}
	n, err := parseID(c.ID)
	if err != nil {
		return found(phantom, "message %d of the stream of events: %v", at, err)
	}
	e, ok := p.ledger[n]
	if !ok {
		return found(phantom, "message %d of the stream of events is %s with head %s, which the ledger does not have", at, n, n.head)
	}
	var of struct {
		Type string `json:"type"`
	}
	if err := json.Unmarshal([]byte(e.event), &of); err != nil {
		return err
	}
	delete(p.ends, e.in)
	if before := p.seen[n]; before > 0 {
		p.note(found(twice, "the stream of events has %s as message %d and again as %d", n, before, at))
		return nil
	}
	p.seen[n] = at
	switch {
	case c.SpecVersion != "1.0" || c.ContentType != "application/json" || string(c.Data) != e.event:
		p.note(found(lost, "message %d of the stream of events is %.300s\nthe ledger has %s as %.300s", at, body, n, e.event))
	case c.Source != "/pos/"+e.store+"/"+e.terminal || c.Type != "pos."+of.Type || subject != outbox.Prefix+e.store+"."+of.Type:
		p.note(found(lost, "message %d of the stream of events, on %s, is called %s of %s; the event is %s of terminal %s in store %s", at, subject, c.Type, c.Source, of.Type, e.terminal, e.store))
	case p.at[e.in.journal] > e.in.seq:
		p.note(found(disorder, "message %d of the stream of events is record %d of journal %.8s, behind record %d", at, e.in.seq, e.in.journal, p.at[e.in.journal]))
	}
	p.at[e.in.journal] = e.in.seq
	return nil
}

func (p *published) note(err error) {
	if p.wrong == nil {
		p.wrong = err
	}
}

// done compares the whole.
func (p *published) done() error {
	missing, example := 0, name{}
	for n := range p.ledger {
		if p.seen[n] == 0 {
			if missing++; missing == 1 || n.seq < example.seq {
				example = n
			}
		}
	}
	if missing > 0 {
		return found(lost, "the stream of events lacks %d of the ledger's %d events, such as %s", missing, len(p.ledger), example)
	}
	return p.wrong
}

// parseID reads "<journal>:<seq>:<head>".
func parseID(id string) (n name, err error) {
	parts := strings.Split(id, ":")
	if len(parts) != 3 {
		return n, fmt.Errorf("id %.150q", id)
	}
	n.journal, n.head = parts[0], parts[2]
	n.seq, err = strconv.ParseUint(parts[1], 10, 64)
	return n, err
}

// compareEvents waits until the last event of each journal is published, and compares
// the stream of events with the ledger, and what an earlier one had.
func (w *world) compareEvents(ctx context.Context, before map[name]entry) error {
	all, err := w.hubs[0].list(ctx)
	if err != nil {
		return err
	}
	maps.Copy(all, before)
	p := newPublished(all)
	err = w.readStream(ctx, outbox.Stream, func(m jetstream.Msg, at uint64) error {
		return p.add(at, m.Subject(), m.Data())
	}, p.enough)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return found(stuck, "the stream of events has %d of the ledger's %d events, and no more come in %v", len(p.seen), len(p.ledger), giveUp)
	}
	w.tally.events += len(p.seen)
	if err != nil {
		return err
	}
	return p.done()
}
