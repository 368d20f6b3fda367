package outbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"posd/journal/chain"
	"posd/sync/ledger"
)

const (
	maxBatch   = 500 // events in one atomic batch; the server takes 1,000
	pageRows   = maxBatch
	pageBytes  = 2 << 20 // of a batch, about
	ackWait    = 10 * time.Second
	lookEvery  = 5 * time.Second // at the stream, when nothing is published
	cleanEvery = time.Hour
	maxOwners  = 10000 // journals whose terminal is remembered
)

// item is one event on its way.
type item struct {
	lane  string
	n     uint64
	name  string
	seq   uint64 // in the stream; 0: passed over
	size  int
	acked bool
}

// outgoing is an event read from the ledger.
type outgoing struct {
	item
	cloudEvent
	large bool // goes by reference
}

// pumped is the state of publishing between two doubts.
type pumped struct {
	read       map[string]uint64 // last number of each lane that was taken up
	queue      []item            // in flight: queue[head:]
	head       int
	sent       uint64 // sequence that the stream has when all in flight is stored
	empty      bool   // the ledger had nothing more
	turn       int    // of the lanes
	progress   time.Time
	looked     time.Time
	stored     time.Time
	reconnects uint64
	owners     map[chain.ID][2]string
	ownersAt   uint64
}

func (p *pumped) flight() []item { return p.queue[p.head:] }

// pump publishes until something is in doubt.
func (s *session) pump(ctx context.Context) error {
	now := time.Now()
	s.round++
	s.pumped = pumped{read: make(map[string]uint64), sent: s.note.Seq, progress: now, looked: now, stored: now,
		reconnects: s.o.opt.Conn.Stats().Reconnects, owners: make(map[chain.ID][2]string)}
	for lane, n := range s.note.Lanes {
		s.pumped.read[lane] = n
	}
	defer func() { s.o.flight.Store(0) }()
	tick := time.NewTicker(s.o.opt.Poll)
	defer tick.Stop()
	for {
		if err := s.fill(ctx); err != nil {
			return err
		}
		s.settle()
		s.o.flight.Store(int64(len(s.pumped.flight())))
		select {
		case <-ctx.Done():
			return nil
		case m := <-s.acks:
			if err := s.ackAll(m); err != nil {
				return err
			}
		case <-s.o.wake:
			s.pumped.empty = false
		case <-tick.C:
			s.pumped.empty = false
			if err := s.tick(ctx); err != nil {
				return err
			}
		}
		if s.dirty && time.Since(s.pumped.stored) >= noteEvery {
			s.pumped.stored = time.Now()
			if err := s.store(ctx); err != nil {
				return err
			}
		}
	}
}

// tick looks after time: answers that do not come, a stream that changes while idle.
func (s *session) tick(ctx context.Context) error {
	p := &s.pumped
	if err := s.measure(ctx); err != nil {
		return err
	}
	switch {
	case s.o.opt.Conn.Stats().Reconnects != p.reconnects:
		return errors.New("the connection was lost")
	case len(p.flight()) > 0 && time.Since(p.progress) > s.o.opt.ackIn:
		return fmt.Errorf("no answer from stream %s for %s", s.o.opt.Stream, s.o.opt.ackIn)
	case len(p.flight()) > 0 || time.Since(p.looked) < lookEvery:
		return nil
	}
	p.looked = time.Now()
	info, err := s.info(ctx)
	if err != nil {
		return err
	}
	if !info.Created.Equal(s.note.Created) || info.State.LastSeq < s.note.Seq {
		return fmt.Errorf("stream %s is not what it was", s.o.opt.Stream)
	}
	if s.o.opt.now().Sub(s.cleaned) < cleanEvery {
		return nil
	}
	s.cleaned = s.o.opt.now()
	return s.clean(ctx)
}

// measure counts what is not published.
func (s *session) measure(ctx context.Context) error {
	var n uint64
	err := s.view(ctx, func(tx ledger.Tx) error {
		n = 0
		all, err := lanes(tx)
		for _, lane := range all {
			pos, err := tx.Position(lane)
			if err != nil {
				return err
			}
			n += pos.Out - min(pos.Out, s.note.Lanes[lane])
		}
		return err
	})
	s.o.backlog.Store(int64(n))
	return err
}

// fill sends the next batch, if none is in flight.
func (s *session) fill(ctx context.Context) error {
	p := &s.pumped
	for !p.empty && len(p.flight()) == 0 {
		page, err := s.page(ctx, s.batch)
		if err == nil && len(page) == 0 {
			page, err = s.replayPage(ctx, s.batch)
		}
		if err != nil {
			return err
		}
		if err := s.send(page); err != nil {
			return err
		}
		s.settle() // where all was passed over
		p.empty = len(page) == 0
	}
	return nil
}

// page reads the next events of one lane, the lanes by turns.
func (s *session) page(ctx context.Context, rows int) (out []outgoing, err error) {
	p := &s.pumped
	err = s.view(ctx, func(tx ledger.Tx) error {
		out = out[:0]
		all, err := lanes(tx)
		if err != nil {
			return err
		}
		if n, err := ownersAt(tx); err != nil || n != p.ownersAt {
			clear(p.owners)
			if p.ownersAt = n; err != nil {
				return err
			}
		}
		for range all {
			p.turn++
			lane := all[p.turn%len(all)]
			if out, err = s.lanePage(tx, lane, rows, out); err != nil || len(out) > 0 {
				return err
			}
		}
		return nil
	})
	return out, err
}

func (s *session) lanePage(tx ledger.Tx, lane string, rows int, out []outgoing) ([]outgoing, error) {
	p := &s.pumped
	stop, other, m, err := barrier(tx, lane, p.read[lane])
	for err == nil && stop != 0 && p.read[other] >= m { // that one is on its way before
		stop, other, m, err = barrier(tx, lane, stop)
	}
	if err != nil {
		return out, err
	}
	size := 0
	err = tx.Out(lane, p.read[lane], func(n uint64, e ledger.Event) (bool, error) {
		if stop != 0 && n >= stop {
			return false, nil
		}
		g := outgoing{item: item{lane: lane, n: n, name: Name(e.Name)}}
		known, err := s.isKnown(tx, g.name)
		if err == nil && !known {
			g, err = s.outgoing(tx, lane, n, &e)
		}
		if err != nil {
			return false, err
		}
		size += g.size
		out = append(out, g)
		return len(out) < rows && size < pageBytes, nil
	})
	return out, err
}

// outgoing makes the message of an event.
func (s *session) outgoing(tx ledger.Tx, lane string, n uint64, e *ledger.Event) (g outgoing, err error) {
	g.item = item{lane: lane, n: n, name: Name(e.Name)}
	store, terminal, err := s.owner(tx, e)
	if err != nil {
		return g, err
	}
	g.cloudEvent = encode(nil, store, terminal, e, false)
	if len(g.body)+headerRoom > s.limit {
		g.cloudEvent, g.large = encode(nil, store, terminal, e, true), true
	}
	g.size = len(g.body)
	return g, nil
}

// headerRoom is more than subject and headers of a message take.
const headerRoom = 1024

// owner is the terminal that an event is of.
func (s *session) owner(tx ledger.Tx, e *ledger.Event) (store, terminal string, err error) {
	if o, ok := s.pumped.owners[e.Journal]; ok {
		return o[0], o[1], nil
	}
	c, ok, err := tx.Chain(e.Journal)
	if err == nil && !ok && e.At != 0 {
		c, ok, err = tx.Chain(e.In)
	}
	if err == nil && !ok {
		err = fmt.Errorf("outbox: the ledger has no journal %s", e.Journal)
	}
	if err != nil {
		return "", "", err
	}
	if len(s.pumped.owners) >= maxOwners {
		clear(s.pumped.owners)
	}
	s.pumped.owners[e.Journal] = [2]string{c.Store, c.Terminal}
	return c.Store, c.Terminal, nil
}

// send publishes events behind what the stream has, all or none: the server stores an
// atomic batch only whole, and only if the message before its first one is the last that
// the publisher knows. Fences on single messages are not enough: where somebody else's
// message takes the place of one in flight, those behind it would still fit.
func (s *session) send(page []outgoing) error {
	p := &s.pumped
	count, bodies := 0, 0
	for i := range page {
		if page[i].body != nil {
			bodies++
		}
	}
	id := nats.NewInbox()[len(nats.InboxPrefix):]
	for i := range page {
		g := &page[i]
		p.read[g.lane] = g.n
		if g.body == nil {
			p.queue = append(p.queue, g.item)
			continue
		}
		if err := s.o.opt.onSend(); err != nil {
			return err
		}
		count++
		h := nats.Header{
			"Content-Type": {ContentType},
			headerLedger:   {s.o.opt.Ledger.ID().String()},
			headerOut:      {g.lane + " " + strconv.FormatUint(g.n, 10)},
			headerName:     {g.name},
		}
		if bodies > 1 {
			h["Nats-Batch-Id"], h["Nats-Batch-Sequence"] = []string{id}, []string{strconv.Itoa(count)}
			if count == bodies {
				h["Nats-Batch-Commit"] = []string{"1"}
			}
		}
		if count == 1 && s.o.opt.bug != bugNoFence {
			h[nats.ExpectedLastSeqHdr] = []string{strconv.FormatUint(p.sent, 10)}
		}
		if err := s.sendOne(g, h, count == bodies); err != nil {
			return err
		}
	}
	p.progress = time.Now()
	return nil
}

// sendOne publishes one message of a batch. The last one asks for the answer.
func (s *session) sendOne(g *outgoing, h nats.Header, commit bool) error {
	p := &s.pumped
	p.sent++
	g.seq = p.sent
	g.acked = s.o.opt.bug == bugEarlyNote
	p.queue = append(p.queue, g.item)
	if g.large {
		s.o.m.referred.Inc()
		s.o.log.Warn("an event is larger than the stream takes: published without data, by reference", "event", g.name, "limit", s.limit)
	}
	m := &nats.Msg{Subject: g.subject, Header: h, Data: g.body}
	if commit || h.Get("Nats-Batch-Sequence") == "1" { // the first one is answered too, if it is refused
		m.Reply = s.inbox + "." + strconv.FormatUint(s.round, 10) + "." + strconv.FormatUint(g.seq, 10)
	}
	if err := s.o.opt.Conn.PublishMsg(m); err != nil {
		return fmt.Errorf("publish %s: %w", g.name, err)
	}
	return nil
}

// settle moves the note over what stands first in flight and is acknowledged, or was
// passed over.
func (s *session) settle() {
	p := &s.pumped
	from := p.head
	for ; p.head < len(p.queue) && (p.queue[p.head].acked || p.queue[p.head].seq == 0); p.head++ {
		it := &p.queue[p.head]
		s.note.Lanes[it.lane] = it.n
		if it.seq == 0 {
			s.passed = append(s.passed, it.name)
			s.o.m.skipped.Inc()
			continue
		}
		s.note.Seq, s.note.Name = it.seq, it.name
		if s.held != nil {
			s.held.add(it.name)
		}
		s.o.m.published.Inc()
		s.o.m.bytes.Add(it.size)
	}
	if p.head == from {
		return
	}
	s.dirty, s.moved, p.progress = true, true, time.Now()
	if p.head > len(p.queue)/2 {
		p.queue, p.head = p.queue[:copy(p.queue, p.queue[p.head:])], 0
	}
}

// ackAll takes an answer, and those that have come meanwhile.
func (s *session) ackAll(m *nats.Msg) error {
	for {
		if err := s.ack(m); err != nil {
			return err
		}
		select {
		case m = <-s.acks:
		default:
			return nil
		}
	}
}

// answer of JetStream to a message.
type answer struct {
	Stream string `json:"stream"`
	Seq    uint64 `json:"seq"`
	Error  *struct {
		Code        int    `json:"err_code"`
		Description string `json:"description"`
	} `json:"error"`
}

func (s *session) ack(m *nats.Msg) error {
	p := &s.pumped
	round, number, _ := strings.Cut(strings.TrimPrefix(m.Subject, s.inbox+"."), ".")
	if round != strconv.FormatUint(s.round, 10) || len(p.flight()) == 0 {
		return nil // of an earlier round: the comparison has seen what became of it
	}
	seq, err := strconv.ParseUint(number, 10, 64)
	if err != nil {
		return nil
	}
	if m.Header.Get("Status") != "" {
		return fmt.Errorf("stream %s does not take messages now: status %s", s.o.opt.Stream, m.Header.Get("Status"))
	}
	if len(m.Data) == 0 {
		return nil // the beginning of a batch was understood
	}
	var a answer
	if err := json.Unmarshal(m.Data, &a); err != nil {
		return fmt.Errorf("answer of stream %s: %w", s.o.opt.Stream, err)
	}
	flight := p.flight()
	last := flight[len(flight)-1].seq
	for i := len(flight) - 1; last == 0 && i >= 0; i-- {
		last = flight[i].seq
	}
	switch {
	case a.Error != nil:
		return fmt.Errorf("message %d was refused by stream %s: %s (%d)", seq, s.o.opt.Stream, a.Error.Description, a.Error.Code)
	case seq != last:
		return nil // the beginning of a batch was understood
	case a.Stream != s.o.opt.Stream || a.Seq != seq && s.o.opt.bug != bugNoFence:
		return fmt.Errorf("message %d was stored as %d of stream %s", seq, a.Seq, a.Stream)
	}
	for i := range flight {
		flight[i].acked = true
	}
	s.settle()
	return nil
}
