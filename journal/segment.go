package journal

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"posd/journal/internal/disk"
)

const segmentSuffix = ".seg"

func segmentName(no uint32) string { return fmt.Sprintf("%010d%s", no, segmentSuffix) }

// segmentNo is the number in a segment's file name, 0 if it is none.
func segmentNo(name string) uint32 {
	digits, ok := strings.CutSuffix(name, segmentSuffix)
	if !ok || len(digits) != 10 {
		return 0
	}
	n, err := strconv.ParseUint(digits, 10, 32)
	if err != nil {
		return 0
	}
	return uint32(n)
}

// segment is one segment in use. Its fields are guarded by Journal.mu, the
// mapped bytes below the floor by nothing: they never change.
type segment struct {
	segmentHead
	known bool  // page 0 was read; before, only no is right
	bad   error // what is wrong with page 0, once that was found
	end   int   // where its groups end; grows while it is the active one
	vague bool  // its end is not known: page 0 of the next one is bad
	refs  int   // readers, and 1 for the journal while it is the active one
	file  disk.File
	data  []byte
	count int    // groups seen so far by noteGroup
	index []mark // sparse, so that a seek need not walk from the start
}

// mark says that the group at off begins with record seq.
type mark struct {
	seq uint64
	off int
}

// indexEvery is the number of groups between two marks.
const indexEvery = 32

// noteGroup adds a mark now and then; groups come in order.
func (s *segment) noteGroup(m mark) {
	if s.count++; s.count%indexEvery == 0 {
		s.index = append(s.index, m)
	}
}

// markEvery is how many bytes apart the marks are that readers leave.
const markEvery = 64 << 10

// learn adds a mark that a reader came by, where there is none near.
func (s *segment) learn(m mark) {
	i := len(s.index)
	for i > 0 && s.index[i-1].off > m.off { // mostly it is the last one
		i--
	}
	if i > 0 && m.off-s.index[i-1].off < markEvery || i < len(s.index) && s.index[i].off-m.off < markEvery {
		return
	}
	s.index = append(s.index, mark{})
	copy(s.index[i+1:], s.index[i:])
	s.index[i] = m
}

// before returns the last known group start at or before seq.
func (s *segment) before(seq uint64) mark {
	m := mark{s.firstSeq, s.align}
	for _, i := range s.index {
		if i.seq > seq {
			break
		}
		m = i
	}
	return m
}

// hold maps s for a reader. Callers hold mu.
func (j *Journal) hold(s *segment) error {
	if s.data == nil {
		if err := s.open(j.fs, false); err != nil {
			err = unusable(s.no, err)
			j.noteDamageLocked(err)
			return err
		}
	}
	s.refs++
	return nil
}

var errMissing = errors.New("the file is missing")

// unusable makes a *CorruptError of an error that says that the file of a segment in use
// is gone or that the device does not give it: only its own records are in doubt then.
// Others, as that of a process without free descriptors, stay what they are.
func unusable(no uint32, err error) error {
	e := &CorruptError{File: segmentName(no), Segment: no, Witness: "it is in use", Err: err}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		e.Err = errMissing
	case errors.Is(err, unix.EIO), errors.Is(err, unix.EUCLEAN), errors.Is(err, unix.EBADMSG):
	default:
		return err
	}
	return e
}

// drop gives a hold back; the last one unmaps.
func (s *segment) drop() {
	if s.refs--; s.refs > 0 || s.file == nil {
		return
	}
	s.file.Close()
	s.file, s.data = nil, nil
}

func (s *segment) open(fs disk.FS, write bool) error {
	f, err := fs.Open(segmentName(s.no))
	if err != nil {
		return err
	}
	if size, err := f.Size(); err != nil || size != int64(s.size) {
		f.Close()
		if err == nil {
			err = &CorruptError{File: segmentName(s.no), Segment: s.no, Offset: size, First: s.firstSeq,
				Witness: "its page 0", Err: fmt.Errorf("the file has %d bytes, not %d", size, s.size)}
		}
		return err
	}
	data, err := f.Map(write)
	if err != nil {
		f.Close()
		return err
	}
	s.file, s.data = f, data
	return nil
}
