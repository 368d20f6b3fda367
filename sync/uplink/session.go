package uplink

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"posd/journal"
	"posd/sync/wire"
)

// maxGetFails timeouts mean that our last parcel is too large for the link.
const maxGetFails = 2

var errLost = errors.New("the connection to the hub was lost")

// session is one connection, from dialling to its end.
func (u *Uplink) session(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	closed := make(chan struct{})
	var once sync.Once
	nc, err := u.connect(func() { once.Do(func() { cancel(errLost); close(closed) }) })
	if err != nil {
		return err
	}
	defer func() { nc.Close(); <-closed }()
	u.nc = nc
	u.m.connects.Inc()
	u.note(func(s *Status) { s.Connected, s.Server = true, nc.ConnectedUrlRedacted() })
	if err := u.listen(nc); err != nil {
		return err
	}
	defer u.beside(ctx, nc)()
	if err := u.sync(ctx); err != nil {
		return err
	}
	u.once.Do(func() { close(u.compared) })
	began := time.Now()
	for {
		if err := u.step(ctx); err != nil {
			return err
		}
		if time.Since(began) > u.opt.t.backoff {
			u.connecting = 0
		}
	}
}

// step does one thing: act on a notice, ship a parcel, or wait.
func (u *Uplink) step(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err := u.readMail(); err != nil {
		return err
	}
	u.saveDue()
	if err := u.unstick(ctx); err != nil {
		return err
	}
	if u.state.Held == "" && !u.probed {
		p, err := u.fill()
		if err != nil {
			return err
		}
		if p != nil {
			return u.ship(ctx, p)
		}
	}
	u.shrink()
	t := time.NewTimer(min(u.opt.t.save, u.stuckWait/2))
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-u.mail.ready:
	case <-u.floor:
	case <-t.C:
	}
	return nil
}

// unstick acts when settled has stood still below sent while the hub is alive
// and has read all that we know of: then the stream has lost something, or the
// ledger has. The wait doubles, and after two attempts in vain only one parcel
// is risked at a time, so that a hub which can never take our records is not
// flooded with them.
func (u *Uplink) unstick(ctx context.Context) error {
	if u.state.Held != "" || !u.alive() || u.confirmed >= u.next-1 || time.Since(u.lastMove) < u.stuckWait {
		return nil
	}
	u.lastMove = time.Now()
	u.stuckWait = min(2*u.stuckWait, maxStuck)
	if err := u.sync(ctx); err != nil {
		return err
	}
	if u.pulse.At < u.fence || u.confirmed >= u.next-1 {
		return nil // still at work on it
	}
	u.fruitless++
	u.probed = false
	u.rewind(u.confirmed+1, "the hub has read all and does not have them")
	return nil
}

// sync finds out where to go on: what the ledger has, what the stream has last.
func (u *Uplink) sync(ctx context.Context) error {
	u.m.resyncs.Inc()
	u.note(func(s *Status) { s.Resyncs++ })
	key := wire.BucketPrefix + wire.WatermarkKey(u.opt.Store, u.opt.Terminal, u.j.ID())
	m, err := u.last(ctx, wire.BucketStream, key)
	if err != nil {
		return fmt.Errorf("ask for the watermark: %w", err)
	}
	if m != nil && len(m.Data) > 0 {
		w, err := wire.ParseWatermark(m.Data)
		if err != nil {
			u.log.Warn("uplink: watermark ignored", "error", err)
		} else if err := u.believe(w); err != nil {
			return err
		}
	}
	return u.findPlace(ctx)
}

// findPlace decides from the last message on our subject. It is trusted only if
// its head is our own head at that record.
func (u *Uplink) findPlace(ctx context.Context) error {
	if u.blind = u.getFails >= maxGetFails; u.blind {
		// The link is too bad for a message of that size: the fence's own error
		// will name the sequence number.
		u.place(u.settled()+1, 0)
		return nil
	}
	m, err := u.last(ctx, u.opt.Stream, u.subject)
	if err != nil {
		if errors.Is(err, context.DeadlineExceeded) { // too slow; a server that is just starting does not count
			u.getFails++
		}
		return fmt.Errorf("ask for our last parcel: %w", err)
	}
	u.getFails = 0
	if m == nil {
		u.place(u.settled()+1, 0)
		return nil
	}
	seq, err := strconv.ParseUint(m.Header.Get("Nats-Sequence"), 10, 64)
	if err != nil {
		return fmt.Errorf("ask for our last parcel: the answer has no Nats-Sequence: %w", err)
	}
	last, head, err := wire.ParseTail(m.Header)
	if u.opt.bug != bugTrustLast {
		if err == nil {
			err = u.compare(last, head, "the stream")
		}
		switch {
		case errors.Is(err, wire.ErrFormat), errors.Is(err, journal.ErrFreed):
			u.log.Warn("uplink: our last parcel in the stream is not believed", "sequence", seq, "error", err)
			u.place(u.settled()+1, seq)
			return nil
		case err != nil:
			return err
		}
	}
	u.place(max(last, u.settled())+1, seq)
	return nil
}

// place resumes at record next behind stream sequence fence.
func (u *Uplink) place(next, fence uint64) {
	u.seek(next)
	u.fence, u.fenced, u.rewound = fence, false, false
	if fence < u.rewindAt {
		u.rewindAt = 0 // the stream began anew
	}
	u.note(func(s *Status) { s.Sent = next - 1 })
}

// last fetches the last message of a subject with its headers, nil if there is none.
func (u *Uplink) last(ctx context.Context, stream, subject string) (*nats.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, u.opt.t.request)
	defer cancel()
	m, err := u.nc.RequestWithContext(ctx, "$JS.API.DIRECT.GET."+stream+"."+subject, nil)
	if errors.Is(err, nats.ErrNoResponders) {
		return nil, fmt.Errorf("stream %s is not there yet, or may not be read with these credentials: %w", stream, err)
	}
	if err != nil {
		return nil, fmt.Errorf("stream %s: %w", stream, cause(ctx, err))
	}
	switch status := m.Header.Get("Status"); status {
	case "":
		return m, nil
	case "404":
		return nil, nil
	default:
		return nil, fmt.Errorf("stream %s: %s %s", stream, status, m.Header.Get("Description"))
	}
}

// cause prefers the reason of a cancelled context over the bare error.
func cause(ctx context.Context, err error) error {
	if c := context.Cause(ctx); c != nil {
		return c
	}
	return err
}
