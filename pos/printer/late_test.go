package printer

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// silent is no answer.
const silent = 0xff

// serve answers each DLE EOT that all is well, and each GS r as it is told.
func serve(c io.ReadWriter, confirm func() byte) {
	var b [4096]byte
	var left []byte
	for {
		n, err := c.Read(b[:])
		if err != nil {
			return
		}
		left = append(left, b[:n]...)
		for len(left) > 2 || len(left) > 0 && left[0] != 0x10 && left[0] != 0x1d {
			switch {
			case bytes.HasPrefix(left, []byte(realTime)):
				c.Write([]byte{0x12})
				left = left[3:]
			case bytes.HasPrefix(left, []byte("\x1dr\x01")):
				if x := confirm(); x != silent {
					c.Write([]byte{x})
				}
				left = left[3:]
			default:
				left = left[1:]
			}
		}
	}
}

// A confirmation that says that the paper is at its end is none of a whole receipt.
func TestConfirmedWithoutPaper(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go serve(c, func() byte { return 0x0c })
		}
	}()
	r := start(t, Options{Address: ln.Addr().String()})
	r.print(job("a"))
	if o := r.outcome("a"); o.State != Unknown {
		t.Errorf("%s: %s", o.State, o.Why)
	}
}

// A printer at a device that confirms a receipt only after posd has given it up: that is not
// taken for a confirmation of the next one. Where it never comes, receipts are confirmed
// again after the next one.
func TestLateConfirmation(t *testing.T) {
	for name, c := range map[string]struct {
		second []byte // what comes when the second receipt was sent
		want   State
	}{
		"the first one's, or the second's": {[]byte{0}, Unknown},
		"both":                             {[]byte{0, 0}, Printed},
	} {
		m, path := device(t)
		asked := 0
		go serve(m, func() byte {
			if asked++; asked == 2 {
				m.Write(c.second)
			}
			return silent
		})
		r := start(t, Options{Address: path, Settle: time.Hour, Patience: 300 * time.Millisecond})
		r.print(job("a"))
		if o := r.outcome("a"); o.State != Unknown {
			t.Errorf("%s: the first is %s (%s)", name, o.State, o.Why)
		}
		r.print(job("b"))
		if o := r.outcome("b"); o.State != c.want {
			t.Errorf("%s: the second is %s (%s)", name, o.State, o.Why)
		}
	}
	m, path := device(t)
	asked := 0
	go serve(m, func() byte {
		if asked++; asked == 1 {
			return silent // it lost power
		}
		return 0
	})
	r := start(t, Options{Address: path, Settle: 50 * time.Millisecond})
	for _, x := range []struct {
		key  string
		want State
	}{{"a", Sent}, {"b", Sent}, {"c", Printed}, {"d", Printed}} {
		r.print(job(x.key))
		if o := r.outcome(x.key); o.State != x.want {
			t.Errorf("%s is %s (%s), not %s", x.key, o.State, o.Why, x.want)
		}
	}
}

// device is a terminal line, and the printer's end of it.
func device(t *testing.T) (printer *os.File, path string) {
	t.Helper()
	m, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { m.Close() })
	unix.IoctlSetPointerInt(int(m.Fd()), unix.TIOCSPTLCK, 0)
	n, err := unix.IoctlGetInt(int(m.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Skip(err)
	}
	path = fmt.Sprint("/dev/pts/", n)
	keep, err := os.OpenFile(path, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { keep.Close() })
	tio, err := unix.IoctlGetTermios(int(keep.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	tio.Lflag &^= unix.ECHO | unix.ICANON
	tio.Oflag &^= unix.OPOST
	tio.Iflag = 0
	if err := unix.IoctlSetTermios(int(keep.Fd()), unix.TCSETS, tio); err != nil {
		t.Fatal(err)
	}
	return m, path
}
