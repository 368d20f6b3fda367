package catalogue

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"slices"
)

// sorter sorts more records than memory may hold: it fills a buffer, and writes it
// sorted to a file whenever it is full. The file has no name, so that nothing is left
// of it whatever happens.
type sorter struct {
	name string // of the file, while it is made
	most int    // bytes of the buffer
	read int    // bytes that each run may take while they are merged
	pace func()

	buf  []byte   // records, one behind the other
	at   []uint32 // where they begin
	file *os.File
	end  int64
	runs []span
}

type span struct{ from, to int64 }

// maxSortRecord fits a key, a line and an item.
const maxSortRecord = 1 << 10

// room is the buffer of an import. Inside posd it is small, so that sorting one takes
// about a millisecond, after which sales get their turn.
func newSorter(name string, pace func()) *sorter {
	if pace != nil {
		return &sorter{name: name, most: 96 << 10, read: 4 << 10, pace: pace}
	}
	return &sorter{name: name, most: 768 << 10, read: 16 << 10, pace: func() {}}
}

// add takes one record, copied.
func (s *sorter) add(record []byte) error {
	if len(record) > maxSortRecord {
		return fmt.Errorf("record of %d bytes", len(record))
	}
	if len(s.buf)+len(record) > s.most {
		if err := s.spill(); err != nil {
			return err
		}
	}
	if s.buf == nil {
		s.buf = make([]byte, 0, min(s.most, 64<<10))
	}
	s.at = append(s.at, uint32(len(s.buf)))
	s.buf = append(s.buf, record...)
	return nil
}

func (s *sorter) record(i int) []byte {
	end := len(s.buf)
	if i+1 < len(s.at) {
		end = int(s.at[i+1])
	}
	return s.buf[s.at[i]:end]
}

// order returns the records' numbers in their order.
func (s *sorter) order() []uint32 {
	order := make([]uint32, len(s.at))
	for i := range order {
		order[i] = uint32(i)
	}
	slices.SortFunc(order, func(a, b uint32) int { return bytes.Compare(s.record(int(a)), s.record(int(b))) })
	return order
}

// spill writes what the buffer holds as one sorted run.
func (s *sorter) spill() error {
	if len(s.at) == 0 {
		return nil
	}
	if s.file == nil {
		f, err := os.OpenFile(s.name, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
		if err != nil {
			return err
		}
		s.file = f
		if err := os.Remove(s.name); err != nil {
			return err
		}
	}
	order := s.order()
	s.pace()
	w := bufio.NewWriterSize(s.file, 16<<10)
	n := int64(0)
	var head [binary.MaxVarintLen32]byte
	for _, i := range order {
		r := s.record(int(i))
		size := binary.PutUvarint(head[:], uint64(len(r)))
		w.Write(head[:size])
		w.Write(r)
		n += int64(size + len(r))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	s.runs = append(s.runs, span{s.end, s.end + n})
	s.end += n
	s.buf, s.at = s.buf[:0], s.at[:0]
	s.pace()
	return nil
}

// each calls fn with all records in their order, once.
func (s *sorter) each(fn func(record []byte) error) error {
	if len(s.runs) == 0 {
		for _, i := range s.order() {
			if err := fn(s.record(int(i))); err != nil {
				return err
			}
		}
		return nil
	}
	if err := s.spill(); err != nil {
		return err
	}
	s.buf, s.at = nil, nil
	return s.merge(fn)
}

// run is a sorted run that is being read.
type run struct {
	r    *bufio.Reader
	head []byte
}

func (r *run) next() error {
	n, err := binary.ReadUvarint(r.r)
	if err != nil {
		return err // io.EOF at the end of the run
	}
	if n > maxSortRecord {
		return fmt.Errorf("%w: sorted record of %d bytes", io.ErrUnexpectedEOF, n)
	}
	r.head = slices.Grow(r.head[:0], int(n))[:n]
	if _, err := io.ReadFull(r.r, r.head); err != nil {
		return fmt.Errorf("sorted records end early: %w", io.ErrUnexpectedEOF)
	}
	return nil
}

// merge reads all runs at once. They are kept as a heap with the least record first.
func (s *sorter) merge(fn func(record []byte) error) error {
	var heap []*run
	for _, at := range s.runs {
		r := &run{r: bufio.NewReaderSize(io.NewSectionReader(s.file, at.from, at.to-at.from), s.read)}
		if err := r.next(); err != nil {
			return err
		}
		heap = append(heap, r)
	}
	for i := len(heap)/2 - 1; i >= 0; i-- {
		sink(heap, i)
	}
	for len(heap) > 0 {
		if err := fn(heap[0].head); err != nil {
			return err
		}
		if err := heap[0].next(); err == io.EOF {
			heap[0] = heap[len(heap)-1]
			heap = heap[:len(heap)-1]
		} else if err != nil {
			return err
		}
		sink(heap, 0)
	}
	return nil
}

// sink moves heap[i] down to where it belongs.
func sink(heap []*run, i int) {
	for {
		least := i
		for child := 2*i + 1; child <= 2*i+2 && child < len(heap); child++ {
			if bytes.Compare(heap[child].head, heap[least].head) < 0 {
				least = child
			}
		}
		if least == i {
			return
		}
		heap[i], heap[least] = heap[least], heap[i]
		i = least
	}
}

// close gives the file back.
func (s *sorter) close() {
	if s.file != nil {
		s.file.Close()
	}
}
