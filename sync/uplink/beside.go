package uplink

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"posd/sync/wire"
)

// maxBeat bounds a heartbeat: more than this is no sign of life but a load.
const maxBeat = 16 << 10

// beside starts what uses a connection beside the parcels: the heartbeat, and
// the functions of OnConnect. Nothing in them delays or ends shipping. The
// function that it returns ends them and waits for them.
func (u *Uplink) beside(ctx context.Context, nc *nats.Conn) (end func()) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	for i, f := range u.opt.OnConnect {
		wg.Go(func() {
			if err := f(ctx, nc); err != nil && !errors.Is(err, context.Canceled) {
				u.log.Warn("uplink: something beside the parcels failed on this connection", "function", i, "error", err)
			}
		})
	}
	if u.opt.Heartbeat != nil {
		wg.Go(func() { u.heartbeats(ctx, nc) })
	}
	return func() { cancel(); wg.Wait() }
}

// heartbeats says how the terminal is: at once, at intervals with jitter so that
// a thousand terminals do not speak in the same second, and soon after Beat.
func (u *Uplink) heartbeats(ctx context.Context, nc *nats.Conn) {
	subject := wire.HeartbeatSubject(u.opt.Shard, u.opt.Store, u.opt.Terminal)
	for {
		if b := u.opt.Heartbeat(); len(b) > maxBeat {
			u.log.Warn("uplink: heartbeat left out", "bytes", len(b), "limit", maxBeat)
		} else if err := nc.Publish(subject, b); err != nil {
			return // the connection has ended
		}
		every := u.opt.t.beat
		t := time.NewTimer(every*4/5 + rand.N(every*2/5+1))
		select {
		case <-ctx.Done():
		case <-t.C:
		case <-u.beat:
			sleep(ctx, u.opt.t.beatMin) // several changes, one heartbeat
		}
		t.Stop()
		if ctx.Err() != nil {
			return
		}
	}
}

// Beat says that something in the heartbeat has changed that is worth knowing
// before the next one is due. It may be called from any goroutine, and often.
func (u *Uplink) Beat() { signal(u.beat) }
