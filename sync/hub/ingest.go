package hub

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"posd/journal/chain"
)

// errStreamChanged: the stream is another one than the ledger was reading.
var errStreamChanged = errors.New("the stream changed under the hub")

const (
	batchMessages = 128     // messages in one commit, at most
	batchBytes    = 4 << 20 // compressed bytes in one commit, about
)

// ingest reads the stream from the ledger's own place until something fails.
func (h *Hub) ingest(ctx context.Context) error {
	if err := h.prepareStreams(ctx); err != nil {
		return err
	}
	pos, err := h.findPosition(ctx)
	if err != nil {
		return err
	}
	h.at.Store(pos.Seq)
	cons, err := h.js.OrderedConsumer(ctx, h.opt.Stream, jetstream.OrderedConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: pos.Seq + 1,
		InactiveThreshold: time.Minute, MaxResetAttempts: 5,
	})
	if err != nil {
		return fmt.Errorf("read stream %s: %w", h.opt.Stream, err)
	}
	iter, err := cons.Messages(jetstream.PullMaxMessagesWithBytesLimit(batchMessages*2, batchBytes*2))
	if err != nil {
		return fmt.Errorf("read stream %s: %w", h.opt.Stream, err)
	}
	if err := h.announce(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	in := make(chan jetstream.Msg, batchMessages)
	done := make(chan struct{})
	go func() { // ended by iter.Stop, waited for below
		defer close(done)
		for {
			msg, err := iter.Next(jetstream.NextContext(ctx))
			if err != nil {
				cancel(fmt.Errorf("read stream %s: %w", h.opt.Stream, err))
				return
			}
			select {
			case in <- msg:
			case <-ctx.Done():
				return
			}
		}
	}()
	defer func() { cancel(nil); iter.Stop(); <-done }()
	h.reading.Store(true)
	defer h.reading.Store(false)
	return h.consume(ctx, in, pos)
}

// consume commits what comes, as many messages at a time as have come while the
// last commit was being synced.
func (h *Hub) consume(ctx context.Context, in <-chan jetstream.Msg, pos Position) error {
	tick := time.NewTicker(h.opt.Pulse)
	defer tick.Stop()
	h.pulse()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
			if err := h.tick(ctx, pos); err != nil {
				return err
			}
		case first := <-in:
			batch, err := collect(first, in, pos.Seq)
			if err != nil {
				return err
			}
			if len(batch) == 0 {
				continue
			}
			pos.Seq = batch[len(batch)-1].seq
			if err := h.commit(batch, pos); err != nil {
				return err
			}
		}
	}
}

// collect prepares first and what else is waiting. Messages at or behind the
// position, which a reset consumer may repeat, are left out.
func collect(first jetstream.Msg, in <-chan jetstream.Msg, at uint64) ([]message, error) {
	var batch []message
	size, msg := 0, first
	for {
		meta, err := msg.Metadata()
		if err != nil {
			return nil, fmt.Errorf("message on %s: %w", msg.Subject(), err)
		}
		if seq := meta.Sequence.Stream; seq > at {
			at = seq
			size += len(msg.Data())
			batch = append(batch, prepare(msg.Subject(), seq, msg.Data()))
		}
		if len(batch) == batchMessages || size >= batchBytes {
			return batch, nil
		}
		select {
		case msg = <-in:
		default:
			return batch, nil
		}
	}
}

// commit enters a batch and the new position in one transaction, then tells the
// terminals.
func (h *Hub) commit(batch []message, pos Position) error {
	g := judge{stream: h.opt.Stream, accepts: h.accepts, now: h.opt.now, bug: h.opt.bug}
	if h.opt.bug == bugPositionFirst {
		err := h.ledger.Update(func(tx Tx) error { return tx.SetPosition(h.opt.Stream, pos) })
		if err = errors.Join(err, h.opt.crash()); err != nil {
			return err
		}
	}
	touched := make(map[chain.ID]Chain)
	var counts [aside + 1]int
	err := h.ledger.Update(func(tx Tx) error {
		clear(touched)
		counts = [aside + 1]int{}
		g.tally = tally{}
		for i := range batch {
			c, v, tell, err := g.apply(tx, &batch[i])
			if err != nil {
				return fmt.Errorf("message %d of %s: %w", batch[i].seq, h.opt.Stream, err)
			}
			counts[v]++
			if tell {
				touched[c.Journal] = c
			}
		}
		return tx.SetPosition(h.opt.Stream, pos)
	})
	if err != nil {
		return fmt.Errorf("commit to the ledger: %w", err)
	}
	if err := h.opt.crash(); err != nil {
		return err
	}
	h.at.Store(pos.Seq)
	h.count(batch, counts)
	h.countRecords(&g.tally)
	for _, c := range touched {
		h.tell(c)
	}
	return nil
}

func (h *Hub) count(batch []message, counts [aside + 1]int) {
	h.m.entered.Add(counts[entered])
	h.m.known.Add(counts[known])
	h.m.gaps.Add(counts[gap])
	h.m.aside.Add(counts[aside])
	if counts[aside] > 0 {
		h.log.Error("parcels were set aside: see GET /v1/quarantine", "count", counts[aside], "subject", batch[len(batch)-1].subject)
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
	if t.collisions > 0 {
		r := &t.collision
		h.log.Error("different sales have the same receipt number: see GET /v1/collisions", "sales", t.collisions,
			"store", r.Store, "terminal", r.Terminal, "receipt", r.Number, "journal", r.Event.Journal, "seq", r.Event.Seq)
	}
}

// findPosition is where to go on reading: the ledger's place, if the stream is
// the one that the ledger was reading, else the start.
func (h *Hub) findPosition(ctx context.Context) (Position, error) {
	created, last, err := h.place(ctx)
	if err != nil {
		return Position{}, err
	}
	var pos Position
	if err := h.ledger.View(func(tx Tx) (err error) {
		pos, err = tx.Position(h.opt.Stream)
		return err
	}); err != nil {
		return Position{}, err
	}
	if why := changed(pos, created, last); why != "" {
		h.log.Warn("reading the stream from its start; what is known will be skipped", "stream", h.opt.Stream, "reason", why)
		h.m.restarts.Inc()
		pos.Seq = 0
	}
	pos.Created = created
	return pos, nil
}

// changed says why the stream cannot be the one that pos is a place in, or "".
func changed(pos Position, created time.Time, last uint64) string {
	switch {
	case pos == (Position{}):
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
func (h *Hub) tick(ctx context.Context, pos Position) error {
	created, last, err := h.place(ctx)
	if err != nil {
		return err
	}
	if why := changed(pos, created, last); why != "" {
		return fmt.Errorf("%w: %s", errStreamChanged, why)
	}
	h.pulse()
	return h.repeat()
}
