package journal

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"posd/journal/internal/disk"
)

const (
	// scrubWindow is read at once: small, so that a commit waits little for the
	// device and the processor.
	scrubWindow = 32 << 10
	// scrubRest is the least between two windows.
	scrubRest = time.Millisecond
	// scrubIdle is the rest where there was nothing to read.
	scrubIdle = time.Minute
)

// scrubLoop reads what is held from the device again and again, one pass in
// ScrubEvery, so that rot is found while head office or a backup still has what
// it destroyed.
func (j *Journal) scrubLoop() {
	buf := disk.Buffer(maxGroup)
	for {
		j.opt.Pace(j.stop)
		pause, err := j.scrubNext(buf)
		if err != nil {
			j.log.Warn("journal: scrub", "error", err)
		}
		if !j.sleep(max(pause, scrubRest)) {
			return
		}
	}
}

// sleep returns false when the journal is being closed.
func (j *Journal) sleep(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-j.stop:
		return false
	}
}

// scrubState is where the pass is. The floor note keeps segment and start of the
// pass over restarts.
type scrubState struct {
	no    uint32 // next segment
	began int64  // of the pass, Unix ms
	t     *tail  // within the segment
}

// scrubNext checks the groups of one window and says how long to rest.
func (j *Journal) scrubNext(buf []byte) (time.Duration, error) {
	j.mu.Lock()
	s, limit := j.scrubTarget()
	if s == nil {
		j.mu.Unlock()
		return min(scrubIdle, j.opt.ScrubEvery), nil
	}
	t := j.scrub.t
	held := j.usedLocked()
	s.refs++
	j.mu.Unlock()

	from := t.end
	err := j.scrubWindow(s, t, limit, buf)

	j.mu.Lock()
	defer j.mu.Unlock()
	s.drop()
	read := t.end - from
	j.stats.Scrubbed += uint64(read)
	if next := j.nextOf(s); next != nil {
		switch {
		case next.bad != nil: // nobody says where this one ends
			if t.why != nil {
				t.why, limit = nil, t.end
			}
		case next.known:
			limit = s.end // it may have been the last one, and grown, when this window began
			if t.why == nil && t.end >= limit {
				t.why = t.continues(next)
			}
		}
	}
	if err == nil && t.why != nil {
		j.noteDamageLocked(j.rot(s, t, limit))
	}
	if err != nil || t.why != nil || t.end >= limit {
		read = max(read, limit-from)
		j.scrub.no, j.scrub.t = s.no+1, nil
	}
	if held == 0 || j.opt.ScrubEvery <= 0 {
		return 0, err
	}
	return time.Duration(float64(j.opt.ScrubEvery) * float64(read) / float64(held)), err
}

// scrubTarget picks the segment at hand, or the next, or begins a new pass.
// limit is where its durable groups end; there may be nothing to read yet. Callers
// hold mu.
func (j *Journal) scrubTarget() (s *segment, limit int) {
	i := slices.IndexFunc(j.segs, func(s *segment) bool { return s.no >= j.scrub.no })
	if i < 0 {
		j.stats.ScrubPasses++
		j.stats.LastScrub = time.Now()
		j.scrub = scrubState{began: time.Now().UnixMilli()}
		i = 0
	}
	s = j.segs[i]
	if s.no != j.scrub.no {
		j.scrub.no, j.scrub.t = s.no, nil
	}
	if !s.known || s.end == 0 {
		no := s.no
		if err := j.know(i); err != nil {
			j.scrub.no, j.scrub.t = no+1, nil // damage is noted; what else it was, the next pass will see
		}
		return nil, 0 // it gave mu up: look again
	}
	limit = s.end
	if s == j.segs[len(j.segs)-1] {
		limit = j.floorEnd
	}
	if j.scrub.t == nil {
		j.scrub.t = newTail(s)
	}
	if j.scrub.t.end >= limit { // an empty one
		j.scrub.no, j.scrub.t = s.no+1, nil
		return nil, 0
	}
	return s, limit
}

// scrubWindow checks groups until one window of the device was read.
func (j *Journal) scrubWindow(s *segment, t *tail, limit int, buf []byte) error {
	f, err := j.fs.Open(segmentName(s.no))
	var damage *CorruptError
	if err != nil && errors.As(unusable(s.no, err), &damage) { // it is held, so nobody has freed it
		t.why = damage.Err
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	r := &coldReader{f: f, size: int(s.size), align: s.align, window: scrubWindow, bug: j.lab.Bug, buf: buf}
	for from := t.end; t.end < limit && t.end-from < scrubWindow && t.why == nil; {
		g, b, err := r.group(where{id: j.id, segNo: s.no, off: t.end, end: limit, align: s.align})
		if err == nil {
			err = t.take(s, &g, b, note{})
		}
		t.why = err
	}
	return nil
}

// rot describes damage to records that had been durable. Callers hold mu.
func (j *Journal) rot(s *segment, t *tail, limit int) error {
	e := &CorruptError{File: segmentName(s.no), Segment: s.no, Offset: int64(t.end), First: t.seq + 1,
		Last: j.floorSeq, Witness: fmt.Sprintf("the segment's groups end at offset %d", limit), Err: t.why}
	if next := j.nextOf(s); next != nil && next.known {
		e.Last = next.firstSeq - 1
	}
	return e
}
