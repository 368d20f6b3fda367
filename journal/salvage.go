package journal

import (
	"context"
	"errors"
	"fmt"
	"io"

	"posd/journal/chain"
	"posd/journal/internal/disk"
	"posd/journal/internal/hook"
)

// Salvaged is what Salvage found.
type Salvaged struct {
	Journal  chain.ID
	Identity Identity
	Records  uint64 // handed out
	Last     uint64 // the last one, and the head after it
	Head     chain.Head
	Lost     []Loss // in order
}

// Loss is a row of records that could not be proved, or bytes that belong to no
// record.
type Loss struct {
	First, Last uint64 // sequence numbers; 0 if they are not known
	File        string
	Offset      int64
	Reason      string
}

// SalvageOptions say what Salvage does on the way.
type SalvageOptions struct {
	// From skips older records; segments wholly before it are not read. 0 = all.
	From uint64
	Each func(chain.ID, chain.Record, chain.Head) error // valid within the call only
	// Group, if set, is called before the records of each group with the number of the
	// first one and the head before it.
	Group    func(first uint64, prev chain.Head)
	Progress func(done, total int64)
}

// Salvage reads what can be proved of a damaged journal in dir, which it does not
// change: each group whose checksum and own hash chain are whole, wherever it
// stands, in order. A group whose number is the next but whose chain is not is left
// out: it contradicts what came before. Errors: ErrNoJournal, ErrNewer, what Each says; damage is in Lost.
func Salvage(ctx context.Context, dir string, o SalvageOptions) (Salvaged, error) {
	s := &salvager{ctx: ctx, j: looker(disk.ReadOnly{Path: dir}, nil), o: o}
	err := s.run()
	return s.out, err
}

type salvager struct {
	ctx   context.Context
	j     *Journal
	o     SalvageOptions
	out   Salvaged
	inc   uint64
	begun bool
	loss  *Loss // being passed over
	note  note  // the newest floor note, zero if there is none
}

func (s *salvager) run() error {
	nos, err := s.j.segmentNumbers()
	if err != nil {
		return err
	}
	if len(nos) == 0 {
		return fmt.Errorf("%w: the folder has no segment", ErrNoJournal)
	}
	found := make([]surveyed, 0, len(nos))
	for _, no := range nos {
		sv, err := s.j.surveyOne(no, false)
		if err != nil && !errors.Is(err, ErrNewer) {
			sv.kind, sv.err = pageBad, err
		} else if err != nil {
			return err
		}
		found = append(found, sv)
	}
	if err := s.identify(found); err != nil {
		return err
	}
	if pages, err := notesIn(s.j.fs); err == nil {
		s.note = pages.of(s.out.Journal)
	}
	s.anchor(found)
	for i, sv := range found {
		if i+1 < len(found) && found[i+1].kind == pageUsed && found[i+1].head.firstSeq <= s.o.From {
			continue
		}
		if err := s.segment(found, i); err != nil {
			return err
		}
		if s.o.Progress != nil {
			s.o.Progress(int64(i+1)*max(sv.size, 1), int64(len(found))*max(sv.size, 1))
		}
	}
	s.endLoss()
	s.missingEnd()
	return nil
}

// anchor finds out where the records begin, so that the first ones are missed too.
func (s *salvager) anchor(found []surveyed) {
	first := found[0]
	oldest := s.note.oldest // 0 if nobody says
	switch {
	case s.o.From > 1: // what comes before is not looked at
	case first.no == 1 || oldest == 1:
		s.begun, s.out.Head = true, s.out.Journal.Head0()
	case oldest != 0 && oldest < first.no:
		s.out.Lost = append(s.out.Lost, Loss{File: segmentName(oldest),
			Reason: fmt.Sprintf("the floor note says that segment %d is held; it and all before segment %d are gone, with an unknown number of records", oldest, first.no)})
	case first.kind == pageUsed:
		s.begun, s.out.Last, s.out.Head = true, first.head.firstSeq-1, first.head.prevHead
	default: // a younger one is in use, so this one was
		s.out.Lost = append(s.out.Lost, Loss{File: segmentName(first.no), Reason: "its page 0, which says with which record the journal begins, is gone"})
	}
}

// missingEnd asks the floor note whether there was more.
func (s *salvager) missingEnd() {
	n, end := s.note, s.out.Last
	for _, l := range s.out.Lost {
		end = max(end, l.Last)
	}
	if n.seq > end {
		s.out.Lost = append(s.out.Lost, Loss{First: end + 1, Last: n.seq, File: segmentName(n.segNo),
			Offset: int64(n.end), Reason: "the floor note names these records, they are gone"})
	}
}

// identify takes the journal that most valid pages 0 name.
func (s *salvager) identify(found []surveyed) error {
	votes := map[chain.ID]int{}
	for _, sv := range found {
		if sv.kind == pageUsed {
			if votes[sv.head.id]++; votes[sv.head.id] > votes[s.out.Journal] || s.out.Journal == (chain.ID{}) {
				s.out.Journal, s.out.Identity = sv.head.id, sv.head.owner
			}
		}
	}
	if s.out.Journal == (chain.ID{}) {
		return fmt.Errorf("%w: none of %d segments has a page 0 that can be read, so it cannot be told whose records they are", ErrNoJournal, len(found))
	}
	return nil
}

// segment walks one file page by page; where a group is whole it steps over it.
func (s *salvager) segment(found []surveyed, i int) error {
	sv := found[i]
	align, end := minAlign, int(sv.size)/minAlign*minAlign
	if sv.kind == pageUsed {
		align = sv.head.align
	} else if s.isEnd(found, i, minAlign) {
		return nil // never used, or of no use any more
	} else if sv.kind == pageBad {
		s.lose(segmentName(sv.no), 0, sv.err)
	}
	if i+1 < len(found) && found[i+1].kind == pageUsed && found[i+1].no == sv.no+1 {
		end = min(end, int(found[i+1].head.prevEnd)) // what stands behind is a torn tail
	}
	f, err := s.j.fs.Open(segmentName(sv.no))
	if err != nil {
		s.lose(segmentName(sv.no), 0, err)
		return nil
	}
	defer f.Close()
	r := newColdReader(f, int(sv.size)/minAlign*minAlign, align, hook.Bug(0))
	for off := align; off < end; {
		if err := s.ctx.Err(); err != nil {
			return err
		}
		g, b, err := r.whole(where{id: s.out.Journal, segNo: sv.no, off: off, end: end, align: align})
		if err == nil {
			_, err = g.prove(b)
		}
		switch {
		case errors.Is(err, ErrNewer):
			return err
		case err != nil && s.isEnd(found, i, off):
			return nil
		case err != nil:
			s.lose(segmentName(sv.no), int64(off), err)
			off += align
		default:
			if err := s.group(&g, b, segmentName(sv.no), int64(off)); err != nil {
				return err
			}
			off += g.size(align)
		}
	}
	return nil
}

// isEnd: nothing follows in a spare, nor in the last segment where no valid group
// comes later. Stale bytes are no loss.
func (s *salvager) isEnd(found []surveyed, i, off int) bool {
	for _, sv := range found[i+1:] {
		if sv.kind == pageUsed {
			return false
		}
	}
	f, err := s.j.fs.Open(segmentName(found[i].no))
	if err != nil {
		return true
	}
	defer f.Close()
	size := int(found[i].size) / minAlign * minAlign
	r := newColdReader(f, size, minAlign, hook.Bug(0))
	for at := off; at < size; at += minAlign {
		g, _, err := r.whole(where{id: s.out.Journal, segNo: found[i].no, off: at, end: size, align: minAlign})
		if err == nil && g.firstSeq > s.out.Last {
			return false
		}
	}
	return true
}

// group hands out the records of a group that is whole.
func (s *salvager) group(g *group, b []byte, file string, off int64) error {
	if s.begun && (g.firstSeq <= s.out.Last || g.incarnation < s.inc) {
		s.lose(file, off, fmt.Errorf("a second record %d, left over", g.firstSeq))
		s.endLoss()
		return nil
	}
	switch {
	case s.begun && g.firstSeq > s.out.Last+1:
		if s.loss == nil {
			s.lose(file, off, errors.New("records are missing"))
		}
		s.loss.First, s.loss.Last = s.out.Last+1, g.firstSeq-1
	case s.begun && g.prev != s.out.Head: // one of the two is not what was written; the older has more witnesses
		s.lose(file, off, fmt.Errorf("record %d does not continue the hash chain of the one before it", g.firstSeq))
		s.loss.First, s.loss.Last = g.firstSeq, g.last() // or more: the next group tells
		return nil
	}
	s.endLoss()
	if s.o.Group != nil {
		s.o.Group(g.firstSeq, g.prev)
	}
	err := eachRecord(b[groupHeader:groupHeader+g.bodyLen], g.prev, func(rec chain.Record, head chain.Head) error {
		if rec.Seq < s.o.From {
			return nil
		}
		s.out.Records++
		return s.o.Each(s.out.Journal, rec, head)
	})
	if err != nil {
		return err
	}
	s.begun, s.inc, s.out.Last, s.out.Head = true, g.incarnation, g.last(), g.head
	return nil
}

// lose begins a loss, unless one is being passed over already.
func (s *salvager) lose(file string, off int64, why error) {
	if s.loss == nil {
		s.loss = &Loss{File: file, Offset: off, Reason: why.Error()}
	}
}

func (s *salvager) endLoss() {
	if s.loss != nil {
		s.out.Lost = append(s.out.Lost, *s.loss)
		s.loss = nil
	}
}

// ReadBirth reads the birth record of the journal in dir, as long as its first
// segment is held. Errors: ErrNoJournal, ErrFreed, *CorruptError.
func ReadBirth(dir string) (b chain.Birth, err error) {
	fs := disk.ReadOnly{Path: dir}
	f, err := fs.Open(segmentName(1))
	if err != nil {
		return b, fmt.Errorf("%w: the birth record was in %s: %w", ErrFreed, segmentName(1), err)
	}
	defer f.Close()
	page := disk.Buffer(minAlign)
	if _, err := f.ReadAt(page, 0); err != nil && err != io.EOF {
		return b, err
	}
	h, err := decodeSegmentHead(page)
	if err != nil {
		return b, err
	}
	r := newColdReader(f, int(h.size), h.align, hook.Bug(0))
	g, body, err := r.whole(where{id: h.id, segNo: 1, off: h.align, end: int(h.size), align: h.align})
	if err != nil {
		return b, err
	}
	rec, _, err := chain.NextFrame(body[groupHeader : groupHeader+g.bodyLen])
	if err != nil {
		return b, err
	}
	return chain.ParseBirth(rec.Payload)
}
