package printer

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// simulator is a printer with a real link: a TCP port, or a terminal line. It answers
// real-time questions at once and does the rest in turn, as long as it has paper.
type simulator struct {
	address string

	mu      sync.Mutex
	changed *sync.Cond
	done    []byte // commands that were carried out: the paper
	todo    []byte // taken, not carried out
	links   int    // so far
	conns   map[io.Closer]bool

	paper    int  // bytes that it can still carry out; below zero: without end
	cover    bool // open
	hang     bool // answers nothing
	clone    bool // does not know GS r
	dropAt   int  // breaks the link when it has carried out so many bytes; 0: never
	noAnswer bool // to GS r once: the answer is lost and the link breaks
}

func newSimulator() *simulator {
	s := &simulator{paper: -1, conns: map[io.Closer]bool{}}
	s.changed = sync.NewCond(&s.mu)
	return s
}

// change alters the simulator's condition.
func (s *simulator) change(f func(*simulator)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(s)
	s.changed.Broadcast()
}

// listen serves TCP until the test ends.
func (s *simulator) listen(t *testing.T, address string) {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	s.address = l.Addr().String()
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

// terminal serves the far end of a terminal line, which has no notion of a link.
func (s *simulator) terminal(t *testing.T) {
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
	s.address = fmt.Sprintf("/dev/pts/%d", n)
	// While nobody has the near end open, the far end reads an error: hold it open.
	hold, err := os.OpenFile(s.address, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	all.Go(func() { s.serve(master) })
	t.Cleanup(func() {
		// A read that waits is not ended by a close: a byte from the near end ends it.
		s.change(func(s *simulator) { s.hang = true; s.conns[master] = false })
		hold.Write([]byte{0})
		all.Wait()
		hold.Close()
		master.Close()
	})
}

func (s *simulator) serve(c io.ReadWriteCloser) {
	defer c.Close()
	s.mu.Lock()
	s.links++
	s.conns[c] = true
	s.mu.Unlock()
	var all sync.WaitGroup
	defer all.Wait()
	gone := make(chan struct{})
	defer func() {
		close(gone)
		s.change(func(s *simulator) { delete(s.conns, c); s.todo = nil })
	}()
	all.Go(func() { s.work(c, gone) })
	buf := make([]byte, 4096)
	var pending []byte
	for {
		n, err := c.Read(buf)
		if err != nil {
			return
		}
		s.mu.Lock()
		if !s.conns[c] {
			s.mu.Unlock()
			return
		}
		pending = append(pending, buf[:n]...)
		for len(pending) > 0 {
			at := bytes.Index(pending, []byte{0x10, 4})
			if at < 0 {
				keep := len(pending)
				if pending[keep-1] == 0x10 {
					keep--
				}
				s.todo, pending = append(s.todo, pending[:keep]...), pending[keep:]
				break
			}
			if at+2 >= len(pending) {
				break
			}
			s.todo = append(s.todo, pending[:at]...)
			if q := pending[at+2]; !s.hang {
				c.Write([]byte{s.say(q)})
			}
			pending = pending[at+3:]
		}
		s.changed.Broadcast()
		s.mu.Unlock()
	}
}

// say answers a real-time question.
func (s *simulator) say(question byte) byte {
	b := byte(0x12)
	switch question {
	case 1:
		if s.paper == 0 || s.cover {
			b |= 0x08
		}
	case 2:
		if s.cover {
			b |= 0x04
		}
		if s.paper == 0 {
			b |= 0x20
		}
	case 4:
		if s.paper == 0 {
			b |= 0x60
		}
		if s.paper >= 0 && s.paper < 1000 {
			b |= 0x0c
		}
	}
	return b
}

// work carries out what was taken.
func (s *simulator) work(c io.WriteCloser, gone chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		select {
		case <-gone:
			return
		default:
		}
		if len(s.todo) == 0 || s.paper == 0 || s.cover {
			s.changed.Wait()
			continue
		}
		n := bytes.Index(s.todo, []byte("\x1dr\x01"))
		if n == 0 {
			s.todo = s.todo[3:]
			if s.noAnswer {
				s.noAnswer = false
				c.Close()
				return
			}
			if !s.clone && !s.hang {
				c.Write([]byte{0})
			}
			continue
		}
		if n < 0 {
			n = len(s.todo)
			for _, begun := range []string{"\x1dr", "\x1d"} { // more of it may come
				if bytes.HasSuffix(s.todo, []byte(begun)) {
					n -= len(begun)
					break
				}
			}
		}
		if n == 0 {
			s.changed.Wait()
			continue
		}
		if s.paper > 0 {
			n = min(n, s.paper)
			s.paper -= n
		}
		if s.dropAt > 0 && len(s.done)+n >= s.dropAt {
			n = s.dropAt - len(s.done)
			s.done, s.todo, s.dropAt = append(s.done, s.todo[:n]...), nil, 0
			c.Close()
			return
		}
		s.done, s.todo = append(s.done, s.todo[:n]...), s.todo[n:]
	}
}

// onPaper is what was carried out so far, without what is not for paper.
func (s *simulator) onPaper() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return bytes.ReplaceAll(s.done, []byte(noUnasked), nil)
}

// fifo is a printer that can only be written to; what came is sent to the channel.
func fifo(t *testing.T) (path string, came func() []byte) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "lp0")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return path, func() []byte {
		var all []byte
		buf := make([]byte, 4096)
		for {
			if err := f.SetReadDeadline(time.Now().Add(200 * time.Millisecond)); err != nil {
				t.Fatal(err)
			}
			n, err := f.Read(buf)
			if err != nil {
				return all
			}
			all = append(all, buf[:n]...)
		}
	}
}
