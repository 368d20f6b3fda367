package hub

import (
	"strings"

	"github.com/nats-io/nats.go"

	"posd/journal/chain"
	"posd/sync/wire"
)

// tell publishes the watermark of a chain. It stays noted as untold until the
// server has acknowledged it.
func (h *Hub) tell(c Chain) {
	h.mu.Lock()
	h.untold[c.Journal] = true
	if c.Want != 0 {
		h.wanting[c.Journal] = true
	} else {
		delete(h.wanting, c.Journal)
	}
	h.mu.Unlock()
	w := wire.Watermark{Ledger: h.ledger.ID(), Journal: c.Journal, Seq: c.Last, Head: c.Head,
		At: h.at.Load(), Want: c.Want, Held: cut(c.Held, 1024)}
	err := h.nc.PublishMsg(&nats.Msg{
		Subject: wire.BucketPrefix + wire.WatermarkKey(c.Store, c.Terminal, c.Journal),
		Reply:   h.inbox + "." + c.Journal.String(),
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
	id, err := chain.ParseID(strings.TrimPrefix(m.Subject, h.inbox+"."))
	if err != nil || m.Header.Get("Status") != "" || strings.Contains(string(m.Data), `"error"`) {
		return // stays untold
	}
	h.mu.Lock()
	delete(h.untold, id)
	h.mu.Unlock()
}

// announce tells every terminal where it stands: the bucket may be new, or of
// another ledger, or the terminal may have been let in by a restart.
func (h *Hub) announce() error {
	var all []Chain
	err := h.ledger.View(func(tx Tx) error {
		return tx.Chains(func(c Chain) error { all = append(all, c); return nil })
	})
	if err != nil {
		return err
	}
	for _, c := range all {
		if h.mayTryAgain(&c) {
			c.Held = ""
			if err := h.ledger.Update(func(tx Tx) error { return tx.PutChain(c) }); err != nil {
				return err
			}
		}
		h.tell(c)
	}
	return h.nc.Flush()
}

// mayTryAgain reports whether a start may judge otherwise than the parcel that
// holds c up: the store was allowed since, or a newer release reads more.
func (h *Hub) mayTryAgain(c *Chain) bool {
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
func (h *Hub) repeat() error {
	h.mu.Lock()
	ids := make([]chain.ID, 0, len(h.untold)+len(h.wanting))
	for id := range h.untold {
		ids = append(ids, id)
	}
	for id := range h.wanting {
		if !h.untold[id] {
			ids = append(ids, id)
		}
	}
	h.mu.Unlock()
	var again []Chain
	err := h.ledger.View(func(tx Tx) error {
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
		h.tell(c)
	}
	return err
}

// pulse says that the hub is alive and how far it has come.
func (h *Hub) pulse() {
	p := wire.Pulse{Ledger: h.ledger.ID(), At: h.at.Load()}
	if err := h.nc.Publish(wire.PulseSubject(h.opt.Shard), p.Append(nil)); err != nil {
		h.log.Debug("pulse not sent", "error", err)
	}
}
