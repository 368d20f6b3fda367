package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"posd/journal"
	"posd/pos"
	"posd/pos/config"
	"posd/pos/register"
	"posd/pos/view"
)

// stock has a terminal that does not run make n sales in the time from one moment to
// another, by the lab's clock: with the journal, the index and the register that posd
// is made of, in this process, so that a month takes seconds. All of them are durable.
func (t *till) stock(ctx context.Context, n int, from, to time.Time) (err error) {
	c, _, err := config.Load(t.conf(), false)
	if err != nil {
		return err
	}
	key, err := config.LoadKey(filepath.Join(t.data(), config.KeyFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	var opener register.Opener
	j, err := journal.Open(filepath.Join(t.data(), "journal"), journal.Options{
		Identity:    journal.Identity{Store: c.Terminal.Store, Terminal: c.Terminal.ID},
		SegmentSize: c.Data.Segment, MaxBytes: c.Data.MaxBytes, Retention: c.Data.Retention, Opening: opener.Opening, Key: key, ScrubEvery: -1,
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, j.Close()) }()
	v, err := view.Open(filepath.Join(t.data(), "view.db"), j, view.Options{Pace: func(<-chan struct{}) {}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, v.Close()) }()
	var made atomic.Int64
	now := func() time.Time {
		return from.Add(time.Duration(float64(to.Sub(from)) * float64(made.Load()) / float64(n)))
	}
	begin := now()
	r, err := register.Open(j, v, register.Options{
		Store: c.Terminal.Store, Terminal: c.Terminal.ID, Operator: c.Terminal.Operator, Currency: c.Terminal.Currency,
		Settings: register.Settings{Prices: c.Terminal.Prices, Rounding: c.Terminal.Rounding, DayStart: c.Terminal.DayStart, Taxes: c.Taxes, Config: c.Hash()},
		TimeZone: c.Terminal.TimeZone, Release: "lab", Opener: &opener, Queue: 1024,
		Now: now, Uptime: func() time.Duration { return now().Sub(begin) }, Synced: func() bool { return true },
	})
	if err != nil {
		return err
	}
	run, end := context.WithCancel(ctx)
	var parts sync.WaitGroup
	parts.Go(func() { v.Run(run) })
	ended := make(chan error, 1)
	parts.Go(func() { ended <- r.Run(run) })
	err = t.ring(ctx, r, n, &made)
	end()
	parts.Wait()
	return errors.Join(err, <-ended)
}

// ring rings up n sales, many at once so that they share their syncs.
func (t *till) ring(ctx context.Context, r *register.Register, n int, made *atomic.Int64) error {
	const fronts = 256
	var left atomic.Int64
	left.Store(int64(n))
	errs := make([]error, fronts)
	var wg sync.WaitGroup
	for i := range fronts {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(n), uint64(i)))
			for errs[i] == nil && left.Add(-1) >= 0 {
				errs[i] = ringUp(ctx, r, fmt.Sprintf("%s-stock-%d-%d", t.book.name, i, made.Add(1)), rng)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

func ringUp(ctx context.Context, r *register.Register, key string, rng *rand.Rand) error {
	c := register.Checkout{Key: key, Hash: sha256.Sum256([]byte(key)), Front: "till"}
	total := pos.Money(0)
	for range 1 + rng.IntN(4) {
		price, quantity := pos.Money(1+rng.IntN(5000)), 1+rng.IntN(5)
		c.Lines = append(c.Lines, pos.Line{Description: fmt.Sprintf("item %d", rng.IntN(1000)), Unit: "pc", Tax: "A", Rate: 190000, Price: price, Qty: pos.Qty(1000 * quantity)})
		total += price * pos.Money(quantity)
	}
	c.Tenders = []pos.Tender{{Kind: pos.Cash, Amount: total}}
	for {
		_, err := r.Checkout(ctx, c)
		if !errors.Is(err, register.ErrBusy) {
			return err
		}
		sleep(ctx, time.Millisecond)
	}
}
