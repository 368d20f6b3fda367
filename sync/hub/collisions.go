package hub

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"time"

	"posd/sync/ledger"
)

// kindSettled has a document for each receipt number that several sales have and that a
// person has seen to. Another sale with the number takes it away.
const kindSettled = "collision-settled"

func settledKey(r *ledger.Receipt) string {
	return r.Store + "/" + r.Terminal + "/" + url.PathEscape(r.Number)
}

// Collision is an event whose receipt number another event has too.
type Collision struct {
	ledger.Receipt
	Noticed time.Time `json:"noticed"`
	Settled *Settled  `json:"settled,omitempty"`
}

// Settled says that somebody has seen to a receipt number.
type Settled struct {
	Decider
	At time.Time `json:"at"`
}

func readSettled(tx ledger.Tx, r *ledger.Receipt) (*Settled, error) {
	v, ok, err := tx.Doc(kindSettled, settledKey(r))
	if err != nil || !ok {
		return nil, err
	}
	s := new(Settled)
	return s, json.Unmarshal(v, s)
}

// unsettle: what was settled for some sales is not for one more. The number is locked, as
// settle does it: who settles on another hub has either seen these rows, or is done, and
// then it is undone here.
func (g *judge) unsettle(tx ledger.Tx, rows []ledger.Receipt) error {
	keys := make([]string, len(rows))
	for i := range rows {
		keys[i] = settledKey(&rows[i])
	}
	slices.Sort(keys) // two hubs lock in one order
	for _, key := range slices.Compact(keys) {
		if g.bug != bugNoNumberLock {
			if _, _, err := tx.Doc(kindSettled, key); err != nil {
				return err
			}
		}
		if err := tx.DeleteDoc(kindSettled, key); err != nil {
			return err
		}
	}
	return nil
}

// openCollisions counts the receipt numbers that nobody has seen to.
func openCollisions(tx ledger.Tx) (uint64, error) {
	n, err := tx.CollisionCount()
	if err == nil && n > 0 {
		err = tx.Docs(kindSettled, "", func(string, []byte) (bool, error) { n--; return n > 0, nil })
	}
	return n, err
}

// collisions streams one JSON line for each event whose receipt number another
// event has too; those of one number follow each other. With open=true only of numbers
// that nobody has seen to.
func (h *Hub) collisions(w http.ResponseWriter, r *http.Request) error {
	var after ledger.Receipt
	open := r.URL.Query().Get("open") == "true"
	return h.stream(w, r, func(buf []byte) (_ []byte, more bool, err error) {
		seen := 0
		err = h.ledger.View(r.Context(), func(tx ledger.Tx) error {
			return tx.Collisions(after, func(r ledger.Receipt, noticed time.Time) (bool, error) {
				if more = seen == pageEvents; more {
					return false, nil
				}
				after = r
				seen++
				s, err := readSettled(tx, &r)
				if err != nil || open && s != nil {
					return true, err
				}
				line, err := json.Marshal(Collision{r, noticed, s})
				buf = append(append(buf, line...), '\n')
				return true, err
			})
		})
		return buf, more, err
	})
}

// settleRequest is what a person says of a receipt number.
type settleRequest struct {
	Store    string `json:"store"`
	Terminal string `json:"terminal"`
	Receipt  string `json:"receipt"`
	Decider
}

// settleCollision notes that somebody has seen to a receipt number. Nothing of the sales
// changes. Again it is the same answer.
func (h *Hub) settleCollision(w http.ResponseWriter, r *http.Request) error {
	var in settleRequest
	if err := readJSON(w, r, &in); err != nil {
		return err
	}
	if err := in.check(); err != nil {
		return err
	}
	s, err := h.settle(r.Context(), in)
	if err != nil {
		return err
	}
	return reply(w, s)
}

func (h *Hub) settle(ctx context.Context, in settleRequest) (s *Settled, err error) {
	ctx, cancel := context.WithTimeout(ctx, commitTime)
	defer cancel()
	at := h.opt.now()
	number := ledger.Receipt{Store: in.Store, Terminal: in.Terminal, Number: in.Receipt}
	err = h.ledger.Update(ctx, func(tx ledger.Tx) (err error) {
		if s, err = readSettled(tx, &number); s != nil || err != nil {
			return err
		}
		var sales []ledger.Name
		if err := tx.Collisions(number, func(r ledger.Receipt, _ time.Time) (bool, error) {
			if r.Store != in.Store || r.Terminal != in.Terminal || r.Number != in.Receipt {
				return false, nil
			}
			sales = append(sales, r.Event)
			return len(sales) < 100, nil
		}); err != nil {
			return err
		}
		if len(sales) == 0 {
			return refuseRequest(http.StatusNotFound, "no two sales have receipt number %.100s of terminal %.100s, store %.100s", in.Receipt, in.Terminal, in.Store)
		}
		s = &Settled{in.Decider, at}
		return errors.Join(putDoc(tx, kindSettled, settledKey(&number), s),
			audit(tx, AuditEntry{At: at, Decider: in.Decider, What: "collision settled", On: settledKey(&number)}, struct {
				Sales []ledger.Name `json:"sales"`
			}{sales}))
	})
	return s, err
}
