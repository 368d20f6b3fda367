package uplink

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"posd/journal"
	"posd/sync/wire"
)

// maxGetFails timeouts mean that our last parcel is too large for the link.
const maxGetFails = 2

// session is one connection to one server, from dialling to its end.
func (u *Uplink) session(ctx context.Context, s *server, limit time.Duration) error {
	u.synced, u.shippedAny, u.refusals = false, false, time.Time{}
	if u.server != nil && u.server.home != s.home { // another stream: what was said of the old one is void
		u.rewindAt, u.pulseTime = 0, time.Time{}
	}
	u.server = s
	select {
	case <-u.leaving:
	default:
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	done := make(chan struct{})
	var once sync.Once
	nc, l, err := u.connect(ctx, s, limit,
		nats.ClosedHandler(func(*nats.Conn) { once.Do(func() { cancel(errLost); close(done) }) }),
		nats.LameDuckModeHandler(func(*nats.Conn) {
			if u.opt.bug != bugStay {
				u.leave(errLameDuck)
			}
		}),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { u.natsError(err) }))
	if err != nil {
		return err
	}
	defer func() { nc.Close(); <-done }()
	u.nc = nc
	u.connected(nc, s)
	if err := u.listen(nc); err != nil {
		return err
	}
	defer u.beside(ctx, nc)()
	defer u.guard(ctx, cancel, nc, l, s)()
	if err := u.sync(ctx); err != nil {
		return err
	}
	u.synced = true
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

func (u *Uplink) connected(nc *nats.Conn, s *server) {
	u.m.connects.Inc()
	if t, err := nc.TLSConnectionState(); err == nil && t.DidResume {
		u.m.resumed.Inc()
	}
	if !s.home {
		u.m.failovers.Inc()
		if time.Since(u.wentHome) < hastyReturn {
			u.returns = min(2*u.returns, maxReturns)
		} else {
			u.returns = minReturns
		}
		u.log.Warn("uplink: our own region cannot be used: connected to another", "server", s.String())
	}
	u.note(func(st *Status) {
		if st.Connected, st.Server, st.Away = true, nc.ConnectedUrlRedacted(), !s.home; st.Away {
			st.Failovers++
		}
	})
}

// guard starts what watches a session, and returns what ends it and waits.
func (u *Uplink) guard(ctx context.Context, cancel context.CancelCauseFunc, nc *nats.Conn, l *line, s *server) (end func()) {
	wctx, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := u.watch(wctx, nc, l); err != nil {
			cancel(err)
		}
	})
	wg.Go(func() { u.watchFiles(wctx) })
	if !s.home && len(u.pool.home) > 0 {
		homes, returns := slices.Clone(u.pool.home), u.returns
		wg.Go(func() { u.probeHome(wctx, homes, returns) })
	}
	return func() { stop(); wg.Wait() }
}

// step does one thing: act on a notice, ship a parcel, or wait.
func (u *Uplink) step(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	select {
	case why := <-u.leaving:
		return why
	default:
	}
	if err := u.readMail(); err != nil {
		return err
	}
	u.saveDue()
	if err := u.unstick(ctx); err != nil {
		return err
	}
	patience := u.refusedFor()
	if patience <= 0 {
		return u.refusal
	}
	probe, wait := u.breaker.ask()
	if u.state.Held == "" && !u.probed && wait == 0 {
		p, err := u.fill(ctx, probe)
		if err != nil {
			return err
		}
		if p != nil {
			return u.ship(ctx, p)
		}
	}
	u.shrink()
	idle := min(u.opt.t.save, u.stuckWait/2, patience)
	if wait > 0 {
		idle = min(idle, wait)
	}
	if u.rot.first == u.next {
		idle = min(idle, max(0, time.Until(u.rot.next)))
	}
	t := time.NewTimer(idle)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case why := <-u.leaving:
		return why
	case <-u.hurry:
		return u.hurryUp(ctx)
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
	// Both questions at once: a round trip of a bad link takes seconds.
	type answer struct {
		m   *nats.Msg
		err error
	}
	place := make(chan answer, 1)
	blind := u.getFails >= maxGetFails
	if !blind {
		go func() {
			m, err := u.last(ctx, u.opt.Stream, u.subject)
			place <- answer{m, err}
		}()
	}
	m, err := u.last(ctx, wire.BucketStream, key)
	var mine answer
	if !blind {
		mine = <-place
	}
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
	return u.findPlace(blind, mine.m, mine.err)
}

// findPlace decides from the last message on our subject. It is trusted only if
// its head is our own head at that record.
func (u *Uplink) findPlace(blind bool, m *nats.Msg, err error) error {
	if u.blind = blind; blind {
		// The link is too bad for a message of that size: the fence's own error
		// will name the sequence number.
		u.place(u.settled()+1, 0)
		return nil
	}
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
		case errors.Is(err, wire.ErrFormat), errors.Is(err, journal.ErrFreed), isDamage(err):
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
	ctx, cancel := context.WithTimeout(ctx, u.opt.t.request*u.pool.patience)
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
		u.learnTime(m)
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

// learnTime notes a time that is over for certain, from a server whose
// certificate was verified.
func (u *Uplink) learnTime(m *nats.Msg) {
	if _, err := u.nc.TLSConnectionState(); err != nil {
		return
	}
	if t, err := time.Parse(time.RFC3339Nano, m.Header.Get("Nats-Time-Stamp")); err == nil {
		u.names.passed(t)
	}
}

// natsError takes what the server says out of turn. If it denies us what
// shipping needs, there is no use in waiting for an answer.
func (u *Uplink) natsError(err error) {
	u.log.Warn("uplink: nats", "error", err)
	if !errors.Is(err, nats.ErrPermissionViolation) {
		return
	}
	for _, subject := range []string{u.subject, wire.BucketPrefix + wire.WatermarkKey(u.opt.Store, u.opt.Terminal, u.j.ID())} {
		if strings.Contains(err.Error(), subject) {
			u.leave(&explained{text: "the server does not let this terminal send: the credentials are for another terminal, or lack a permission: " + err.Error(), err: err})
			return
		}
	}
}
