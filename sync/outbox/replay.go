package outbox

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"posd/journal/chain"
	"posd/pos/event"
	"posd/sync/ledger"
)

// A replay publishes again, from the ledger, what the stream does not hold any more: after
// it was deleted, or rolled back further than the marks reach. The publisher does it itself,
// whenever nothing else is due, so that what is on its way cannot be meant twice. What the
// stream holds is read from the stream, names only, whenever a session begins.

const (
	kindReplay = "outbox-replay" // key "order": the last one; "journals": the ids of all, those that others continue first
	laneReplay = "replay"        // in headers; it has no outbox
	replayRows = 5000            // events looked at in one transaction
)

// ErrReplaying: there is one already.
var ErrReplaying = errors.New("a replay is going on")

// ReplayState is what was ordered, and how far it is.
type ReplayState struct {
	From     time.Time    `json:"from,omitzero"` // events that happened before are left out
	Ordered  time.Time    `json:"ordered"`
	Journals int          `json:"journals"`         // in all
	Journal  int          `json:"journal"`          // of them are done
	Behind   *ledger.Name `json:"behind,omitempty"` // so far in the next one
	Sent     uint64       `json:"sent"`             // events published again
	Held     uint64       `json:"held"`             // events that the stream held
	Done     time.Time    `json:"done,omitzero"`
}

// Replay orders one. The error is ErrReplaying while another goes on.
func Replay(tx ledger.Tx, from, now time.Time) error {
	r, err := ReadReplay(tx)
	if err != nil {
		return err
	}
	if r != nil && r.Done.IsZero() {
		return ErrReplaying
	}
	ids, err := descent(tx)
	if err != nil {
		return err
	}
	return errors.Join(putJSON(tx, kindReplay, "journals", ids),
		putJSON(tx, kindReplay, "order", ReplayState{From: from, Ordered: now, Journals: len(ids)}))
}

// ReadReplay is the last replay, nil if there never was one.
func ReadReplay(tx ledger.Tx) (*ReplayState, error) {
	v, ok, err := tx.Doc(kindReplay, "order")
	if err != nil || !ok {
		return nil, err
	}
	r := new(ReplayState)
	if err := json.Unmarshal(v, r); err != nil {
		return nil, fmt.Errorf("outbox: the order to replay is damaged: %w", err)
	}
	return r, nil
}

// restart lets a replay that is going on begin again: what it had published may be gone.
// This stands in the ledger with the note of the stream as it is now, so that a publisher
// that is killed between the two does not take one for the other.
func restart(tx ledger.Tx, b bug) error {
	r, err := ReadReplay(tx)
	if err != nil || r == nil || !r.Done.IsZero() || b == bugReplayGoesOn {
		return err
	}
	r.Journal, r.Behind = 0, nil
	return putJSON(tx, kindReplay, "order", r)
}

// descent lists all journals, those that others continue first.
func descent(tx ledger.Tx) (ids []string, err error) {
	parents := make(map[string]string)
	if err := tx.Chains(func(c ledger.Chain) error {
		id := c.Journal.String()
		ids = append(ids, id)
		if c.Parent != nil {
			parents[id] = c.Parent.Journal
		}
		return nil
	}); err != nil {
		return nil, err
	}
	depth := make(map[string]int, len(ids))
	for _, id := range ids {
		n := 0
		for at, ok := parents[id]; ok && n < 1000; at, ok = parents[at] { // a lie may be a circle
			n++
		}
		depth[id] = n
	}
	slices.SortFunc(ids, func(a, b string) int { return cmp.Or(cmp.Compare(depth[a], depth[b]), cmp.Compare(a, b)) })
	return ids, nil
}

// holding is what the stream is known to hold, by the first half of an event's head.
type holding struct {
	sorted [][16]byte
	since  map[[16]byte]bool // published by this session
}

func (h *holding) has(n ledger.Name) bool {
	k := [16]byte(n.Head[:16])
	_, ok := slices.BinarySearchFunc(h.sorted, k, func(a, b [16]byte) int { return bytes.Compare(a[:], b[:]) })
	return ok || h.since[k]
}

func (h *holding) add(name string) {
	if n, err := parseName(name); err == nil {
		h.since[[16]byte(n.Head[:16])] = true
	}
}

// hold reads what the stream holds.
func (s *session) hold(ctx context.Context) error {
	info, err := s.info(ctx)
	if err != nil {
		return err
	}
	h := &holding{since: make(map[[16]byte]bool)}
	if err := s.each(ctx, max(1, info.State.FirstSeq), info.State.LastSeq, func(got []met) error {
		for _, m := range got {
			if n, err := parseName(m.name); err == nil && s.o.opt.bug != bugBlindReplay {
				h.sorted = append(h.sorted, [16]byte(n.Head[:16]))
			}
		}
		return nil
	}); err != nil {
		return fmt.Errorf("read stream %s for the replay: %w", s.o.opt.Stream, err)
	}
	slices.SortFunc(h.sorted, func(a, b [16]byte) int { return bytes.Compare(a[:], b[:]) })
	s.held = h
	return nil
}

// loadReplay reads the order, if there is one that is not done.
func (s *session) loadReplay(ctx context.Context) error {
	return s.view(ctx, func(tx ledger.Tx) error {
		r, err := ReadReplay(tx)
		if err != nil || r == nil || !r.Done.IsZero() {
			s.replay, s.replayed, s.held = nil, nil, nil
			return err
		}
		if s.replay != nil && s.replay.Ordered.Equal(r.Ordered) {
			return nil // it knows better
		}
		v, _, err := tx.Doc(kindReplay, "journals")
		if err != nil {
			return err
		}
		if err := json.Unmarshal(v, &s.journals); err != nil {
			return fmt.Errorf("outbox: the order to replay is damaged: %w", err)
		}
		s.replay = r
		return nil
	})
}

// replayPage reads the next events to be published again, if nothing else is due. It is
// called with nothing in flight, so all that it gave before is in the stream.
func (s *session) replayPage(ctx context.Context, rows int) (out []outgoing, err error) {
	for {
		if err := s.loadReplay(ctx); err != nil || s.replay == nil {
			return nil, err
		}
		s.replayed = s.replay
		if s.held == nil {
			if err := s.hold(ctx); err != nil {
				return nil, err
			}
		}
		busy := false
		next := *s.replay
		if err := s.view(ctx, func(tx ledger.Tx) error {
			out, next, busy = out[:0], *s.replay, false
			all, err := lanes(tx)
			if err != nil {
				return err
			}
			for _, lane := range all {
				pos, err := tx.Position(lane)
				if err != nil {
					return err
				}
				busy = busy || pos.Out != s.note.Lanes[lane]
			}
			if busy {
				return nil
			}
			out, err = s.again(tx, &next, rows, out)
			return err
		}); err != nil || busy {
			return nil, err
		}
		s.replay, s.dirty = &next, true
		if len(out) > 0 {
			return out, nil
		}
		if next.Journal < len(s.journals) {
			continue
		}
		next.Done = s.o.opt.now()
		if err := s.same(ctx); err != nil {
			return nil, err
		}
		s.replayed = &next
		if err := s.store(ctx); err != nil {
			return nil, err
		}
		s.o.log.Info("replay of events: done", "sent", next.Sent, "held", next.Held)
	}
}

// same: the stream is still the one that the replay is about. One that holds all is never
// published to, so nothing else would show that it is gone.
func (s *session) same(ctx context.Context) error {
	info, err := s.info(ctx)
	if err != nil || s.o.opt.bug == bugBlindDone {
		return err
	}
	if !info.Created.Equal(s.note.Created) || info.State.LastSeq < s.note.Seq {
		return fmt.Errorf("stream %s was deleted or rolled back during the replay", s.o.opt.Stream)
	}
	return nil
}

// again walks the ledger from where r is, and moves r on.
func (s *session) again(tx ledger.Tx, r *ReplayState, rows int, out []outgoing) ([]outgoing, error) {
	looked, size := 0, 0
	for r.Journal < len(s.journals) && len(out) < rows && looked < replayRows && size < pageBytes {
		id, err := chain.ParseID(s.journals[r.Journal])
		if err != nil {
			return nil, fmt.Errorf("outbox: the order to replay is damaged: %w", err)
		}
		from := ledger.Cursor{Name: ledger.Name{Journal: id}, Only: true}
		if r.Behind != nil {
			from.Name = *r.Behind
		}
		full := false
		if err := tx.Events(from, func(e ledger.Event) (bool, error) {
			if full = len(out) == rows || looked == replayRows || size >= pageBytes; full {
				return false, nil
			}
			looked++
			name := e.Name
			r.Behind = &name
			if h, _, err := event.Parse(e.Payload); err == nil && h.Time.Before(r.From) {
				return true, nil
			}
			if s.held.has(e.Name) {
				r.Held++
				return true, nil
			}
			g, err := s.outgoing(tx, laneReplay, s.note.Lanes[laneReplay]+uint64(len(out))+1, &e)
			r.Sent++
			size += g.size
			out = append(out, g)
			return true, err
		}); err != nil {
			return nil, err
		}
		if !full {
			r.Journal, r.Behind = r.Journal+1, nil
		}
	}
	return out, nil
}
