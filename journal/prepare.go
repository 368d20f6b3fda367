package journal

import (
	"errors"
	"fmt"
	"io/fs"
	"time"

	"golang.org/x/sys/unix"
)

// minRetention is what retention shrinks to when the budget is used up:
// settled records must outlive the hub's backups.
const minRetention = 24 * time.Hour

// prepareEvery is how often freeing is looked at without a reason.
const prepareEvery = 10 * time.Second

// pausePrepare lets commits at the device between two batches of zeros.
const pausePrepare = 5 * time.Millisecond

// prepareLoop owns making, recycling and freeing of segments.
func (j *Journal) prepareLoop() {
	tick := time.NewTicker(prepareEvery)
	defer tick.Stop()
	for {
		err := j.prepare()
		j.mu.Lock()
		j.spareErr = err
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

// prepare frees what may go and sees to it that a spare is ready.
func (j *Journal) prepare() error {
	for {
		freed, err := j.freeOldest()
		if err != nil {
			return err
		}
		if !freed {
			break
		}
	}
	j.mu.Lock()
	ready := j.spare != 0
	no := j.segs[len(j.segs)-1].no + 1
	used := int64(0)
	for _, s := range j.segs {
		used += int64(s.size)
	}
	j.mu.Unlock()
	if ready {
		return nil
	}
	if used+j.opt.SegmentSize > j.opt.MaxBytes {
		return fmt.Errorf("%w: segments take %d bytes, the budget is %d; records that head office has not settled are never deleted: restore the link or raise data.max_bytes", ErrNoSpace, used, j.opt.MaxBytes)
	}
	if err := j.makeSpare(no); err != nil {
		return err
	}
	j.mu.Lock()
	j.spare = no
	j.mu.Unlock()
	return nil
}

func (j *Journal) makeSpare(no uint32) error {
	name := segmentName(no)
	// Half of one may be left from a cut.
	if err := j.fs.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	err := j.fs.Create(name, j.opt.SegmentSize, j.pause)
	if err == nil && j.opt.bug != bugNoDirSync {
		err = j.fs.SyncDir()
	}
	switch {
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		return fmt.Errorf("%w: %w; free space on the data partition", ErrNoSpace, err)
	case err != nil:
		return fmt.Errorf("make segment %d: %w", no, err)
	}
	return nil
}

func (j *Journal) pause() {
	j.mu.Lock()
	urgent := j.urgent || j.closed
	j.mu.Unlock()
	if !urgent {
		time.Sleep(pausePrepare)
	}
}

// freeOldest gives the oldest segment back if all conditions hold: settled,
// past retention, read by nobody, behind a durable opening state. Where a
// spare is missing it becomes the spare, without being zeroed again.
func (j *Journal) freeOldest() (bool, error) {
	j.mu.Lock()
	if !j.freeableLocked(time.Now()) {
		j.mu.Unlock()
		return false, nil
	}
	s := j.segs[0]
	recycle := j.spare == 0 && int64(s.size) == j.opt.SegmentSize && s.align == j.align
	next := j.segs[len(j.segs)-1].no + 1
	rest := j.segs[1:]
	j.segs = append(make([]*segment, 0, len(rest)+8), rest...)
	j.stats.Freed++
	j.mu.Unlock()

	var err error
	if recycle {
		j.forget(s.no)
		err = j.fs.Rename(segmentName(s.no), segmentName(next))
	} else {
		err = j.fs.Remove(segmentName(s.no))
	}
	if err == nil {
		err = j.fs.SyncDir() // oldest first must hold after a cut too
	}
	if err != nil {
		return false, fmt.Errorf("free segment %d: %w", s.no, err)
	}
	if recycle {
		j.mu.Lock()
		j.spare = next
		j.mu.Unlock()
	}
	return true, nil
}

// forget drops what readers left in the page cache: large folios there would
// make each later commit write megabytes.
func (j *Journal) forget(no uint32) {
	if f, err := j.fs.Open(segmentName(no)); err == nil {
		f.DropCache()
		f.Close()
	}
}

func (j *Journal) freeableLocked(now time.Time) bool {
	if len(j.segs) < 2 || j.err != nil || j.closed {
		return false
	}
	s, next := j.segs[0], j.segs[1]
	keep := j.opt.Retention
	if used := int64(len(j.segs)+1) * j.opt.SegmentSize; used > j.opt.MaxBytes {
		keep = min(keep, minRetention)
	}
	ended := time.UnixMilli(next.created)
	return next.firstSeq-1 <= j.settled && j.floorSeq >= next.firstSeq && s.refs == 0 && now.Sub(ended) >= keep
}
