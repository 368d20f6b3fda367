package main

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"posd/pos/config"
	"posd/pos/event"
	"posd/pos/operator"
	"posd/pos/register"
	"posd/sync/downlink"
	"posd/sync/wire"
)

const (
	lasting = 20 * time.Second       // a start that was ready for so long has lasted
	busy    = 100 * time.Millisecond // before a full queue is tried again
)

// openDownlink finds what head office has configured, before anything else is opened.
func openDownlink(c *config.Config, log *slog.Logger) *downlink.Downlink {
	shard := c.Hub.Shard
	if o := enrolledOffice(c, log); o != nil && c.Hub.Credentials == "" && c.Hub.TokenFile == "" {
		shard = o.Shard
	}
	return downlink.New(downlink.Options{
		Store: c.Terminal.Store, Terminal: c.Terminal.ID, Shard: shard, Key: officeKey(c, log), File: c,
		StatePath: downlink.StatePath(c), Log: log,
	})
}

func officeKey(c *config.Config, log *slog.Logger) ed25519.PublicKey {
	key, err := downlink.OfficeKey(c)
	if err != nil {
		log.Error("what head office orders is refused", "error", err)
	}
	return key
}

// follow puts the parts that run into head office's hands.
func (t *terminal) follow(ctx context.Context) {
	t.downlink.Start(ctx, downlink.Parts{
		Check: t.checkPushed, Apply: t.applyPushed, Now: t.sureNow, Commands: t.commands(),
		Note:  func(ctx context.Context, e downlink.Event) error { return t.note(ctx, e, nil) },
		Items: t.items(),
	})
	t.goDo("catalogue", t.downlink.Supply)
	t.goDo("proof", func(ctx context.Context) error {
		select {
		case <-time.After(lasting):
			t.downlink.Lasted()
			<-ctx.Done()
		case <-ctx.Done():
		}
		return nil
	})
}

// pushed is what became of the newest push, for the heartbeat.
func (t *terminal) pushed() wire.ConfigState {
	s := t.downlink.Status()
	switch {
	case s.Serial == 0:
		return wire.ConfigState{}
	case s.Applied:
		return wire.ConfigState{Serial: s.Serial, State: wire.ConfigApplied}
	}
	return wire.ConfigState{Serial: s.Serial, State: wire.ConfigRefused, Reason: s.Reason}
}

// checkPushed refuses what would close the shop at once.
func (t *terminal) checkPushed(c *config.Config) error {
	if missing := t.untaxed(c); missing != "" {
		return fmt.Errorf("tax: %s; push the codes too, or publish a catalogue without them first", missing)
	}
	if err := staffed(c); err != nil {
		return err
	}
	held := t.journal.Stats().SegmentBytes
	if most := c.Data.MaxBytes; most < t.budget.Load() && most < held+2*c.Data.Segment {
		return fmt.Errorf("data.max_bytes: the journal takes %d bytes already, with %d no sale could be made; give at least %d", held, most, held+2*c.Data.Segment)
	}
	return nil
}

// staffed refuses roles with which nobody who signs in could sell.
func staffed(c *config.Config) error {
	list, _ := operator.OpenBook(c.Data.Dir, nil).All()
	for i := range list {
		if c.Operators.Roles[list[i].Role].Allow(operator.Sale, 0) {
			return nil
		}
	}
	if len(list) == 0 { // nobody signs in: everybody may
		return nil
	}
	return errors.New("roles: no operator of this till could sell; leave sale to a role that one of them has")
}

// applyPushed puts c into force between two sales.
func (t *terminal) applyPushed(ctx context.Context, c *config.Config, e *event.ConfigApplied) error {
	t.journal.SetLimits(c.Data.MaxBytes, c.Data.Retention)
	t.budget.Store(c.Data.MaxBytes)
	t.verbosity.configure(c.Log.Level)
	s := settingsOf(c)
	return t.note(ctx, e, &s)
}

// note waits for its turn: sales come first.
func (t *terminal) note(ctx context.Context, e register.Appender, s *register.Settings) error {
	for {
		err := t.register.Note(ctx, e, s)
		if !errors.Is(err, register.ErrBusy) {
			return err
		}
		select {
		case <-time.After(busy):
		case <-ctx.Done():
			return err
		}
	}
}
