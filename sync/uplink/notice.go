package uplink

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"posd/journal"
	"posd/journal/chain"
	"posd/sync/wire"
)

// mailbox holds the newest notice of each kind until Run looks: a later one
// says all that an earlier one said.
type mailbox struct {
	ready chan struct{}

	mu    sync.Mutex
	mark  *wire.Watermark
	pulse *wire.Pulse
}

func (b *mailbox) take() (m *wire.Watermark, p *wire.Pulse) {
	b.mu.Lock()
	defer b.mu.Unlock()
	m, p, b.mark, b.pulse = b.mark, b.pulse, nil, nil
	return m, p
}

func (b *mailbox) clear() { b.take() }

// listen subscribes to what the hub says.
func (u *Uplink) listen(nc *nats.Conn) error {
	mark := wire.LivePrefix + wire.WatermarkKey(u.opt.Store, u.opt.Terminal, u.j.ID())
	for subject, f := range map[string]nats.MsgHandler{
		mark: func(m *nats.Msg) {
			w, err := wire.ParseWatermark(m.Data)
			if err != nil {
				u.log.Warn("uplink: notice ignored", "subject", m.Subject, "error", err)
				return
			}
			u.mail.mu.Lock()
			u.mail.mark = &w
			u.mail.mu.Unlock()
			signal(u.mail.ready)
		},
		wire.PulseSubject(u.opt.Shard): func(m *nats.Msg) {
			p, err := wire.ParsePulse(m.Data)
			if err != nil {
				u.log.Warn("uplink: notice ignored", "subject", m.Subject, "error", err)
				return
			}
			u.mail.mu.Lock()
			u.mail.pulse = &p
			u.mail.mu.Unlock()
			signal(u.mail.ready)
		},
	} {
		sub, err := nc.Subscribe(subject, f)
		if err != nil {
			return fmt.Errorf("subscribe to %s: %w", subject, err)
		}
		if err := sub.SetPendingLimits(64, 256<<10); err != nil {
			return err
		}
	}
	return nil
}

// readMail acts on what has come.
func (u *Uplink) readMail() error {
	m, p := u.mail.take()
	if p != nil {
		u.hear(*p)
	}
	if m != nil {
		return u.believe(*m)
	}
	return nil
}

// hear takes a pulse. Another ledger than before has confirmed nothing yet:
// its hub was set up anew, and asks for or reads again what it lacks.
func (u *Uplink) hear(p wire.Pulse) {
	u.pulse, u.pulseTime = p, time.Now()
	u.meet(p.Ledger)
}

func (u *Uplink) meet(l wire.LedgerID) {
	if l == u.state.Ledger {
		return
	}
	if u.state.Ledger != (wire.LedgerID{}) {
		u.log.Warn("uplink: the hub has another ledger than before", "was", u.state.Ledger, "is", l)
		u.confirmed, u.lastMove = 0, time.Now()
	}
	u.state.Ledger, u.dirty = l, true
	u.note(func(s *Status) { s.Ledger = l.String() })
}

// alive reports whether the hub was heard of lately.
func (u *Uplink) alive() bool { return time.Since(u.pulseTime) < u.opt.t.pulse }

// believe takes a watermark, after comparing heads. The error is errFork.
func (u *Uplink) believe(w wire.Watermark) error {
	if w.Journal != u.j.ID() {
		return nil
	}
	if err := u.compare(w.Seq, w.Head, "the hub's ledger"); err != nil {
		if errors.Is(err, journal.ErrFreed) || isDamage(err) {
			err = nil // far behind settled: an older ledger; or rotten: it cannot be compared
		}
		if err != nil || w.Seq > u.settled() {
			return err
		}
	}
	if w.Seq > u.settled() {
		u.settle(w.Seq, w.Head)
	}
	if u.alive() && w.Ledger != u.pulse.Ledger {
		return nil // left behind by a ledger that is no more
	}
	u.meet(w.Ledger)
	if w.Seq != u.confirmed {
		if w.Seq > u.confirmed {
			u.fruitless, u.probed, u.stuckWait = 0, false, u.opt.t.stuck
		}
		u.confirmed, u.lastMove = w.Seq, time.Now()
	}
	if u.state.Held != w.Held {
		u.hold(w.Held)
	}
	u.heed(w)
	return nil
}

func (u *Uplink) settle(seq uint64, head chain.Head) {
	u.state.Seq, u.state.Head, u.dirty = seq, head, true
	u.j.Settle(seq)
	u.note(func(s *Status) { s.Settled = seq; u.own.shrank(seq) })
}

// hold stops or resumes shipping at the hub's word. Held is not kept in the
// state file: the bucket has it.
func (u *Uplink) hold(why string) {
	u.state.Held = why
	if why != "" {
		u.log.Error("uplink: the hub sets this terminal's parcels aside: nothing is shipped until it takes them", "reason", why)
	}
	u.note(func(s *Status) { s.Held = why })
	u.Beat()
}

// heed goes back to the record that the hub wants. A want is old news if the
// hub had not yet read the first parcel of the last rewind when it said so.
func (u *Uplink) heed(w wire.Watermark) {
	if w.Want == 0 || w.Want >= u.next || u.rewound || w.At < u.rewindAt {
		return
	}
	u.rewind(w.Want, "the hub misses records")
}

// rewind resumes at record seq, behind the stream's present end.
func (u *Uplink) rewind(seq uint64, why string) {
	u.log.Warn("uplink: sending records again", "from", seq, "reason", why)
	u.seek(seq)
	u.rewound = true
	u.m.rewinds.Inc()
	u.note(func(s *Status) { s.Rewinds++ })
}

// compare holds a head that somebody else knows against the journal. The error
// is errFork, or journal.ErrFreed or damage if the record cannot be read.
func (u *Uplink) compare(seq uint64, head chain.Head, who string) error {
	floor, _ := u.j.Floor()
	if seq > floor {
		return u.forked(fmt.Sprintf("%s knows record %d of journal %s, which ends at %d here", who, seq, u.j.ID(), floor))
	}
	h, err := u.j.Head(seq)
	if err != nil {
		return err
	}
	if h != head {
		return u.forked(fmt.Sprintf("record %d of journal %s has head %s here and %s in %s", seq, u.j.ID(), h, head, who))
	}
	return nil
}

var errFork = errors.New("another history of this journal exists")

func (u *Uplink) forked(why string) error {
	u.note(func(s *Status) { s.Fork = why })
	return fmt.Errorf("%w: %s", errFork, why)
}
