package hub

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"posd/sync/ledger"
)

// A terminal that was scrapped would stay offline for ever, and hide the one that is
// offline since this morning. Retired, it is in no list, no sum and no alarm unless it is
// asked for; its journals and events stay. If it is heard again it was not dead, and is
// shown again: nobody has to remember to undo this.

// StateRetired is the state of a terminal that somebody has put out of service.
const StateRetired = "retired"

const kindRetired = "retired"

type retiredDoc struct {
	At time.Time `json:"at"`
	Decider
}

// retire answers POST /v1/fleet/{store}/{terminal}/retire.
func (h *Hub) retire(w http.ResponseWriter, r *http.Request) error {
	var q Decider
	if err := readBody(r, &q); err != nil {
		return err
	}
	if err := q.check(); err != nil {
		return err
	}
	f, name := h.fleet, r.PathValue("store")+"."+r.PathValue("terminal")
	f.mu.Lock()
	m := f.members[name]
	online, waiting := m != nil && m.online, uint64(0)
	if m != nil {
		waiting = m.unsettled()
	}
	f.mu.Unlock()
	switch {
	case m == nil:
		problem(w, http.StatusNotFound, "no terminal of that name is known")
		return nil
	case online:
		return &badRequest{"it is online: stop it first, or shut it out with poshub enrol revoke"}
	}
	now := h.opt.now().UTC()
	b, err := json.Marshal(retiredDoc{now, q})
	if err != nil {
		return err
	}
	details := struct {
		Waiting uint64 `json:"unsettled_records"` // by its own last word
	}{waiting}
	err = h.ledger.Update(r.Context(), func(tx ledger.Tx) error {
		if err := tx.PutDoc(kindRetired, name, b); err != nil {
			return err
		}
		return audit(tx, AuditEntry{At: now, Decider: q, What: "fleet retire", On: name}, details)
	})
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	m.retired = milli(now)
	f.judge(m, milli(f.now()))
	return reply(w, f.show(m, milli(f.now())))
}

// loadRetired takes over who was retired, here or at another hub.
func (f *fleet) loadRetired(ctx context.Context) error {
	found := map[string]int64{}
	err := f.view(ctx, func(tx ledger.Tx) error {
		clear(found)
		return tx.Docs(kindRetired, "", func(key string, value []byte) (bool, error) {
			var d retiredDoc
			if err := json.Unmarshal(value, &d); err != nil {
				return false, fmt.Errorf("document of retired terminal %s: %w", key, err)
			}
			found[key] = milli(d.At)
			return true, nil
		})
	})
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for key, at := range found {
		if m := f.member(key); m != nil {
			m.retired = at
		}
	}
	return nil
}

// isRetired: nothing was heard of it since it was retired.
func (m *member) isRetired() bool { return m.retired != 0 && m.seen <= m.retired }
