package hub

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"posd/journal/chain"
	"posd/sync/ledger"
)

// errStreamChanged: the stream is another one than the ledger was reading.
var errStreamChanged = errors.New("the stream changed under the hub")

const (
	batchMessages = 128     // messages in one commit, at most
	batchBytes    = 4 << 20 // compressed bytes in one commit, about

	// commitTime is how long one transaction may take: a server that is away for longer
	// is not waited for, the batch is tried again.
	commitTime = 2 * time.Minute
)

// ingest reads the stream from the ledger's own place until something fails.
func (s *shard) ingest(ctx context.Context) error {
	if err := s.h.prepareStreams(ctx, s); err != nil {
		return err
	}
	stored, pos, err := s.findPosition(ctx)
	if err != nil {
		return err
	}
	s.at.Store(pos.Seq)
	cons, err := s.h.js.OrderedConsumer(ctx, s.stream, jetstream.OrderedConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: pos.Seq + 1,
		InactiveThreshold: time.Minute, MaxResetAttempts: 5,
	})
	if err != nil {
		return fmt.Errorf("read stream %s: %w", s.stream, err)
	}
	iter, err := cons.Messages(jetstream.PullMaxMessagesWithBytesLimit(batchMessages*2, batchBytes*2))
	if err != nil {
		return fmt.Errorf("read stream %s: %w", s.stream, err)
	}
	if err := s.announce(ctx); err != nil {
		iter.Stop()
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	in := make(chan message, batchMessages)
	done := make(chan struct{})
	go func() { // ended by iter.Stop, waited for below
		defer close(done)
		for {
			msg, err := iter.Next(jetstream.NextContext(ctx))
			if err != nil {
				cancel(fmt.Errorf("read stream %s: %w", s.stream, err))
				return
			}
			meta, err := msg.Metadata()
			if err != nil {
				cancel(fmt.Errorf("message on %s: %w", msg.Subject(), err))
				return
			}
			select { // decoded while the batch before is being committed
			case in <- prepare(msg.Subject(), meta.Sequence.Stream, msg.Data()):
			case <-ctx.Done():
				return
			}
		}
	}()
	defer func() { cancel(nil); iter.Stop(); <-done }()
	s.reading.Store(true)
	defer s.reading.Store(false)
	return s.consume(ctx, in, stored, pos)
}

// consume commits what comes, as many messages at a time as have come while the
// last commit was being synced.
func (s *shard) consume(ctx context.Context, in <-chan message, stored, pos ledger.Position) error {
	tick := time.NewTicker(s.h.opt.Pulse)
	defer tick.Stop()
	s.pulse()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
			if err := s.tick(ctx, pos); err != nil {
				return err
			}
		case first := <-in:
			batch := collect(first, in, pos.Seq)
			if len(batch) == 0 {
				continue
			}
			next := pos
			next.Seq = batch[len(batch)-1].seq
			var err error
			if pos, err = s.commit(ctx, batch, stored, next); err != nil {
				return err
			}
			stored = pos
		}
	}
}

// collect takes first and what else is waiting. Messages at or behind the
// position, which a reset consumer may repeat, are left out.
func collect(first message, in <-chan message, at uint64) []message {
	var batch []message
	size, m := 0, first
	for {
		if m.seq > at {
			at = m.seq
			size += len(m.body)
			batch = append(batch, m)
		}
		if len(batch) == batchMessages || size >= batchBytes {
			return batch
		}
		select {
		case m = <-in:
		default:
			return batch
		}
	}
}

// commit enters a batch and the new position in one transaction, then tells the
// terminals. It returns the position that stands in the ledger now.
func (s *shard) commit(ctx context.Context, batch []message, from, to ledger.Position) (ledger.Position, error) {
	h := s.h
	if h.opt.bug == bugPositionFirst {
		err := h.ledger.Update(ctx, func(tx ledger.Tx) error { return tx.SetPosition(s.lane, from, to) })
		if err = errors.Join(err, h.opt.crash()); err != nil {
			return from, err
		}
		from = to
	}
	done, err := h.enter(ctx, s.lane, batch, from, to)
	if err != nil {
		return from, err
	}
	if err := h.opt.crash(); err != nil {
		return from, err
	}
	s.at.Store(to.Seq)
	for _, c := range done.touched {
		s.tell(c)
	}
	return done.position, nil
}

// result is what one transaction did.
type result struct {
	position ledger.Position
	counts   [aside + 1]int
	touched  map[chain.ID]ledger.Chain // what terminals are to be told
	tally    tally
}

// enter takes a batch into the ledger and moves a lane on, in one transaction.
func (h *Hub) enter(ctx context.Context, lane string, batch []message, from, to ledger.Position) (done result, err error) {
	ctx, cancel := context.WithTimeout(ctx, commitTime)
	defer cancel()
	ids := make([]chain.ID, 0, len(batch))
	for i := range batch {
		if m := &batch[i]; m.store != "" && !slices.Contains(ids, m.id) {
			ids = append(ids, m.id)
		}
	}
	err = h.ledger.Update(ctx, func(tx ledger.Tx) error {
		g := h.judge(lane)
		done = result{touched: make(map[chain.ID]ledger.Chain)}
		if err := tx.Expect(ids); err != nil {
			return err
		}
		for i := range batch {
			c, v, tell, err := g.apply(tx, &batch[i])
			if err != nil {
				return fmt.Errorf("message %d of %s: %w", batch[i].seq, lane, err)
			}
			done.counts[v]++
			if tell {
				done.touched[c.Journal] = c
			}
		}
		done.position = to
		done.position.Out = from.Out
		if err := g.finish(tx, &done.position); err != nil {
			return err
		}
		done.tally = g.tally
		return tx.SetPosition(lane, from, done.position)
	})
	if err != nil {
		return done, fmt.Errorf("commit to the ledger: %w", err)
	}
	h.outbox.Wake()
	h.count(batch, done.counts)
	h.countRecords(&done.tally)
	return done, nil
}

func (h *Hub) judge(lane string) judge {
	return judge{lane: lane, region: h.opt.Region, accepts: h.accepts, now: h.opt.now, room: h.opt.QuarantineBytes, bug: h.opt.bug}
}

func (h *Hub) count(batch []message, counts [aside + 1]int) {
	h.m.entered.Add(counts[entered])
	h.m.known.Add(counts[known])
	h.m.gaps.Add(counts[gap])
	h.m.aside.Add(counts[aside])
	if counts[aside] > 0 {
		h.log.Error("parcels were set aside: see poshub quarantine list", "count", counts[aside], "subject", batch[len(batch)-1].subject)
	}
	for i := range batch {
		h.m.bytes.Add(len(batch[i].body))
		if p := &batch[i].parcel; p.Hole {
			h.m.holes.Inc()
			h.log.Error("a terminal has lost records that the ledger never had", "store", batch[i].store,
				"terminal", batch[i].terminal, "journal", p.Journal, "first", p.First, "last", p.Last)
		}
	}
}

func (h *Hub) countRecords(t *tally) {
	h.m.copied.Add(t.copied)
	h.m.repeated.Add(t.repeated)
	h.m.signed.Add(t.signed)
	h.m.unverified.Add(t.unverified)
	if t.besides > 0 {
		h.m.aside.Add(t.besides)
		h.log.Error("records that had been declared lost came, and were set aside: see poshub quarantine list", "parcels", t.besides)
	}
	if t.skipped > 0 {
		h.m.skipped.Add(t.skipped)
		h.log.Error("the quarantine is full: what came was left in the stream, and is read again when somebody has decided about what is there: see poshub quarantine list", "messages", t.skipped)
	}
	if n := len(t.collisions); n > 0 {
		r := &t.collisions[0]
		h.log.Error("different sales, or Z reports, have the same number: see poshub collisions list", "sales", n,
			"store", r.Store, "terminal", r.Terminal, "receipt", r.Number, "journal", r.Event.Journal, "seq", r.Event.Seq)
	}
}

// findPosition is where to go on reading: the ledger's place, if the stream is
// the one that the ledger was reading, else the start. stored is what the ledger has.
func (s *shard) findPosition(ctx context.Context) (stored, pos ledger.Position, err error) {
	created, last, err := s.h.place(ctx, s.stream)
	if err != nil {
		return stored, pos, err
	}
	if err := s.h.ledger.View(ctx, func(tx ledger.Tx) (err error) {
		stored, err = tx.Position(s.lane)
		return err
	}); err != nil {
		return stored, pos, err
	}
	pos = stored
	if why := changed(pos, created, last); why != "" {
		s.h.log.Warn("reading the stream from its start; what is known will be skipped", "stream", s.stream, "reason", why)
		s.h.m.restarts.Inc()
		pos.Seq = 0
	}
	pos.Created = created
	return stored, pos, nil
}

// changed says why the stream cannot be the one that pos is a place in, or "".
func changed(pos ledger.Position, created time.Time, last uint64) string {
	switch {
	case pos.Created.IsZero():
		return ""
	case !pos.Created.Equal(created):
		return fmt.Sprintf("it was created %s, the ledger was reading one created %s",
			created.Format(time.RFC3339Nano), pos.Created.Format(time.RFC3339Nano))
	case last < pos.Seq:
		return fmt.Sprintf("it ends at %d, the ledger had read %d: it was rolled back", last, pos.Seq)
	}
	return ""
}

// tick looks whether the stream is still the same, says that the hub is alive
// and repeats what terminals may not have heard.
func (s *shard) tick(ctx context.Context, pos ledger.Position) error {
	created, last, err := s.h.place(ctx, s.stream)
	if err != nil {
		return err
	}
	if why := changed(pos, created, last); why != "" {
		return fmt.Errorf("%w: %s", errStreamChanged, why)
	}
	s.pulse()
	if err := s.heedDecisions(ctx, pos); err != nil {
		return err
	}
	return s.repeat(ctx)
}
