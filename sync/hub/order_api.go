package hub

import (
	"encoding/json"
	"fmt"
	"net/http"

	"posd/pos/config"
	"posd/sync/ledger"
	"posd/sync/wire"
)

// maxPushBody is enough for a configuration in JSON, whatever has to be escaped.
const maxPushBody = 8 * wire.MaxOrderBody

// PushRequest pushes a configuration: to one terminal, to all known ones of a store, or
// with All to all.
type PushRequest struct {
	Decider
	Store    string `json:"store,omitempty"`
	Terminal string `json:"terminal,omitempty"`
	All      bool   `json:"all,omitempty"`
	Text     string `json:"text"` // like posd.toml, of the keys that head office may decide
}

// PushAnswer says what was pushed, and to whom.
type PushAnswer struct {
	Keys      []config.Override `json:"keys"`
	Terminals []string          `json:"terminals"` // "<store>.<terminal>"
}

// pushHandler answers POST /v1/orders/push.
func (h *Hub) pushHandler(w http.ResponseWriter, r *http.Request) error {
	var q PushRequest
	if err := readBodyOf(r, maxPushBody, &q); err != nil {
		return err
	}
	if err := q.check(); err != nil {
		return err
	}
	if len(q.Text) > wire.MaxOrderBody {
		return &badRequest{fmt.Sprintf("the configuration has %d bytes, at most %d", len(q.Text), wire.MaxOrderBody)}
	}
	over, err := config.Overrides("push", []byte(q.Text))
	if err != nil {
		return &badRequest{err.Error()}
	}
	to, names, err := h.addressed(q.Store, q.Terminal, q.All)
	if err != nil {
		return err
	}
	if err := h.push(r.Context(), names, []byte(q.Text), to, q.Decider); err != nil {
		return err
	}
	return reply(w, PushAnswer{over, names})
}

// ordersHandler answers GET /v1/orders: JSON lines, one for each terminal that was
// ever ordered anything, by name.
func (h *Hub) ordersHandler(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	store, terminal, after := q.Get("store"), q.Get("terminal"), ""
	if terminal != "" && store == "" {
		return &badRequest{"terminal goes with store"}
	}
	return h.stream(w, r, func(buf []byte) (_ []byte, more bool, err error) {
		seen := 0
		err = h.ledger.View(r.Context(), func(tx ledger.Tx) error {
			return tx.Docs(kindOrders, after, func(name string, v []byte) (bool, error) {
				if more = seen == pageEvents; more {
					return false, nil
				}
				seen, after = seen+1, name
				var o Orders
				if err := json.Unmarshal(v, &o); err != nil {
					return false, fmt.Errorf("orders of %s in the ledger: %w", name, err)
				}
				if (store == "" || o.Store == store) && (terminal == "" || o.Terminal == terminal) {
					buf = append(append(buf, v...), '\n')
				}
				return true, nil
			})
		})
		return buf, more, err
	})
}

// pushedText answers GET /v1/order/{store}/{terminal}: what was pushed last.
func (h *Hub) pushedText(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("store") + "." + r.PathValue("terminal")
	key, err := h.office(r.Context())
	if err != nil {
		return err
	}
	var raw []byte
	err = h.ledger.View(r.Context(), func(tx ledger.Tx) error {
		b, _, err := tx.Doc(kindConfig, name)
		raw = append(raw[:0], b...)
		return err
	})
	if err != nil {
		return err
	}
	if len(raw) == 0 {
		return refuseRequest(http.StatusNotFound, "nothing was ever pushed to %s", name)
	}
	o, err := wire.OpenOrder(raw, publicOf(key))
	if err != nil {
		return err
	}
	return reply(w, map[string]any{"serial": o.Serial, "text": string(o.Body)})
}
