package main

import (
	"encoding/binary"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

const (
	pageSize  = 4096
	floorSize = 4 << 20
)

// floor is the least that a durable commit can cost: whole pages into a file
// whose blocks are all written already, and fdatasync. It checks nothing, frees
// nothing and goes round in one file. A group is its number of records and the
// records.
type floor struct {
	f   *os.File
	off int64
	buf []byte
}

func openFloor(dir string) (batchLog, error) {
	f, err := os.Create(filepath.Join(dir, "floor"))
	if err != nil {
		return nil, err
	}
	// Larger writes make the page cache use large folios, and then each later
	// page costs the device much more than 4096 bytes.
	var zero [pageSize]byte
	for off := int64(0); off < floorSize; off += pageSize {
		if _, err := f.WriteAt(zero[:], off); err != nil {
			f.Close()
			return nil, err
		}
	}
	if err := f.Sync(); err != nil {
		f.Close()
		return nil, err
	}
	return &floor{f: f}, unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
}

func (l *floor) append(recs []*record) error {
	l.buf = binary.LittleEndian.AppendUint64(l.buf[:0], uint64(len(recs)))
	for _, r := range recs {
		l.buf = append(l.buf, r[:]...)
	}
	for len(l.buf)%pageSize != 0 {
		l.buf = append(l.buf, make([]byte, pageSize-len(l.buf)%pageSize)...)
	}
	if l.off+int64(len(l.buf)) > floorSize {
		l.off = 0
	}
	if _, err := l.f.WriteAt(l.buf, l.off); err != nil {
		return err
	}
	l.off += int64(len(l.buf))
	return unix.Fdatasync(int(l.f.Fd()))
}

func (l *floor) close() error { return l.f.Close() }

// countFloor counts up to the first page that is still zero.
func countFloor(dir string) (n int, err error) {
	b, err := os.ReadFile(filepath.Join(dir, "floor"))
	if err != nil {
		return 0, err
	}
	for len(b) > 0 {
		recs := int(binary.LittleEndian.Uint64(b))
		if recs == 0 {
			break
		}
		n += recs
		size := 8 + recs*len(record{})
		b = b[(size+pageSize-1)/pageSize*pageSize:]
	}
	return n, nil
}
