package outbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"posd/sync/ledger"
)

// Headers of a message, by which it is recognised without its body.
const (
	headerLedger = "Pos-Ledger"
	headerOut    = "Pos-Out"  // "<lane> <n>"
	headerName   = "Pos-Name" // the id of the CloudEvent
)

const (
	askWait   = 10 * time.Second
	scanBatch = 500
	scanAhead = 2048 // names of a lane read at once
)

// session is one publisher's time in office.
type session struct {
	o     *Outbox
	note  note // what the stream is known to hold
	dirty bool // the ledger's note is older
	moved bool // since the last failure

	passed      []string // known names whose turn has come since the last note
	markAt      time.Time
	markSeq     uint64
	markCreated time.Time
	cleaned     time.Time
	began       bool

	sub    *nats.Subscription
	acks   chan *nats.Msg
	inbox  string
	round  uint64 // of publishing; answers to earlier rounds mean nothing
	limit  int    // bytes that a message may have
	batch  int    // messages that may be sent at once
	known  bool   // there are known names
	pumped pumped

	ahead map[string][]row // what is due next, while comparing with the stream

	replay   *ReplayState // how far it has read; nil: there is none
	replayed *ReplayState // how far the stream has it
	journals []string     // that it is about
	held     *holding     // what the stream holds, while there is one
	lost     bool         // the stream is another one or was rolled back: it begins again
}

// row is one entry of a lane.
type row struct {
	n    uint64
	name string
}

func newSession(o *Outbox) (*session, error) {
	s := &session{o: o, acks: make(chan *nats.Msg, 64), inbox: o.opt.Conn.NewInbox()}
	var err error
	s.sub, err = o.opt.Conn.ChanSubscribe(s.inbox+".*.*", s.acks)
	return s, err
}

func (s *session) close() { s.sub.Unsubscribe() } // a closed connection has none either

// publish compares the stream with the note and then publishes until something fails.
// nil: ctx has ended, and the note is up to date.
func (s *session) publish(ctx context.Context) error {
	if !s.began {
		if err := s.take(ctx); err != nil {
			return err
		}
		s.began = true
	}
	if err := s.o.opt.Prepare(ctx); err != nil {
		return err
	}
	if err := s.place(ctx); err != nil {
		return err
	}
	if err := s.store(ctx); err != nil {
		return err
	}
	err := s.pump(ctx)
	if s.o.opt.bug == bugSentIsOut {
		maps.Copy(s.note.Lanes, s.pumped.read)
		s.dirty = true
	}
	if s.dirty && !errors.Is(err, errPlanted) && !errors.Is(err, errTaken) {
		end, done := context.WithTimeout(context.WithoutCancel(ctx), askWait)
		defer done()
		err = errors.Join(err, s.store(end))
	}
	return err
}

// place brings the note up to what the stream holds now.
func (s *session) place(ctx context.Context) error {
	s.replay, s.replayed, s.held = nil, nil, nil
	info, err := s.info(ctx)
	if err != nil {
		return err
	}
	created, last := info.Created.UTC(), info.State.LastSeq
	rolled, why := false, ""
	switch {
	case s.note.Created.IsZero():
		s.note.Created = created
	case !s.note.Created.Equal(created):
		s.o.m.anew.Inc()
		s.o.log.Error("the stream of events is another one than before; publishing goes on where it was, what the old one held is not published again",
			"stream", s.o.opt.Stream, "created", created, "before", s.note.Created)
		s.note.Created, s.note.Seq, s.note.Name = created, 0, ""
		s.lost = true
	case last < s.note.Seq:
		rolled, why = true, fmt.Sprintf("it ends at %d, %d was acknowledged", last, s.note.Seq)
	default:
		if rolled, err = s.differs(ctx, info.State.FirstSeq); err != nil {
			return err
		}
		why = fmt.Sprintf("message %d is not the one that was acknowledged", s.note.Seq)
	}
	s.lost = s.lost || rolled
	if rolled {
		s.o.m.rolled.Inc()
		s.o.log.Error("the stream of events was rolled back: what it has lost is published again", "stream", s.o.opt.Stream, "why", why)
		end := last
		if last >= s.note.Seq {
			end = s.note.Seq - 1
		}
		if err := s.rollBack(ctx, created, end); err != nil {
			return err
		}
		if s.note.Seq > end {
			s.note.Seq = end
		}
	}
	s.limit = int(s.o.opt.Conn.MaxPayload())
	if m := int(info.Config.MaxMsgSize); m > 0 && m < s.limit {
		s.limit = m
	}
	if s.batch = 1; info.Config.AllowAtomicPublish {
		s.batch = maxBatch
	} else {
		s.o.log.Warn("the stream of events takes no atomic batches (nats-server 2.12 or later with allow_atomic does): events are published one by one", "stream", s.o.opt.Stream)
	}
	before := s.note.Seq
	if err := s.scan(ctx, max(before+1, info.State.FirstSeq), last); err != nil {
		return fmt.Errorf("read stream %s: %w", s.o.opt.Stream, err)
	}
	if last > s.note.Seq {
		s.note.Seq, s.note.Name = last, "" // what was there has been deleted
	}
	s.moved = s.moved || s.note.Seq > before
	s.dirty = true
	return nil
}

func (s *session) info(ctx context.Context) (*jetstream.StreamInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, askWait)
	defer cancel()
	st, err := s.o.js.Stream(ctx, s.o.opt.Stream)
	if err != nil {
		return nil, fmt.Errorf("ask for stream %s: %w", s.o.opt.Stream, err)
	}
	return st.CachedInfo(), nil
}

// differs asks whether the last message of the note is still the one that was
// acknowledged: a stream that was rolled back and went on is as long as before.
func (s *session) differs(ctx context.Context, first uint64) (bool, error) {
	if s.note.Name == "" || s.note.Seq < first {
		return false, nil
	}
	ctx, cancel := context.WithTimeout(ctx, askWait)
	defer cancel()
	// The leader is asked: a follower may not have the message yet.
	m, err := s.o.opt.Conn.RequestWithContext(ctx, "$JS.API.STREAM.MSG.GET."+s.o.opt.Stream, fmt.Appendf(nil, `{"seq":%d}`, s.note.Seq))
	if err != nil {
		return false, fmt.Errorf("ask for message %d of stream %s: %w", s.note.Seq, s.o.opt.Stream, err)
	}
	var got struct {
		Error   *struct{ Description string }
		Message struct{ Hdrs []byte }
	}
	if err := json.Unmarshal(m.Data, &got); err != nil {
		return false, fmt.Errorf("ask for message %d of stream %s: %w", s.note.Seq, s.o.opt.Stream, err)
	}
	if got.Error != nil {
		return false, nil // deleted, perhaps: that is no other history
	}
	h, err := nats.DecodeHeadersMsg(got.Message.Hdrs)
	return err != nil || h.Get(headerName) != s.note.Name, nil
}

// scan reads the stream's headers from one number to its end and moves the note on.
func (s *session) scan(ctx context.Context, from, last uint64) error {
	s.ahead = make(map[string][]row)
	defer func() { s.ahead = nil }()
	if err := s.view(ctx, func(tx ledger.Tx) (err error) { s.known, err = anyKnown(tx); return err }); err != nil {
		return err
	}
	return s.each(ctx, from, last, func(got []met) error { return s.absorb(ctx, got) })
}

// each calls fn with the stream's messages, headers only, from one number to its end.
func (s *session) each(ctx context.Context, from, last uint64, fn func([]met) error) error {
	if from > last {
		return nil
	}
	ask, cancel := context.WithTimeout(ctx, askWait)
	defer cancel()
	cons, err := s.o.js.CreateConsumer(ask, s.o.opt.Stream, jetstream.ConsumerConfig{
		AckPolicy: jetstream.AckNonePolicy, DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: from,
		HeadersOnly: true, MemoryStorage: true, Replicas: 1, InactiveThreshold: time.Minute,
	})
	if err != nil {
		return err
	}
	name := cons.CachedInfo().Name
	defer func() {
		end, done := context.WithTimeout(context.WithoutCancel(ctx), askWait)
		defer done()
		s.o.js.DeleteConsumer(end, s.o.opt.Stream, name) // else it goes away by itself
	}()
	next := uint64(1) // of the consumer's own numbers
	for left := cons.CachedInfo().NumPending; left > 0; {
		batch, err := cons.Fetch(int(min(left, scanBatch)), jetstream.FetchMaxWait(askWait))
		if err != nil {
			return err
		}
		var got []met
		for msg := range batch.Messages() {
			meta, err := msg.Metadata()
			if err != nil {
				return err
			}
			if meta.Sequence.Consumer != next {
				return errors.New("a message was not delivered")
			}
			next++
			left = meta.NumPending
			got = append(got, meet(meta.Sequence.Stream, msg.Headers()))
		}
		if err := batch.Error(); err != nil {
			return err
		}
		if len(got) == 0 {
			return errors.New("no message came")
		}
		if err := fn(got); err != nil {
			return err
		}
	}
	return nil
}

// met is one message of the stream.
type met struct {
	seq    uint64
	lane   string
	n      uint64
	name   string // "" if it is none of ours
	ledger string
}

func meet(seq uint64, h nats.Header) met {
	m := met{seq: seq, name: h.Get(headerName), ledger: h.Get(headerLedger)}
	if _, err := parseName(m.name); err != nil {
		m.name = ""
	}
	lane, n, _ := strings.Cut(h.Get(headerOut), " ")
	m.lane = lane
	m.n, _ = strconv.ParseUint(n, 10, 64)
	return m
}

// absorb moves the note over messages of the stream: over the next one of its lane in
// the lane, over any other one by keeping its name.
func (s *session) absorb(ctx context.Context, got []met) error {
	own := s.o.opt.Ledger.ID().String()
	var n note
	var passed []string
	know := make(map[string]found)
	foreign := 0
	err := s.view(ctx, func(tx ledger.Tx) error {
		n, passed, foreign = s.note, slices.Clip(s.passed), 0
		n.Lanes = maps.Clone(n.Lanes)
		clear(know)
		for _, m := range got {
			n.Seq, n.Name = m.seq, m.name
			if m.name == "" {
				foreign++
				continue
			}
			hit := false
			if m.ledger == own {
				var err error
				if hit, passed, err = s.match(tx, &n, m, know, passed); err != nil {
					return err
				}
			}
			if !hit {
				know[m.name] = found{Created: n.Created, Seq: m.seq}
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if len(know) > 0 {
		if err := s.remember(ctx, know); err != nil {
			return err
		}
	}
	if foreign > 0 {
		s.o.m.foreign.Add(foreign)
		s.o.log.Warn("somebody else writes into the stream of events", "stream", s.o.opt.Stream, "messages", foreign)
	}
	s.note, s.passed, s.dirty = n, passed, true
	return nil
}

// match steps over a message that is the next one of its lane, and on the way there
// over what the stream is known to hold already.
func (s *session) match(tx ledger.Tx, n *note, m met, know map[string]found, passed []string) (bool, []string, error) {
	for {
		next, ok, err := s.peek(tx, m.lane, n.Lanes[m.lane])
		if err != nil || !ok {
			return false, passed, err
		}
		if next.name == m.name || s.o.opt.bug == bugNoNames && next.n == m.n {
			n.Lanes[m.lane] = next.n
			return true, passed, nil
		}
		if _, is := know[next.name]; !is {
			if is, err = s.isKnown(tx, next.name); err != nil || !is {
				return false, passed, err
			}
		}
		n.Lanes[m.lane] = next.n
		passed = append(passed, next.name)
	}
}

// peek is the entry of a lane behind number after.
func (s *session) peek(tx ledger.Tx, lane string, after uint64) (row, bool, error) {
	q := s.ahead[lane]
	for len(q) > 0 && q[0].n <= after {
		q = q[1:]
	}
	if len(q) == 0 {
		err := tx.Out(lane, after, func(n uint64, e ledger.Event) (bool, error) {
			q = append(q, row{n, Name(e.Name)})
			return len(q) < scanAhead, nil
		})
		if err != nil {
			return row{}, false, err
		}
	}
	s.ahead[lane] = q
	if len(q) == 0 {
		return row{}, false, nil
	}
	return q[0], true, nil
}

func (s *session) isKnown(tx ledger.Tx, name string) (bool, error) {
	if !s.known {
		return false, nil
	}
	_, ok, err := tx.Doc(kindKnown, name)
	return ok, err
}

func anyKnown(tx ledger.Tx) (any bool, err error) {
	err = tx.Docs(kindKnown, "", func(string, []byte) (bool, error) { any = true; return false, nil })
	return any, err
}

// remember keeps names that the stream holds although their turn has not come.
func (s *session) remember(ctx context.Context, know map[string]found) error {
	s.o.log.Info("the stream of events holds events that are not due: they are not published again", "events", len(know))
	s.known = true
	return s.update(ctx, func(tx ledger.Tx) error {
		for name, f := range know {
			if err := putJSON(tx, kindKnown, name, f); err != nil {
				return err
			}
		}
		return nil
	})
}
