package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// harm is a way in which a server loses what it has acknowledged.
type harm struct {
	name string
	do   func(ctx context.Context, w *world, older string) error
}

var harms = []harm{
	{"rolled back", func(ctx context.Context, w *world, older string) error {
		w.servers.servers[0].kill()
		return w.rollBack(ctx, older)
	}},
	{"deleted", func(ctx context.Context, w *world, _ string) error {
		js, err := w.servers.client()
		if err != nil {
			return err
		}
		return js.DeleteStream(ctx, streamName)
	}},
	{"aged out", ageOut},
	{"without a block from its middle", removeBlock},
}

// ageOut lets all messages grow too old.
func ageOut(ctx context.Context, w *world, _ string) error {
	js, err := w.servers.client()
	if err != nil {
		return err
	}
	s, err := js.Stream(ctx, streamName)
	if err != nil {
		return err
	}
	c := s.CachedInfo().Config
	was := c.MaxAge
	c.MaxAge, c.Duplicates = time.Second, 500*time.Millisecond
	if _, err := js.UpdateStream(ctx, c); err != nil {
		return err
	}
	if err := await(ctx, "the ageing of the stream", func() error {
		i, err := s.Info(ctx)
		if err == nil && i.State.Msgs > 0 {
			err = fmt.Errorf("%d messages are left", i.State.Msgs)
		}
		return err
	}); err != nil {
		return err
	}
	c.MaxAge = was
	_, err = js.UpdateStream(ctx, c)
	return err
}

// removeBlock removes one file of messages that is neither the first nor the last, if
// there are so many.
func removeBlock(ctx context.Context, w *world, _ string) error {
	w.servers.servers[0].kill()
	blocks, err := filepath.Glob(filepath.Join(w.servers.store(0), "jetstream", "*", "streams", streamName, "msgs", "*.blk"))
	if err != nil || len(blocks) == 0 {
		return fmt.Errorf("the stream has no blocks: %w", err)
	}
	if err := os.Remove(blocks[len(blocks)/2]); err != nil {
		return err
	}
	w.b.say("block %d of %d is removed", len(blocks)/2+1, len(blocks))
	return w.servers.start(ctx)
}

// forgetful has a server acknowledge so many events while head office is away, and lose
// them in each of the ways. All that is missing must be sent again, and be in the ledger
// once.
func forgetful(ctx context.Context, w *world, events int) error {
	rng := rand.New(rand.NewPCG(w.seed, 1))
	o, t, err := w.opened(ctx, rng)
	if err != nil {
		return err
	}
	if err := o.stop(); err != nil {
		return err
	}
	older, err := w.copyStore(ctx)
	if err != nil {
		return err
	}
	if err := t.sellMany(ctx, events, w.seed); err != nil {
		return err
	}
	if err := t.allSent(ctx); err != nil {
		return err
	}
	if err := t.stop(); err != nil {
		return err
	}
	w.servers.servers[0].kill()
	w.b.say("forgetful: %d sales are acknowledged by the server, and not read by head office", t.book.sales())
	parts := map[string]string{"till": t.data(), "hub": o.dir, "nats": w.servers.store(0)}
	for name, dir := range parts {
		if err := os.CopyFS(filepath.Join(w.dir, "base", name), os.DirFS(dir)); err != nil {
			return err
		}
	}
	for _, h := range harms {
		begin := time.Now()
		for name, dir := range parts {
			if err := errors.Join(os.RemoveAll(dir), os.CopyFS(dir, os.DirFS(filepath.Join(w.dir, "base", name)))); err != nil {
				return err
			}
		}
		if err := w.servers.start(ctx); err != nil {
			return err
		}
		if err := h.do(ctx, w, older); err != nil {
			return fmt.Errorf("forgetful server, %s: %w", h.name, err)
		}
		t.book.restored() // each time the terminal is as it was before
		if err := w.judge(ctx, false); err != nil {
			return fmt.Errorf("forgetful server, %s: %w", h.name, err)
		}
		w.b.say("forgetful server, %s: all is at head office, once, after %.1f s", h.name, time.Since(begin).Seconds())
		if err := o.stop(); err != nil {
			return err
		}
		w.servers.servers[0].kill()
		t.book.forget()
	}
	return nil
}

// sellMany makes about n sales through several front ends at once.
func (t *till) sellMany(ctx context.Context, n int, seed uint64) error {
	const fronts = 16
	errs := make([]error, fronts)
	var wg sync.WaitGroup
	for i := range fronts {
		wg.Go(func() {
			errs[i] = t.sellMore(ctx, n/fronts+1, rand.New(rand.NewPCG(seed, uint64(50+i))))
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}
