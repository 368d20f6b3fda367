package journal

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"

	"posd/journal/chain"
	"posd/journal/internal/disk"
)

// The floor note is the witness for the last group: what lies below it had
// been durable, so if it is gone, that is damage and not a torn tail. Two
// pages of minAlign bytes, written in turn:
//
//	  0 magic "POSDNOTE"          8 B
//	  8 version                   u16
//	 10 flags, 1 = orderly stop   u16
//	 12 segment number            u32
//	 16 journal id               16 B
//	 32 generation                u64
//	 40 last durable sequence number   u64
//	 48 end: offset after the last durable group   u32
//	 52 number of the oldest segment still held   u32
//	 56 head after that record   32 B
//	 88 incarnation               u64
//	 96 segment that the scrub reads next   u32
//	100 reserved, 0               u32
//	104 when the scrub's pass began, Unix ms   i64
//	112 reserved, 0
//	252 CRC-32C of bytes 0 to 251 u32
const (
	noteName  = "floor"
	noteSize  = 256
	noteFlags = 1 // orderly stop
)

var noteMagic = [8]byte{'P', 'O', 'S', 'D', 'N', 'O', 'T', 'E'}

type note struct {
	id          chain.ID
	gen         uint64
	seq         uint64
	segNo       uint32
	end         uint32
	head        chain.Head
	incarnation uint64
	oldest      uint32 // segment
	scrubNo     uint32
	scrubBegan  int64
	clean       bool // nothing was written after it
}

var errNote = errors.New("no valid floor note")

func (n *note) encode(b []byte) {
	clear(b)
	copy(b, noteMagic[:])
	le.PutUint16(b[8:], version)
	if n.clean {
		le.PutUint16(b[10:], noteFlags)
	}
	le.PutUint32(b[12:], n.segNo)
	copy(b[16:], n.id[:])
	le.PutUint64(b[32:], n.gen)
	le.PutUint64(b[40:], n.seq)
	le.PutUint32(b[48:], n.end)
	le.PutUint32(b[52:], n.oldest)
	copy(b[56:], n.head[:])
	le.PutUint64(b[88:], n.incarnation)
	le.PutUint32(b[96:], n.scrubNo)
	le.PutUint64(b[104:], uint64(n.scrubBegan))
	le.PutUint32(b[252:], crc32.Checksum(b[:252], castagnoli))
}

func decodeNote(b []byte) (note, error) {
	if len(b) < noteSize || [8]byte(b[:8]) != noteMagic {
		return note{}, errNote
	}
	if crc32.Checksum(b[:252], castagnoli) != le.Uint32(b[252:]) {
		return note{}, fmt.Errorf("%w: wrong checksum", errNote)
	}
	if v, flags := le.Uint16(b[8:]), le.Uint16(b[10:]); v > version || flags&^noteFlags != 0 {
		return note{}, fmt.Errorf("%w: floor note of version %d with flags %#x", ErrNewer, v, flags)
	}
	return note{
		id: chain.ID(b[16:32]), gen: le.Uint64(b[32:]), seq: le.Uint64(b[40:]),
		segNo: le.Uint32(b[12:]), end: le.Uint32(b[48:]), oldest: le.Uint32(b[52:]), head: chain.Head(b[56:88]),
		scrubNo: le.Uint32(b[96:]), scrubBegan: int64(le.Uint64(b[104:])),
		incarnation: le.Uint64(b[88:]), clean: le.Uint16(b[10:])&noteFlags != 0,
	}, nil
}

// noteFile writes the two pages in turn, so that a cut leaves one of them.
type noteFile struct {
	f   disk.File
	gen uint64
	buf [minAlign]byte
}

func (nf *noteFile) write(n note) error {
	n.gen = nf.gen + 1
	n.encode(nf.buf[:noteSize])
	if _, err := nf.f.WriteAt(nf.buf[:], int64(n.gen%2)*minAlign); err != nil {
		return fmt.Errorf("write floor note: %w", err)
	}
	if err := nf.f.Datasync(); err != nil {
		return fmt.Errorf("sync floor note: %w", err)
	}
	nf.gen = n.gen
	return nil
}

// notePages are the two pages as they stand; zero where there is no valid note.
type notePages [2]note

// readNotes reads both pages. An unreadable or torn page counts as absent.
func readNotes(f disk.File) (pages notePages, err error) {
	buf := disk.Buffer(minAlign)
	for i := range pages {
		if _, err := f.ReadCold(buf, int64(i)*minAlign); err != nil && !errors.Is(err, io.EOF) {
			continue
		}
		if pages[i], err = decodeNote(buf); errors.Is(err, ErrNewer) {
			return pages, err
		}
	}
	return pages, nil
}

// notesIn reads the notes of a folder that is only looked at; a copy may lack them.
func notesIn(d disk.FS) (notePages, error) {
	f, err := d.Open(noteName)
	if errors.Is(err, fs.ErrNotExist) {
		return notePages{}, nil
	}
	if err != nil {
		return notePages{}, err
	}
	defer f.Close()
	return readNotes(f)
}

// of returns the newest note of the journal, or none. If only one page is valid
// it may be the older one, and one segment more may have been freed since.
func (pages notePages) of(id chain.ID) (n note) {
	valid := 0
	for _, m := range pages {
		if m.gen > 0 && m.id == id {
			if valid++; m.gen > n.gen {
				n = m
			}
		}
	}
	if valid == 1 {
		n.oldest++
	}
	return n
}
