package hub

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"posd/sync/ledger"
	"posd/sync/wire"
)

// What is known of terminals is kept in the ledger, one document each: a hub that
// starts, and every other hub on the ledger, shows the same. A document is written when
// something changed, and else every few minutes, not with each heartbeat.

const (
	kindTerminal  = "terminal"
	ledgerTimeout = 30 * time.Second
)

// terminalDoc is a terminal's document.
type terminalDoc struct {
	Hub     string          `json:"hub"` // that wrote it
	Shard   int             `json:"shard"`
	First   int64           `json:"first,omitempty"` // Unix ms by the hub's clock
	Seen    int64           `json:"seen,omitempty"`
	Since   int64           `json:"since"`
	Written int64           `json:"written"`
	State   string          `json:"state"`
	Online  bool            `json:"online,omitempty"`
	Beat    json.RawMessage `json:"heartbeat,omitempty"`
}

func (f *fleet) doc(m *member, now int64) ([]byte, error) {
	d := terminalDoc{Hub: f.id, Shard: int(m.shard), First: m.first, Seen: m.seen, Since: m.since, Written: now, State: m.state, Online: m.online}
	if m.beat != nil {
		d.Beat = m.beat.Append(nil)
	}
	return json.Marshal(d)
}

// load takes over what the ledger knows and this hub does not.
func (f *fleet) load(ctx context.Context) {
	living := map[string]bool{}
	err := f.view(ctx, func(tx ledger.Tx) error {
		return tx.Docs(kindHub, "", func(key string, value []byte) (bool, error) {
			var d hubDoc
			living[key] = json.Unmarshal(value, &d) == nil && f.now().Sub(d.At) < f.t.dead
			return true, nil
		})
	})
	if err != nil {
		f.log.Warn("the other hubs were not looked for, will be tried again", "error", err)
		return
	}
	f.mu.Lock()
	f.living = living
	f.mu.Unlock()
	after := ""
	for more := true; more; {
		more = false
		keys, docs := make([]string, 0, maxBatch), make([]terminalDoc, 0, maxBatch)
		err := f.view(ctx, func(tx ledger.Tx) error {
			keys, docs, more = keys[:0], docs[:0], false
			return tx.Docs(kindTerminal, after, func(key string, value []byte) (bool, error) {
				if more = len(keys) == maxBatch; more {
					return false, nil
				}
				var d terminalDoc
				if err := json.Unmarshal(value, &d); err != nil {
					f.log.Warn("a terminal's document cannot be read", "key", key, "error", err)
				}
				keys, docs = append(keys, key), append(docs, d)
				return true, nil
			})
		})
		if err != nil {
			f.log.Warn("the fleet's documents were not read, will be tried again", "error", err)
			return
		}
		f.mu.Lock()
		for i, key := range keys {
			after = key
			if m := f.member(key); m != nil && docs[i].Written != 0 {
				f.adopt(m, &docs[i])
			}
		}
		f.mu.Unlock()
	}
	if err := f.loadRetired(ctx); err != nil {
		f.log.Warn("the retired terminals were not read, will be tried again", "error", err)
	}
	if err := f.loadOrders(ctx); err != nil {
		f.log.Warn("what was pushed was not read, will be tried again", "error", err)
	}
	f.mu.Lock()
	f.loaded = true
	f.mu.Unlock()
}

// adopt takes a document over if it knows more than this hub. Callers hold mu.
func (f *fleet) adopt(m *member, d *terminalDoc) {
	now := milli(f.now())
	if d.Seen > now {
		d.Seen = now // a hub whose clock was ahead
	}
	if d.Seen < m.seen || d.Seen == m.seen && f.loaded && d.Hub == f.id || m.heard && d.Hub == f.id {
		return
	}
	if len(d.Beat) > 0 {
		if b, err := wire.ParseHeartbeat(d.Beat); err == nil {
			m.beat = f.intern(m, &b)
		}
	}
	if d.State != m.state || d.Since != m.since {
		m.codes = ""
	}
	m.shard, m.first, m.seen, m.since, m.saved = int32(d.Shard), d.First, d.Seen, d.Since, d.Written
	m.state, m.online = f.word(d.State), d.Online
	m.heard, m.dirty = false, false
	m.hub = ""
	if d.Hub != f.id && f.living[d.Hub] {
		m.hub = f.word(d.Hub) // it hears what this hub does not
	}
}

// due are the terminals to be written.
func (f *fleet) due() (keys []string, docs [][]byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := milli(f.now())
	if !f.loaded {
		return nil, nil // what was known before must not be written over
	}
	for _, m := range f.order {
		if !f.living[m.hub] {
			m.hub = "" // the hub that knew better is no more
		}
		if m.hub != "" || !f.mine(int(m.shard)) || m.seen == 0 && m.first == 0 {
			continue
		}
		if !m.dirty && (m.seen <= m.saved || now-m.saved < f.t.rewrite.Milliseconds()) {
			continue
		}
		b, err := f.doc(m, now)
		if err != nil {
			f.log.Error("a terminal's document cannot be written", "terminal", m.key, "error", err)
			continue
		}
		keys, docs = append(keys, m.key), append(docs, b)
		m.dirty, m.saved = false, now
		if len(keys) == maxBatch {
			break
		}
	}
	return keys, docs
}

// save writes what has changed, and reports whether there may be more.
func (f *fleet) save(ctx context.Context) (more bool) {
	keys, docs := f.due()
	if len(keys) == 0 {
		return false
	}
	var newer map[string]terminalDoc
	ctx, cancel := context.WithTimeout(ctx, ledgerTimeout)
	defer cancel()
	err := f.ledger.Update(ctx, func(tx ledger.Tx) error {
		newer = make(map[string]terminalDoc)
		for i, key := range keys {
			var mine, other terminalDoc
			old, ok, err := tx.Doc(kindTerminal, key)
			if err != nil {
				return err
			}
			if ok && json.Unmarshal(old, &other) == nil && other.Hub != f.id {
				if err := json.Unmarshal(docs[i], &mine); err != nil {
					return err
				}
				if other.Seen > mine.Seen { // the terminal has moved to where another hub listens
					newer[key] = other
					continue
				}
			}
			if err := tx.PutDoc(kindTerminal, key, docs[i]); err != nil {
				return err
			}
		}
		return nil
	})
	f.mu.Lock()
	defer f.mu.Unlock()
	for key, d := range newer {
		f.adopt(f.members[key], &d)
	}
	if err != nil {
		f.unsaved.Add(1)
		f.log.Warn("what changed in the fleet was not written, will be tried again", "terminals", len(keys), "error", err)
		for _, key := range keys {
			f.members[key].dirty = true
		}
		return false
	}
	return len(keys) == maxBatch
}

// flush writes what is left at the end.
func (f *fleet) flush() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	for f.save(ctx) && ctx.Err() == nil {
	}
}

func (f *fleet) view(ctx context.Context, fn func(ledger.Tx) error) error {
	ctx, cancel := context.WithTimeout(ctx, ledgerTimeout)
	defer cancel()
	return f.ledger.View(ctx, fn)
}

var errEnough = errors.New("enough")

// maxScanned bounds how many quarantined messages are looked at.
const maxScanned = 100_000

// scanned is what the ledger knows of each terminal, by "<store>.<terminal>".
type scanned struct {
	found  map[string]*own
	shards map[string]int
}

func (s *scanned) of(key string) *own {
	o := s.found[key]
	if o == nil {
		o = &own{}
		s.found[key] = o
	}
	return o
}

// scan joins what the ledger knows of each terminal's journals.
func (f *fleet) scan(ctx context.Context) {
	var s scanned
	now := milli(f.now())
	err := f.view(ctx, func(tx ledger.Tx) error {
		s = scanned{make(map[string]*own), make(map[string]int)}
		return errors.Join(s.journals(tx), s.devices(tx), s.quarantine(tx))
	})
	if err != nil {
		f.log.Warn("the ledger's journals were not read for the fleet, will be tried again", "error", err)
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for key, o := range s.found {
		m := f.members[key]
		if m == nil {
			if m = f.member(key); m == nil {
				break
			}
			m.shard = int32(s.shards[key])
		}
		if o.want != 0 {
			if o.wantSince = now; m.own != nil && m.own.want != 0 {
				o.wantSince = m.own.wantSince
			}
		}
		if o.lastSince = now; m.own != nil && m.own.current == o.current && m.own.last == o.last {
			o.lastSince = m.own.lastSince
		}
		m.own = o
	}
	for _, m := range f.order {
		if s.found[m.key] == nil {
			m.own = nil
		}
	}
}

// journals reads the chains and their holes.
func (s *scanned) journals(tx ledger.Tx) error {
	of := make(map[[16]byte]*own)
	if err := tx.Chains(func(c ledger.Chain) error {
		o := s.of(c.Store + "." + c.Terminal)
		of[c.Journal] = o
		o.add(&c)
		return nil
	}); err != nil {
		return err
	}
	return tx.Holes(func(h ledger.Hole) error {
		if o := of[h.Journal]; o != nil {
			o.hole = max(o.hole, milli(h.At))
		}
		return nil
	})
}

// devices: a terminal that was let in once is known, heard or not.
func (s *scanned) devices(tx ledger.Tx) error {
	return tx.Docs(docDevice, "", func(key string, value []byte) (bool, error) {
		var d device
		if json.Unmarshal(value, &d) == nil && d.Store+"."+d.Terminal == key {
			s.shards[key] = d.Shard
			s.of(key)
		}
		return true, nil
	})
}

// quarantine counts what waits for a decision.
func (s *scanned) quarantine(tx ledger.Tx) error {
	n := 0
	err := tx.Quarantine(func(q ledger.Quarantined) error {
		if n++; n > maxScanned {
			return errEnough
		}
		shard, store, terminal, _, err := wire.ParseUpSubject(q.Subject)
		if err != nil || q.Decision.Verdict != "" {
			return nil
		}
		key := store + "." + terminal
		s.shards[key] = shard
		s.of(key).quarantined++
		return nil
	})
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

// add joins one journal.
func (o *own) add(c *ledger.Chain) {
	if len(o.journals) < maxJournals {
		o.journals = append(o.journals, c.Journal)
	}
	o.records += c.Records
	o.events += c.Events
	o.lost += c.Lost
	if at := milli(c.Updated); at >= o.updated {
		o.updated, o.current, o.last = at, c.Journal, c.Last
	}
	if c.Want != 0 {
		o.want = c.Want
	}
	if c.Held != "" {
		o.held = wire.Short(c.Held, 256)
	}
}
