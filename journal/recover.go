package journal

import (
	"errors"
	"fmt"
	"io/fs"

	"posd/journal/chain"
	"posd/journal/internal/hook"
)

// recoverAll finds the end of the journal and makes the last segment active.
// It reads the pages 0 that survey needs and all of the last segment, past the
// page cache: after a failed sync the cache holds what the device does not.
func (j *Journal) recoverAll() error {
	// A killed process may have left names in the cache, too.
	if j.lab.Bug == hook.NoStartSync || j.readOnly {
		// nothing can be synced, or as if it were not needed
	} else if err := j.fs.SyncDir(); err != nil {
		return fmt.Errorf("%w: sync the folder at start: %w", ErrFailed, err)
	}
	if err := j.survey(); err != nil {
		return err
	}
	nf, err := j.fs.Open(noteName)
	if errors.Is(err, fs.ErrPermission) { // nothing is wrong with it
		return err
	}
	if err != nil {
		return &CorruptError{File: noteName, Witness: "every journal has a floor note", Err: err}
	}
	j.note.f = nf
	if !j.readOnly {
		if err := j.proveCold(nf); err != nil {
			nf.Close()
			return err
		}
	}
	pages, err := readNotes(nf)
	if err != nil {
		nf.Close()
		return err
	}
	n := pages.of(j.id)
	j.note.gen = n.gen
	if err := j.recoverTail(n); err != nil {
		nf.Close()
		return err
	}
	return nil
}

func (j *Journal) recoverTail(n note) error {
	if err := j.settleOldest(n); err != nil {
		return err
	}
	active := j.segs[len(j.segs)-1]
	tail, err := j.scan(active, n, nil)
	if err != nil {
		return err
	}
	if err := j.judge(tail, n); err != nil {
		return err
	}
	if err := j.adopt(active, tail, n); err != nil {
		return err
	}
	j.settleTail(tail, n)
	if err := active.open(j.fs, !j.readOnly); err != nil {
		return err
	}
	active.refs = 1
	if j.readOnly {
		return nil
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if err := j.writeNoteLocked(false); err != nil {
		active.drop()
		return err
	}
	return nil
}

// checkOldest: the note names the oldest segment before an older one is freed.
func (j *Journal) checkOldest(n note) error {
	first := j.segs[0]
	if n.oldest == 0 || first.no <= n.oldest || j.lab.Bug == hook.TruncateAny {
		return nil
	}
	return &CorruptError{File: segmentName(n.oldest), Segment: n.oldest, Last: j.oldestLocked() - 1,
		Witness: fmt.Sprintf("the floor note says that segment %d is held", n.oldest),
		Err:     fmt.Errorf("the files before segment %d are missing", first.no)}
}

// settleOldest has the row begin where the note says. What is missing there is damage
// of old records. What is bad before it was freed, but its name could not be removed.
func (j *Journal) settleOldest(n note) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if err := j.checkOldest(n); err != nil {
		first := j.segs[0].no
		if first-n.oldest > mostMissing {
			return err
		}
		var row []*segment
		for no := n.oldest; no < first; no++ {
			s := j.unread(no)
			s.bad = &CorruptError{File: segmentName(no), Segment: no,
				Witness: fmt.Sprintf("the floor note says that segment %d is held", n.oldest), Err: errMissing}
			row = append(row, s)
		}
		j.segs = append(row, j.segs...)
	}
	for i := len(j.segs) - 2; i >= 0; i-- {
		if s := j.segs[i]; s.no < n.oldest && s.bad != nil {
			for _, s := range j.segs[:i+1] {
				j.forgetDamage(s.no)
			}
			j.segs = j.segs[i+1:]
			break
		}
	}
	for _, s := range j.segs {
		j.noteDamageLocked(s.bad)
	}
	return j.knowOldest()
}

// tail is the end of the last segment as the device has it.
type tail struct {
	end        int // X: offset of the first invalid group
	seq        uint64
	head       chain.Head
	groups     int
	inc        uint64
	signed     uint64 // last checkpoint in the segment, 0 if there is none: then one is due, for who knows what is signed before
	why        error  // what is wrong at X; nil at the segment's end
	zero       bool   // the page at X is zero
	unreadable bool   // a page from X on cannot be read: it could not be stored into
	later      int    // offset of a valid later group, 0 if none
	laterAt    uint64
	noteErr    error // the group that the floor note names differs
}

func newTail(seg *segment) *tail {
	return &tail{end: seg.align, seq: seg.firstSeq - 1, head: seg.prevHead, inc: seg.incarnation}
}

// continues checks that the next segment agrees about the end of this one.
func (t *tail) continues(next *segment) error {
	if t.end == int(next.prevEnd) && t.seq+1 == next.firstSeq && t.head == next.prevHead {
		return nil
	}
	return fmt.Errorf("%w: it ends at offset %d with record %d, segment %d says offset %d and record %d",
		errGroup, t.end, t.seq, next.no, next.prevEnd, next.firstSeq-1)
}

// scan walks the groups of a segment from the device, up to where the next
// segment says that it ends, or to the first invalid group. each may be nil.
func (j *Journal) scan(seg *segment, n note, each func(chain.Record, chain.Head) error) (*tail, error) {
	f, err := j.fs.Open(segmentName(seg.no))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if j.lab.Bug != hook.CachedRead {
		f.DropCache()
	}
	r := newColdReader(f, int(seg.size), seg.align, j.lab.Bug)
	limit := int(seg.size)
	if seg.end != 0 { // the next segment tells
		limit = seg.end
	}
	t := newTail(seg)
	for t.end < limit && t.why == nil {
		w := where{id: j.id, segNo: seg.no, off: t.end, end: limit, align: seg.align}
		g, b, err := r.group(w)
		before := t.head
		if err == nil {
			at := t.end
			if err = t.take(seg, &g, b, n); err == nil {
				seg.noteGroup(mark{g.firstSeq, at})
			}
		}
		if errors.Is(err, ErrNewer) {
			return nil, err
		}
		if err == nil && each != nil {
			if err := eachRecord(b[groupHeader:groupHeader+g.bodyLen], before, each); err != nil {
				return nil, err
			}
		}
		t.why = err
	}
	if t.why != nil {
		j.lookBeyond(r, seg, t)
	}
	f.DropCache()
	return t, nil
}

func eachRecord(frames []byte, head chain.Head, each func(chain.Record, chain.Head) error) error {
	for len(frames) > 0 {
		rec, rest, err := chain.NextFrame(frames)
		if err != nil {
			return err
		}
		head, frames = head.Next(rec.Frame), rest
		if err := each(rec, head); err != nil {
			return err
		}
	}
	return nil
}

// take accepts the group at t.end if it continues the chain.
func (t *tail) take(seg *segment, g *group, b []byte, n note) error {
	if err := g.check(b, seg.align); err != nil {
		return err
	}
	if g.firstSeq != t.seq+1 {
		return fmt.Errorf("%w: it begins with record %d, not %d", errGroup, g.firstSeq, t.seq+1)
	}
	if g.incarnation < t.inc {
		return fmt.Errorf("%w: of incarnation %d after %d", errGroup, g.incarnation, t.inc)
	}
	if g.prev != t.head {
		return fmt.Errorf("%w: it does not continue the hash chain", errGroup)
	}
	signed, err := g.prove(b)
	if err != nil {
		return err
	}
	t.signed = max(t.signed, signed)
	t.groups++
	t.end += g.size(seg.align)
	t.seq, t.head, t.inc = g.last(), g.head, g.incarnation
	if n.segNo == seg.no && n.seq == t.seq && (n.head != t.head || int(n.end) != t.end) {
		t.noteErr = fmt.Errorf("%w: record %d is not the one that the floor note names", errGroup, t.seq)
	}
	return nil
}

// lookBeyond searches the rest of the segment for a later valid group: the
// seal rule makes it a witness that the bytes at t.end had been synced.
func (j *Journal) lookBeyond(r *coldReader, seg *segment, t *tail) {
	page, err := r.bytes(t.end, seg.align)
	t.unreadable = len(r.bad) > 0
	t.zero = err == nil && isZero(page)
	for off := t.end; off < int(seg.size); off += seg.align {
		w := where{id: j.id, segNo: seg.no, off: off, end: int(seg.size), align: seg.align}
		g, _, err := r.whole(w)
		t.unreadable = t.unreadable || len(r.bad) > 0
		if err == nil && g.firstSeq > t.seq {
			t.later, t.laterAt = off, g.firstSeq
			return
		}
	}
}

// judge tells damage of acknowledged records from a torn tail.
func (j *Journal) judge(t *tail, n note) error {
	seg := j.segs[len(j.segs)-1]
	if j.lab.Bug == hook.TruncateAny {
		return nil
	}
	e := &CorruptError{File: segmentName(seg.no), Segment: seg.no, Offset: int64(t.end), First: t.seq + 1, Err: t.why}
	switch {
	case t.noteErr != nil:
		e.Offset, e.First, e.Last, e.Err = int64(n.end), 0, n.seq, t.noteErr
		e.Witness = "the floor note"
		return e
	case t.later != 0:
		e.Last, e.Witness = t.laterAt-1, fmt.Sprintf("a valid later group at offset %d, record %d", t.later, t.laterAt)
		if t.later == t.end {
			e.Last, e.Witness = t.laterAt, "the group itself is whole but does not continue the chain"
		}
		return e
	case n.seq > t.seq:
		e.Last, e.Witness = n.seq, fmt.Sprintf("the floor note names record %d", n.seq)
		return e
	case t.groups == 0 && len(j.segs) == 1:
		e.Witness = "the oldest segment always begins with a group"
		return e
	}
	return nil
}

// adopt takes the recovered end as the journal's state.
func (j *Journal) adopt(active *segment, t *tail, n note) error {
	active.end = t.end
	j.inc = max(t.inc, n.incarnation) + 1
	j.align = max(minAlign, j.page)
	j.off, j.fill, j.populated = t.end, t.end+groupHeader, t.end
	j.next, j.head, j.sealed = t.seq+1, t.head, t.head
	j.floorSeq, j.floorHead, j.floorEnd = t.seq, t.head, t.end
	j.signed, j.scrub.no, j.scrub.began = t.signed, n.scrubNo, n.scrubBegan
	i := len(j.segs) - 1
	for i > 0 && j.segs[i].end == j.segs[i].align {
		i-- // empty: its first group was torn
		j.mu.Lock()
		err := j.know(i)
		j.mu.Unlock()
		if err != nil {
			return err
		}
	}
	if j.lastOpen = j.segs[i].firstSeq; j.lastOpen == 1 {
		j.lastOpen = 2 // record 1 is the birth
	}
	return nil
}

// settleTail decides whether writing may go on at X. Bytes of a group that was
// under way stay where they are, as evidence: a new segment then says that this
// one ended at X. They cannot be there after an orderly stop, where the page is
// still zero, or where only the process died and the page cache lived on.
func (j *Journal) settleTail(t *tail, n note) {
	seg := j.segs[len(j.segs)-1]
	if seg.align%j.page != 0 {
		j.mustRoll = true // made on a machine with smaller pages
	}
	if t.why == nil {
		return
	}
	clean := n.clean && n.seq == t.seq && n.segNo == seg.no && int(n.end) == t.end
	before := j.lab.Before
	lived := before.Boot != "" && before.Boot == j.lab.Boot && before.State != "failed"
	if (clean || t.zero || lived) && !t.unreadable {
		return
	}
	j.mustRoll = true
	j.stats.TornTails = 1
	j.recover = fmt.Sprintf("the last stop was not orderly: bytes after offset %d of %s are kept and ignored, record %d is the last",
		t.end, segmentName(seg.no), t.seq)
	j.log.Warn("journal: interrupted end", "segment", seg.no, "offset", t.end, "last", t.seq, "reason", t.why)
}
