package hub

import (
	"context"
	"errors"
	"net/http"
	"time"

	"posd/sync/ledger"
	"posd/sync/outbox"
)

// OutboxReply says how publishing events stands.
type OutboxReply struct {
	outbox.State                     // of this process
	Replay       *outbox.ReplayState `json:"replay,omitempty"` // the last one ordered
}

func (h *Hub) outboxState(w http.ResponseWriter, r *http.Request) error {
	out := OutboxReply{State: h.outbox.State()}
	if err := h.ledger.View(r.Context(), func(tx ledger.Tx) (err error) {
		out.Replay, err = outbox.ReadReplay(tx)
		return err
	}); err != nil {
		return err
	}
	return reply(w, out)
}

// replayEvents orders that what the stream of events does not hold is published again.
func (h *Hub) replayEvents(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		From string `json:"from"` // a time, or "start"
		Decider
	}
	if err := readJSON(w, r, &in); err != nil {
		return err
	}
	if err := in.check(); err != nil {
		return err
	}
	var from time.Time
	if in.From != "start" {
		var err error
		if from, err = time.Parse(time.RFC3339Nano, in.From); err != nil {
			return &badRequest{`from: give a time such as 2026-11-21T00:00:00Z, or "start"`}
		}
	}
	ctx, cancel := context.WithTimeout(r.Context(), commitTime)
	defer cancel()
	at := h.opt.now()
	err := h.ledger.Update(ctx, func(tx ledger.Tx) error {
		return errors.Join(outbox.Replay(tx, from, at),
			audit(tx, AuditEntry{At: at, Decider: in.Decider, What: "outbox replay", On: "from " + in.From}, struct{}{}))
	})
	switch {
	case errors.Is(err, outbox.ErrReplaying):
		return refuseRequest(http.StatusConflict, "a replay is going on: see poshub outbox status")
	case err != nil:
		return err
	}
	h.outbox.Wake()
	return h.outboxState(w, r)
}
