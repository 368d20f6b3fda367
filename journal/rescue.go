package journal

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"posd/journal/chain"
	"posd/journal/internal/disk"
)

// Rescue reads what a Reader cannot: from the device, past all caches, page by page,
// around damage. A group counts if its checksum and its own hash chain are whole,
// wherever it stands, also behind a page 0 that is gone. It goes on to the end of the
// damaged segments, where a Reader can take over. It is for one goroutine.
type Rescue struct {
	_ [0]func() // not compared: see docs/maintain.md on the size

	j     *Journal
	seg   *segment // held, nil once all was read
	f     disk.File
	cold  *coldReader
	off   int
	end   int  // of the groups in seg
	step  int  // between the places where a group may stand
	vague bool // end is not known: a group that a start gave up may stand there
	from  uint64
	next  uint64
	prev  chain.Head // head(next-1), once a group before it was seen

	before chain.Head // head(from-1), once that was seen
	wait   *proved    // found, but records before it are missing
	why    error      // the first thing wrong since the last group
	at     int64      // and where
	hard   bool       // a page could not be read since the last group

	// what was durable when the Rescue began
	floorNo   uint32
	floorEnd  int
	floorSeq  uint64
	floorHead chain.Head
}

// proved is a group that was found whole.
type proved struct {
	Group
	prev chain.Head
}

// MissingError says that nothing on the device proves a row of records now. It says
// nothing about tomorrow: a device may give a page at the next attempt.
type MissingError struct {
	First, Last uint64
	Head        chain.Head // after Last, proved by what follows
	Unreadable  bool       // a page of theirs cannot be read; else other bytes stand there
	Damage      *CorruptError
}

func (e *MissingError) Error() string {
	return fmt.Sprintf("records %d to %d cannot be proved: %v", e.First, e.Last, e.Damage)
}

func (e *MissingError) Unwrap() error { return e.Damage }

// Rescue begins at record from. Errors: ErrBeyond, ErrFreed, ErrClosed, or what keeps
// the segments from being looked at.
func (j *Journal) Rescue(from uint64) (*Rescue, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.closed {
		return nil, ErrClosed
	}
	if from == 0 || from > j.floorSeq {
		return nil, fmt.Errorf("%w: record %d of %d", ErrBeyond, from, j.floorSeq)
	}
	s, err := j.findAny(from)
	if err != nil {
		return nil, err
	}
	if s.known && s.firstSeq > from {
		return nil, fmt.Errorf("%w: record %d, the oldest is %d", ErrFreed, from, s.firstSeq)
	}
	r := &Rescue{j: j, from: from, next: from, floorNo: j.segs[len(j.segs)-1].no, floorEnd: j.floorEnd, floorSeq: j.floorSeq, floorHead: j.floorHead}
	r.enterLocked(s)
	if s.known {
		r.off = s.before(from).off
	}
	return r, nil
}

// findAny is the last segment that may hold record seq or one before it, whatever is
// wrong with it. Callers hold mu.
func (j *Journal) findAny(seq uint64) (*segment, error) {
	for {
		i, unknown := j.search(seq)
		if unknown < 0 {
			if s := j.segs[i]; s.bad != nil || s.known && s.end != 0 {
				return s, nil
			}
			unknown = i
		}
		var damage *CorruptError
		if err := j.know(unknown); err != nil && !errors.As(err, &damage) {
			return nil, err
		} // it gave mu up: look again
	}
}

// enterLocked holds s, and begins at its first group. Callers hold mu.
func (r *Rescue) enterLocked(s *segment) {
	s.refs++
	r.seg, r.step, r.end = s, minAlign, int(r.j.opt.SegmentSize)
	r.vague = s.known && (s.vague || s.end == 0) && s.no != r.floorNo
	if s.known {
		r.step, r.end = s.align, int(s.size)
		if s.end != 0 {
			r.end = s.end
		}
	}
	if s.no == r.floorNo {
		r.end = r.floorEnd
	}
	r.off = r.step
}

// NextGroup returns the next group, the rest of one if it began before the record asked
// for. Its frames are a copy. *MissingError: the records before the next group are not
// there; the call after it goes on behind them. io.EOF: the damaged segments end here, or
// the journal does.
func (r *Rescue) NextGroup() (Group, error) {
	if g := r.wait; g != nil {
		r.wait = nil
		return r.take(g), nil
	}
	for r.seg != nil && r.next <= r.floorSeq {
		g, err := r.scan()
		switch {
		case err != nil:
			return Group{}, err
		case g == nil:
			if err := r.leave(); err != nil {
				return Group{}, err
			}
		case g.First > r.next:
			r.wait = g
			return Group{}, r.missing(r.seg.no, g.First-1, g.prev)
		default:
			return r.take(g), nil
		}
	}
	return Group{}, io.EOF
}

func (r *Rescue) take(g *proved) Group {
	if g.First == r.from {
		r.before = g.prev
	}
	r.next, r.prev, r.why, r.hard = g.Last+1, g.Head, nil, false
	return g.Group
}

// Before is the head before the record that the Rescue began with, zero until that was
// met: if it is missing, nobody knows.
func (r *Rescue) Before() chain.Head { return r.before }

// scan looks for the next whole group in the segment at hand, nil if there is none.
func (r *Rescue) scan() (*proved, error) {
	if r.cold == nil {
		if err := r.open(); err != nil || r.cold == nil {
			return nil, err
		}
	}
	for r.off < r.end {
		off := r.off
		g, b, err := r.cold.group(where{id: r.j.id, segNo: r.seg.no, off: off, end: r.end, align: r.step})
		if err == nil && r.vague {
			err = g.check(b, r.step)
		} else if err == nil {
			err = g.checkBody(b)
		}
		if err == nil {
			_, err = g.prove(b)
		}
		if errors.Is(err, ErrNewer) {
			return nil, err
		}
		if err == nil && g.last() > r.floorSeq {
			err = fmt.Errorf("%w: it ends with record %d, the journal with %d", errGroup, g.last(), r.floorSeq)
		}
		if err != nil {
			r.lose(int64(off), err)
			r.off += r.step
			continue
		}
		r.off += g.size(r.step)
		if g.last() < r.next {
			r.why, r.hard = nil, false // what was wrong before it is not asked for
			continue
		}
		return r.rest(&g, b)
	}
	return nil, nil
}

// rest is what of g comes at or behind the record to read next.
func (r *Rescue) rest(g *group, b []byte) (*proved, error) {
	p := &proved{Group{First: max(g.firstSeq, r.next), Last: g.last(), Head: g.head}, g.prev}
	frames := b[groupHeader : groupHeader+g.bodyLen]
	for seq := g.firstSeq; seq < r.next; seq++ {
		rec, after, err := chain.NextFrame(frames)
		if err != nil {
			return nil, err
		}
		p.prev, frames = p.prev.Next(rec.Frame), after
	}
	p.Frames = slices.Clone(frames)
	if r.prev != (chain.Head{}) && p.First == r.next && p.prev != r.prev {
		return nil, fmt.Errorf("%w: record %d does not continue the hash chain of the one before it", errGroup, p.First)
	}
	return p, nil
}

// lose notes what is wrong, the first of a row, and whether a page cannot be read.
func (r *Rescue) lose(off int64, err error) {
	if r.why == nil {
		r.why, r.at = err, off
	}
	r.hard = r.hard || r.cold != nil && slices.ContainsFunc(r.cold.bad, func(p badPage) bool { return p.off >= int(off) })
}

// open opens the file of the segment at hand. What it does not let be read is missing.
func (r *Rescue) open() error {
	f, err := r.j.fs.Open(segmentName(r.seg.no))
	var damage *CorruptError
	switch {
	case err == nil:
		size := int(r.j.opt.SegmentSize)
		if r.seg.known {
			size = int(r.seg.size)
		}
		r.f, r.cold = f, newColdReader(f, size, r.step, r.j.lab.Bug)
		r.cold.window = scrubWindow
	case errors.As(unusable(r.seg.no, err), &damage):
		r.lose(0, damage.Err)
		r.hard = true // it may come back with a mount, or a cooler device
	default:
		return err
	}
	return nil
}

// leave steps into the segment behind the one at hand. The error is *MissingError where
// that begins behind the next record, io.EOF where a Reader can go on.
func (r *Rescue) leave() error {
	j := r.j
	j.mu.Lock()
	defer j.mu.Unlock()
	s := r.seg
	if s.no == r.floorNo {
		r.dropLocked()
		if r.next <= r.floorSeq { // what is behind is in memory, and proves it
			return r.missing(s.no, r.floorSeq, r.floorHead)
		}
		return io.EOF
	}
	i := slices.IndexFunc(j.segs, func(o *segment) bool { return o.no == s.no+1 })
	if i < 0 {
		r.dropLocked()
		return fmt.Errorf("%w: segment %d was freed meanwhile", ErrFreed, s.no+1)
	}
	if err := j.know(i); err != nil && j.segs[i].bad == nil { // it gave mu up
		return err
	}
	if i = slices.IndexFunc(j.segs, func(o *segment) bool { return o.no == s.no+1 }); i < 0 {
		r.dropLocked()
		return fmt.Errorf("%w: segment %d was freed meanwhile", ErrFreed, s.no+1)
	}
	next := j.segs[i]
	r.dropLocked()
	if !next.known {
		r.enterLocked(next)
		return nil
	}
	if next.firstSeq > r.next {
		return r.missing(s.no, next.firstSeq-1, next.prevHead)
	}
	return io.EOF
}

func (r *Rescue) missing(no uint32, last uint64, head chain.Head) error {
	if r.why == nil {
		r.why = errors.New("nothing stands there that belongs to the journal")
	}
	e := &MissingError{First: r.next, Last: last, Head: head, Unreadable: r.hard, Damage: &CorruptError{
		File: segmentName(no), Segment: no, Offset: r.at, First: r.next, Last: last,
		Witness: "the records were durable in this run or before it", Err: r.why}}
	r.why, r.hard, r.next, r.prev = nil, false, last+1, head
	return e
}

// Guard runs fn: what NextGroup returns are copies, which no fault can take away.
func (r *Rescue) Guard(fn func() error) error { return fn() }

// Close gives the held segment back.
func (r *Rescue) Close() error {
	r.j.mu.Lock()
	r.dropLocked()
	r.j.mu.Unlock()
	poke(r.j.kickPrep)
	return nil
}

func (r *Rescue) dropLocked() {
	if r.f != nil {
		r.f.Close()
	}
	if r.seg != nil {
		r.seg.drop()
	}
	r.f, r.cold, r.seg = nil, nil, nil
}

// rescueHead is the head after record seq where the ways to it are damaged: from the
// group that holds it, or from the one that follows it.
func (j *Journal) rescueHead(seq uint64) (h chain.Head, err error) {
	r, err := j.Rescue(seq)
	if err != nil {
		return h, err
	}
	defer r.Close()
	g, err := r.NextGroup()
	var missing *MissingError
	switch {
	case errors.As(err, &missing) && missing.Last == seq:
		return missing.Head, nil
	case err == io.EOF:
		return h, fmt.Errorf("%w: record %d", ErrBeyond, seq)
	case err != nil:
		return h, err
	}
	rec, rest, err := chain.NextFrame(g.Frames)
	if err != nil {
		return h, err
	}
	if len(rest) == 0 {
		return g.Head, nil
	}
	return r.before.Next(rec.Frame), nil
}

// rescueRead is Read where the way to the record is damaged: rot in a group before it is
// not to refuse the answer to a sale that was just made.
func (j *Journal) rescueRead(seq uint64, fn func(chain.Record) error) error {
	r, err := j.Rescue(seq)
	if err != nil {
		return err
	}
	defer r.Close()
	g, err := r.NextGroup()
	if err == io.EOF {
		err = fmt.Errorf("%w: record %d", ErrBeyond, seq)
	}
	if err != nil {
		return err
	}
	rec, _, err := chain.NextFrame(g.Frames)
	if err != nil {
		return err
	}
	return fn(rec)
}
