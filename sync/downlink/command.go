package downlink

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"

	"posd/pos/config"
	"posd/pos/event"
	"posd/sync/wire"
)

// ErrRefused, wrapped by a command's error, says that nothing was done.
var ErrRefused = errors.New("refused")

// A Command carries an order out. ctx ends with the connection. detail says what was
// done, in a line for the journal; data is for head office alone.
type Command func(ctx context.Context, nc *nats.Conn, o *wire.Order) (detail string, data []byte, err error)

// commandState is the newest command that was decided upon. It is kept before the
// command is carried out, as StateUnknown: after a kill it is told as that, and never
// carried out twice.
type commandState struct {
	_ [0]func() // not compared: see docs/maintain.md on the size

	Serial uint64 `json:"serial"`
	Digest string `json:"digest"` // SHA-256 of its bytes
	Kind   string `json:"kind"`
	State  string `json:"state"`
	Reason string `json:"reason,omitempty"`
	Told   bool   `json:"told"` // the event stands in the journal
}

// Commands carries out what head office orders over one connection, one command
// after the other, until ctx ends.
func (d *Downlink) Commands(ctx context.Context, nc *nats.Conn) error {
	all := wire.CommandSubject(d.opt.Store, d.opt.Terminal, "")
	sub, err := nc.SubscribeSync(all + ">")
	if err != nil {
		return fmt.Errorf("listen to commands: %w", err)
	}
	if err := sub.SetPendingLimits(8, 256<<10); err != nil {
		return err
	}
	d.opt.listens()
	for {
		m, err := sub.NextMsgWithContext(ctx)
		switch {
		case err == nil:
			a := d.obey(ctx, nc, strings.TrimPrefix(m.Subject, all), m.Data)
			d.answer(nc, a)
		case ctx.Err() != nil || errors.Is(err, nats.ErrConnectionClosed):
			return nil
		case errors.Is(err, nats.ErrSlowConsumer): // head office repeats what is not answered
		default:
			return fmt.Errorf("listen to commands: %w", err)
		}
	}
}

// obey decides about one command and carries it out.
func (d *Downlink) obey(ctx context.Context, nc *nats.Conn, kind string, raw []byte) wire.Answer {
	// What was begun is written down whatever the link does.
	keep, cancel := context.WithTimeout(context.WithoutCancel(ctx), takeTime)
	defer cancel()
	sum := wire.Digest(raw)
	digest := hex.EncodeToString(sum[:])
	d.mu.Lock()
	defer d.mu.Unlock()
	o, err := d.open(raw, func(o *wire.Order) error {
		if o.Kind != kind || kind == wire.KindConfig {
			return fmt.Errorf("%q came as the command %s", o.Kind, wire.Short(kind, 32))
		}
		return nil
	})
	if err != nil {
		return d.strangeCommand(keep, digest, &wire.Order{}, err.Error())
	}
	if c := d.st.Command; c != nil && d.opt.bug != bugNoSerial {
		switch {
		case o.Serial == c.Serial && digest == c.Digest: // its answer was lost
			d.tellCommand(keep)
			return wire.Answer{Serial: c.Serial, Kind: c.Kind, State: c.State, Reason: c.Reason}
		case o.Serial <= c.Serial:
			return d.strangeCommand(keep, digest, &o, tooOld(o.Serial, c.Serial))
		}
	}
	run, known := d.parts.Commands[o.Kind]
	c := &commandState{Serial: o.Serial, Digest: digest, Kind: o.Kind, State: wire.StateUnknown}
	now, sure := d.parts.now(d)
	switch {
	case !known:
		c.State, c.Reason = wire.StateRefused, "this release knows no command "+o.Kind
	case o.Expires != 0 && sure && now.Unix() > o.Expires && d.opt.bug != bugNoExpiry:
		c.State, c.Reason = wire.StateRefused, fmt.Sprintf("it came too late: it was good until %s", utc(o.Expires))
	}
	former := d.st.Command
	if d.st.Command = c; !d.save() {
		d.st.Command = former
		return wire.Answer{Serial: o.Serial, Kind: o.Kind, State: wire.StateRefused, Reason: "it cannot be written down: the disk takes no writes"}
	}
	var data []byte
	if c.State == wire.StateUnknown {
		data = d.carryOut(ctx, nc, run, &o, c)
		d.save() // else it stays unknown, which is true of the disk
	}
	d.tellCommand(keep)
	return wire.Answer{Serial: c.Serial, Kind: c.Kind, State: c.State, Reason: c.Reason, Data: data}
}

// carryOut runs a command, without holding up who asks for the status. No other
// command can come: Commands takes one at a time.
func (d *Downlink) carryOut(ctx context.Context, nc *nats.Conn, run Command, o *wire.Order, c *commandState) []byte {
	d.mu.Unlock()
	detail, data, err := run(ctx, nc, o)
	d.mu.Lock()
	if err == nil && len(data) > wire.MaxAnswerData {
		data, err = nil, fmt.Errorf("its answer has %d bytes, at most %d can be sent", len(data), wire.MaxAnswerData)
	}
	switch {
	case err == nil:
		c.State, c.Reason = wire.StateDone, detail
	case errors.Is(err, ErrRefused):
		c.State, c.Reason = wire.StateRefused, config.Reason(err, wire.MaxReason/2)
	default:
		c.State, c.Reason = wire.StateFailed, config.Reason(err, wire.MaxReason/2)
	}
	return data
}

// tellCommand journals what became of the newest command, if that was not done yet.
func (d *Downlink) tellCommand(ctx context.Context) {
	c := d.st.Command
	if c == nil || c.Told || d.parts.Note == nil {
		return
	}
	var e Event = &event.CommandExecuted{Serial: c.Serial, Command: c.Kind, Outcome: c.State, Detail: c.Reason}
	if c.State == wire.StateRefused {
		e = &event.CommandRefused{Serial: c.Serial, Command: c.Kind, Reason: c.Reason}
	}
	d.log.Info("head office's command", "serial", c.Serial, "command", c.Kind, "outcome", c.State, "detail", c.Reason)
	if err := d.parts.Note(ctx, e); err != nil {
		d.log.Warn("what became of head office's command is not journaled yet", "error", err)
		return
	}
	c.Told = true
	d.save()
}

// strangeCommand refuses what is not head office's, or old.
func (d *Downlink) strangeCommand(ctx context.Context, digest string, o *wire.Order, why string) wire.Answer {
	d.strange(ctx, digest, why, &event.CommandRefused{Serial: o.Serial, Command: o.Kind, Reason: why})
	return wire.Answer{Serial: o.Serial, Kind: o.Kind, State: wire.StateRefused, Reason: why}
}
