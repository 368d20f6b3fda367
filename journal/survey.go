package journal

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"posd/journal/internal/disk"
	"posd/journal/internal/hook"
)

// survey finds the segments by their names and reads as few pages 0 as it can:
// of those after the last one in use, of that one, and of the oldest. So a start
// takes as long with a year of sales as with a day. The others are learned in the
// background, or when somebody reads them.
func (j *Journal) survey() error {
	nos, err := j.segmentNumbers()
	if err != nil {
		return err
	}
	if len(nos) == 0 {
		return fmt.Errorf("%w: the folder has no segment; was the data partition mounted, was posctl init run?", ErrNoJournal)
	}
	last, end, err := j.surveyEnd(nos)
	if err != nil {
		return err
	}
	if want := j.opt.Identity; want != (Identity{}) && want != j.owner {
		return fmt.Errorf("%w: it belongs to store %q terminal %q, the configuration says store %q terminal %q",
			ErrForeign, j.owner.Store, j.owner.Terminal, want.Store, want.Terminal)
	}
	for i, no := range nos[:last] {
		j.segs = append(j.segs, j.unread(no))
		if nos[i+1]-no > mostMissing {
			return missingBetween(no, nos[i+1])
		}
		for gone := no + 1; gone < nos[i+1]; gone++ {
			s := j.unread(gone)
			s.bad = missingBetween(gone-1, nos[i+1])
			j.segs = append(j.segs, s)
		}
	}
	j.segs = append(j.segs, end)
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.knowOldest()
}

// mostMissing bounds the row of missing files that a start goes round: more is no
// damage to a journal but another folder.
const mostMissing = 1 << 16

// unread is a segment in use of which nothing was read yet.
func (j *Journal) unread(no uint32) *segment {
	return &segment{segmentHead: segmentHead{no: no, size: uint32(j.opt.SegmentSize)}}
}

func missingBetween(before, after uint32) error {
	return &CorruptError{File: segmentName(before + 1), Segment: before + 1,
		Witness: fmt.Sprintf("segments up to %d and from %d on are in use", before, after), Err: errMissing}
}

// knowOldest knows the oldest segment that has a good page 0: that of others is damage
// of old records, and selling goes on. Callers hold mu.
func (j *Journal) knowOldest() error {
	var damage *CorruptError
	for i := range j.segs {
		if err := j.know(i); !errors.As(err, &damage) {
			return err
		}
	}
	return nil
}

func (j *Journal) segmentNumbers() (nos []uint32, err error) {
	names, err := j.fs.Names()
	for _, name := range names {
		if no := segmentNo(name); no != 0 { // names come in their order, mostly: nothing is moved
			i := len(nos)
			nos = append(nos, no)
			for ; i > 0 && nos[i-1] > no; i-- {
				nos[i] = nos[i-1]
			}
			nos[i] = no
		}
	}
	return nos, err
}

// surveyEnd finds the last segment in use, from the newest name down, and checks
// that what comes after it was never used. It returns the segment's index.
func (j *Journal) surveyEnd(nos []uint32) (int, *segment, error) {
	var spares []surveyed
	for i := len(nos) - 1; i >= 0; i-- {
		sv, err := j.surveyOne(nos[i], i >= len(nos)-3)
		if err != nil {
			return 0, nil, err
		}
		if sv.kind != pageUsed {
			spares = append(spares, sv)
			continue
		}
		j.id, j.owner = sv.head.id, sv.head.owner
		if err := j.checkUsed(sv); err != nil {
			return 0, nil, err
		}
		return i, &segment{segmentHead: sv.head, known: true}, j.surveySpares(spares, sv.no)
	}
	first := spares[len(spares)-1]
	return 0, nil, &CorruptError{File: segmentName(first.no), Segment: first.no,
		Witness: "the folder has segments, none with a valid page 0", Err: first.err}
}

func (j *Journal) surveySpares(spares []surveyed, last uint32) error {
	for _, sv := range spares {
		readable, err := j.checkSpare(sv)
		if err != nil {
			return err
		}
		// A page 0 that was torn, or cannot be read, would fail again: made anew.
		if sv.kind == pageSpare && readable && sv.no == last+1 && sv.size == j.opt.SegmentSize {
			j.spare = sv.no
		}
	}
	return nil
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

// surveyOne reads one page 0. What a killed process left in the cache must be
// durable before it counts; only the newest files can have any.
func (j *Journal) surveyOne(no uint32, newest bool) (surveyed, error) {
	sv := surveyed{no: no}
	f, err := j.fs.Open(segmentName(no))
	if err != nil {
		return sv, err
	}
	defer f.Close()
	if newest && !j.readOnly {
		if err := f.Datasync(); err != nil {
			return sv, fmt.Errorf("%w: sync %s at start: %w", ErrFailed, segmentName(no), err)
		}
		if err := j.proveCold(f); err != nil {
			return sv, err
		}
	}
	if sv.size, err = f.Size(); err != nil {
		return sv, err
	}
	buf := disk.Buffer(minAlign)
	if j.lab.Bug == hook.CachedRead {
		_, err = f.ReadAt(buf, 0)
	} else {
		_, err = f.ReadCold(buf, 0)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		sv.kind, sv.err = pageBad, err
		return sv, nil
	}
	sv.head, sv.err = decodeSegmentHead(buf)
	if j.lab.Bug == hook.Unaligned && no > 1 {
		sv.head.align = unalignedBy
	}
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

// proveCold refuses a start that would have to believe a page cache in which a
// failed sync may have left what the device does not have. After a reboot or an
// orderly stop there is nothing to fear.
func (j *Journal) proveCold(f disk.File) error {
	b := j.lab.Before
	if b.State == "closed" || b.Boot != "" && j.lab.Boot != "" && b.Boot != j.lab.Boot {
		return nil
	}
	if err := f.Cold(); err != nil {
		return fmt.Errorf("%w: %w", ErrFailed, err)
	}
	return nil
}

// know reads page 0 of segment i of the row and of the one after it, which says
// where i ends. The error is about i: where the next one is bad, i ends where its
// groups do. Callers hold mu, which is given up while reading.
func (j *Journal) know(i int) error {
	s := j.segs[i]
	if err := j.learn(s); err != nil {
		return err
	}
	next := j.nextOf(s)
	if next == nil {
		return nil
	}
	var damage *CorruptError
	switch err := j.learn(next); {
	case err == nil:
		s.end = int(next.prevEnd)
	case errors.As(err, &damage):
		s.end, s.vague = int(s.size), true
	default:
		return err
	}
	return nil
}

// nextOf is the segment after s, nil if there is none or s was freed meanwhile.
// Callers hold mu.
func (j *Journal) nextOf(s *segment) *segment {
	if i := int(s.no) + 1 - int(j.segs[0].no); i > 0 && i < len(j.segs) {
		return j.segs[i]
	}
	return nil
}

// knowFrom reads the pages 0 of the segments that hold record from and younger
// ones, and returns the index of the first of them.
func (j *Journal) knowFrom(from uint64) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	i := len(j.segs) - 1 // nothing is freed of a journal that is only looked at
	for i > 0 && j.segs[i].firstSeq > from {
		i--
		if err := j.know(i); err != nil {
			return i, err
		}
	}
	return i, nil
}

// learnRest reads the pages 0 that the start left out, newest damage or not: each
// is looked at once.
func (j *Journal) learnRest() {
	j.mu.Lock()
	defer j.mu.Unlock()
	for no := j.segs[0].no; !j.surveyed && !j.closed; no++ {
		i := max(int(no)-int(j.segs[0].no), 0)
		if i >= len(j.segs) {
			j.surveyed = true
			poke(j.kickPrep) // ages are known now: look for what may be freed
			return
		}
		if s := j.segs[i]; s.bad != nil || s.known && s.end != 0 {
			continue
		}
		if err := j.know(i); err != nil {
			j.log.Warn("journal: page 0 cannot be learned", "segment", no, "error", err)
		}
		j.mu.Unlock()
		j.pause()
		j.mu.Lock()
	}
}

// learn reads the page 0 of s, once. Callers hold mu, which is given up meanwhile;
// s is held, so that it is not freed.
func (j *Journal) learn(s *segment) error {
	if s.known || s.bad != nil {
		return s.bad
	}
	s.refs++
	no := s.no
	j.mu.Unlock()
	sv, err := j.surveyOne(no, false)
	if err == nil {
		err = j.checkUsed(sv)
	} else {
		err = unusable(no, err)
	}
	j.mu.Lock()
	s.drop()
	var damage *CorruptError
	switch {
	case s.known || s.bad != nil: // somebody else was faster
		return s.bad
	case err == nil:
		s.segmentHead, s.known = sv.head, true
	case errors.As(err, &damage):
		s.bad = err
		j.noteDamageLocked(err)
	}
	return err
}

// checkUsed says what is wrong with a page 0 that must be in use.
func (j *Journal) checkUsed(sv surveyed) error {
	e := &CorruptError{File: segmentName(sv.no), Segment: sv.no, Witness: "a younger segment is in use"}
	switch {
	case sv.kind == pageSpare:
		e.Err = errors.New("page 0 is gone")
	case sv.kind == pageBad:
		e.Err = sv.err
	case sv.head.id != j.id:
		e.Err = fmt.Errorf("it belongs to journal %s, the others to %s", sv.head.id, j.id)
	case sv.size != int64(sv.head.size):
		e.Offset, e.First, e.Witness = sv.size, sv.head.firstSeq, "its page 0"
		e.Err = fmt.Errorf("the file has %d bytes, not %d", sv.size, sv.head.size)
	default:
		return nil
	}
	return e
}

// checkSpare makes sure that a file after the last segment was never used: a
// lost page 0 in front of a valid group is damage, a torn page 0 is not. Behind
// the first 4 KiB, readable tells whether this machine's page 0 can be read.
func (j *Journal) checkSpare(sv surveyed) (readable bool, err error) {
	f, err := j.fs.Open(segmentName(sv.no))
	if err != nil {
		return false, err
	}
	defer f.Close()
	end := min(int(sv.size), maxAlign+1)
	if sv.kind == pageBad {
		end = int(sv.size)
	}
	r := newColdReader(f, int(sv.size)/minAlign*minAlign, minAlign, j.lab.Bug)
	readable = true
	for off := minAlign; off < end; off += minAlign {
		w := where{id: j.id, segNo: sv.no, off: off, end: int(sv.size), align: minAlign}
		g, _, err := r.whole(w)
		if off < j.page && slices.ContainsFunc(r.bad, func(p badPage) bool { return p.off == off }) {
			readable = false
		}
		if err == nil {
			if j.lab.Bug == hook.TruncateAny {
				return readable, nil
			}
			return false, &CorruptError{File: segmentName(sv.no), Segment: sv.no, First: g.firstSeq, Last: g.last(),
				Witness: fmt.Sprintf("a valid group at offset %d", off), Err: errors.Join(errBadPage, sv.err)}
		}
	}
	return readable, nil
}
