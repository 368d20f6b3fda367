package journal

import (
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"slices"

	"posd/journal/chain"
	"posd/journal/internal/disk"
)

// Reader walks the durable records in order. It holds one segment at a time:
// the journal does not free it meanwhile. A Reader is for one goroutine. Its
// methods check a group before they hand it out; whoever reads the slices later
// may meet a page that the storage cannot give any more, and does so in Guard.
type Reader struct {
	j      *Journal
	seg    *segment
	off    int    // of the next group
	next   uint64 // next record
	group  group  // the current one
	rest   []byte // its frames from next on
	ahead  ahead
	start  mark // of the walk that found from
	marked int  // where the last mark was left
	// strict: a group that a start gave up for its padding alone may stand where the
	// segment ended.
	strict bool
}

// Group is a row of records that became durable together.
type Group struct {
	First, Last uint64
	Head        chain.Head // after Last
	Frames      []byte     // a slice of the map
}

// Reader begins at record from, at most one beyond the floor. Errors: ErrFreed,
// ErrBeyond, *CorruptError.
func (j *Journal) Reader(from uint64) (*Reader, error) {
	j.mu.Lock()
	if j.closed {
		j.mu.Unlock()
		return nil, ErrClosed
	}
	if from == 0 || from > j.floorSeq+1 {
		defer j.mu.Unlock()
		return nil, fmt.Errorf("%w: record %d of %d", ErrBeyond, from, j.floorSeq)
	}
	if from < j.oldestLocked() {
		defer j.mu.Unlock()
		if bad := j.segs[0].bad; bad != nil { // it may have been there: nobody may call it freed
			return nil, bad
		}
		return nil, fmt.Errorf("%w: record %d, the oldest is %d", ErrFreed, from, j.oldestLocked())
	}
	seg, err := j.find(from)
	if err != nil {
		j.mu.Unlock()
		return nil, err
	}
	if err := j.hold(seg); err != nil {
		j.mu.Unlock()
		return nil, err
	}
	start := seg.before(from)
	j.mu.Unlock()
	r := &Reader{j: j, seg: seg, off: start.off, next: start.seq, start: start}
	r.ahead.dropped, r.marked = start.off, start.off
	for r.next < from { // to the group of from, then to its record
		if len(r.rest) == 0 {
			if err := r.enter(); err != nil {
				r.Close()
				if err == io.EOF {
					err = fmt.Errorf("%w: record %d", ErrBeyond, from)
				}
				return nil, err
			}
		}
		if _, err := r.take(); err != nil {
			r.Close()
			return nil, err
		}
	}
	return r, nil
}

// find returns the segment that holds record seq, learning what it must. One whose
// page 0 is bad is passed over: the segment before it is returned, and says what
// is wrong when it is read to its end. Callers hold mu.
func (j *Journal) find(seq uint64) (*segment, error) {
	for {
		i, unknown := j.search(seq)
		if unknown < 0 {
			s := j.segs[i]
			if s.known && s.end != 0 {
				return s, nil
			}
			if s.bad != nil {
				return nil, s.bad
			}
			unknown = i
		}
		var damage *CorruptError
		if err := j.know(unknown); err != nil && !errors.As(err, &damage) {
			return nil, err
		} // it gave mu up: look again
	}
}

// search finds the last segment that begins at or before seq, or one that must be
// known before that can be told.
func (j *Journal) search(seq uint64) (i, unknown int) {
	lo, hi := 0, len(j.segs)-1
	for lo < hi {
		mid := (lo + hi + 1) / 2
		m := mid
		for m <= hi && j.segs[m].bad != nil {
			m++
		}
		switch {
		case m > hi:
			hi = mid - 1
		case !j.segs[m].known:
			return 0, m
		case j.segs[m].firstSeq <= seq:
			lo = m
		default:
			hi = mid - 1
		}
	}
	return lo, -1
}

// oldestLocked is the first record that can be read. Callers hold mu.
func (j *Journal) oldestLocked() uint64 {
	for _, s := range j.segs {
		if s.known {
			return s.firstSeq
		}
	}
	return j.next
}

// Next returns the next record, or io.EOF at the floor, after which it may be
// called again. The record is valid until the next call.
func (r *Reader) Next() (chain.Record, error) {
	if len(r.rest) == 0 {
		if err := r.enter(); err != nil {
			return chain.Record{}, err
		}
	}
	return r.take()
}

// NextGroup returns the rest of the current group, or the next one.
func (r *Reader) NextGroup() (Group, error) {
	if len(r.rest) == 0 {
		if err := r.enter(); err != nil {
			return Group{}, err
		}
	}
	out := Group{First: r.next, Last: r.group.last(), Head: r.group.head, Frames: r.rest}
	r.rest, r.next = nil, out.Last+1
	return out, nil
}

func (r *Reader) take() (rec chain.Record, err error) {
	err = r.Guard(func() error {
		next, rest, err := chain.NextFrame(r.rest)
		if err != nil {
			return r.corrupt(err)
		}
		rec, r.rest, r.next = next, rest, next.Seq+1
		return nil
	})
	return rec, err
}

func (r *Reader) where(off int) where {
	return where{id: r.j.id, segNo: r.seg.no, off: off, end: int(r.seg.size), align: r.seg.align}
}

// enter goes to the group that begins with r.next. Its bytes are checked
// before anyone sees them: an older segment was not read at start.
func (r *Reader) enter() error {
	if err := r.advance(); err != nil {
		return err
	}
	r.ahead.look(r.seg.file, r.off)
	g, err := r.load()
	if err != nil {
		return r.corrupt(err)
	}
	r.group = g
	return nil
}

// DropBehind has the reader give back the memory of what it has read, for one whose
// records nobody reads again soon: a backlog that goes by once would otherwise fill the
// slice, and the kernel would take the program's own pages instead.
func (r *Reader) DropBehind() { r.ahead.drop = true }

// ahead is how far the groups before us were asked for, and those behind us given back.
type ahead struct {
	end     int // of a segment in which nothing is stored any more, 0 in the active one
	row     int // groups read in a row
	size    int // of the next window
	near    int // where the last one ends
	fetched int // where what was asked for ends
	drop    bool
	dropped int // where what was given back ends
}

const (
	// aheadAfter: whoever wants one record has it before so many groups.
	aheadAfter  = 4
	aheadFirst  = 32 << 10
	aheadWindow = 256 << 10
)

// look brings what will be read next near, a window at a time, while the device is
// already at work on the window behind it. Page by page, 400 MB of groups of one
// event took 20 µs of processor time and 49 µs a page.
func (a *ahead) look(f disk.File, off int) {
	if a.row++; a.row < aheadAfter || off < a.near || off >= a.end {
		return
	}
	a.size = min(max(2*a.size, aheadFirst), aheadWindow)
	a.near = min(off+a.size, a.end)
	next := min(a.near+a.size, a.end)
	if from := max(off, a.fetched); next > from {
		f.Fetch(from, next-from)
		a.fetched = next
	}
	f.Near(off, a.near-off)
	a.behind(f, off)
}

// behind gives back what was read of a segment up to off.
func (a *ahead) behind(f disk.File, off int) {
	if a.drop && a.end != 0 && off > a.dropped {
		f.Behind(a.dropped, off-a.dropped)
		a.dropped = off
	}
}

// advance steps into the next segment where this one has ended.
func (r *Reader) advance() error {
	j := r.j
	j.mu.Lock()
	defer j.mu.Unlock()
	if r.next > j.floorSeq {
		return io.EOF
	}
	if j.closed {
		return ErrClosed
	}
	for r.off >= r.seg.end { // a segment whose first group was torn is empty
		i := slices.IndexFunc(j.segs, func(s *segment) bool { return s.no == r.seg.no+1 })
		if i < 0 {
			return nil // the bytes here will say what is wrong
		}
		next := j.segs[i]
		if err := j.know(i); err != nil {
			return err
		}
		if err := j.hold(next); err != nil {
			return err
		}
		r.ahead.end = r.seg.end // it may have been the active one until now
		r.ahead.behind(r.seg.file, r.seg.end)
		r.seg.drop()
		r.seg, r.off = next, next.align
		r.ahead.near, r.ahead.fetched, r.ahead.dropped, r.marked = 0, 0, 0, 0
	}
	r.ahead.end = 0
	r.strict = r.seg.vague
	if r.seg != j.segs[len(j.segs)-1] { // there large folios would make commits write megabytes
		r.ahead.end = r.seg.end
		// A segment of an earlier run has no marks: each look at a head in it would walk
		// from its start.
		if r.off-r.marked >= markEvery {
			r.marked = r.off
			r.seg.learn(mark{r.next, r.off})
		}
	}
	return nil
}

func (r *Reader) load() (g group, err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = fault(p)
		}
	}()
	if r.off+groupHeader > len(r.seg.data) {
		return g, fmt.Errorf("%w: the segment ends here", errGroup)
	}
	g, err = decodeGroupHeader(r.seg.data[r.off:], r.where(r.off))
	if err != nil {
		return g, err
	}
	b := r.seg.data[r.off : r.off+g.size(r.seg.align)]
	// The padding is not handed out: a start and the scrub look at it. To a reader it
	// is most of what it would have to fetch.
	if r.strict {
		err = g.check(b, r.seg.align)
	} else {
		err = g.checkBody(b)
	}
	if err != nil {
		return g, err
	}
	if g.firstSeq != r.next {
		return g, fmt.Errorf("%w: it begins with record %d, not %d", errGroup, g.firstSeq, r.next)
	}
	r.rest = b[groupHeader : groupHeader+g.bodyLen]
	r.off += len(b)
	return g, nil
}

func (r *Reader) corrupt(err error) error {
	floor, _ := r.j.Floor()
	e := &CorruptError{File: segmentName(r.seg.no), Segment: r.seg.no, Offset: int64(r.off), First: r.next,
		Last: floor, Witness: "the records were durable in this run or before it", Err: err}
	r.j.noteDamage(e)
	return e
}

// Guard runs fn over slices of the map that were handed out before. A page that
// the storage cannot give any more is a *CorruptError, not the end of the process.
func (r *Reader) Guard(fn func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = r.corrupt(fault(p))
		}
	}()
	return fn()
}

// Close gives the held segment back.
func (r *Reader) Close() error {
	if r.seg == nil {
		return nil
	}
	r.j.mu.Lock()
	r.seg.drop()
	r.j.mu.Unlock()
	r.seg, r.rest = nil, nil
	poke(r.j.kickPrep)
	return nil
}

// Read calls fn with one record, whose slices are valid within fn only. A page
// that the storage cannot give while fn reads it is a *CorruptError.
func (j *Journal) Read(seq uint64, fn func(chain.Record) error) (err error) {
	if floor, _ := j.Floor(); seq > floor {
		return fmt.Errorf("%w: record %d of %d", ErrBeyond, seq, floor)
	}
	rec, r := chain.Record{}, (*Reader)(nil)
	if r, err = j.Reader(seq); err == nil {
		defer r.Close()
		rec, err = r.Next()
	}
	if damage := (*CorruptError)(nil); errors.As(err, &damage) { // perhaps only of what stands before it
		return j.rescueRead(seq, fn)
	}
	if err != nil {
		return err
	}
	return r.Guard(func() error { return fn(rec) })
}

// Head is the chain's head after record seq. Errors: ErrFreed, ErrBeyond.
func (j *Journal) Head(seq uint64) (chain.Head, error) {
	if seq == 0 {
		return j.id.Head0(), nil
	}
	j.mu.Lock()
	floor, head := j.floorSeq, j.floorHead
	if seq > floor {
		j.mu.Unlock()
		return chain.Head{}, fmt.Errorf("%w: record %d of %d", ErrBeyond, seq, floor)
	}
	for _, s := range j.segs { // the end of the segment before is in page 0
		if s.known && s.firstSeq == seq+1 {
			floor, head = seq, s.prevHead
		}
	}
	j.mu.Unlock()
	if seq == floor {
		return head, nil
	}
	h, err := j.headWithin(seq)
	if damage := (*CorruptError)(nil); errors.As(err, &damage) {
		return j.rescueHead(seq)
	}
	return h, err
}

// headWithin walks group headers from the nearest mark and hashes within the
// group that holds seq.
func (j *Journal) headWithin(seq uint64) (h chain.Head, err error) {
	r, err := j.Reader(seq)
	if err != nil {
		return chain.Head{}, err
	}
	defer r.Close()
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = r.corrupt(fault(p))
		}
	}()
	for off := r.start.off; ; {
		g, err := decodeGroupHeader(r.seg.data[off:], r.where(off))
		if err != nil {
			return chain.Head{}, r.corrupt(err)
		}
		if g.last() == seq {
			return g.head, nil
		}
		if g.last() < seq {
			off += g.size(r.seg.align)
			continue
		}
		if err := g.check(r.seg.data[off:off+g.size(r.seg.align)], r.seg.align); err != nil {
			return chain.Head{}, r.corrupt(err)
		}
		head, rest := g.prev, r.seg.data[off+groupHeader:off+groupHeader+g.bodyLen]
		for s := g.firstSeq; s <= seq; s++ {
			rec, next, err := chain.NextFrame(rest)
			if err != nil {
				return chain.Head{}, r.corrupt(err)
			}
			head, rest = head.Next(rec.Frame), next
		}
		return head, nil
	}
}
