package uplink

import (
	"context"
	"errors"
	"fmt"
	"time"

	"posd/journal"
	"posd/sync/wire"
)

// What cannot be read must not hold up what can: records whose bytes fail their proof are
// declared lost, as a hole, and what follows goes on behind it. That is said of a record
// only if reading it from the device, past all caches, has failed at every one of several
// looks over a time that no passing fault of a device lasts; a page that cannot be read
// gets a longer one than a page with other bytes in it. Before head office is told, the
// declaration stands in the journal, where the terminal's key signs it (Options.Lost).
// A wrong declaration would not lose anything either: the bytes stay where they are, and
// a salvage that finds them brings them to the ledger under their own names.

// groups is where the records to ship come from.
type groups interface {
	NextGroup() (journal.Group, error)
	Guard(fn func() error) error
	Close() error
}

// rot is a place where the journal cannot be read, as it was found so far.
type rot struct {
	first, last uint64
	since       time.Time // of the first look
	next        time.Time // not before then again
	looks       int
	hard        bool // in one of them a page could not be read at all
	tells       int  // attempts to journal the declaration
}

const (
	minLooks = 5
	// lostLimit bounds an attempt to journal a declaration, and maxTells their number:
	// more waiting it is not worth, a journal that takes nothing any more can still be shipped.
	lostLimit = 5 * time.Second
	maxTells  = 5
)

func isDamage(err error) bool {
	var damage *journal.CorruptError
	return errors.As(err, &damage)
}

// around makes a parcel where a Reader met damage: of what stands around it, or the
// statement that the records to ship next are lost.
func (u *Uplink) around(ctx context.Context, target int) (p wire.Parcel, ok bool, err error) {
	u.closeReader()
	r, err := u.j.Rescue(u.next)
	if errors.Is(err, journal.ErrFreed) {
		return u.hole(u.j.Oldest() - 1)
	}
	if err != nil {
		return p, false, err
	}
	u.reader = r
	p, ok, err = u.gather(wire.Parcel{Journal: u.j.ID(), First: u.next, Prev: u.prev}, target)
	var missing *journal.MissingError
	if errors.As(err, &missing) {
		u.closeReader()
		return u.missing(ctx, missing)
	}
	if err != nil || !ok {
		return p, ok, err
	}
	switch prev := r.Before(); {
	case !u.prevOK:
		p.Prev = prev
	case prev != p.Prev:
		return p, false, fmt.Errorf("record %d does not continue the hash chain of the one before it: the journal was changed; see posctl verify", p.First)
	}
	return p, true, nil
}

// missing decides whether to look again or to give up.
func (u *Uplink) missing(ctx context.Context, m *journal.MissingError) (p wire.Parcel, ok bool, err error) {
	now, r := time.Now(), &u.rot
	if r.first != m.First || m.Last > r.last { // each record gets all the looks
		*r = rot{first: m.First, since: now}
		u.log.Error("uplink: records that head office lacks cannot be read; they are tried again for a while, then declared lost", "error", m)
	}
	r.last, r.looks, r.hard = m.Last, r.looks+1, r.hard || m.Unreadable
	patience := u.opt.t.rotten
	if r.hard {
		patience = u.opt.t.unreadable
	}
	lasted := now.Sub(r.since)
	if u.opt.bug == bugHastyHole || r.looks >= minLooks && lasted >= patience {
		return u.declare(ctx, m)
	}
	r.next = now.Add(max(u.opt.t.look, min(lasted/2, patience/minLooks)))
	u.note(func(s *Status) {
		s.Rot = fmt.Sprintf("records %d to %d cannot be read (%s at offset %d: %v), looked %d times; declared lost if that goes on for %v",
			m.First, m.Last, m.Damage.File, m.Damage.Offset, m.Damage.Err, r.looks, patience)
	})
	u.Beat()
	return p, false, nil
}

// declare states that records are lost: first in the journal, then to the hub.
func (u *Uplink) declare(ctx context.Context, m *journal.MissingError) (wire.Parcel, bool, error) {
	if !u.tellLost(ctx, m) {
		u.rot.next = time.Now().Add(u.opt.t.look)
		u.Beat()
		return wire.Parcel{}, false, nil
	}
	u.log.Error("uplink: records that head office lacks are declared lost; keep the disk, posctl salvage may find them yet", "error", m)
	u.dirty = true
	u.save()
	u.m.holes.Inc()
	u.note(func(s *Status) { s.Holes++ })
	u.Beat()
	p := wire.Parcel{Journal: u.j.ID(), First: m.First, Last: m.Last, Hole: true, Head: m.Head}
	if u.prevOK {
		p.Prev = u.prev
	}
	return p, true, nil
}

// tellLost has a declaration journaled, each once. false: not yet, try again.
func (u *Uplink) tellLost(ctx context.Context, m *journal.MissingError) bool {
	s := span{m.First, m.Last}
	var err error
	if u.opt.Lost != nil && !u.toldLost(s) {
		ctx, cancel := context.WithTimeout(ctx, lostLimit)
		defer cancel()
		err = u.opt.Lost(ctx, m)
	}
	if err == nil {
		u.addLost(s, true)
		return true
	}
	u.rot.tells++
	u.log.Error("uplink: the declaration of lost records is not in the journal", "attempt", u.rot.tells, "error", err)
	if u.rot.tells < maxTells {
		return false
	}
	u.addLost(s, false)
	return true
}

// passed forgets a place that was got over.
func (u *Uplink) passedRot(last uint64) {
	if u.rot.first != 0 && last >= u.rot.first {
		u.rot = rot{}
		u.note(func(s *Status) { s.Rot = "" })
	}
}
