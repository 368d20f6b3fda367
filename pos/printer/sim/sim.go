// Package sim is a receipt printer with a real link, for tests: a TCP port, or a terminal
// line. It answers real-time questions at once and does the rest in turn, as long as it
// has paper; its faults are fields.
package sim

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// Printer is one: its real link: a TCP port, or a terminal line. It answers
// real-time questions at once and does the rest in turn, as long as it has paper.
type Printer struct {
	Address string

	mu      sync.Mutex
	changed *sync.Cond
	Done    []byte // commands that were carried out: the paper
	Pulses  int    // of the drawer, in real time
	Links   int    // so far
	conns   map[io.Closer]bool

	Paper    int  // bytes that it can still carry out; below zero: without end
	Cover    bool // open
	Hang     bool // answers nothing
	Clone    bool // does not know GS r
	DropAt   int  // breaks the link when it has carried out so many bytes; 0: never
	NoAnswer bool // to GS r once: the answer is lost and the link breaks
}

// New returns one with paper without end.
func New() *Printer {
	s := &Printer{Paper: -1, conns: map[io.Closer]bool{}}
	s.changed = sync.NewCond(&s.mu)
	return s
}

// Change alters the simulator's condition.
func (s *Printer) Change(f func(*Printer)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(s)
	s.changed.Broadcast()
}

// Listen serves TCP until the test ends.
func (s *Printer) Listen(t testing.TB, address string) {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	s.Address = l.Addr().String()
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() { s.serve(c) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		s.mu.Lock()
		for c := range s.conns {
			c.Close()
		}
		s.mu.Unlock()
		all.Wait()
	})
}

// Terminal serves the far end of a terminal line, which has no notion of a link.
func (s *Printer) Terminal(t testing.TB) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skip("no pseudo terminals here: ", err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	s.Address = fmt.Sprintf("/dev/pts/%d", n)
	// While nobody has the near end open, the far end reads an error: hold it open.
	hold, err := os.OpenFile(s.Address, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	all.Go(func() { s.serve(master) })
	t.Cleanup(func() {
		// A read that waits is not ended by a close: a byte from the near end ends it.
		s.Change(func(s *Printer) { s.Hang = true; s.conns[master] = false })
		hold.Write([]byte{0})
		all.Wait()
		hold.Close()
		master.Close()
	})
}

// link is one connection, with what it took and did not carry out: a link that ends late
// has nothing of the next one's.
type link struct {
	io.ReadWriteCloser
	todo []byte
	gone bool
}

func (s *Printer) serve(conn io.ReadWriteCloser) {
	c := &link{ReadWriteCloser: conn}
	defer c.Close()
	s.mu.Lock()
	s.Links++
	s.conns[conn] = true
	s.mu.Unlock()
	var all sync.WaitGroup
	defer all.Wait()
	defer s.Change(func(s *Printer) { delete(s.conns, conn); c.gone = true })
	all.Go(func() { s.work(c) })
	buf := make([]byte, 4096)
	var pending []byte
	for {
		n, err := c.Read(buf)
		if err != nil {
			return
		}
		s.mu.Lock()
		if !s.conns[conn] {
			s.mu.Unlock()
			return
		}
		pending = append(pending, buf[:n]...)
		for len(pending) > 0 {
			at, size := realTime(pending)
			c.todo, pending = append(c.todo, pending[:at]...), pending[at:]
			if size == 0 || size > len(pending) {
				break
			}
			switch {
			case s.Hang:
			case pending[1] == 4:
				c.Write([]byte{s.say(pending[2])})
			default:
				s.Pulses++
			}
			pending = pending[size:]
		}
		s.changed.Broadcast()
		s.mu.Unlock()
	}
}

// realTime is where the next real-time command begins, and its size; 0: there is none, but
// for what may be the beginning of one.
func realTime(b []byte) (at, size int) {
	for i, c := range b {
		switch {
		case c != 0x10:
		case i+1 == len(b):
			return i, 0
		case b[i+1] == 4: // DLE EOT n
			return i, 3
		case b[i+1] == 0x14: // DLE DC4 1 m t
			return i, 5
		}
	}
	return len(b), 0
}

// say answers a real-time question.
func (s *Printer) say(question byte) byte {
	b := byte(0x12)
	switch question {
	case 1:
		if s.Paper == 0 || s.Cover {
			b |= 0x08
		}
	case 2:
		if s.Cover {
			b |= 0x04
		}
		if s.Paper == 0 {
			b |= 0x20
		}
	case 4:
		if s.Paper == 0 {
			b |= 0x60
		}
		if s.Paper >= 0 && s.Paper < 1000 {
			b |= 0x0c
		}
	}
	return b
}

// work carries out what was taken.
func (s *Printer) work(c *link) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for !c.gone {
		if len(c.todo) == 0 || s.Paper == 0 || s.Cover {
			s.changed.Wait()
			continue
		}
		n := bytes.Index(c.todo, []byte("\x1dr\x01"))
		if n == 0 {
			c.todo = c.todo[3:]
			if s.NoAnswer {
				s.NoAnswer = false
				c.Close()
				return
			}
			if !s.Clone && !s.Hang {
				c.Write([]byte{0})
			}
			continue
		}
		if n < 0 {
			n = len(c.todo)
			for _, begun := range []string{"\x1dr", "\x1d"} { // more of it may come
				if bytes.HasSuffix(c.todo, []byte(begun)) {
					n -= len(begun)
					break
				}
			}
		}
		if n == 0 {
			s.changed.Wait()
			continue
		}
		if s.Paper > 0 {
			n = min(n, s.Paper)
			s.Paper -= n
		}
		if s.DropAt > 0 && len(s.Done)+n >= s.DropAt {
			n = s.DropAt - len(s.Done)
			s.Done, c.todo, s.DropAt = append(s.Done, c.todo[:n]...), nil, 0
			c.Close()
			return
		}
		s.Done, c.todo = append(s.Done, c.todo[:n]...), c.todo[n:]
	}
}

// OnPaper is what was carried out so far, without what is not for paper.
func (s *Printer) OnPaper() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return bytes.ReplaceAll(s.Done, []byte("\x1da\x00"), nil) // GS a 0: no unasked status
}
