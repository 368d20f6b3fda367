package printer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// What is sent to ask, and what an answer looks like.
//
//	DLE EOT n   at once, whatever the printer is doing   0xx1xx10   n = 1 online, 2 why not, 4 paper
//	GS r 1      in turn, after all that came before      0000xxxx   paper sensor; 11 in xx00: no paper
//	GS a 0      no status unasked: its bytes could be taken for an answer
const (
	realTime  = "\x10\x04" // n
	confirm   = "\x1dr\x01"
	noUnasked = "\x1da\x00"
)

func isStatus(b byte) bool  { return b&0x93 == 0x12 }
func isConfirm(b byte) bool { return b&0xf0 == 0 }

// conn is what TCP and a device file have in common.
type conn interface {
	io.ReadWriteCloser
	SetReadDeadline(time.Time) error
	SetWriteDeadline(time.Time) error
}

// link is an open printer.
type link struct {
	conn   conn
	device bool          // not TCP
	stop   func() bool   // forgets the context
	wait   time.Duration // for an answer
	last   time.Time     // when anything was heard

	of    *Printer // whose former job may still be confirmed here; nil: not on this link
	empty bool     // the confirmation says that there is no paper

	asked byte    // the question whose answer is due; 0: none
	next  int     // of questions
	said  [5]byte // the last answer, by question
	round bool    // all questions were answered since heard
	read  [64]byte
}

// questions in their order. The second is left out while the printer is online.
var questions = [...]byte{1, 2, 4}

// dial opens the printer. Whatever is done with the link fails at once when stop ends.
func (p *Printer) dial(ctx, stop context.Context) (*link, error) {
	c, err := open(ctx, p.o.Address, p.o.Silent, p.o.Answer)
	if err != nil {
		return nil, err
	}
	_, tcp := c.(net.Conn)
	l := &link{conn: c, device: !tcp, wait: p.o.Answer, last: time.Now()}
	if l.device { // a connection of its own brings nothing of another one's
		l.of = p
	}
	l.stop = context.AfterFunc(stop, func() { c.Close() })
	return l, nil
}

func open(ctx context.Context, address string, silent bool, wait time.Duration) (conn, error) {
	if !strings.HasPrefix(address, "/") {
		d := net.Dialer{Timeout: wait}
		return d.DialContext(ctx, "tcp", address)
	}
	mode := os.O_RDWR
	if silent {
		mode = os.O_WRONLY
	}
	// Without O_NONBLOCK, opening a serial line waits for its carrier, and nothing
	// could be given a deadline.
	f, err := os.OpenFile(address, mode|syscall.O_NONBLOCK|syscall.O_NOCTTY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w; is it plugged in, and may posd see devices (PrivateDevices= of its unit)?", err)
	}
	if err != nil {
		return nil, err
	}
	if err := prepare(f); err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", address, err)
	}
	return f, nil
}

// prepare refuses a file that is no device, and has a terminal line pass all bytes.
func prepare(f *os.File) error {
	st, err := f.Stat()
	if err != nil {
		return err
	}
	if st.Mode()&(fs.ModeCharDevice|fs.ModeNamedPipe) == 0 {
		return errors.New("this is not a device; is the printer's driver (usblp) loaded?")
	}
	if err := f.SetWriteDeadline(time.Time{}); err != nil {
		return err
	}
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	err = errors.Join(raw.Control(func(fd uintptr) {
		t, no := unix.IoctlGetTermios(int(fd), unix.TCGETS)
		if no != nil {
			return // not a terminal line
		}
		t.Iflag &^= unix.IGNBRK | unix.BRKINT | unix.PARMRK | unix.ISTRIP | unix.INLCR | unix.IGNCR | unix.ICRNL | unix.IXON
		t.Oflag &^= unix.OPOST
		t.Lflag &^= unix.ECHO | unix.ECHONL | unix.ICANON | unix.ISIG | unix.IEXTEN
		t.Cflag = t.Cflag&^(unix.CSIZE|unix.PARENB) | unix.CS8
		err = unix.IoctlSetTermios(int(fd), unix.TCSETS, t)
	}), err)
	return err
}

func (l *link) close() {
	l.stop()
	l.conn.Close()
}

// write sends all, as long as the printer takes something every so often. It returns
// how much it took.
func (l *link) write(b []byte, stall time.Duration) (n int, err error) {
	for n < len(b) {
		if err := l.conn.SetWriteDeadline(time.Now().Add(stall)); err != nil {
			return n, err
		}
		k, err := l.conn.Write(b[n:min(len(b), n+1024)])
		n += k
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// status asks all questions.
func (l *link) status() (c Condition, low bool, err error) {
	l.asked, l.next = 0, 0
	l.last = time.Now()
	for {
		if c, low, fresh := l.heard(); fresh {
			return c, low, nil
		}
		if err := l.askNext(l.wait); err != nil {
			return "", false, err
		}
		_, err := l.listen(time.Until(l.last.Add(l.wait)))
		if errors.Is(err, os.ErrDeadlineExceeded) {
			if l.device && time.Until(l.last.Add(l.wait)) > 0 {
				continue
			}
			return "", false, fmt.Errorf("the printer does not answer (is it off, or printer.status to be false?): %w", err)
		}
		if err != nil {
			return "", false, err
		}
	}
}

// askNext asks the next question, unless an answer is still due.
func (l *link) askNext(wait time.Duration) error {
	if l.asked != 0 {
		return nil
	}
	l.asked = questions[l.next]
	_, err := l.write([]byte{realTime[0], realTime[1], l.asked}, wait)
	return err
}

// emptyPause keeps a device that always has nothing to say from using the processor.
const emptyPause = 50 * time.Millisecond

// listen reads once. It reports whether a confirmation was among it.
func (l *link) listen(wait time.Duration) (confirmed bool, err error) {
	if err := l.conn.SetReadDeadline(time.Now().Add(wait)); err != nil {
		return false, err
	}
	n, err := l.conn.Read(l.read[:])
	for _, b := range l.read[:n] {
		l.last = time.Now()
		switch {
		case isStatus(b) && l.asked != 0:
			l.answer(b)
		case isConfirm(b):
			if l.of != nil && l.of.owed {
				l.of.owed, l.of.mute = false, false // it does confirm
				continue
			}
			confirmed, l.empty = true, b&0x0c != 0
		}
	}
	switch {
	case n > 0:
		return confirmed, nil
	case l.device && (err == nil || errors.Is(err, io.EOF)):
		// usblp reads nothing where a printer sends an empty packet.
		time.Sleep(min(wait, emptyPause))
		return false, os.ErrDeadlineExceeded
	case err == nil:
		err = io.ErrUnexpectedEOF
	}
	return false, err
}

func (l *link) answer(b byte) {
	l.said[l.asked] = b
	online := l.said[1]&0x08 == 0
	l.asked = 0
	l.next++
	if l.next == 1 && online {
		l.said[2] = 0
		l.next++ // nothing keeps it from printing
	}
	if l.next == len(questions) {
		l.next, l.round = 0, true
	}
}

// heard is what the answers say, if all were given since it was asked last.
func (l *link) heard() (c Condition, low, fresh bool) {
	fresh, l.round = l.round, false
	paper := l.said[4]
	low = paper&0x0c != 0
	switch why := l.said[2]; {
	case paper&0x60 != 0 || why&0x20 != 0:
		c = PaperOut
	case why&0x04 != 0:
		c = CoverOpen
	case why&0x40 != 0:
		c = Fault
	case l.said[1]&0x08 != 0:
		c = Offline
	default:
		c = Ready
	}
	return c, low, fresh
}
