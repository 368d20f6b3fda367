package uplink

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"posd/journal"
	"posd/sync/wire"
)

// seek makes seq the next record to ship.
func (u *Uplink) seek(seq uint64) {
	u.closeReader()
	u.next, u.prevOK = seq, false
}

func (u *Uplink) closeReader() {
	if u.reader != nil {
		u.reader.Close()
	}
	u.reader, u.ahead, u.ready = nil, journal.Group{}, nil
}

// shrink gives memory back while there is nothing to send.
func (u *Uplink) shrink() {
	if u.ready != nil { // held meanwhile
		u.seek(u.next)
	}
	if cap(u.raw) > firstTarget {
		u.release()
	}
}

func (u *Uplink) release() {
	u.raw = nil
	u.enc.Release()
	u.spare.Release()
}

// load is a parcel and its message.
type load struct {
	wire.Parcel
	body  []byte        // valid until the parcel after the next one is made
	spent time.Duration // processor time of the process before it was made
	took  time.Duration // from sending to the answer
}

// fill makes the next parcel of whole groups, as many as the target allows, at
// least one, or just one as a probe. There is none at the end of the journal.
func (u *Uplink) fill(ctx context.Context, probe bool) (*load, error) {
	if probe {
		u.closeReader()
	} else if l := u.ready; l != nil {
		u.ready = nil
		return l, nil
	}
	l := &load{spent: u.opt.Pacer.Spent()}
	p, ok, err := u.first(ctx, probe)
	if err != nil || !ok {
		return nil, err
	}
	l.Parcel = p
	l.body, err = u.enc.Encode(&l.Parcel)
	return l, err
}

// prepare makes the parcel behind l while l is under way, where that saves time and
// the processor is ours: it goes out when l is acknowledged, and is dropped by
// whatever moves our place. An error is left to the next attempt.
func (u *Uplink) prepare(l *load) {
	next := &load{spent: u.opt.Pacer.Spent()}
	p, ok, err := u.gather(wire.Parcel{Journal: u.j.ID(), First: l.Last + 1, Prev: l.Head}, u.size())
	if err == nil && ok {
		u.enc, u.spare = u.spare, u.enc // the message of l is still needed
		next.Parcel = p
		next.body, err = u.enc.Encode(&next.Parcel)
	}
	if err != nil || !ok {
		u.closeReader()
		return
	}
	u.ready = next
}

// first makes a parcel that begins with the record to ship next. There is none at the
// end of the journal, and none while damage is to be looked at again later.
func (u *Uplink) first(ctx context.Context, probe bool) (p wire.Parcel, ok bool, err error) {
	floor, _ := u.j.Floor()
	if u.next > floor || u.rot.first == u.next && time.Now().Before(u.rot.next) {
		return p, false, nil
	}
	target := u.size()
	if probe {
		target = 1
	}
	p, ok, err = u.straight(target)
	if _, rescued := u.reader.(*journal.Rescue); rescued && err == nil && !ok { // it has ended
		u.closeReader()
		p, ok, err = u.straight(target)
	}
	if isDamage(err) && u.opt.bug != bugNoHole {
		return u.around(ctx, target)
	}
	return p, ok, err
}

// straight makes a parcel of what the reader at hand, or a new one, gives.
func (u *Uplink) straight(target int) (p wire.Parcel, ok bool, err error) {
	if oldest := u.j.Oldest(); u.next < oldest && u.reader == nil {
		// Damaged is not gone: a salvage may still save it.
		if r, err := u.j.Reader(u.next); err == nil {
			r.Close()
		} else if !errors.Is(err, journal.ErrFreed) {
			return p, false, err
		}
		return u.hole(oldest - 1)
	}
	if !u.prevOK {
		if u.prev, err = u.j.Head(u.next - 1); err != nil {
			return p, false, err
		}
		u.prevOK = true
	}
	if u.reader == nil {
		r, err := u.j.Reader(u.next)
		if err != nil {
			return p, false, err
		}
		r.DropBehind()
		u.reader = r
	}
	return u.gather(wire.Parcel{Journal: u.j.ID(), First: u.next, Prev: u.prev}, target)
}

// size is how many bytes of records a parcel may have: no more than the server
// takes, less what the compression may add, and headers.
func (u *Uplink) size() int {
	return min(u.target, max(minTarget, int(u.nc.MaxPayload())-8<<10))
}

// gather puts the groups that the reader gives into p.
func (u *Uplink) gather(p wire.Parcel, target int) (_ wire.Parcel, ok bool, err error) {
	u.raw = u.raw[:0]
	for {
		g, err := u.group()
		if err == io.EOF {
			break
		}
		if isDamage(err) && len(u.raw) > 0 { // what stands before it goes first
			u.closeReader()
			break
		}
		if err != nil {
			return p, false, err
		}
		if len(u.raw) > 0 && len(u.raw)+len(g.Frames) > target {
			u.ahead = g
			break
		}
		had := len(u.raw)
		if err := u.reader.Guard(func() error { return u.take(g.Frames) }); err != nil {
			if u.raw = u.raw[:had]; had > 0 && isDamage(err) {
				u.closeReader()
				break
			}
			return p, false, err
		}
		p.Last, p.Head = g.Last, g.Head
	}
	p.Frames = u.raw
	return p, len(u.raw) > 0, nil
}

// group is the one that did not fit last time, or the next, or io.EOF.
func (u *Uplink) group() (journal.Group, error) {
	if g := u.ahead; g.First != 0 {
		u.ahead = journal.Group{}
		return g, nil
	}
	return u.reader.NextGroup()
}

// take copies frames out of the map.
func (u *Uplink) take(frames []byte) error {
	if need := len(u.raw) + len(frames); need > cap(u.raw) {
		u.raw = slices.Grow(u.raw, len(frames))
	}
	u.raw = append(u.raw, frames...)
	return nil
}

// hole declares the records up to last, which are no longer held.
func (u *Uplink) hole(last uint64) (wire.Parcel, bool, error) {
	h, err := u.j.Head(last)
	if err != nil {
		return wire.Parcel{}, false, err
	}
	u.log.Error("uplink: the hub asks for records that this terminal no longer holds", "first", u.next, "last", last)
	u.m.holes.Inc()
	u.note(func(s *Status) { s.Holes++ })
	return wire.Parcel{Journal: u.j.ID(), First: u.next, Last: last, Hole: true, Head: h}, true, nil
}

// ship publishes one parcel and moves on by its answer.
func (u *Uplink) ship(ctx context.Context, p *load) error {
	u.busy.Store(true)
	a, err := u.exchange(ctx, p)
	u.busy.Store(false)
	switch {
	case errors.Is(err, errLate):
		u.target = max(u.target/2, minTarget)
		u.tripped()
		return err
	case errors.Is(err, nats.ErrNoResponders):
		return u.wasRefused(fmt.Errorf("%w: nothing there takes it: the stream is missing or has no leader", errRefused))
	case err != nil:
		return err
	case a.code == codeWrongLast:
		return u.fenceFailed(ctx, &a)
	case a.code != 0:
		return u.wasRefused(fmt.Errorf("%w: %s (%d)", errRefused, a.text, a.code))
	case a.stream != u.opt.Stream:
		return fmt.Errorf("subject %s belongs to stream %s, not %s: check the hub's configuration", u.subject, a.stream, u.opt.Stream)
	}
	u.breaker.good(p.took, len(p.body))
	u.refusals, u.shippedAny, u.pool.patience = time.Time{}, true, 1
	u.shipped(p, &a)
	if floor, _ := u.j.Floor(); u.next <= floor {
		u.opt.Pacer.Pace(ctx.Done())
	}
	return nil
}

// exchange publishes p. Behind it a backlog is made ready for its turn: still one
// parcel is in flight, but neither side waits for the other's work. Under a quota
// that would take the time of two parcels out of one period.
func (u *Uplink) exchange(ctx context.Context, p *load) (pubAck, error) {
	if u.ahead.First == 0 || p.Hole || u.opt.Pacer.Tight() {
		return u.publish(ctx, p)
	}
	type answer struct {
		pubAck
		err error
	}
	ch := make(chan answer, 1)
	go func() {
		a, err := u.publish(ctx, p)
		ch <- answer{a, err}
	}()
	u.prepare(p)
	a := <-ch
	return a.pubAck, a.err
}

// errLate: no acknowledgement in time.
var errLate = fmt.Errorf("%w: no acknowledgement in time", errSilent)

// publish sends the message and waits for the answer. The same message goes
// again while the server is still deciding about the one before. It changes
// nothing of u, only p.took: see exchange.
func (u *Uplink) publish(ctx context.Context, p *load) (pubAck, error) {
	m := &nats.Msg{Subject: u.subject, Header: make(nats.Header, 6), Data: p.body}
	p.SetHeaders(m.Header)
	switch u.opt.bug {
	case bugNoFence:
	case bugMsgID:
		m.Header["Nats-Msg-Id"] = []string{p.Journal.String() + "/" + strconv.FormatUint(p.First, 10) + "/" + p.Head.String()}
	default:
		if u.opt.bug != bugFirstFence || !u.fenced {
			m.Header["Nats-Expected-Last-Subject-Sequence"] = []string{strconv.FormatUint(u.fence, 10)}
		}
		u.fenced = true
	}
	for try := 1; ; try++ {
		rctx, cancel := context.WithTimeout(ctx, u.breaker.limit(len(p.body)))
		began := time.Now()
		r, err := u.nc.RequestMsgWithContext(rctx, m)
		p.took = time.Since(began)
		late := rctx.Err() != nil && ctx.Err() == nil
		cancel()
		if err != nil {
			err = cause(ctx, err)
			if late {
				err = fmt.Errorf("%w: %w", errLate, err)
			}
			return pubAck{}, fmt.Errorf("send records %d to %d: %w", p.First, p.Last, err)
		}
		a, err := parseAck(r.Data)
		if err != nil || a.code != codeWrongLastPending || try == 20 {
			return a, err
		}
		sleep(ctx, time.Duration(try)*50*time.Millisecond)
	}
}

// fenceFailed: something is in the stream that we did not know of, most often
// our own parcel whose acknowledgement was lost.
func (u *Uplink) fenceFailed(ctx context.Context, a *pubAck) error {
	seq, ok := a.trueLast()
	if u.blind && ok {
		u.fence = seq
		u.seek(u.next)
		return nil
	}
	if err := u.sync(ctx); err != nil {
		return err
	}
	if ok && u.fence != seq {
		return fmt.Errorf("the server says that our last parcel is %d and shows %d", seq, u.fence) // a replica that lags
	}
	return nil
}

// shipped takes note of an acknowledged parcel.
func (u *Uplink) shipped(p *load, a *pubAck) {
	backlog := u.ahead.First != 0 || u.ready != nil
	u.fence, u.next, u.prev, u.prevOK = a.seq, p.Last+1, p.Head, true
	if p.Hole {
		u.closeReader()
	}
	if u.rewound {
		u.rewound, u.rewindAt = false, a.seq
	}
	if u.confirmed >= p.First-1 { // the first parcel under way: its wait begins now
		u.lastMove = time.Now()
	}
	u.probed = u.fruitless >= 2
	u.passedRot(p.Last)
	u.getFails, u.blind, u.connecting = 0, false, 0
	tight, spent := u.opt.Pacer.Tight(), u.opt.Pacer.Spent()-p.spent
	switch {
	case tight && spent > turnTime, p.took > slowParcel:
		u.target = max(u.target/2, minTarget)
	case backlog && (!tight || spent < turnTime/2) && p.took < slowParcel/3:
		u.target = min(2*u.target, maxTarget)
	}
	if u.opt.bug == bugFreeOnSent {
		u.settle(p.Last, p.Head)
	}
	u.m.parcels.Inc()
	u.m.raw.Add(len(p.Frames))
	u.m.wire.Add(len(p.body))
	u.note(func(s *Status) {
		s.Sent, s.LastError, s.Breaker, s.AckP95 = p.Last, "", closed.String(), u.breaker.window.p95(0)
		s.Parcels++
		s.Raw += uint64(len(p.Frames))
		s.Wire += uint64(len(p.body))
	})
}

// slowParcel: a parcel that took so long was too large for the link. Smaller ones
// show sooner that a server has stopped answering.
const slowParcel = 3 * time.Second

var errRefused = errors.New("the server refuses a parcel")

// tripped opens the breaker.
func (u *Uplink) tripped() {
	before := u.breaker.opens
	if u.breaker.bad(); u.breaker.opens > before {
		u.m.opens.Inc()
	}
	u.note(func(s *Status) { s.Breaker = u.breaker.state.String() })
}

// wasRefused: the connection is good, the parcel did not get in. It is kept, and
// tried again after the breaker's pause; if that does not help and there is
// another server, that one is tried.
func (u *Uplink) wasRefused(err error) error {
	u.seek(u.next)
	u.tripped()
	if u.refusals.IsZero() {
		u.refusals = time.Now()
		u.log.Warn("uplink: a parcel was refused, will be tried again", "error", err)
	}
	u.refusal = err
	u.note(func(s *Status) { s.LastError = err.Error() })
	return nil
}

// refusedFor is how long parcels may still be refused before another server is tried;
// far away if there is no other, or none is refused.
func (u *Uplink) refusedFor() time.Duration {
	if u.refusals.IsZero() || len(u.pool.home)+len(u.pool.away) < 2 {
		return giveIn
	}
	return u.opt.t.refused - time.Since(u.refusals)
}

const giveIn = time.Hour
