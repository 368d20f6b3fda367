package hub

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"posd/sync/ledger"
	"posd/sync/returns"
	"posd/sync/wire"
)

// returnsEvery is how often sales that were not there are looked for, unless a test says
// otherwise; each one is looked for less often, the longer it is missing.
const returnsEvery = time.Minute

// keepReturns compares what comes back with what was sold, until ctx ends. Whatever fails
// is tried again.
func (h *Hub) keepReturns(ctx context.Context) error {
	j := returns.Judge{Ledger: h.ledger, Now: h.opt.now, Till: tillSince, Times: returns.DefaultTimes}
	if h.opt.returns != nil {
		j.Times = *h.opt.returns
	}
	tick := time.NewTicker(h.opt.Pulse)
	defer tick.Stop()
	var next time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		look := !time.Now().Before(next)
		switch err := h.judgeReturns(ctx, &j, look); {
		case err != nil && ctx.Err() == nil:
			h.log.Warn("what came back was not compared with what was sold, will be tried again", "error", err)
		case err == nil && look && h.opt.returns == nil:
			next = time.Now().Add(returnsEvery)
		}
	}
}

// judgeReturns works on what there is to do, unless another hub does.
func (h *Hub) judgeReturns(ctx context.Context, j *returns.Judge, look bool) error {
	claim, ok, err := h.ledger.Claim(ctx, "returns")
	if err != nil || !ok {
		return err
	}
	defer claim.Release()
	if err := h.untilDone(ctx, claim, j.Judge); err != nil || !look {
		return err
	}
	return h.untilDone(ctx, claim, j.Again)
}

func (h *Hub) untilDone(ctx context.Context, claim ledger.Claim, step func(context.Context) (returns.Tally, error)) error {
	for {
		one, cancel := context.WithTimeout(ctx, commitTime)
		t, err := step(one)
		cancel()
		if err != nil {
			return err
		}
		h.countReturns(&t)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-claim.Lost():
			return nil
		default:
		}
		if !t.More {
			return nil
		}
	}
}

func (h *Hub) countReturns(t *returns.Tally) {
	h.m.returned.Add(t.Events)
	h.m.blind.Add(t.Blind)
	h.m.unreadable.Add(t.Unreadable)
	if t.Unreadable > 0 {
		h.log.Error("sales that gave goods back cannot be read, and were compared with nothing", "sales", t.Unreadable)
	}
	if n := len(t.Over); n > 0 {
		h.log.Error("more came back of receipts than was sold on them: see poshub returns list", "receipts", n, "first", t.Over[0])
	}
	if n := len(t.Unknown); n > 0 {
		h.log.Warn("goods came back of receipts that are not in the ledger: see poshub returns list", "receipts", n, "first", t.Unknown[0])
	}
}

// tillSince is what is known of a till: whether it was ever heard, and whether it was
// after a time, and all that its journal held then is in the ledger.
func tillSince(tx ledger.Tx, store, terminal string, since time.Time) (t returns.Till, err error) {
	name := store + "." + terminal
	if _, t.Known, err = tx.Doc(docDevice, name); err != nil {
		return t, err
	}
	v, ok, err := tx.Doc(kindTerminal, name)
	if err != nil || !ok {
		return t, err
	}
	t.Known = true
	var d terminalDoc
	if json.Unmarshal(v, &d) != nil || len(d.Beat) == 0 || !time.UnixMilli(d.Seen).After(since) {
		return t, nil // as good as not heard
	}
	b, err := wire.ParseHeartbeat(d.Beat)
	if err != nil {
		return t, nil
	}
	c, ok, err := tx.Chain(b.Journal)
	t.Caught = ok && c.Last >= b.Floor
	return t, err
}

// noteReturns notes which of the events that took effect give goods back, and which
// receipts another sale has, too.
func (g *judge) noteReturns(tx ledger.Tx) error {
	for i := range g.returns {
		r := &g.returns[i]
		if err := returns.Put(tx, r.Event, r.Store, r.Terminal); err != nil {
			return err
		}
	}
	return returns.Look(tx, g.tally.collisions)
}

func (h *Hub) returnCounts() (c returns.Counts, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	err = h.ledger.View(ctx, func(tx ledger.Tx) (err error) { c, err = returns.Count(tx); return err })
	return c, err
}

// writeReturns writes the metrics of what came back; none while the ledger does not answer.
func (h *Hub) writeReturns(w io.Writer) {
	if c, err := h.returnCounts(); err == nil {
		metrics.WriteGaugeUint64(w, `poshub_returns_open{state="over"}`, c.Over)
		metrics.WriteGaugeUint64(w, `poshub_returns_open{state="unknown"}`, c.Unknown)
		metrics.WriteGaugeUint64(w, `poshub_returns_waiting`, c.Waiting)
		metrics.WriteGaugeUint64(w, `poshub_returns_unjudged`, c.Noted)
	}
}

// returnsList streams one JSON line for each receipt of which something came back: with
// open=true only those that somebody should see to, with state only those in that state.
func (h *Hub) returnsList(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	for name := range q {
		if name != "open" && name != "state" && name != "store" {
			return &badRequest{"unknown parameter " + name + ": there are open, state and store"}
		}
	}
	open, state, store, after := q.Get("open") == "true", q.Get("state"), q.Get("store"), ""
	switch state {
	case "", returns.Fine, returns.Over, returns.Waiting, returns.Unknown:
	default:
		return &badRequest{"state is one of fine, over, waiting and unknown"}
	}
	return h.stream(w, r, func(buf []byte) (_ []byte, more bool, err error) {
		seen := 0
		err = h.ledger.View(r.Context(), func(tx ledger.Tx) error {
			return returns.List(tx, open, after, func(key string, x *returns.Receipt) (bool, error) {
				if more = seen == pageEvents || len(buf) >= pageBytes; more {
					return false, nil
				}
				after = key
				seen++
				if state != "" && x.State != state || store != "" && x.Store != store {
					return true, nil
				}
				line, err := json.Marshal(x)
				buf = append(append(buf, line...), '\n')
				return true, err
			})
		})
		return buf, more, err
	})
}

// blindReturns streams one JSON line for each sale that gave goods back without a receipt,
// the oldest first; after is the "at" of one that was seen.
func (h *Hub) blindReturns(w http.ResponseWriter, r *http.Request) error {
	after := ""
	if s := r.URL.Query().Get("after"); s != "" {
		at, err := time.Parse(time.RFC3339Nano, s)
		if err != nil {
			return &badRequest{"after: give a time such as 2026-11-21T09:30:00Z"}
		}
		after = auditKey(at, "~")
	}
	return h.stream(w, r, func(buf []byte) (_ []byte, more bool, err error) {
		seen := 0
		err = h.ledger.View(r.Context(), func(tx ledger.Tx) error {
			return returns.Blinds(tx, after, func(key string, v []byte) (bool, error) {
				if more = seen == pageEvents || len(buf) >= pageBytes; more {
					return false, nil
				}
				buf = append(append(buf, v...), '\n')
				after = key
				seen++
				return true, nil
			})
		})
		return buf, more, err
	})
}

// settleReturn notes that somebody has seen to a receipt. Nothing of the sales changes.
// Again it is the same answer.
func (h *Hub) settleReturn(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		Store   string `json:"store"`
		Receipt string `json:"receipt"`
		Decider
	}
	if err := readJSON(w, r, &in); err != nil {
		return err
	}
	if err := in.check(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), commitTime)
	defer cancel()
	at := h.opt.now()
	var s *returns.Settled
	err := h.ledger.Update(ctx, func(tx ledger.Tx) error {
		x, before, err := returns.Settle(tx, in.Store, in.Receipt, returns.Settled{By: in.By, Why: in.Why, At: at})
		s = x.Settled
		if err != nil || before {
			return err
		}
		return audit(tx, AuditEntry{At: at, Decider: in.Decider, What: "return settled", On: x.Store + "/" + x.Number}, struct {
			State    string             `json:"state"`
			Why      string             `json:"why"`
			Returns  int                `json:"returns"`
			Sales    []ledger.Name      `json:"sales"`
			Compared []returns.Compared `json:"compared"`
		}{x.State, x.Why, x.Count, x.Sales, x.Compared})
	})
	switch {
	case errors.Is(err, returns.ErrNoReturn):
		return refuseRequest(http.StatusNotFound, "nothing has come back of receipt %.100s of store %.100s", in.Receipt, in.Store)
	case errors.Is(err, returns.ErrFine):
		return refuseRequest(http.StatusConflict, "receipt %.100s of store %.100s: %v", in.Receipt, in.Store, err)
	case err != nil:
		return err
	}
	return reply(w, s)
}
