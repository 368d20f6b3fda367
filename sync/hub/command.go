package hub

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	"posd/sync/ledger"
	"posd/sync/wire"
)

const (
	commandWait = 30 * time.Second
	commandMost = 5 * time.Minute
)

// CommandRequest orders one command.
type CommandRequest struct {
	Decider
	Store    string `json:"store"`
	Terminal string `json:"terminal"`
	Command  string `json:"command"`
	Argument string `json:"argument,omitempty"`
	Seconds  int64  `json:"seconds,omitempty"` // to wait for the answer, 0 = 30
}

// CommandAnswer is what became of it.
type CommandAnswer struct {
	Store    string `json:"store"`
	Terminal string `json:"terminal"`
	Serial   uint64 `json:"serial"`
	Command  string `json:"command"`
	State    string `json:"state"`
	Reason   string `json:"reason,omitempty"`
	Data     []byte `json:"data,omitempty"`
}

func (q *CommandRequest) checkAll() error {
	if err := q.check(); err != nil {
		return err
	}
	if _, err := wire.DevicePermissions(0, q.Store, q.Terminal); err != nil {
		return &badRequest{err.Error()}
	}
	switch q.Command {
	case wire.CommandStatus, wire.CommandSync, wire.CommandBundle, wire.CommandRotateKey:
		if q.Argument != "" {
			return &badRequest{"the command " + q.Command + " takes nothing more"}
		}
	case wire.CommandLogLevel:
		if len(q.Argument) > 64 {
			return &badRequest{"log-level: say a level and for how long, such as debug 30m"}
		}
	default:
		return &badRequest{fmt.Sprintf("there is no command %q: there are status, sync, bundle, log-level and rotate-key", q.Command)}
	}
	if q.Seconds < 0 || q.Seconds > int64(commandMost/time.Second) {
		return &badRequest{fmt.Sprintf("seconds: 1 to %d", int64(commandMost/time.Second))}
	}
	return nil
}

// commandHandler answers POST /v1/orders/command.
func (h *Hub) commandHandler(w http.ResponseWriter, r *http.Request) error {
	var q CommandRequest
	if err := readBody(r, &q); err != nil {
		return err
	}
	if err := q.checkAll(); err != nil {
		return err
	}
	wait := commandWait
	if q.Seconds > 0 {
		wait = time.Duration(q.Seconds) * time.Second
	}
	ctx, cancel := context.WithTimeout(r.Context(), wait)
	defer cancel()
	name := q.Store + "." + q.Terminal
	answers, done := h.orders.wait(name)
	if done == nil {
		return refuseRequest(http.StatusConflict, "another command to %s is under way: wait for its answer", name)
	}
	defer done()
	var a wire.Answer
	var err error
	if q.Command == wire.CommandRotateKey {
		a, err = h.rotateKey(ctx, &q, answers)
	} else {
		a, err = h.command(ctx, &q, []byte(q.Argument), answers)
	}
	if err != nil {
		return err
	}
	return reply(w, CommandAnswer{q.Store, q.Terminal, a.Serial, q.Command, a.State, a.Reason, a.Data})
}

// command sends one command, again and again until it is answered or ctx ends: a
// terminal that comes back in between gets it too, once. After that it is worth
// nothing any more, also for who kept its bytes.
func (h *Hub) command(ctx context.Context, q *CommandRequest, body []byte, answers <-chan wire.Answer) (a wire.Answer, err error) {
	key, err := h.office(ctx)
	if err != nil {
		return a, err
	}
	o := wire.Order{Store: q.Store, Terminal: q.Terminal, Kind: q.Command, Body: body}
	if until, ok := ctx.Deadline(); ok {
		o.Expires = until.Unix() + 1
	}
	var raw []byte
	err = h.ledger.Update(ctx, func(tx ledger.Tx) error {
		if raw, err = h.order(tx, key, &o, q.Decider); err != nil {
			return err
		}
		return audit(tx, AuditEntry{At: h.opt.now(), Decider: q.Decider, What: "command " + q.Command, On: q.Store + "." + q.Terminal},
			map[string]any{"serial": o.Serial, "argument": q.Argument})
	})
	if err != nil {
		return a, err
	}
	tick := time.NewTicker(repeatEvery)
	defer tick.Stop()
	for {
		if err := h.nc.Publish(wire.CommandSubject(q.Store, q.Terminal, q.Command), raw); err != nil {
			h.log.Debug("a command was not sent, will be tried again", "error", err)
		}
		select {
		case a := <-answers:
			if a.Serial == o.Serial || a.Serial == 0 && a.Kind == "" {
				return a, nil
			}
		case <-tick.C:
		case <-ctx.Done():
			a := wire.Answer{Store: q.Store, Terminal: q.Terminal, Serial: o.Serial, Kind: q.Command, State: StateExpired,
				Reason: "no answer in time: it is offline, or its release knows no commands"}
			err := h.noteAnswer(context.WithoutCancel(ctx), &a)
			return a, err
		}
	}
}

// rotateKey gives a terminal another user key: it makes one, this hub signs a JWT for
// it, the terminal tries it and then uses it; only when the terminal says so all others
// are revoked. Whatever else it says, it may be using either: both stay good, until a
// rotation that ends well.
func (h *Hub) rotateKey(ctx context.Context, q *CommandRequest, answers <-chan wire.Answer) (a wire.Answer, err error) {
	if h.keys == nil {
		return a, &badRequest{errNoKeys.Error()}
	}
	name := q.Store + "." + q.Terminal
	a, err = h.command(ctx, q, nil, answers)
	if err != nil || a.State != wire.StateDone {
		return a, err
	}
	k, err := wire.ParseNewKey(a.Data)
	if err != nil {
		return a, refuseRequest(http.StatusBadGateway, "%s: %v", name, err)
	}
	proven, err := h.proven(ctx, &a, &k)
	if err != nil {
		return a, err
	}
	var former []string
	d, err := h.changeDevice(ctx, q.Store, q.Terminal, func(_ ledger.Tx, d *device) error {
		former = former[:0]
		for key := range d.Keys {
			former = append(former, key)
		}
		slices.Sort(former)
		if len(former) == 0 {
			return refuseRequest(http.StatusConflict, "%s has no key that this hub has let in: enrol it", name)
		}
		return d.letIn(k.Public, h.opt.now().UTC())
	})
	if err != nil {
		return a, err
	}
	token, err := h.keys.DeviceUser(d.trust(), k.Public, 0)
	if err != nil {
		return a, err
	}
	a, err = h.command(ctx, q, []byte(token), answers)
	if err != nil {
		return a, err
	}
	shut := former
	if a.State != wire.StateDone {
		a.Reason = "the new key and the old one are both good now, order it again: " + a.Reason
		if shut = nil; h.opt.bug == bugShutsNew && a.State != StateExpired {
			shut = []string{k.Public}
		}
	}
	_, err = h.changeDevice(context.WithoutCancel(ctx), q.Store, q.Terminal, func(tx ledger.Tx, d *device) error {
		now := h.opt.now().UTC()
		for _, key := range shut {
			d.shutOut(key, now)
		}
		return audit(tx, AuditEntry{At: now, Decider: q.Decider, What: "rotate-key", On: name},
			map[string]any{"new": k.Public, "shut_out": shut, "state": a.State, "signed_by_journal_key": proven})
	})
	return a, err
}

// proven verifies that the key of the terminal's journal has signed for a new key. The
// journal into which it sent records last counts: an import of a dead board's journal makes
// that one no newer, it counts only where there is no other. Without a key in its birth record, the
// terminal's account alone speaks for it.
func (h *Hub) proven(ctx context.Context, a *wire.Answer, k *wire.NewKey) (bool, error) {
	var newest ledger.Chain
	err := h.ledger.View(ctx, func(tx ledger.Tx) error {
		return tx.Chains(func(c ledger.Chain) error {
			if c.Store == a.Store && c.Terminal == a.Terminal && (c.Imported == newest.Imported && c.Updated.After(newest.Updated) ||
				c.Imported != newest.Imported && (newest.Imported || newest.Updated.IsZero())) {
				newest = c
			}
			return nil
		})
	})
	switch {
	case err != nil || len(newest.PublicKey) == 0:
		return false, err
	case !k.Verify(a.Store, a.Terminal, a.Serial, newest.PublicKey):
		return false, refuseRequest(http.StatusConflict, "%s.%s: the new key is not signed by the key of its journal: somebody else may be using its credentials; nothing was changed", a.Store, a.Terminal)
	}
	return true, nil
}
