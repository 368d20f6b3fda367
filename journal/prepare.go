package journal

import (
	"errors"
	"fmt"
	"io/fs"
	"time"

	"posd/journal/internal/hook"

	"golang.org/x/sys/unix"
)

// minRetention is what retention shrinks to when the budget is used up:
// settled records must outlive the hub's backups.
const minRetention = 24 * time.Hour

// headroom is left on a full disk for what makes room again: what the uplink has
// settled, what head office sent, credentials.
const headroom = 256 << 10

// prepareEvery is how often freeing is looked at without a reason.
const prepareEvery = 10 * time.Second

// sayEvery is how often the log has why there is no room.
const sayEvery = time.Minute

// pausePrepare lets commits at the device between two batches of zeros.
const pausePrepare = 5 * time.Millisecond

// prepareLoop owns making, recycling and freeing of segments.
func (j *Journal) prepareLoop() {
	tick := time.NewTicker(prepareEvery)
	defer tick.Stop()
	var said time.Time // a front end asks again and again
	for {
		err := j.prepare()
		j.learnRest() // when the spare is there
		j.mu.Lock()
		if err != nil && j.err == nil && !errors.Is(err, ErrNoSpace) {
			// Whatever the reason, nothing was begun for which there is no room.
			err = fmt.Errorf("%w: %w", ErrNoSpace, err)
		}
		j.spareErr = err
		if err == nil {
			err = j.reserve(Durable) // sales are refused before the spare is used
		}
		if err != nil && time.Since(said) >= sayEvery && j.err == nil && !j.closed {
			said = time.Now()
			j.log.Warn("journal: no room for another segment", "error", err)
		}
		j.changed.Broadcast()
		j.mu.Unlock()
		select {
		case <-j.kickPrep:
		case <-tick.C:
		case <-j.stop:
			return
		}
	}
}

// prepare frees what may go and sees to it that a spare is ready. Where there is no
// room for one, retention shrinks, by one segment at a time.
func (j *Journal) prepare() error {
	var full error
	for {
		freed, err := j.freeOldest(full != nil)
		if err != nil {
			return err
		}
		switch {
		case freed && full == nil:
			continue
		case !freed && full != nil:
			return full
		}
		if full = j.needSpare(); !errors.Is(full, ErrNoSpace) {
			return full
		}
	}
}

// needSpare makes the spare if there is none.
func (j *Journal) needSpare() error {
	j.mu.Lock()
	ready := j.spare != 0
	no := j.segs[len(j.segs)-1].no + 1
	used, most := j.usedLocked(), j.opt.MaxBytes
	j.mu.Unlock()
	if ready {
		return nil
	}
	if used+j.opt.SegmentSize > most {
		return overBudget(used, most)
	}
	if err := j.makeSpare(no); err != nil {
		return err
	}
	j.mu.Lock()
	j.spare = no
	j.changed.Broadcast() // a sale may wait for it
	j.mu.Unlock()
	return nil
}

func (j *Journal) makeSpare(no uint32) error {
	name := segmentName(no)
	// Half of one may be left from a cut.
	if err := j.fs.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if free, err := j.fs.Free(); err == nil && free < j.least() {
		return j.noRoom(free)
	}
	err := j.fs.Create(name, j.opt.SegmentSize, j.pause)
	if err == nil && j.lab.Bug != hook.NoDirSync {
		if err = j.fs.SyncDir(); err != nil {
			j.mu.Lock()
			defer j.mu.Unlock()
			return j.fail(fmt.Errorf("sync the folder with segment %d: %w", no, err))
		}
	}
	if err != nil {
		return fmt.Errorf("make segment %d: %w", no, noSpace(err))
	}
	return nil
}

// least is what has to be free for one more segment.
func (j *Journal) least() uint64 { return uint64(j.opt.SegmentSize) + headroom }

func (j *Journal) noRoom(free uint64) error {
	return fmt.Errorf("%w: %d bytes are free, a segment takes %d and %d stay free for what else a terminal notes: free space on the data partition",
		ErrNoSpace, free, j.opt.SegmentSize, headroom)
}

// noSpace gives the kernel's words for a full disk the journal's name.
func noSpace(err error) error {
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return fmt.Errorf("%w: %w; free space on the data partition", ErrNoSpace, err)
	}
	return err
}

func (j *Journal) pause() {
	j.mu.Lock()
	urgent := j.urgent || j.closed || j.lab.Manual
	hurry := make(chan struct{})
	if !urgent {
		j.hurry = hurry
	}
	j.mu.Unlock()
	if !urgent {
		time.Sleep(pausePrepare)
		j.opt.Pace(hurry)
	}
}

// hurryUp ends the segment maker's pause: a sale waits for it, or the end does.
// Callers hold mu.
func (j *Journal) hurryUp() {
	if j.hurry != nil {
		close(j.hurry)
		j.hurry = nil
	}
}

// usedLocked is what the segments in use take, in bytes.
func (j *Journal) usedLocked() (used int64) {
	for _, s := range j.segs {
		used += int64(s.size)
	}
	return used
}

// freeOldest gives the oldest segment back if all conditions hold: settled,
// past retention by a clock that can be believed, read by nobody, behind a durable
// opening state. Where a spare is missing it becomes the spare, without being zeroed
// again; while one is ready, the last segment that could go stays, to become the next
// spare: else every byte would be written twice. full: there is no room to make one.
func (j *Journal) freeOldest(full bool) (bool, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	now := time.Now()
	full = full && j.spare == 0 || j.usedLocked()+j.opt.SegmentSize > j.opt.MaxBytes
	if !j.freeableLocked(0, now, full) || (j.spare != 0 && !j.freeableLocked(1, now, full)) {
		return false, nil
	}
	s := j.segs[0]
	recycle := j.spare == 0 && int64(s.size) == j.opt.SegmentSize && s.align == j.align
	j.segs = append(make([]*segment, 0, len(j.segs)+8), j.segs[1:]...)
	err := j.noteOldest()
	if err == nil {
		err = j.giveBack(s, recycle)
	}
	if err != nil { // nothing younger may go before it
		j.segs = append([]*segment{s}, j.segs...)
		return false, err
	}
	j.stats.Freed++
	j.forgetDamage(s.no)
	return true, nil
}

// noteOldest has the floor note say which segment is the oldest now: so one that
// goes missing is told from one that was freed. Callers hold mu.
func (j *Journal) noteOldest() error {
	for j.err == nil && !j.closed && j.notedOldest < j.segs[0].no {
		j.wantNote = true
		j.letCommit()
	}
	if j.closed {
		return ErrClosed
	}
	return j.err
}

// giveBack renames or removes the segment's file. Callers hold mu, which is
// given up meanwhile.
func (j *Journal) giveBack(s *segment, recycle bool) (err error) {
	next := j.segs[len(j.segs)-1].no + 1
	j.mu.Unlock()
	if recycle = recycle && j.forget(s.no); recycle {
		err = j.fs.Rename(segmentName(s.no), segmentName(next))
	} else {
		err = j.fs.Remove(segmentName(s.no))
	}
	var damage *CorruptError
	if err != nil && errors.As(unusable(s.no, err), &damage) {
		// Its records are settled, and the floor note says that it is not held any more.
		j.log.Warn("journal: the file of a freed segment cannot be removed", "segment", s.no, "error", err)
		recycle, err = false, nil
	}
	if err != nil {
		j.mu.Lock()
		return fmt.Errorf("free segment %d: %w", s.no, err)
	}
	err = j.fs.SyncDir() // oldest first must hold after a cut too
	j.mu.Lock()
	if err != nil {
		return j.fail(fmt.Errorf("sync the folder after segment %d was freed: %w", s.no, err))
	}
	if recycle {
		j.spare = next
		j.stats.Recycled++
	}
	return nil
}

// forget drops what readers left in the page cache: large folios there would
// make each later commit write megabytes. A file that it cannot open is no spare.
func (j *Journal) forget(no uint32) bool {
	f, err := j.fs.Open(segmentName(no))
	if err == nil {
		f.DropCache()
		f.Close()
	}
	return err == nil
}

// freeableLocked says whether segment i of the row may go; where the journal is full,
// retention gives way.
func (j *Journal) freeableLocked(i int, now time.Time, full bool) bool {
	if len(j.segs) < i+2 || j.err != nil || j.closed {
		return false
	}
	if !j.surveyed { // ages are not known yet
		return false
	}
	s := j.segs[i]
	for i+2 < len(j.segs) && j.segs[i+1].bad != nil { // it says nothing: the one after it does
		i++
	}
	next := j.segs[i+1]
	if next.firstSeq-1 > j.settled || j.floorSeq < next.firstSeq || s.refs > 0 {
		return false
	}
	age := now.Sub(j.endedLocked(i))
	keep := j.opt.Retention
	if full {
		keep = min(keep, minRetention)
		if age < 0 { // a time that cannot be: the shop goes on selling
			return true
		}
	}
	return age >= keep && (full || j.opt.Timely == nil || j.opt.Timely())
}

// endedLocked is when segment i of the row was closed, by wall clocks that may
// have been wrong: not after a later segment was begun, and not before this one
// was, if that was in the past.
func (j *Journal) endedLocked(i int) time.Time {
	ended := j.segs[i+1].created
	for _, s := range j.segs[i+2:] {
		if s.known {
			ended = min(ended, s.created)
		}
	}
	if begun := j.segs[i].created; begun <= time.Now().UnixMilli() {
		ended = max(ended, begun)
	}
	return time.UnixMilli(ended)
}
