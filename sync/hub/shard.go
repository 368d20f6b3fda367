package hub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"posd/journal/chain"
	"posd/sync/ledger"
)

// shard is the work on one stream. One process at a time does it: the one that holds
// the claim. If two think so, the position in the ledger lets one of them commit.
type shard struct {
	h      *Hub
	n      int
	stream string
	lane   string

	at      atomic.Uint64 // stream sequence committed
	reading atomic.Bool
	lastErr atomic.Value // string: why ingest stopped last

	mu      sync.Mutex
	untold  map[chain.ID]bool // watermarks that the server has not acknowledged
	wanting map[chain.ID]bool // journals with a gap
}

func newShard(h *Hub, n int) *shard {
	s := &shard{h: h, n: n, stream: h.opt.Stream, untold: make(map[chain.ID]bool), wanting: make(map[chain.ID]bool)}
	if s.stream == "" {
		s.stream = fmt.Sprintf("POS_UP_%d", n)
	}
	if s.lane = s.stream; h.opt.Region != "" {
		s.lane = h.opt.Region + "/" + s.stream
	}
	return s
}

// claimName is what one hub of a region holds while it works on the shard.
func (s *shard) claimName() string { return "shard/" + s.lane }

// run takes in until ctx ends. The error is errCrash only.
func (s *shard) run(ctx context.Context) error {
	h := s.h
	pause := h.opt.Pulse / 10
	for {
		began := time.Now()
		err := s.ingest(ctx)
		if ctx.Err() != nil {
			return nil
		}
		s.lastErr.Store(err.Error())
		h.log.Error("ingest interrupted", "shard", s.n, "error", err)
		if errors.Is(err, errCrash) {
			return err
		}
		if errors.Is(err, errStreamChanged) || errors.Is(err, errAgain) || time.Since(began) > time.Minute {
			pause = h.opt.Pulse / 10
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
		pause = min(2*pause, 30*time.Second)
	}
}

// worker is a shard that this process works on.
type worker struct {
	claim  ledger.Claim
	cancel context.CancelFunc
	done   chan struct{}
	err    error // why it ended, once done is closed
}

const kindHub = "hub"

// hubDoc is a process's sign of life in the ledger.
type hubDoc struct {
	At     time.Time `json:"at"`
	Region string    `json:"region,omitempty"`
	Shards int       `json:"shards"` // that it could work on
}

// keepShards takes a fair part of the shards and works on them until ctx ends.
func (h *Hub) keepShards(ctx context.Context) error {
	k := &keeper{h: h, workers: make(map[int]*worker), ended: make(chan struct{}, 1)}
	defer func() {
		for n := range k.workers {
			k.end(n)
		}
		h.farewell()
	}()
	tick := time.NewTicker(h.opt.Pulse)
	defer tick.Stop()
	for {
		if err := k.reap(); err != nil {
			return err
		}
		fair := h.fairShare(ctx)
		if err := k.give(fair); err != nil {
			return err
		}
		k.take(ctx, fair)
		select {
		case <-ctx.Done():
			return nil
		case <-k.ended:
		case <-tick.C:
		}
	}
}

// keeper has the workers of this process, by the number of their shard.
type keeper struct {
	h       *Hub
	workers map[int]*worker
	ended   chan struct{} // one of them has ended
}

// end stops a worker, and returns why it had ended before.
func (k *keeper) end(n int) error {
	w := k.workers[n]
	delete(k.workers, n)
	w.cancel()
	<-w.done
	w.claim.Release()
	return w.err
}

// reap ends the workers that have ended by themselves, or whose claim is lost.
func (k *keeper) reap() error {
	for n, w := range k.workers {
		select {
		case <-w.done:
			return k.end(n)
		case <-w.claim.Lost():
			k.h.log.Warn("another hub may work on this shard now", "shard", n)
			if err := k.end(n); err != nil {
				return err
			}
		default:
		}
	}
	return nil
}

// give ends workers until there are no more than that.
func (k *keeper) give(fair int) error {
	for i := len(k.h.shards) - 1; i >= 0 && len(k.workers) > fair; i-- {
		if n := k.h.shards[i].n; k.workers[n] != nil {
			if err := k.end(n); err != nil {
				return err
			}
		}
	}
	return nil
}

// take begins to work on shards that nobody works on, until there are as many as that.
func (k *keeper) take(ctx context.Context, fair int) {
	for _, s := range k.h.shards {
		if k.workers[s.n] != nil || len(k.workers) >= fair {
			continue
		}
		c, ok, err := k.h.ledger.Claim(ctx, s.claimName())
		if err != nil && ctx.Err() == nil {
			s.lastErr.Store(err.Error())
			k.h.log.Warn("shard not claimed", "shard", s.n, "error", err)
		}
		if k.h.opt.bug == bugNoClaim {
			c, ok = &noClaim{}, true
		}
		if !ok || err != nil {
			continue
		}
		wctx, cancel := context.WithCancel(ctx)
		w := &worker{claim: c, cancel: cancel, done: make(chan struct{})}
		k.workers[s.n] = w
		go func() { // ended by end
			w.err = s.run(wctx)
			close(w.done)
			select {
			case k.ended <- struct{}{}:
			default:
			}
		}()
	}
}

// fairShare is how many shards this process should work on, so that all that are
// alive have about as many. Who is alive is told by documents in the ledger; their
// clocks decide about fairness only.
func (h *Hub) fairShare(ctx context.Context) int {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	now, alive := h.opt.now(), 0
	doc, err := json.Marshal(hubDoc{At: now, Region: h.opt.Region, Shards: len(h.shards)})
	if err != nil {
		return len(h.shards)
	}
	err = h.ledger.Update(ctx, func(tx ledger.Tx) error {
		alive = 0
		if err := tx.PutDoc(kindHub, h.id, doc); err != nil {
			return err
		}
		var dead []string
		err := tx.Docs(kindHub, "", func(key string, v []byte) (bool, error) {
			var d hubDoc
			err := json.Unmarshal(v, &d)
			switch age := now.Sub(d.At); {
			case err != nil || age > time.Hour:
				dead = append(dead, key)
			case d.Region == h.opt.Region && age < 6*h.opt.Pulse && age > -6*h.opt.Pulse:
				alive++
			}
			return true, nil
		})
		for _, key := range dead {
			err = errors.Join(err, tx.DeleteDoc(kindHub, key))
		}
		return err
	})
	if err != nil {
		if ctx.Err() == nil {
			h.log.Warn("no sign of life in the ledger", "error", err)
		}
		return len(h.shards)
	}
	return (len(h.shards) + max(1, alive) - 1) / max(1, alive)
}

// farewell lets the others take over at once.
func (h *Hub) farewell() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := h.ledger.Update(ctx, func(tx ledger.Tx) error { return tx.DeleteDoc(kindHub, h.id) }); err != nil {
		h.log.Debug("no farewell in the ledger", "error", err)
	}
}

// noClaim is a planted bug's.
type noClaim struct{}

func (*noClaim) Lost() <-chan struct{} { return nil }
func (*noClaim) Release()              {}
