package uplink

import (
	"context"
	"time"
)

// hurryWait is what a hub at work needs to commit what it has read.
const hurryWait = 2 * time.Second

// Hurry ends whatever pause the session is in: the place is asked for again, the
// breaker lets a probe through, and what the ledger lacks though the hub has read
// everything is sent again soon. It may be called from any goroutine, and often.
// Without a connection it does nothing: each one begins like that.
func (u *Uplink) Hurry() { signal(u.hurry) }

func (u *Uplink) hurryUp(ctx context.Context) error {
	u.breaker.another()
	u.lastMove, u.stuckWait, u.probed, u.fruitless = time.Now(), min(hurryWait, u.opt.t.stuck), false, 0
	return u.sync(ctx)
}
