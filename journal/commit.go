package journal

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"posd/journal/internal/hook"
)

// noteAfter is how long the journal must have been idle for a floor note.
const noteAfter = time.Second

// commitLoop owns all syncs of groups and all floor notes. A sync is running
// or it is not: there is no timer that a durable record would wait for.
func (j *Journal) commitLoop() {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		j.mu.Lock()
		wait := j.commitAll()
		j.mu.Unlock()
		timer.Reset(wait)
		select {
		case <-j.kick:
		case <-timer.C:
		case <-j.stop:
			j.mu.Lock()
			j.commitAll()
			j.mu.Unlock()
			return
		}
	}
}

// commitAll syncs what is due and says when to look again. Callers hold mu.
func (j *Journal) commitAll() time.Duration {
	yielded := false
	for j.err == nil {
		now := time.Now()
		soon := soonAfter - now.Sub(j.since)
		if j.nrec > 0 && (j.durable || j.closed || soon <= 0) {
			// Those whom the last sync has just woken append now, rather than a
			// sync later: groups are twice as full, and one writer pays nothing.
			if yielded = !yielded && !j.lab.Manual; yielded {
				j.mu.Unlock()
				runtime.Gosched()
				j.mu.Lock()
				continue
			}
			j.commit()
			continue
		}
		idle := noteAfter - now.Sub(j.lastSync)
		if j.wantNote || (j.noted != j.floorSeq && idle <= 0) {
			if err := j.writeNoteLocked(false); err != nil {
				j.fail(err)
			}
			continue
		}
		wait := time.Hour
		if j.nrec > 0 {
			wait = min(wait, soon)
		}
		if j.noted != j.floorSeq {
			wait = min(wait, idle)
		}
		return wait
	}
	return time.Hour
}

// letCommit calls the committer and waits for a change. Callers hold mu.
func (j *Journal) letCommit() {
	if j.lab.Manual {
		j.commitAll()
		return
	}
	poke(j.kick)
	j.changed.Wait()
}

// sealOpen turns the open group into a valid one.
func (j *Journal) sealOpen() (g group, err error) {
	seg := j.segs[len(j.segs)-1]
	g = group{bodyLen: j.fill - j.off - groupHeader, nrec: j.nrec, firstSeq: j.first, segNo: seg.no,
		selfOff: uint32(j.off), incarnation: j.inc, id: j.id, prev: j.sealed, head: j.head}
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = fault(p)
		}
	}()
	b := seg.data[j.off : j.off+g.size(seg.align)]
	clear(b[groupHeader+g.bodyLen:])
	g.seal(b)
	return g, nil
}

// commit seals the open group and makes it durable. The next group opens
// behind it meanwhile, but is sealed only by the next call: so a valid group
// proves that all before it in its segment had been synced.
func (j *Journal) commit() {
	seg := j.segs[len(j.segs)-1]
	g, err := j.sealOpen()
	if err != nil {
		j.fail(err)
		return
	}
	start, size := j.off, g.size(seg.align)
	j.sealed = g.head
	j.off += size
	j.fill, j.populated = j.off+groupHeader, max(j.populated, j.off)
	j.nrec, j.durable = 0, false
	seg.end = j.off
	j.syncing = true
	if j.lab.Bug == hook.EarlyAck {
		j.advance(&g)
	}
	j.mu.Unlock()
	begin := time.Now()
	err = seg.file.SyncRange(start, size)
	if err != nil && j.lab.Bug == hook.RetrySync {
		err = seg.file.SyncRange(start, size)
	}
	took := time.Since(begin)
	j.mu.Lock()
	j.syncing = false
	if err != nil {
		j.fail(fmt.Errorf("sync %d bytes at offset %d of %s: %w", size, start, segmentName(seg.no), err))
		return
	}
	seg.noteGroup(mark{g.firstSeq, start})
	j.stats.Groups++
	j.stats.Syncs++
	j.stats.Bytes += uint64(size)
	j.stats.SyncNanos += uint64(took)
	j.lastSync = time.Now()
	j.stats.LastWrite = j.lastSync
	j.advance(&g)
	j.changed.Broadcast()
}

// advance moves the floor to the end of g and wakes those who waited for it.
func (j *Journal) advance(g *group) {
	j.floorSeq, j.floorHead = g.last(), g.head
	j.floorEnd = int(g.selfOff) + g.size(j.segs[len(j.segs)-1].align)
	j.waiters = slices.DeleteFunc(j.waiters, func(w *waiter) bool {
		if w.seq > j.floorSeq {
			return false
		}
		w.ch <- nil
		return true
	})
}

// writeNoteLocked writes a floor note. Callers hold mu; it is given up
// meanwhile unless the journal is not running.
func (j *Journal) writeNoteLocked(clean bool) error {
	seg := j.segs[len(j.segs)-1]
	n := note{id: j.id, seq: j.floorSeq, segNo: seg.no, end: uint32(seg.end), head: j.floorHead,
		incarnation: j.inc, oldest: j.segs[0].no, scrubNo: j.scrub.no, scrubBegan: j.scrub.began, clean: clean}
	j.wantNote, j.noted = false, j.floorSeq
	if j.lab.Bug == hook.NoNote { // it goes on saying which segment is the oldest
		n.seq, n.segNo, n.end = 0, 0, 0
	}
	j.mu.Unlock()
	err := j.note.write(n)
	j.mu.Lock()
	if err == nil {
		j.notedOldest = n.oldest
		j.stats.LastWrite = time.Now()
	}
	j.changed.Broadcast()
	return err
}

type waiter struct {
	seq uint64
	ch  chan error
}

var waiterPool = sync.Pool{New: func() any { return &waiter{ch: make(chan error, 1)} }}

// Wait returns nil once record seq is durable, ErrFailed if it may be lost, or
// the context's error; the record's group goes on without the waiter.
func (j *Journal) Wait(ctx context.Context, seq uint64) error {
	return j.wait(ctx, seq, true)
}

// WaitBeyond returns nil once a record after seq is durable.
func (j *Journal) WaitBeyond(ctx context.Context, seq uint64) error {
	return j.wait(ctx, seq+1, false)
}

func (j *Journal) wait(ctx context.Context, seq uint64, urge bool) error {
	j.mu.Lock()
	switch {
	case j.floorSeq >= seq:
		j.mu.Unlock()
		return nil
	case j.err != nil:
		defer j.mu.Unlock()
		return j.err
	case j.closed && j.next <= seq:
		j.mu.Unlock()
		return ErrClosed
	}
	w := waiterPool.Get().(*waiter)
	w.seq = seq
	j.waiters = append(j.waiters, w)
	if urge && j.nrec > 0 && seq >= j.first {
		j.durable = true
		poke(j.kick)
	}
	j.mu.Unlock()
	select {
	case err := <-w.ch:
		waiterPool.Put(w)
		return err
	case <-ctx.Done():
	}
	j.mu.Lock()
	i := slices.Index(j.waiters, w)
	if i >= 0 {
		j.waiters = slices.Delete(j.waiters, i, i+1)
	}
	j.mu.Unlock()
	if i < 0 { // answered at the same moment
		err := <-w.ch
		waiterPool.Put(w)
		return err
	}
	waiterPool.Put(w)
	return context.Cause(ctx)
}
