package journal

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"posd/journal/chain"
	"posd/journal/internal/disk"
)

// recoverAll finds the end of the journal and makes the last segment active.
// It reads page 0 of each segment and all of the last one, past the page
// cache: after a failed sync the cache holds what the device does not.
func (j *Journal) recoverAll(before disk.Owner) error {
	// A killed process may have left names in the cache, too.
	if j.opt.bug == bugNoStartSync {
		// as if it were not needed
	} else if err := j.fs.SyncDir(); err != nil {
		return fmt.Errorf("%w: sync the folder at start: %w", ErrFailed, err)
	}
	s, err := j.survey()
	if err != nil {
		return err
	}
	nf, err := j.fs.Open(noteName)
	if err != nil {
		return &CorruptError{File: noteName, Witness: "every journal has a floor note", Err: err}
	}
	j.note.f = nf
	pages, err := readNotes(nf)
	if err != nil {
		nf.Close()
		return err
	}
	n := pages.of(j.id)
	j.note.gen = n.gen
	if err := j.recoverTail(s, n, before); err != nil {
		nf.Close()
		return err
	}
	return nil
}

func (j *Journal) recoverTail(s *survey, n note, before disk.Owner) error {
	if err := j.checkOldest(n); err != nil {
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
	s.maxInc = max(s.maxInc, n.incarnation)
	j.adopt(active, tail, s)
	j.settleTail(tail, n, before)
	if err := active.open(j.fs, true); err != nil {
		return err
	}
	active.refs = 1
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
	if n.oldest == 0 || first.no <= n.oldest || j.opt.bug == bugTruncateAny {
		return nil
	}
	return &CorruptError{File: segmentName(n.oldest), Segment: n.oldest, Last: first.firstSeq - 1,
		Witness: fmt.Sprintf("the floor note says that segment %d is held", n.oldest),
		Err:     fmt.Errorf("the files before segment %d are missing", first.no)}
}

// survey is what the file names and the pages 0 tell.
type survey struct {
	maxInc uint64
}

type pageKind uint8

const (
	pageUsed  pageKind = iota
	pageSpare          // zero, or left over from a freed segment
	pageBad
)

type surveyed struct {
	no   uint32
	size int64
	kind pageKind
	head segmentHead
	err  error
}

// survey fills j.segs with the segments in use and picks the spare.
func (j *Journal) survey() (*survey, error) {
	names, err := j.fs.Names()
	if err != nil {
		return nil, err
	}
	var nos []uint32
	for _, name := range names {
		if no := segmentNo(name); no != 0 {
			nos = append(nos, no)
		}
	}
	if len(nos) == 0 {
		return nil, fmt.Errorf("%w: the folder has no segment; was the data partition mounted, was posctl init run?", ErrNoJournal)
	}
	slices.Sort(nos)
	found := make([]surveyed, 0, len(nos))
	for i, no := range nos {
		sv, err := j.surveyOne(no, i >= len(nos)-3)
		if err != nil {
			return nil, err
		}
		found = append(found, sv)
	}
	return j.arrange(found)
}

// surveyOne reads one page 0. What a killed process left in the cache must be
// durable before it counts; only the newest files can have any.
func (j *Journal) surveyOne(no uint32, newest bool) (surveyed, error) {
	sv := surveyed{no: no}
	f, err := j.fs.Open(segmentName(no))
	if err != nil {
		return sv, err
	}
	defer f.Close()
	if newest {
		if err := f.Datasync(); err != nil {
			return sv, fmt.Errorf("%w: sync %s at start: %w", ErrFailed, segmentName(no), err)
		}
	}
	if sv.size, err = f.Size(); err != nil {
		return sv, err
	}
	buf := disk.Buffer(minAlign)
	if j.opt.bug == bugCachedRead {
		_, err = f.ReadAt(buf, 0)
	} else {
		_, err = f.ReadCold(buf, 0)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		sv.kind, sv.err = pageBad, err
		return sv, nil
	}
	sv.head, sv.err = decodeSegmentHead(buf)
	switch {
	case errors.Is(sv.err, ErrNewer):
		return sv, sv.err
	case errors.Is(sv.err, errZeroPage):
		sv.kind = pageSpare
	case sv.err != nil:
		sv.kind = pageBad
	case sv.head.no < no:
		sv.kind = pageSpare
	case sv.head.no > no:
		sv.kind, sv.err = pageBad, fmt.Errorf("the file holds segment %d", sv.head.no)
	}
	return sv, nil
}

// arrange checks that the segments in use form one unbroken row.
func (j *Journal) arrange(found []surveyed) (*survey, error) {
	last := -1
	for i, sv := range found {
		if sv.kind == pageUsed {
			last = i
		}
	}
	if last < 0 {
		return nil, &CorruptError{File: segmentName(found[0].no), Segment: found[0].no,
			Witness: "the folder has segments, none with a valid page 0", Err: found[0].err}
	}
	j.id, j.owner = found[last].head.id, found[last].head.owner
	if want := j.opt.Identity; want != (Identity{}) && want != j.owner {
		return nil, fmt.Errorf("%w: it belongs to store %q terminal %q, the configuration says store %q terminal %q; correct the configuration or mount the right disk",
			ErrForeign, j.owner.Store, j.owner.Terminal, want.Store, want.Terminal)
	}
	s := &survey{}
	used := found[:last+1]
	for i := range used {
		if err := j.useSegment(used, i); err != nil {
			return nil, err
		}
		s.maxInc = max(s.maxInc, found[i].head.incarnation)
	}
	for _, sv := range found[last+1:] {
		if err := j.checkSpare(sv); err != nil {
			return nil, err
		}
		if sv.no == found[last].no+1 && sv.size == j.opt.SegmentSize {
			j.spare = sv.no
		}
	}
	return s, nil
}

func (j *Journal) useSegment(found []surveyed, i int) error {
	sv := found[i]
	bad := func(what error) error {
		return &CorruptError{File: segmentName(sv.no), Segment: sv.no,
			Witness: fmt.Sprintf("segment %d, which is younger, is in use", found[len(found)-1].no), Err: what}
	}
	switch {
	case sv.kind == pageSpare:
		return bad(errors.New("page 0 is gone"))
	case sv.kind == pageBad:
		return bad(sv.err)
	case sv.head.id != j.id:
		return bad(fmt.Errorf("it belongs to journal %s, the others to %s", sv.head.id, j.id))
	case i > 0 && sv.no != found[i-1].no+1:
		return &CorruptError{File: segmentName(sv.no - 1), Segment: sv.no - 1, First: found[i-1].head.firstSeq,
			Last: sv.head.firstSeq - 1, Witness: fmt.Sprintf("segments %d and %d are there", found[i-1].no, sv.no),
			Err: errors.New("the file is missing")}
	case sv.size != int64(sv.head.size):
		return &CorruptError{File: segmentName(sv.no), Segment: sv.no, Offset: sv.size, First: sv.head.firstSeq,
			Witness: "its page 0", Err: fmt.Errorf("the file has %d bytes, not %d", sv.size, sv.head.size)}
	}
	h := sv.head
	j.segs = append(j.segs, &segment{segmentHead: h})
	if i > 0 {
		j.segs[i-1].end = int(h.prevEnd)
	}
	return nil
}

// checkSpare makes sure that a file after the last segment was never used: a
// lost page 0 in front of a valid group is damage, a torn page 0 is not.
func (j *Journal) checkSpare(sv surveyed) error {
	f, err := j.fs.Open(segmentName(sv.no))
	if err != nil {
		return err
	}
	defer f.Close()
	align := max(minAlign, os.Getpagesize())
	end := min(int(sv.size)/align*align, 2*align)
	if sv.kind == pageBad {
		end = int(sv.size) / align * align
	}
	r := newColdReader(f, int(sv.size), align, j.opt.bug)
	for off := align; off < end; off += align {
		w := where{id: j.id, segNo: sv.no, off: off, end: int(sv.size), align: align}
		g, b, err := r.group(w)
		if err == nil && g.check(b, align) == nil {
			if j.opt.bug == bugTruncateAny {
				return nil
			}
			return &CorruptError{File: segmentName(sv.no), Segment: sv.no, First: g.firstSeq, Last: g.last(),
				Witness: fmt.Sprintf("a valid group at offset %d", off), Err: errors.Join(errBadPage, sv.err)}
		}
	}
	return nil
}

// tail is the end of the last segment as the device has it.
type tail struct {
	end     int // X: offset of the first invalid group
	seq     uint64
	head    chain.Head
	groups  int
	inc     uint64
	why     error // what is wrong at X; nil at the segment's end
	zero    bool  // the page at X is zero
	later   int   // offset of a valid later group, 0 if none
	laterAt uint64
	noteErr error // the group that the floor note names differs
}

// scan walks the groups of a segment from the device, up to where the next
// segment says that it ends, or to the first invalid group. each may be nil.
func (j *Journal) scan(seg *segment, n note, each func(chain.Record, chain.Head) error) (*tail, error) {
	f, err := j.fs.Open(segmentName(seg.no))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if j.opt.bug != bugCachedRead {
		f.DropCache()
	}
	r := newColdReader(f, int(seg.size), seg.align, j.opt.bug)
	limit := int(seg.size)
	if seg.end != 0 { // the next segment tells
		limit = seg.end
	}
	t := &tail{end: seg.align, seq: seg.firstSeq - 1, head: seg.prevHead, inc: seg.incarnation}
	for t.end < limit && t.why == nil {
		w := where{id: j.id, segNo: seg.no, off: t.end, end: limit, align: seg.align}
		g, b, err := r.group(w)
		before := t.head
		if err == nil {
			err = t.take(seg, &g, b, n)
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
	if err := g.prove(b); err != nil {
		return err
	}
	seg.noteGroup(mark{g.firstSeq, t.end})
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
	t.zero = err == nil && len(bytes.Trim(page, "\x00")) == 0
	for off := t.end; off < int(seg.size); off += seg.align {
		w := where{id: j.id, segNo: seg.no, off: off, end: int(seg.size), align: seg.align}
		g, b, err := r.group(w)
		if err == nil && g.firstSeq > t.seq && g.check(b, seg.align) == nil {
			t.later, t.laterAt = off, g.firstSeq
			return
		}
	}
}

// judge tells damage of acknowledged records from a torn tail.
func (j *Journal) judge(t *tail, n note) error {
	seg := j.segs[len(j.segs)-1]
	if j.opt.bug == bugTruncateAny {
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
	case t.groups == 0 && t.seq+1 == j.segs[0].firstSeq:
		e.Witness = "the oldest segment always begins with a group"
		return e
	}
	return nil
}

// adopt takes the recovered end as the journal's state.
func (j *Journal) adopt(active *segment, t *tail, s *survey) {
	active.end = t.end
	j.inc = max(t.inc, s.maxInc) + 1
	j.align = max(minAlign, os.Getpagesize())
	j.off, j.fill, j.populated = t.end, t.end+groupHeader, t.end
	j.next, j.head, j.sealed = t.seq+1, t.head, t.head
	j.floorSeq, j.floorHead = t.seq, t.head
	i := len(j.segs) - 1
	for i > 0 && j.segs[i].end == j.segs[i].align {
		i-- // empty: its first group was torn
	}
	if j.lastOpen = j.segs[i].firstSeq; j.lastOpen == 1 {
		j.lastOpen = 2 // record 1 is the birth
	}
}

// settleTail decides whether writing may go on at X. Bytes of a group that was
// under way stay where they are, as evidence: a new segment then says that this
// one ended at X. They cannot be there after an orderly stop, where the page is
// still zero, or where only the process died and the page cache lived on.
func (j *Journal) settleTail(t *tail, n note, before disk.Owner) {
	seg := j.segs[len(j.segs)-1]
	if seg.align%os.Getpagesize() != 0 {
		j.mustRoll = true // made on a machine with smaller pages
	}
	if t.why == nil {
		return
	}
	clean := n.clean && n.seq == t.seq && n.segNo == seg.no && int(n.end) == t.end
	lived := before.Boot != "" && before.Boot == j.opt.boot && before.State != "failed"
	if clean || t.zero || lived {
		return
	}
	j.mustRoll = true
	j.stats.TornTails = 1
	j.recover = fmt.Sprintf("the last stop was not orderly: bytes after offset %d of %s are kept and ignored, record %d is the last",
		t.end, segmentName(seg.no), t.seq)
	j.log.Warn("journal: interrupted end", "segment", seg.no, "offset", t.end, "last", t.seq, "reason", t.why)
}

// coldReader reads a file from the device in windows.
type coldReader struct {
	f     disk.File
	size  int
	align int
	bug   bug
	buf   []byte
	at, n int
}

func newColdReader(f disk.File, size, align int, b bug) *coldReader {
	return &coldReader{f: f, size: size, align: align, bug: b, buf: disk.Buffer(maxGroup)}
}

// group returns the header and bytes of the group at w.off, its CRC unchecked.
func (r *coldReader) group(w where) (group, []byte, error) {
	b, err := r.bytes(w.off, r.align)
	if err != nil {
		return group{}, nil, err
	}
	g, err := decodeGroupHeader(b, w)
	if err != nil {
		return g, nil, err
	}
	b, err = r.bytes(w.off, g.size(r.align))
	return g, b, err
}

// bytes returns n bytes at off, valid until the next call.
func (r *coldReader) bytes(off, n int) ([]byte, error) {
	if off < 0 || n > len(r.buf) || off+n > r.size {
		return nil, fmt.Errorf("%w: %d bytes at offset %d lie outside", errGroup, n, off)
	}
	if off < r.at || off+n > r.at+r.n {
		r.at, r.n = off, min(len(r.buf), r.size-off)
		if err := r.read(r.buf[:r.n], off); err != nil {
			r.readPages(off)
		}
	}
	return r.buf[off-r.at : off-r.at+n], nil
}

func (r *coldReader) read(p []byte, off int) error {
	read := r.f.ReadCold
	if r.bug == bugCachedRead {
		read = r.f.ReadAt
	}
	n, err := read(p, int64(off))
	if n == len(p) {
		return nil
	}
	if err == nil {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// readPages reads page by page; an unreadable page counts as garbled.
func (r *coldReader) readPages(off int) {
	for i := 0; i < r.n; i += minAlign {
		p := r.buf[i : i+minAlign]
		if r.read(p, off+i) != nil {
			for k := range p {
				p[k] = 0xEE
			}
		}
	}
}
