package lab

import (
	"errors"
	"time"

	"posd/journal"
	"posd/journal/chain"
	"posd/journal/internal/disk"
	"posd/journal/internal/hook"
)

// life is the owner of an open journal.
type life struct {
	*history
	j     *journal.Journal
	drive hook.Drive
	floor uint64 // that the start found
	bad   Verdict
}

// record is an Encoder that tells the oracle what it writes, and where.
type record struct {
	oracle  *Oracle
	payload []byte
}

func (r record) AppendRecord(dst []byte, seq uint64) ([]byte, error) {
	r.oracle.Appended(seq, SumOf(r.payload))
	return append(dst, r.payload...), nil
}

// live appends, syncs, rolls and frees until the power goes, the process is
// killed or stopped, or a sync fails.
func (l *life) live() Verdict {
	h := l.history
	h.fs.restart()
	limit := 1 + h.rng.IntN(120)
	end := h.rng.IntN(20)
	if len(h.fs.pending) > 0 { // names that are not durable may be lost now
		end, limit = 0, 1+h.rng.IntN(40)
	}
	switch {
	case end < 12:
		h.fs.cutAt = limit
	case end < 15:
		h.fs.failAt = limit/2 + 1
	case end < 16:
		h.fs.killAt = limit
	case end < 17:
		h.fs.killIn = true
	}
	if h.rng.IntN(10) == 0 {
		h.fs.refuse, h.fs.full = h.rng.IntN(3), h.rng.IntN(3)
	}
	if h.offline {
		h.offline = h.rng.IntN(3) > 0
	} else {
		h.offline = h.rng.IntN(10) == 0
	}
	h.fs.during = l.during
	for step := 0; step < 4*limit && l.alive(); step++ {
		l.step()
	}
	l.end(end >= 17)
	if l.bad.Kind != OK {
		return l.bad
	}
	return l.progress()
}

// progress says whether a journal that nothing happened to has failed again and
// again: it would never sell any more.
func (l *life) progress() Verdict {
	err := l.j.Err()
	if floor, _ := l.j.Floor(); err == nil || errors.Is(err, errPower) || l.fs.failed() || floor > l.floor {
		l.stuck = 0
		return Verdict{}
	}
	if l.stuck++; l.stuck < 3 {
		return Verdict{}
	}
	return verdict(FalseAlarm, "%d starts in a row that led to nothing: %w", l.stuck, err)
}

func (l *life) alive() bool { return l.fs.power == nil && !l.fs.killed && l.j.Err() == nil }

func (l *life) step() {
	switch l.rng.IntN(16) {
	case 0:
		if l.rng.IntN(2) == 0 {
			l.note()
		} else {
			l.rest()
		}
	case 1:
		if !l.offline {
			l.settle()
		}
		l.drive.Prepare() // its error comes again where it matters, from Append
	case 2:
		l.fs.writeBack()
	default:
		l.append(l.size())
		if l.rng.IntN(2) == 0 {
			l.drive.Commit()
		}
	}
	l.hear()
}

// settle is head office's answer: to all that there is, or to less.
func (l *life) settle() {
	floor, _ := l.j.Floor()
	floor -= min(floor, uint64(max(0, l.rng.IntN(80)-40)))
	l.oracle.Settled(floor)
	l.j.Settle(floor)
}

// hear takes what the journal calls durable as acknowledged.
func (l *life) hear() {
	floor, _ := l.j.Floor()
	l.oracle.Acknowledged(floor)
}

func (l *life) note() {
	changes := l.fs.changes
	l.drive.Note()
	if l.fs.changes > changes && l.alive() {
		floor, _ := l.j.Floor()
		l.oracle.Noted(floor)
	}
}

// rest is two seconds without a sale: time enough for a floor note, unless there
// was still something open.
func (l *life) rest() {
	l.drive.Commit()
	before, _ := l.j.Floor()
	time.Sleep(2 * time.Second)
	l.drive.Commit()
	if floor, _ := l.j.Floor(); floor == before && l.alive() {
		l.oracle.Noted(floor)
	}
}

// size of a payload: mostly less than a page, as sales are.
func (l *life) size() int {
	switch l.rng.IntN(8) {
	case 0:
		return l.rng.IntN(maxPayload - 100)
	case 1, 2:
		return l.rng.IntN(6000)
	}
	return l.rng.IntN(700)
}

func (l *life) append(n int) {
	at := l.rng.IntN(len(l.noise) - n)
	r := record{&l.oracle, l.noise[at : at+n]}
	class := journal.Class(l.rng.IntN(2)) // Durable or Soon
	_, err := l.j.Append(chain.TypeOwner, class, n, r)
	l.hear() // if it failed, nobody was told anything
	if !errors.Is(err, journal.ErrNoSpace) || !l.j.Stats().SpareReady || l.rng.IntN(2) == 0 {
		return
	}
	_, err = l.j.Append(chain.TypeOwner, journal.Finishing, n, r)
	l.hear()
	if errors.Is(err, journal.ErrNoSpace) {
		l.bad = verdict(FalseAlarm, "what was begun cannot be finished, though a spare is ready: %w", err)
	}
}

// during fills the next group while one is being synced. It must not begin a
// segment: that waits for the sync that is running.
func (l *life) during() {
	const most = 3000
	for range l.rng.IntN(3) {
		t := l.drive.Tail()
		if l.drive.Rolling() || t.Fill+chain.FrameSize(most)+2*t.Align > t.Size {
			return
		}
		l.append(l.rng.IntN(most))
	}
	if l.rng.IntN(4) == 0 {
		l.fs.writeBack()
	}
}

// end takes the power, kills the process, or restarts it after a failed sync or
// an orderly stop.
func (l *life) end(stop bool) {
	l.hear()
	h := l.history
	h.before = disk.Owner{PID: 1, Boot: l.boot(), State: "open"}
	switch {
	case h.fs.power != nil:
		h.tally.Cuts++
		return
	case h.fs.killed:
		h.tally.Kills++
	case l.j.Err() != nil:
		h.tally.Fails++
		if h.rng.IntN(4) > 0 { // else it was killed before it could say so
			h.before.State = "failed"
		}
	case stop:
		h.tally.Stops++
		if l.stop() {
			h.before.State = "closed"
		}
	default:
		h.tally.Cuts++
		h.fs.powerOff()
		return
	}
	if h.rng.IntN(3) == 0 { // the power goes before the next start
		h.fs.powerOff()
	}
}

// stop is an orderly one, if it succeeds.
func (l *life) stop() bool {
	l.fs.during = nil
	l.j.Checkpoint() // as Close does, but nobody would sync it here
	l.drive.Commit()
	if l.j.Close() != nil {
		return false
	}
	l.hear()
	floor, _ := l.j.Floor()
	l.oracle.Noted(floor)
	return true
}
