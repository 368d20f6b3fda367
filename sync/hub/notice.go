package hub

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"posd/journal/chain"
	"posd/sync/ledger"
	"posd/sync/wire"
)

// tell publishes the watermark of a chain. It stays noted as untold until the
// server has acknowledged it.
func (s *shard) tell(c ledger.Chain) {
	s.mu.Lock()
	s.untold[c.Journal] = true
	if c.Want != 0 {
		s.wanting[c.Journal] = true
	} else {
		delete(s.wanting, c.Journal)
	}
	s.mu.Unlock()
	h := s.h
	w := wire.Watermark{Ledger: h.ledger.ID(), Journal: c.Journal, Seq: c.Last, Head: c.Head,
		At: s.at.Load(), Want: c.Want, Held: cut(c.Held, 1024)}
	err := h.nc.PublishMsg(&nats.Msg{
		Subject: wire.BucketPrefix + wire.WatermarkKey(c.Store, c.Terminal, c.Journal),
		Reply:   h.inbox + "." + strconv.Itoa(s.n) + "." + c.Journal.String(),
		Data:    w.Append(nil),
	})
	if err != nil {
		h.log.Debug("watermark not sent, will be repeated", "error", err)
	}
}

func cut(s string, n int) string {
	if len(s) > n {
		return strings.ToValidUTF8(s[:n], "")
	}
	return s
}

// told handles the server's answer to a watermark.
func (h *Hub) told(m *nats.Msg) {
	number, text, _ := strings.Cut(strings.TrimPrefix(m.Subject, h.inbox+"."), ".")
	id, err := chain.ParseID(text)
	if err != nil || m.Header.Get("Status") != "" || strings.Contains(string(m.Data), `"error"`) {
		return // stays untold
	}
	n, err := strconv.Atoi(number)
	if s := h.shard(n); err == nil && s != nil {
		s.mu.Lock()
		delete(s.untold, id)
		s.mu.Unlock()
	}
}

// announce tells every terminal where it stands: the bucket may be new, or of
// another ledger, or the terminal may have been let in by a restart.
func (s *shard) announce(ctx context.Context) error {
	var all []ledger.Chain
	err := s.h.ledger.View(ctx, func(tx ledger.Tx) error {
		return tx.Chains(func(c ledger.Chain) error {
			if c.Shard == s.n || len(s.h.shards) == 1 {
				all = append(all, c)
			}
			return nil
		})
	})
	if err != nil {
		return err
	}
	for _, c := range all {
		if s.h.mayTryAgain(&c) {
			if err := s.h.ledger.Update(ctx, func(tx ledger.Tx) error {
				now, ok, err := tx.Chain(c.Journal)
				if err != nil || !ok || !s.h.mayTryAgain(&now) {
					return err
				}
				now.Held = ""
				c = now
				return tx.PutChain(now)
			}); err != nil {
				return err
			}
		}
		s.tell(c)
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	return s.h.nc.FlushWithContext(ctx)
}

// mayTryAgain reports whether a start may judge otherwise than the parcel that
// holds c up: the store was allowed since, or a newer release reads more.
func (h *Hub) mayTryAgain(c *ledger.Chain) bool {
	switch cause, _, _ := strings.Cut(c.Held, ":"); cause {
	case CauseStore:
		return h.accepts(c.Store)
	case CauseCopy, CauseSignature:
		return true
	}
	return false
}

// repeat publishes again what was not acknowledged, and what a terminal is being
// asked for and has not sent.
func (s *shard) repeat(ctx context.Context) error {
	s.mu.Lock()
	ids := make([]chain.ID, 0, len(s.untold)+len(s.wanting))
	for id := range s.untold {
		ids = append(ids, id)
	}
	for id := range s.wanting {
		if !s.untold[id] {
			ids = append(ids, id)
		}
	}
	s.mu.Unlock()
	if len(ids) == 0 {
		return nil
	}
	var again []ledger.Chain
	err := s.h.ledger.View(ctx, func(tx ledger.Tx) error {
		again = again[:0]
		for _, id := range ids {
			c, ok, err := tx.Chain(id)
			if err != nil {
				return err
			}
			if ok {
				again = append(again, c)
			}
		}
		return nil
	})
	for _, c := range again {
		s.tell(c)
	}
	return err
}

// pulse says that the hub is alive and how far it has come.
func (s *shard) pulse() {
	p := wire.Pulse{Ledger: s.h.ledger.ID(), At: s.at.Load()}
	if err := s.h.nc.Publish(wire.PulseSubject(s.n), p.Append(nil)); err != nil {
		s.h.log.Debug("pulse not sent", "error", err)
	}
}
