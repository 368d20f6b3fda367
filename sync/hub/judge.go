package hub

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"time"

	"posd/journal/chain"
	"posd/sync/ledger"
	"posd/sync/outbox"
	"posd/sync/wire"
)

// Causes of quarantine, stable for alarms and scripts.
const (
	CauseUndecodable = "undecodable" // subject or body makes no sense
	CauseFork        = "fork"        // another history under a known journal id
	CauseIdentity    = "identity"    // journal, birth record and subject disagree
	CauseStore       = "store"       // this hub was told not to accept the store
	CauseHole        = "hole"        // records that had been declared lost
	CauseCopy        = "copy"        // a copied record that cannot be what it says
	CauseSignature   = "signature"   // a checkpoint that the journal's key did not sign
)

// holds reports whether a cause makes sending more useless until somebody has
// decided.
func holds(cause string) bool {
	switch cause {
	case CauseStore, CauseIdentity, CauseCopy, CauseSignature:
		return true
	}
	return false
}

type verdict uint8

const (
	entered verdict = iota // something new is in the ledger
	known                  // all of it was there already
	gap                    // records before it are missing
	aside                  // quarantined
)

// refusal is why a message goes to quarantine.
type refusal struct{ cause, reason string }

func refuse(cause, format string, a ...any) *refusal {
	return &refusal{cause, fmt.Sprintf(format, a...)}
}

// message is one parcel from the stream, prepared outside the transaction.
type message struct {
	subject string
	seq     uint64 // in the stream
	body    []byte

	shard           int
	store, terminal string
	id              chain.ID
	parcel          wire.Parcel
	heads           []chain.Head // head after each record
	refused         *refusal     // known to be wrong before the ledger is asked
}

// prepare decodes and verifies a message. It never fails: what is wrong stands in refused.
func prepare(subject string, seq uint64, body []byte) message {
	m := message{subject: subject, seq: seq, body: body}
	var err error
	if m.shard, m.store, m.terminal, m.id, err = wire.ParseUpSubject(subject); err != nil {
		m.refused = refuse(CauseUndecodable, "%v", err)
		return m
	}
	if m.parcel, err = wire.Decode(body, nil); err != nil {
		m.refused = refuse(CauseUndecodable, "%v", err)
		return m
	}
	p := &m.parcel
	if p.Journal != m.id {
		m.refused = refuse(CauseIdentity, "parcel of journal %s on the subject of journal %s", p.Journal, m.id)
		return m
	}
	if p.Last > ledger.MaxSeq {
		m.refused = refuse(CauseUndecodable, "records %d to %d: no journal gets to %d", p.First, p.Last, uint64(ledger.MaxSeq))
		return m
	}
	if p.Hole {
		return m
	}
	m.heads = make([]chain.Head, 0, p.Count())
	last, err := p.Walk(func(_ chain.Record, h chain.Head) error {
		m.heads = append(m.heads, h)
		return nil
	})
	switch {
	case err != nil:
		m.refused = refuse(CauseUndecodable, "%v", err)
	case last != p.Head:
		m.refused = refuse(CauseUndecodable, "%v", p.Verify())
	}
	return m
}

// judge decides about messages, within a transaction of the ledger.
type judge struct {
	lane    string
	region  string
	office  bool // the messages are brought in at head office, no terminal waits
	accepts func(store string) bool
	now     func() time.Time
	room    int64 // bytes that the quarantine may have; 0 = no limit
	bug     bug
	tally   tally

	imports bool // office: the records are from a disk, not from the terminal
	history bool // office: what follows a gap belongs to another history

	last     ledger.Quarantined // set aside last
	out      []ledger.Name      // events that took effect, in order
	receipts []ledger.Receipt
	returns  []ledger.Receipt // of those, the sales that may give goods back
	after    []barrier
}

// barrier says that the event out[at] must not be published before number n of a lane.
type barrier struct {
	at   int
	lane string
	n    uint64
}

// tally counts what one transaction did.
type tally struct {
	copied, repeated   int              // events in copies: new, known
	signed, unverified int              // checkpoints
	waived             int              // reasons to refuse that a person has overruled
	skipped            int              // messages for which the quarantine had no room
	besides            int              // messages set aside whose end was entered
	collisions         []ledger.Receipt // of events with the receipt number of another
}

// apply takes one message into the ledger. The chain is that of its journal
// after the message, touched only if there is a terminal to tell about it.
func (g *judge) apply(tx ledger.Tx, m *message) (c ledger.Chain, v verdict, touched bool, err error) {
	if m.refused != nil && m.store == "" {
		return c, aside, false, g.quarantine(tx, m, m.refused)
	}
	c, exists, err := tx.Chain(m.id)
	if err != nil {
		return c, aside, false, err
	}
	if !exists {
		c = g.newChain(m)
	}
	if !g.office {
		c.Shard, c.Region = m.shard, g.region
	}
	before, out := c, len(g.out)
	r := m.refused
	if r == nil {
		r, err = g.admit(tx, &c, m)
	}
	if r == nil && err == nil {
		v, r, err = g.enter(tx, &c, m)
	}
	switch {
	case err != nil:
		return c, v, false, err
	case r != nil:
		return g.setAside(tx, before, exists, m, r)
	case g.office && v != entered:
		return before, v, false, nil // nobody has to be told, or asked
	case v != gap:
		c.Held, c.Imported = "", g.imports
	}
	if len(g.out) > out {
		if err := g.follow(tx, &c, out); err != nil {
			return c, v, false, err
		}
	}
	return c, v, true, tx.PutChain(c)
}

func (g *judge) newChain(m *message) ledger.Chain {
	return ledger.Chain{Journal: m.id, Store: m.store, Terminal: m.terminal, Head: m.id.Head0(), Shard: m.shard, Region: g.region, Updated: g.now()}
}

// follow keeps a terminal's events in order when they came through another lane
// before: those from out[at] on are published behind those.
func (g *judge) follow(tx ledger.Tx, c *ledger.Chain, at int) error {
	before := c.Lane
	if before == "" && c.Parent != nil {
		if id, err := chain.ParseID(c.Parent.Journal); err == nil {
			p, _, err := tx.Chain(id)
			if err != nil {
				return err
			}
			if p.Store == c.Store && p.Terminal == c.Terminal {
				before = p.Lane
			}
		}
	}
	if c.Lane = g.lane; before == "" || before == g.lane || g.bug == bugNoBarrier {
		return nil
	}
	pos, err := tx.Position(before)
	g.after = append(g.after, barrier{at, before, pos.Out})
	return err
}

// finish enters what a whole batch has gathered, and moves pos on by its part of the outbox.
func (g *judge) finish(tx ledger.Tx, pos *ledger.Position) (err error) {
	if len(g.receipts) > 0 {
		if g.tally.collisions, err = tx.PutReceipts(g.receipts, g.now()); err != nil {
			return err
		}
		if err := g.unsettle(tx, g.tally.collisions); err != nil {
			return err
		}
		if err := g.noteReturns(tx); err != nil {
			return err
		}
	}
	for _, b := range g.after {
		if err := outbox.After(tx, g.lane, pos.Out+1+uint64(b.at), b.lane, b.n); err != nil {
			return err
		}
	}
	return outbox.Put(tx, g.lane, pos, g.out)
}

// setAside quarantines m. The chain keeps what it had, but for the word to the
// terminal that sending more is useless until somebody has decided.
func (g *judge) setAside(tx ledger.Tx, c ledger.Chain, exists bool, m *message, r *refusal) (ledger.Chain, verdict, bool, error) {
	if err := g.quarantine(tx, m, r); err != nil {
		return c, aside, false, err
	}
	if g.office || exists && (c.Store != m.store || c.Terminal != m.terminal) {
		return c, aside, false, nil // not this terminal's journal: nothing of it is told there
	}
	if holds(r.cause) {
		c.Held = r.cause + ": " + r.reason
	}
	if !exists && c.Held == "" {
		return c, aside, true, nil // no row in the ledger for noise
	}
	return c, aside, true, tx.PutChain(c)
}

func (g *judge) quarantined(m *message, r *refusal) ledger.Quarantined {
	return ledger.Quarantined{
		Key:     sha256.Sum256(slices.Concat([]byte(m.subject), []byte{0}, m.body, []byte{0}, []byte(r.cause))),
		Subject: m.subject, Stream: g.lane, Seq: m.seq, Cause: r.cause, Reason: r.reason,
		First: m.parcel.First, Last: m.parcel.Last, At: g.now(), Body: m.body,
	}
}

// admit checks whether the journal may come on this subject at all.
func (g *judge) admit(tx ledger.Tx, c *ledger.Chain, m *message) (*refusal, error) {
	if c.Store != m.store || c.Terminal != m.terminal {
		return refuse(CauseIdentity, "journal %s belongs to terminal %s of store %s, it came from terminal %s of store %s",
			m.id, c.Terminal, c.Store, m.terminal, m.store), nil
	}
	if g.accepts(m.store) {
		return nil, nil
	}
	if _, ok, err := tx.Doc(kindAllowed, m.store); ok || err != nil {
		return nil, err
	}
	return refuse(CauseStore, "this hub does not accept store %s (see --stores)", m.store), nil
}

// enter compares a parcel with the chain and enters what is new.
func (g *judge) enter(tx ledger.Tx, c *ledger.Chain, m *message) (verdict, *refusal, error) {
	p := &m.parcel
	switch {
	case p.First > c.Last+1 && g.history:
		return aside, refuse(CauseFork, "continues another history of the journal, of which the ledger has records up to %d", c.Last), nil
	case p.First > c.Last+1:
		c.Want = c.Last + 1
		return gap, nil, nil
	case p.Last <= c.Last && g.bug != bugNotIdempotent:
		r, err := g.compare(tx, c, m)
		return known, r, err
	case p.Hole:
		return g.enterHole(tx, c, p)
	}
	// The head before the first new record decides: equal heads mean equal histories.
	fresh := c.Last + 1
	if g.bug == bugNotIdempotent {
		fresh = p.First
	} else if at := m.headAt(c.Last); at != c.Head {
		return aside, refuse(CauseFork, "record %d has head %s here and %s in the parcel: a copied or restored journal", c.Last, c.Head, at), nil
	}
	in := intake{g: g, tx: tx, c: c, m: m, origins: make(map[chain.ID]*ledger.Chain)}
	if r, err := in.check(fresh); r != nil || err != nil {
		return aside, r, err
	}
	if err := g.besides(tx, c, m); err != nil {
		return aside, nil, err
	}
	if err := in.put(fresh); err != nil {
		return aside, nil, err
	}
	c.Last, c.Head, c.Want, c.Updated = p.Last, p.Head, 0, g.now()
	return entered, nil, nil
}

// compare looks at a parcel that lies wholly behind the chain's end.
func (g *judge) compare(tx ledger.Tx, c *ledger.Chain, m *message) (*refusal, error) {
	p := &m.parcel
	h, ok, err := tx.Head(c.Journal, p.Last)
	switch {
	case err != nil:
		return nil, err
	case ok && h != p.Head:
		return refuse(CauseFork, "record %d has head %s here and %s in the parcel: a copied or restored journal", p.Last, h, p.Head), nil
	case p.Hole || ok && (c.Lost == 0 || g.bug == bugBlindHoles):
		return nil, nil
	}
	return g.bringsLost(tx, c, m)
}

// besides sets a parcel aside whose end is new to the ledger, and goes in, while its
// beginning had been declared lost.
func (g *judge) besides(tx ledger.Tx, c *ledger.Chain, m *message) error {
	if c.Lost == 0 || m.parcel.First > c.Last || g.bug == bugBlindHoles {
		return nil
	}
	r, err := g.bringsLost(tx, c, m)
	if r == nil || err != nil {
		return err
	}
	g.tally.besides++
	return g.quarantine(tx, m, r)
}

// bringsLost: records behind the chain's end had been declared lost, and now come. What
// of them is in the ledger under its own name, and what has no effect, is nothing new.
func (g *judge) bringsLost(tx ledger.Tx, c *ledger.Chain, m *message) (*refusal, error) {
	p, in := &m.parcel, intake{g: g, tx: tx, c: c, m: m}
	return in.walk(p.First, func(rec chain.Record, _, after chain.Head) (*refusal, error) {
		if rec.Seq > c.Last {
			return nil, nil
		}
		if h, ok, err := tx.Head(c.Journal, rec.Seq); ok && h == after || err != nil {
			return nil, err
		}
		n, ok := in.event(rec, after)
		if !ok {
			return nil, nil
		}
		if _, known, err := tx.Event(n); known || err != nil {
			return nil, err
		}
		return refuse(CauseHole, "record %d, of %d to %d, had been declared lost, and comes now", rec.Seq, p.First, p.Last), nil
	})
}

func (g *judge) enterHole(tx ledger.Tx, c *ledger.Chain, p *wire.Parcel) (verdict, *refusal, error) {
	if p.First == c.Last+1 && p.Prev != (chain.Head{}) && p.Prev != c.Head {
		return aside, refuse(CauseFork, "a hole behind record %d whose head is %s here and %s in the parcel", c.Last, c.Head, p.Prev), nil
	}
	if err := tx.PutHole(ledger.Hole{Journal: c.Journal, First: c.Last + 1, Last: p.Last, At: g.now()}); err != nil {
		return aside, nil, err
	}
	c.Lost += p.Last - c.Last
	c.Last, c.Head, c.Want, c.Updated = p.Last, p.Head, 0, g.now()
	return entered, nil, nil
}

// headAt is the head after record seq, which is First-1 or inside the parcel.
func (m *message) headAt(seq uint64) chain.Head {
	if seq < m.parcel.First {
		return m.parcel.Prev
	}
	return m.heads[seq-m.parcel.First]
}

// bug plants a mistake, so that tests can prove that they would see it.
type bug uint8

const (
	noBug bug = iota
	bugNotIdempotent
	bugPositionFirst // the position is committed before the records
	bugNoNames       // what came as a copy and what came as an original are not compared
	bugNoHeads       // a name without its head: the other history counts as known
	bugBlindCopies   // the chain of copies is not proved
	bugBlindKeys     // signatures are not proved
	bugNoClaim       // a shard is worked on without its claim
	bugNoBarrier     // events of one terminal in two lanes are published as they come
	bugNoWaiver      // what a person accepted is noted and not kept
	bugBlindAccept   // an accepted history is entered without a look at what is known of it
	bugNoLimit       // the quarantine grows without end
	bugBlindHoles    // of what was declared lost, only the end of a parcel is looked for
	bugShutsNew      // a rotation that the terminal calls failed shuts the new key out
	bugNoNumberLock  // one more sale with a number does not wait for who is settling it
	bugNoReread      // what did not fit into the quarantine is never looked at again
	bugNoReturns     // nobody looks at what comes back
)
